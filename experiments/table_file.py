"""Read and write tables of users: a CSV or Parquet file, and the values of its cells.

A spreadsheet runs a text that begins like a formula, and texts come from data. A CSV file that is
written has an apostrophe before such a text; reading takes it away again.

An unreadable value is refused with the file, the row (counted from 1 below the heading, in the
column ``_row``) and the next step.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

import polars as pl

MOST_ROWS = 2_000_000
MOST_WORDS = 20
"""A text column with more distinct words is not used."""

NAMES = {"account_id": pl.String, "action": pl.String}
"""Columns of a CSV file that are never numbers: 007 is not 7."""

NO_TEXT = (pl.Binary, pl.Duration, pl.Object)
"""Types of a column, beside lists and the like, that are not read as words."""

FORMULA = "[=+\\-@\t\r]"
"""How a text begins that a spreadsheet would run (OWASP, CSV Injection)."""

TWICE = re.compile(r"_duplicated_\d+$")
"""The name that Polars gives to a repeated column of a CSV file."""


class TableFileError(ValueError):
    """A table cannot be used as it is."""


class _UnreadableError(ValueError):
    """What the reader of Stata files says of a file that is none."""


def read_table(path: Path, of: str, *, texts: Collection[str] = ()) -> pl.DataFrame:
    """The table of a file; ``of`` names its rows in messages, ``texts`` columns that are never numbers.

    Raises:
        TableFileError: there is no such file, it is neither CSV, Parquet nor Stata, has a column
            twice, or too many rows.
    """
    if not path.is_file():
        raise TableFileError(f"There is no file {path}. Name a CSV or Parquet file of {of}.")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, n_rows=MOST_ROWS + 1)
        elif path.suffix.lower() == ".dta":
            frame = _read_stata(path)
        else:
            frame = _as_meant(
                pl.read_csv(
                    path,
                    n_rows=MOST_ROWS + 1,
                    infer_schema_length=None,
                    try_parse_dates=True,
                    schema_overrides=NAMES | dict.fromkeys(texts, pl.String),
                )
            )
    except (
        pl.exceptions.PolarsError,
        OSError,
        UnicodeDecodeError,
        EOFError,
        _UnreadableError,
    ) as error:
        raise TableFileError(
            f"{path} cannot be read as a table: {str(error).splitlines()[0]}. Save "
            f"it as CSV with a heading, or as Parquet."
        ) from error
    twice = [name for name in frame.columns if TWICE.search(name)]
    if path.suffix.lower() not in (".parquet", ".dta") and twice:
        raise TableFileError(
            f"{path} has the column {TWICE.sub('', twice[0])!r} twice. Name each column once."
        )
    if frame.width == 1 and any(mark in frame.columns[0] for mark in ";\t|"):
        raise TableFileError(
            f"{path} has one column, {frame.columns[0]!r:.60}. Separate columns with commas."
        )
    if frame.height > MOST_ROWS:
        raise TableFileError(f"{path} has more than {MOST_ROWS:,} rows. Give a part of it.")
    return frame


ACCOUNT = "account_id"


def with_facts(
    table: pl.DataFrame, facts: pl.DataFrame, *, account: str, names: Collection[str], file: str
) -> pl.DataFrame:
    """A table with columns of another one, joined by the account.

    Args:
        table: with the column ``account``.
        facts: with the same column, or ``account_id``, each account once.
        account: the name of the column with the account, as text.
        names: the columns that are wanted; one that the table has itself is left alone.
        file: the name of the file of the facts, for messages.

    Raises:
        TableFileError: a column is missing, an account stands twice, or none is in both.
    """
    key = account if account in facts.columns else ACCOUNT
    lacking = [name for name in (key,) if name not in facts.columns]
    wanted = [name for name in dict.fromkeys(names) if name not in table.columns]
    lacking += [name for name in wanted if name not in facts.columns]
    if account not in table.columns:
        raise TableFileError(
            f"The table has no column {account!r} to join {file} by. Name it with --account."
        )
    if lacking:
        near = get_close_matches(lacking[0], facts.columns, 3)
        raise TableFileError(
            f"{file} lacks the column(s) {', '.join(lacking)}."
            + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    ids = facts.select(pl.col(key).cast(pl.String).alias(account), *wanted)
    twice = ids.filter(pl.col(account).is_duplicated())
    if twice.height:
        raise TableFileError(
            f"{file} has {twice[account][0]!r} more than once. Give it one row for each account, such as a "
            f"snapshot of one day."
        )
    joined = table.with_columns(pl.col(account).cast(pl.String)).join(
        ids, on=account, how="left", maintain_order="left"
    )
    if not joined[account].is_in(ids[account].implode()).any():
        raise TableFileError(
            f"No {account} of the table is in {file}: compare {table[account].cast(pl.String)[0]!r} with "
            f"{ids[account][0]!r}."
        )
    return joined


def _read_stata(path: Path) -> pl.DataFrame:
    """A file of Stata, by pandas; labelled values become their words."""
    import pandas as pd  # here: it takes half a second, and only such a file needs it

    try:
        return pl.from_pandas(pd.read_stata(path))
    except (ValueError, KeyError, struct.error) as error:
        raise _UnreadableError(str(error) or "it is no Stata file") from error


def table_bytes(frame: pl.DataFrame, suffix: str) -> bytes:
    """The content of a file: Parquet where the suffix is ``.parquet``, else CSV without formulas.

    ``read_table`` gives the same texts back from either.
    """
    content = io.BytesIO()
    if suffix.lower() == ".parquet":
        frame.write_parquet(content)
    else:
        _harmless(frame).write_csv(content)
    return content.getvalue()


def parse_numbers(
    table: pl.DataFrame, name: str, file: str = "", *, next_step: str = "Write a number."
) -> pl.Series:
    """A column as numbers, null where it is empty; ``file`` is named where there are several.

    Raises:
        TableFileError: a word that is no number, in the row that the column ``_row`` says, or
        counted
            from 1 where there is none; or a column that holds no words either.
    """
    column = table[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        text = parse_text(table, name, file)
        numbers = text.cast(pl.Float64, strict=False)
        wrong = (text.fill_null("") != "") & numbers.is_null()
        if wrong.any():
            place = int(wrong.arg_true()[0])
            row = table["_row"][place] if "_row" in table.columns else place + 1
            raise TableFileError(
                f"{_row(row, file)} has {text[place]!r:.40} for {name}, which is "
                f"no number. {next_step}"
            )
        return numbers
    return column.cast(pl.Float64)


def parse_text(table: pl.DataFrame, name: str, file: str = "") -> pl.Series:
    """A column as text, without blanks around it.

    Raises:
        TableFileError: a column of lists or the like, which a Parquet file may have.
    """
    column = table[name]
    if column.dtype.is_nested() or column.dtype in NO_TEXT:
        of = f" of {file}" if file else ""
        raise TableFileError(
            f"The column {name!r}{of} is neither numbers nor words "
            f"({column.dtype}). Write one number or one word in each row."
        )
    return column.cast(pl.String).str.strip_chars()


def number_rows(table: pl.DataFrame) -> pl.DataFrame:
    """The table with its row numbers in the column ``_row``, from 1 below the heading."""
    return table.drop("_row", strict=False).with_row_index("_row", offset=1)


def refuse_rows(
    table: pl.DataFrame,
    wrong: pl.Expr,
    words: str,
    file: str = "",
    *,
    next_step: str = "Mend it, or leave the row out.",
) -> None:
    """Refuse a table with wrong rows; their numbers are in the column ``_row``.

    Raises:
        TableFileError: there are wrong rows; the message has the first, the number of others and
        the next step.
    """
    rows = table.filter(wrong.fill_null(value=False))["_row"].to_list()
    if rows:
        more = f", as have {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise TableFileError(f"{_row(rows[0], file)} {words}{more}. {next_step}")


def _row(number: int, file: str) -> str:
    return f"Row {number} of {file}" if file else f"Row {number}"


def _harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with an apostrophe before each text and heading that begins like a formula."""
    return _replaced(frame, rf"^('*{FORMULA})", "'${1}")


def _as_meant(frame: pl.DataFrame) -> pl.DataFrame:
    """The table without the apostrophes of ``_harmless``."""
    return _replaced(frame, rf"^'('*{FORMULA})", "${1}")


def _replaced(frame: pl.DataFrame, pattern: str, by: str) -> pl.DataFrame:
    names = pl.Series(frame.columns, dtype=pl.String).str.replace(pattern, by).to_list()
    texts = pl.col(pl.String).str.replace(pattern, by)
    return frame.with_columns(texts).rename(dict(zip(frame.columns, names, strict=True)))
