"""This module is about source files: a CSV, Parquet or JSONL file, or a query, as one raw frame.

Reads only the columns it is asked for, and changes no value: text stays text, so that a row can
be judged by itself and, if it is refused, shown as it came. A file that is not what its ending
says is refused as a whole; a line that can not be read becomes a problem of that line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv

from features.mapping import FORMATS, Table, TableSource, check_columns
from features.mapping_keys import MappingError

LARGEST_CSV_FIELD = 1 << 24  # bytes
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
OTHER_MAGIC = {b"PK\x03\x04": "a ZIP or Excel file", PARQUET_MAGIC: "a Parquet file",
               GZIP_MAGIC: "a gzip file", b"%PDF": "a PDF file", b"SQLite format 3": "a database"}

LINE = "__line"
"""Where a row stands in its file: the line of a text file, the row of a Parquet file, from 1."""

RAW = "__raw"
"""A row as it came, in one text, where it did not come in columns."""


class SourceFileError(ValueError):
    """A file can not be read as what its ending says it is."""


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """The rows of one file as they came, with their line; and the lines that are no rows."""

    frame: pl.DataFrame  # the columns asked for, and LINE
    present: tuple[str, ...]  # every column of the file
    broken: tuple[tuple[int, str, str], ...] = ()  # (line, reason, content)


def read_table(path: Path, table: Table) -> RawTable:
    """The rows of ``path``, with the columns that ``table`` reads.

    Raises:
        SourceFileError: the file is not what its ending says.
        MappingError: it lacks a column that the table reads.
    """
    form = format_of(path, table.source)
    try:
        content = b"" if form == "parquet" else path.read_bytes()
    except OSError as exc:
        raise SourceFileError(f"{path.name} can not be read: {exc.strerror}.") from exc
    if form.endswith(".gz"):
        content = _unpacked(path, content)
    if form.startswith("csv"):
        return _read_csv(path, content, table)
    if form.startswith("jsonl"):
        return _read_jsonl(path, content, table)
    return _read_parquet(path, table)


def format_of(path: Path, source: TableSource) -> str:
    """What a file is stored as: what the mapping says, or what its ending says."""
    if source.format is not None:
        return source.format
    for form in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith("." + form):
            return form
    raise MappingError(
        f"The ending of {path.name} does not say what it is. Add format = one of "
        f"{', '.join(FORMATS)} to table {source.name!r} of the mapping."
    )


def read_query(table: Table, environment: Mapping[str, str]) -> RawTable:
    """The rows of the query that ``table`` names, from the database in the environment.

    Raises:
        MappingError: no address of a database, no answer, or a missing column.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    source = table.source
    url = environment.get(source.url_from or "")
    if not url:
        raise MappingError(
            f"Table {source.name!r} reads a database, and the environment variable "
            f"{source.url_from} that holds its address is not set. Set it, such as "
            f"{source.url_from}=postgresql://user@host/database."
        )
    try:
        engine = create_engine(url)
        with engine.connect() as connection:
            answer = connection.execute(text(source.query or ""))
            names = tuple(answer.keys())
            rows = [tuple(row) for row in answer]
        engine.dispose()
    except (SQLAlchemyError, ModuleNotFoundError) as exc:
        first_line = str(exc).splitlines()[0]
        raise MappingError(
            f"The query of table {source.name!r} failed: {first_line}. Check the query and "
            f"{source.url_from}. Nothing was written."
        ) from exc
    check_columns(table, names, file=f"The query of {source.name!r}")
    columns = {name: pl.Series(name, [_plain(row[i]) for row in rows], strict=False)
               for i, name in enumerate(names) if name in table.columns}
    frame = pl.DataFrame(columns).with_columns(_lines(len(rows)))
    return RawTable(frame=frame, present=names)


def _read_csv(path: Path, content: bytes, table: Table) -> RawTable:
    _refuse_binary(path, content, "CSV")
    if content.count(b'"') % 2:
        raise SourceFileError(
            f"{path.name} has an opening quotation mark without a closing one, so its rows can "
            f"not be told apart. Export it again. Nothing was written."
        )
    content = content.rstrip(b"\r\n") + b"\n"
    header_line = content.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    broken: list[tuple[int, str, str]] = []

    def keep(row: pa.csv.InvalidRow) -> str:
        broken.append((row.number, f"has {row.actual_columns} fields where the header has "
                                   f"{row.expected_columns}", row.text))
        return "skip"

    parse = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep,
                                ignore_empty_lines=False)
    reading = pa.csv.ReadOptions(use_threads=False, block_size=LARGEST_CSV_FIELD)
    try:
        # not open_csv: its thread, left open by an error, ends the process with an abort
        present = tuple(pa.csv.read_csv(
            pa.BufferReader(content.split(b"\n", 1)[0] + b"\n"),
            read_options=pa.csv.ReadOptions(use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        ).schema.names)
    except pa.ArrowInvalid as exc:
        raise SourceFileError(
            f"{path.name} has no header row that can be read as CSV: {header_line[:120]!r}."
        ) from exc
    check_columns(table, present, file=path.name)
    twice = [name for name in table.columns if present.count(name) > 1]
    if twice:
        raise SourceFileError(f"{path.name} has more than one column named {twice[0]!r}. Rename "
                              f"one of them. Nothing was written.")
    binary = {name: pa.binary() for name in table.columns}
    try:
        rows = pa.csv.read_csv(
            pa.BufferReader(content), read_options=reading, parse_options=parse,
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(table.columns), column_types=binary,
                strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=True),
        )
    except pa.ArrowInvalid as exc:
        raise SourceFileError(f"{path.name} can not be read as CSV: {exc}.") from exc
    frame = pl.DataFrame(pl.from_arrow(rows))
    starts = _csv_lines(content, rows=frame.height + len(broken))
    taken = {number for number, _, _ in broken}
    broken = [(starts[number - 1], reason, text) for number, reason, text in broken]
    frame = frame.with_columns(pl.Series(
        LINE, [line for number, line in enumerate(starts[1:], start=2) if number not in taken],
        dtype=pl.Int64))
    try:
        text = frame.with_columns(pl.col(table.columns).cast(pl.String))
    except pl.exceptions.ComputeError:
        lost = pl.Series([not all(map(_is_utf8, row)) for row in
                          frame.select(table.columns).iter_rows()], dtype=pl.Boolean)
        broken += [(row[LINE], "is not UTF-8 text", repr(row))
                   for row in frame.filter(lost).iter_rows(named=True)]
        text = frame.filter(~lost).with_columns(pl.col(table.columns).cast(pl.String))
    return RawTable(frame=text, present=present, broken=tuple(sorted(broken)))


def _read_jsonl(path: Path, content: bytes, table: Table) -> RawTable:
    _refuse_binary(path, content, "JSON lines")
    rows, broken = json_lines(content)
    if broken and not rows:
        raise SourceFileError(
            f"{path.name} holds no JSON object in any line, so it is no JSON lines file. It "
            f"begins with {content[:60].decode('utf-8', errors='replace')!r}. Nothing was written."
        )
    present = tuple(dict.fromkeys(name for _, row in rows for name in row))
    check_columns(table, present, file=path.name)
    frame = pl.DataFrame(
        {name: pl.Series([_text(row.get(name)) for _, row in rows], dtype=pl.String)
         for name in table.columns})
    frame = frame.with_columns(pl.Series(LINE, [line for line, _ in rows], dtype=pl.Int64))
    return RawTable(frame=frame, present=present, broken=tuple(broken))


def json_lines(
    content: bytes,
) -> tuple[list[tuple[int, dict[str, object]]], list[tuple[int, str, str]]]:
    """The objects of a JSON lines file with their lines, and the lines that hold none."""
    rows: list[tuple[int, dict[str, object]]] = []
    broken: list[tuple[int, str, str]] = []
    for line, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            broken.append((line, "is not JSON", raw.decode("utf-8", errors="replace")))
            continue
        if b"\\u" in raw and not is_unicode(row):
            broken.append((line, "holds text that is no Unicode", repr(row)))
        elif isinstance(row, dict):
            rows.append((line, row))
        else:
            broken.append((line, "is not a JSON object", raw.decode("utf-8", errors="replace")))
    return rows, broken


def is_unicode(value: object) -> bool:
    """Whether all text in a JSON value can be stored: no half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False, default=repr).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(path: Path, table: Table) -> RawTable:
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
        if start != PARQUET_MAGIC:
            raise SourceFileError(
                f"{path.name} is no Parquet file, though its ending says so. Export it again, or "
                f"give it its right ending. Nothing was written."
            )
        schema = pl.read_parquet_schema(path)
        check_columns(table, schema, file=path.name)
        columns = [_flat(name, schema[name], path) for name in table.columns]
        frame = pl.scan_parquet(path).select(columns).collect()
    except OSError as exc:
        raise SourceFileError(f"{path.name} can not be read: {exc.strerror or exc}.") from exc
    except pl.exceptions.ComputeError as exc:
        raise SourceFileError(
            f"{path.name} is a damaged Parquet file ({str(exc).splitlines()[0]}). Copy it again. "
            f"Nothing was written."
        ) from exc
    return RawTable(frame=frame.with_columns(_lines(frame.height)), present=tuple(schema))


def _flat(name: str, dtype: pl.DataType, path: Path) -> pl.Expr:
    """A column as texts, numbers, times or truths; a map as the JSON text of it."""
    if isinstance(dtype, pl.Struct):
        return pl.col(name).struct.json_encode()
    if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
        raise SourceFileError(
            f"The column {name!r} of {path.name} holds {dtype}, which is neither text, number nor "
            f"time. Export it as one of these. Nothing was written.")
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Time)):
        return pl.col(name).cast(pl.String)
    return pl.col(name)


def _unpacked(path: Path, content: bytes) -> bytes:
    if not content.startswith(GZIP_MAGIC):
        raise SourceFileError(
            f"{path.name} is not packed with gzip, though its ending says so. Take .gz off its "
            f"name if it is plain text. Nothing was written."
        )
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise SourceFileError(
            f"{path.name} is a damaged or cut-off gzip file ({exc}). Copy it again. Nothing was "
            f"written."
        ) from exc


def _csv_lines(content: bytes, *, rows: int) -> Sequence[int]:
    """The line on which each row begins, the header first; quoted text may hold line breaks."""
    if content.count(b"\n") == rows + 1:
        return range(1, rows + 2)
    reader = csv.reader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    starts = [1]
    for _ in reader:
        starts.append(reader.line_num + 1)
    return starts[:rows + 1]


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_binary(path: Path, content: bytes, form: str) -> None:
    for magic, words in OTHER_MAGIC.items():
        if content.startswith(magic):
            raise SourceFileError(f"{path.name} is {words}, not {form} as its ending says. Give "
                                  f"it its right ending or format. Nothing was written.")
    if not content.strip():
        raise SourceFileError(f"{path.name} is empty. Nothing was written.")
    if b"\x00" in content[:65536]:
        raise SourceFileError(f"{path.name} holds binary data, not {form} in UTF-8. Export it "
                              f"again. Nothing was written.")


def _lines(height: int) -> pl.Series:
    return pl.Series(LINE, range(1, height + 1), dtype=pl.Int64)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: object) -> object:
    """A database value as polars takes it: decimals and the like as text."""
    return value if isinstance(value, (str, int, float, date, type(None))) else str(value)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
