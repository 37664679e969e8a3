"""Read a text file block by block, unpacked, and cut where a row ends.

The first bytes of a file say what it is: a workbook that is named .csv is refused as a workbook.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 24  # bytes
LARGEST_ROW = 1 << 25  # bytes
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
OTHER_MAGIC = {
    b"PK\x03\x04": "a ZIP or Excel file",
    PARQUET_MAGIC: "a Parquet file",
    GZIP_MAGIC: "a gzip file",
    b"%PDF": "a PDF file",
    b"SQLite format 3": "a database",
}


class SourceFileError(ValueError):
    """A file cannot be read as what its ending says it is."""


def text_blocks(path: Path, form: str, *, packed: bool) -> Iterator[bytes]:
    """The content of a file, block by block; ``form`` is the expected format, such as CSV.

    Raises:
        SourceFileError: it cannot be read, is damaged, empty, or something else.
    """
    try:
        with path.open("rb") as file:
            if packed and not file.read(2).startswith(GZIP_MAGIC):
                raise SourceFileError(
                    f"{path.name} is not packed with gzip, though its ending says so. Take .gz "
                    f"off its name if it is plain text. Nothing was written."
                )
            file.seek(0)
            content = gzip.GzipFile(fileobj=file) if packed else file
            first = content.read(BLOCK)
            _refuse_other(path, first, form)
            yield first
            while block := content.read(BLOCK):
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise SourceFileError(
            f"{path.name} is a damaged or cut-off gzip file ({exc}). Copy it again. Nothing was "
            f"written."
        ) from exc
    except OSError as exc:
        raise SourceFileError(f"{path.name} cannot be read: {exc.strerror or exc}.") from exc


def whole_rows(blocks: Iterator[bytes], name: str, *, quoted: bool) -> Iterator[bytes]:
    """Blocks of whole rows; a line break in quotation marks does not end a row.

    Empty lines at the end of the file are dropped; those between rows stay.

    Raises:
        SourceFileError: a quotation mark is never closed, or a row is larger than ``LARGEST_ROW``.
    """
    rest = b""
    for block in blocks:
        rest += block
        end = _end_of_rows(rest, quoted=quoted)
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LARGEST_ROW:
            raise SourceFileError(
                f"{name} has a row of more than {LARGEST_ROW >> 20} MB, or a quotation mark "
                f"without a closing one, so its rows cannot be told apart. Export it again. "
                f"Nothing was written."
            )
    rest = rest.rstrip(b"\r\n")
    if quoted and rest.count(b'"') % 2:
        raise SourceFileError(
            f"{name} has an opening quotation mark without a closing one, so its rows cannot be "
            f"told apart. Export it again. Nothing was written."
        )
    if rest:
        yield rest + b"\n"


def _end_of_rows(content: bytes, *, quoted: bool) -> int:
    """Where the last row ends that another row follows; 0 if there is none."""
    end = content.rfind(b"\n")
    open_quotes = content.count(b'"', 0, end) if quoted else 0
    while end >= 0 and open_quotes % 2:
        before = content.rfind(b"\n", 0, end)
        open_quotes -= content.count(b'"', max(before, 0), end)
        end = before
    kept = content[: end + 1].rstrip(b"\r\n")  # empty lines go to the next block: they may be last
    return content.find(b"\n", len(kept)) + 1 if kept else 0


def _refuse_other(path: Path, content: bytes, form: str) -> None:
    for magic, words in OTHER_MAGIC.items():
        if content.startswith(magic):
            raise SourceFileError(
                f"{path.name} is {words}, not {form} as its ending says. Give "
                f"it its right ending or format. Nothing was written."
            )
    if not content.strip():
        raise SourceFileError(f"{path.name} is empty. Nothing was written.")
    if b"\x00" in content[:65536]:
        raise SourceFileError(
            f"{path.name} holds binary data, not {form} in UTF-8. Export it "
            f"again. Nothing was written."
        )
