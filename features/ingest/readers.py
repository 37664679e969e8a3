"""Read a CSV, Parquet or JSONL file, or the answer of a query, as raw rows.

Only the columns that the mapping names are read, and no value is changed: text stays text, so that
each row can be validated by itself and a refused row can be shown in its original form. A file is
read in pieces of rows, so that its size does not matter. A file that is not what its ending says is
refused as a whole; a line that cannot be read is refused by itself.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv

from features.events.schema import LINE
from features.ingest._text_chunks import (
    LARGEST_ROW,
    SourceFileError,
    text_blocks,
    whole_rows,
)
from features.ingest.mapped_tables import (
    FORMATS,
    SEPARATORS,
    MappedTable,
    MappingError,
    TableSource,
    check_columns,
    fitted,
)
from features.ingest.parquet_files import parquet_columns, parquet_frames

PIECE_ROWS = 200_000
"""Rows that are taken at once, whatever the format."""

MOST_BROKEN = 1_000_000
"""Lines of one block that are no rows. A file with more is not the format that it is said to be."""

csv.field_size_limit(2 * LARGEST_ROW)  # the row is bounded already, by ``whole_rows``


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """Unchanged rows of one file with their lines, and the lines that are no rows."""

    frame: pl.DataFrame  # the columns asked for, and LINE
    present: tuple[str, ...]  # the columns of the file, as far as it was read
    broken: tuple[tuple[int, str, str], ...] = ()  # (line, reason, content)


def read_pieces(path: Path, table: MappedTable) -> Iterator[RawTable]:
    """The rows of ``path`` in their order, with the columns that ``table`` reads; at least one piece.

    Raises:
        SourceFileError: the file is not what its ending says.
        MappingError: it lacks a column that the table reads.
    """
    form = format_of(path, table.source)
    if form == "parquet":
        return (
            RawTable(frame=frame.with_columns(_lines(line, frame.height)), present=present)
            for line, frame, present in parquet_frames(path, table, rows=PIECE_ROWS)
        )
    packed = form.endswith(".gz")
    if form.startswith("csv"):
        rows = whole_rows(text_blocks(path, "CSV", packed=packed), path.name, quoted=True)
        if table.source.separator == "blanks":
            rows = map(_one_blank, rows)
        return _csv_pieces(path.name, rows, table)
    rows = whole_rows(text_blocks(path, "JSON lines", packed=packed), path.name, quoted=False)
    return _jsonl_pieces(path.name, rows, table)


def read_table(path: Path, table: MappedTable) -> RawTable:
    """All rows of ``path`` at once; errors are those of ``read_pieces``."""
    pieces = list(read_pieces(path, table))
    return RawTable(
        frame=pl.concat([piece.frame for piece in pieces]),
        present=pieces[-1].present,
        broken=tuple(line for piece in pieces for line in piece.broken),
    )


def blocks_of(path: Path, form: str) -> Iterator[bytes]:
    """The content of a text file, block by block, unpacked; errors are those of ``read_pieces``."""
    return text_blocks(path, form.partition(".")[0].upper(), packed=form.endswith(".gz"))


def columns_of(path: Path, table: MappedTable) -> tuple[str, ...]:
    """The columns of a file, from its beginning."""
    source = table.source
    form = format_of(path, source)
    if form == "parquet":
        return parquet_columns(path)
    packed = form.endswith(".gz")
    if form.startswith("csv"):
        first = next(
            whole_rows(text_blocks(path, "CSV", packed=packed), path.name, quoted=True), b""
        )
        first = _one_blank(first) if source.separator == "blanks" else first
        return _header(path.name, first.partition(b"\n")[0], SEPARATORS[source.separator])
    blocks = whole_rows(text_blocks(path, "JSON lines", packed=packed), path.name, quoted=False)
    rows, _ = next(json_pieces(path.name, blocks))
    return tuple(dict.fromkeys(column for _, row in rows for column in row))


def format_of(path: Path, source: TableSource) -> str:
    """The format of a file: the one that the mapping says, else the one of its ending."""
    if source.format is not None:
        return source.format
    for form in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith("." + form):
            return form
    raise MappingError(
        f"The ending of {path.name} does not say what it is. Add format = one of "
        f"{', '.join(FORMATS)} to table {source.name!r} of the mapping."
    )


def read_query(table: MappedTable, environment: Mapping[str, str]) -> RawTable:
    """The rows of the query that ``table`` names, from the database in the environment.

    Raises:
        MappingError: the database has no URL or does not answer, or a column is missing.
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
        engine = create_engine(url, hide_parameters=True)
    except ValueError:  # its text holds a part of the address, as of the password
        raise MappingError(
            f"The address in {source.url_from} cannot be read. In a password, write @ as %40, : as "
            f"%3A, / as %2F and # as %23. Nothing was written."
        ) from None
    except (SQLAlchemyError, ModuleNotFoundError) as exc:
        raise MappingError(
            f"The database in {source.url_from} cannot be used: {str(exc).splitlines()[0]}. "
            f"Nothing was written."
        ) from exc
    try:
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
    table = fitted(table, names, file=f"The query of {source.name!r}")
    check_columns(table, names, file=f"The query of {source.name!r}")
    columns = {
        name: pl.Series(name, [_plain(row[i]) for row in rows], strict=False)
        for i, name in enumerate(names)
        if name in table.columns
    }
    return RawTable(frame=pl.DataFrame(columns).with_columns(_lines(0, len(rows))), present=names)


def json_lines(
    content: bytes,
) -> tuple[list[tuple[int, dict[str, object]]], list[tuple[int, str, str]]]:
    """The objects of a JSON lines file with their lines, and the lines that hold none.

    Raises:
        SourceFileError: more than ``MOST_BROKEN`` lines hold none.
    """
    rows: list[tuple[int, dict[str, object]]] = []
    broken: list[tuple[int, str, str]] = []
    for line, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        if len(broken) > MOST_BROKEN:
            raise SourceFileError(_too_many_broken("A block of JSON lines", "no JSON objects"))
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


JsonPiece = tuple[list[tuple[int, dict[str, object]]], list[tuple[int, str, str]]]


def json_pieces(name: str, blocks: Iterator[bytes]) -> Iterator[JsonPiece]:
    """The objects and the broken lines of a JSON lines file, with their lines, block by block.

    Raises:
        SourceFileError: no line of the file holds an object.
    """
    line, found, begins = 0, False, b""
    for content in blocks:
        begins = begins or content[:60]
        rows, broken = json_lines(content)
        for start in range(0, max(len(rows), 1), PIECE_ROWS):
            piece = rows[start : start + PIECE_ROWS]
            yield (
                [(number + line, row) for number, row in piece],
                [] if start else [(number + line, reason, text) for number, reason, text in broken],
            )
        found = found or bool(rows)
        line += content.count(b"\n")
    if not found:
        raise SourceFileError(
            f"{name} holds no JSON object in any line, so it is no JSON lines file. It begins with "
            f"{begins.decode('utf-8', errors='replace')!r}. Nothing was written."
        )


ANYTHING = json.JSONEncoder(ensure_ascii=False, default=repr)
"""Writes any value that was sent, so that it can be shown."""


def is_unicode(value: object) -> bool:
    """Whether all text in a JSON value can be stored: no half of a surrogate pair."""
    try:
        ANYTHING.encode(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_pieces(name: str, blocks: Iterator[bytes], table: MappedTable) -> Iterator[RawTable]:
    first = next(blocks, b"")
    header, _, rows = first.partition(b"\n")
    if b"\r" in header.rstrip(b"\r") and b'"' not in header:
        raise SourceFileError(
            f"{name} ends its lines with carriage returns alone, as old Macs did. Export it with "
            f"line feeds. Nothing was written."
        )
    present = _header(name, header, SEPARATORS[table.source.separator])
    check_columns(table, present, file=name)
    twice = [column for column in table.columns if present.count(column) > 1]
    if twice:
        raise SourceFileError(
            f"{name} has more than one column named {twice[0]!r}. Rename "
            f"one of them. Nothing was written."
        )
    line = 1
    for content in itertools.chain([rows], blocks):
        raw = _csv_rows(name, content, table, present, line=line)
        for start in range(0, max(raw.frame.height, 1), PIECE_ROWS):
            yield replace(
                raw,
                frame=raw.frame.slice(start, PIECE_ROWS),
                broken=() if start else raw.broken,
            )
        line += content.count(b"\n")


def _header(name: str, line: bytes, separator: bytes) -> tuple[str, ...]:
    try:
        # not open_csv: after an error its open thread aborts the process
        return tuple(
            pa.csv.read_csv(
                pa.BufferReader(line + b"\n"),
                read_options=pa.csv.ReadOptions(use_threads=False),
                parse_options=pa.csv.ParseOptions(
                    newlines_in_values=True, delimiter=separator.decode()
                ),
            ).schema.names
        )
    except UnicodeDecodeError as exc:
        raise SourceFileError(
            f"The header row of {name} is not UTF-8 text. Export it as UTF-8; spreadsheets call it "
            f"'CSV UTF-8'. Nothing was written."
        ) from exc
    except pa.ArrowInvalid as exc:
        shown = line.decode("utf-8", errors="replace")[:120]
        raise SourceFileError(
            f"{name} has no header row that can be read as CSV: {shown!r}."
        ) from exc


def _csv_rows(
    name: str, content: bytes, table: MappedTable, present: Sequence[str], *, line: int
) -> RawTable:
    """Whole rows of a CSV file; ``line`` is the number of the line before the first."""
    broken: list[tuple[int, str, str]] = []

    def keep(row: pa.csv.InvalidRow) -> str:
        if len(broken) >= MOST_BROKEN:
            return "error"
        broken.append(
            (
                row.number,
                f"has {row.actual_columns} fields where the header has {row.expected_columns}",
                row.text,
            )
        )
        return "skip"

    try:
        rows = (
            pa.csv.read_csv(
                pa.BufferReader(content),
                read_options=pa.csv.ReadOptions(
                    use_threads=False, block_size=len(content) + 1, column_names=present
                ),
                parse_options=pa.csv.ParseOptions(
                    newlines_in_values=True,
                    invalid_row_handler=keep,
                    ignore_empty_lines=False,
                    delimiter=SEPARATORS[table.source.separator].decode(),
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=list(table.columns),
                    column_types=dict.fromkeys(table.columns, pa.binary()),
                    strings_can_be_null=True,
                    null_values=[""],
                    quoted_strings_can_be_null=True,
                ),
            )
            if content
            else None
        )
    except pa.ArrowInvalid as exc:
        if len(broken) >= MOST_BROKEN:
            raise SourceFileError(_too_many_broken(name, "no rows of its header")) from exc
        raise SourceFileError(f"{name} cannot be read as CSV: {exc}.") from exc
    frame = (
        pl.DataFrame(pl.from_arrow(rows))
        if rows is not None
        else pl.DataFrame(schema=dict.fromkeys(table.columns, pl.Binary))
    )
    starts = _csv_lines(content, table.source.separator, rows=frame.height + len(broken), line=line)
    taken = {number for number, _, _ in broken}
    broken = [(starts[number - 1], reason, text) for number, reason, text in broken]
    numbers = (
        starts
        if not taken
        else [start for number, start in enumerate(starts, start=1) if number not in taken]
    )
    frame = frame.with_columns(pl.Series(LINE, numbers, dtype=pl.Int64))
    try:
        text = frame.with_columns(pl.col(table.columns).cast(pl.String))
    except pl.exceptions.ComputeError:
        lost = pl.Series(
            [not all(map(_is_utf8, row)) for row in frame.select(table.columns).iter_rows()],
            dtype=pl.Boolean,
        )
        broken += [
            (row[LINE], "is not UTF-8 text", repr(row))
            for row in frame.filter(lost).iter_rows(named=True)
        ]
        text = frame.filter(~lost).with_columns(pl.col(table.columns).cast(pl.String))
    return RawTable(frame=text, present=tuple(present), broken=tuple(sorted(broken)))


def _csv_lines(content: bytes, separator: str, *, rows: int, line: int) -> Sequence[int]:
    """The line on which each row begins; quoted text may hold line breaks."""
    if content.count(b"\n") == rows:
        return range(line + 1, line + rows + 1)
    reader = csv.reader(
        io.StringIO(content.decode("utf-8", errors="replace"), newline=""),
        delimiter=SEPARATORS[separator].decode(),
    )
    starts = [line + 1]
    for _ in reader:
        starts.append(line + reader.line_num + 1)
    return starts[:rows]


def _jsonl_pieces(name: str, blocks: Iterator[bytes], table: MappedTable) -> Iterator[RawTable]:
    present: dict[str, None] = {}
    for rows, broken in json_pieces(name, blocks):
        present |= dict.fromkeys(column for _, row in rows for column in row)
        frame = pl.DataFrame(
            {
                column: pl.Series([_text(row.get(column)) for _, row in rows], dtype=pl.String)
                for column in table.columns
            }
        )
        yield RawTable(
            frame=frame.with_columns(pl.Series(LINE, [line for line, _ in rows], dtype=pl.Int64)),
            present=tuple(present),
            broken=tuple(broken),
        )
    check_columns(table, present, file=name)


def _one_blank(content: bytes) -> bytes:
    """Rows whose columns are apart by any number of blanks, with one blank between them."""
    lines = (b" ".join(line.split()) for line in content.split(b"\n"))
    return b"\n".join(lines)


def _too_many_broken(name: str, what: str) -> str:
    return (
        f"{name} has more than {MOST_BROKEN:,} lines that are {what}, one after the other, so it is "
        f"not the format that it is said to be. Export it again. Nothing was written."
    )


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(before: int, height: int) -> pl.Series:
    return pl.int_range(before + 1, before + height + 1, dtype=pl.Int64, eager=True).alias(LINE)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: object) -> object:
    """A database value in a type that Polars accepts: decimals and similar types as text."""
    return value if isinstance(value, (str, int, float, date, type(None))) else str(value)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
