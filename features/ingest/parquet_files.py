"""Read a Parquet file in pieces of rows, each column as text, number, time or boolean.

By pyarrow, since a damaged file can make Polars end the process: two of 300 files with three flipped
bytes each did, and none of 20,000 with pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.ingest._text_chunks import PARQUET_MAGIC, SourceFileError
from features.ingest.mapped_tables import MappedTable, check_columns

LARGEST_PIECE = 1 << 30
"""Bytes of text that are taken at once: a file of kilobytes can hold one long text in every row."""


def parquet_frames(
    path: Path, table: MappedTable, *, rows: int
) -> Iterator[tuple[int, pl.DataFrame, tuple[str, ...]]]:
    """(rows before it, a frame of so many ``rows`` at most, the columns of the file); at least one.

    The frame has the columns that ``table`` reads.

    Raises:
        SourceFileError: the file is damaged or no Parquet, or a column is of another kind.
        MappingError: it lacks a column that the table reads.
    """
    columns = list(table.columns)
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
        if start != PARQUET_MAGIC:
            raise SourceFileError(
                f"{path.name} is no Parquet file, though its ending says so. Export it again, or "
                f"give it its right ending. Nothing was written."
            )
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
        check_columns(table, schema.names, file=path.name)
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        empty = _flattened(schema.empty_table().select(columns), path)
        present, before = tuple(schema.names), 0
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                batch.validate(full=True)
                frame = _flattened(pa.table(_written_out(batch, columns, path.name)), path)
                yield before, frame, present
                before += frame.height
        if not before:
            yield 0, empty, present
    except OSError as exc:
        if exc.errno is None:  # pyarrow's word for damage
            raise _damaged(path, exc) from exc
        raise SourceFileError(f"{path.name} cannot be read: {exc.strerror or exc}.") from exc
    except pa.ArrowNotImplementedError as exc:
        raise SourceFileError(
            f"A column of {path.name} is of a type that cannot be read ({exc}). Export it as text, "
            f"number or time. Nothing was written."
        ) from exc
    except (
        pa.ArrowException,
        UnicodeDecodeError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as exc:
        raise _damaged(path, exc) from exc


def parquet_columns(path: Path) -> tuple[str, ...]:
    """The columns of a Parquet file, from its footer.

    Raises:
        SourceFileError: it is damaged or no Parquet file.
    """
    try:
        return tuple(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as exc:
        raise _damaged(path, exc) from exc


def _damaged(path: Path, exc: BaseException) -> SourceFileError:
    first = str(exc).partition("\n")[0]
    return SourceFileError(
        f"{path.name} is a damaged Parquet file ({first}). Copy it again. Nothing was written."
    )


def _is_text(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(dtype)
        or pa.types.is_large_string(dtype)
        or pa.types.is_string_view(dtype)
    )


def _written_out(batch: pa.RecordBatch, columns: Sequence[str], file: str) -> dict[str, pa.Array]:
    """The columns, each text in full: a file of kilobytes can have one long text in every row."""
    found, size = {}, 0
    for name in columns:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            if _is_text(column.type.value_type):
                lengths = pc.binary_length(column.dictionary)
                size += pc.sum(lengths.take(column.indices)).as_py() or 0
            if size > LARGEST_PIECE:
                raise SourceFileError(
                    f"{file} holds {size >> 20:,} MB of text in {batch.num_rows:,} rows, more than "
                    f"the {LARGEST_PIECE >> 20:,} MB that are taken at once. Export shorter texts, "
                    f"or leave the column out of the mapping. Nothing was written."
                )
            column = column.dictionary_decode()
        found[name] = column
    return found


def _flattened(rows: pa.Table, path: Path) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(rows))
    return frame.select(_flat(name, dtype, path) for name, dtype in frame.schema.items())


def _flat(name: str, dtype: pl.DataType, path: Path) -> pl.Expr:
    """A column as text, number, time or boolean; a map as its JSON text."""
    if isinstance(dtype, pl.Struct):
        return pl.col(name).struct.json_encode()
    if dtype.is_nested() or dtype in (pl.Binary, pl.Duration, pl.Object):
        raise SourceFileError(
            f"The column {name!r} of {path.name} holds {dtype}, which is neither text, number nor "
            f"time. Export it as one of these. Nothing was written."
        )
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Time)):
        return pl.col(name).cast(pl.String)
    return pl.col(name)
