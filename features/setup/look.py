"""Look at a folder of exports: which files belong together, how they are written, what is in a column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from features.ingest.columns import read_instants
from features.ingest.expressions.columns import read_number
from features.ingest.mapped_tables import FORMATS, SEPARATORS
from features.ingest.readers import blocks_of

MOST_ROWS = 300_000
"""Rows that are looked at of all files of one table."""

MOST_FILES = 2_000
LEAST_FIT = 0.98
"""The share of filled cells that have to be times or numbers, for a column to count as such."""

TIME_FORMATS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%Y%m%d",
)
"""Formats of times besides ISO 8601, those with the day first before those with the month first."""

MONTH_NAME = re.compile(
    r"^(?P<before>\D*)(?P<year>(?:19|20)\d\d)(?P<between>[-_/. ]?)(?P<month>0[1-9]|1[0-2])$"
)
MONTH_WORD = re.compile(
    r"^(?P<before>.*?)(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"(?P<between>[-_/. ]?)(?P<year>(?:19|20)\d\d)$",
    re.IGNORECASE,
)


NOTES = re.compile(r"(readme|licen[cs]e|changelog|about)\b.*\.(txt|md|html)$", re.IGNORECASE)
"""Names of files that are for people."""


class NoExportsError(ValueError):
    """A folder holds nothing that can be looked at."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """How a column of times is written: ``format`` (None: ISO 8601) or ``epoch``."""

    format: str | None = None
    epoch: str | None = None
    doubt: str = ""  # why another format fits as well


@dataclass(frozen=True)
class Profile:
    """A column of an export: its name, and its values as text."""

    name: str
    values: pl.Series
    decimal: str = "."

    @cached_property
    def filled(self) -> pl.Series:
        """The values that are not empty."""
        text = self.values.str.strip_chars()
        return text.filter((text != "").fill_null(value=False))

    @cached_property
    def share(self) -> float:
        """The share of rows in which the column is filled."""
        return len(self.filled) / max(len(self.values), 1)

    @cached_property
    def distinct(self) -> int:
        """How many different values it has."""
        return self.filled.n_unique()

    @cached_property
    def is_number(self) -> bool:
        """Whether nearly all filled cells are numbers."""
        return self._fits(self.numbers)

    @cached_property
    def numbers(self) -> pl.Series:
        """The filled cells as numbers."""
        return self.filled.to_frame("n").select(read_number(pl.col("n"), self.decimal)).to_series()

    @cached_property
    def times(self) -> pl.Series | None:
        """Every cell as a time, or None where the column holds none."""
        if self.written is None:
            return None
        return read_instants(
            self.values, "it", zone="UTC", time_format=self.written.format, epoch=self.written.epoch
        ).values

    @cached_property
    def written(self) -> Written | None:
        """How its times are written, or None where it holds none."""
        sample = self.filled.unique(maintain_order=True).head(2_000)
        if not len(sample) or self.longest > 40:
            return None
        if self._fits_time(sample, None):
            return Written()
        digits = sample.str.contains(r"^\d{10}$").all(), sample.str.contains(r"^\d{13}$").all()
        if any(digits) and re.search("time|date|_at$|stamp|^ts$", self.name, re.IGNORECASE):
            return Written(epoch="s" if digits[0] else "ms")
        fitting = [form for form in TIME_FORMATS if self._fits_time(sample, form)]
        if not fitting:
            return None
        swapped = {"%d": "%m", "%m": "%d"}
        other = re.sub("%[dm]", lambda found: swapped[found[0]], fitting[0])
        doubt = f"{other} fits as well: no day is above 12" if other in fitting[1:] else ""
        return Written(format=fitting[0], doubt=doubt)

    @property
    def latest(self) -> datetime | None:
        """The newest of its times, without the zone; None where it holds none."""
        newest = None if self.times is None else self.times.max()
        return newest.replace(tzinfo=None) if isinstance(newest, datetime) else None

    @property
    def least(self) -> float:
        """The smallest of its numbers."""
        return min(self.numbers.drop_nulls().to_list(), default=0.0)

    @property
    def most(self) -> float:
        """The largest of its numbers."""
        return max(self.numbers.drop_nulls().to_list(), default=0.0)

    @property
    def longest(self) -> int:
        """Characters of its longest value."""
        return max(self.filled.str.len_chars().to_list(), default=0)

    def _fits_time(self, sample: pl.Series, form: str | None) -> bool:
        if form == "%Y%m%d" and not sample.str.contains(r"^(19|20)\d{6}$").all():
            return False
        if (
            form is not None
            and "%Y" in form
            and form != "%Y%m%d"
            and not sample.str.contains("[./-]").all()
        ):
            return False
        times = read_instants(sample, "it", zone="UTC", time_format=form).values
        return times.is_not_null().sum() >= LEAST_FIT * len(sample)

    def _fits(self, read: pl.Series) -> bool:
        known = read.is_not_null() & read.is_finite().fill_null(value=False)
        return bool(len(read)) and int(known.sum()) >= LEAST_FIT * len(read)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files that have the same columns, and how they are written."""

    name: str
    files: tuple[Path, ...]
    patterns: tuple[str, ...]
    separator: str
    decimal: str
    columns: tuple[Profile, ...]
    is_whole: bool  # whether all rows were looked at

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return len(self.columns[0].values) if self.columns else 0

    def column(self, name: str) -> Profile:
        """The column of this name."""
        return next(one for one in self.columns if one.name == name)


def look_at(folder: Path) -> tuple[list[Export], list[str]]:
    """The exports of a folder, and a sentence for each file that is none.

    Raises:
        NoExportsError: there is no such folder, or no file of a known kind in it.
    """
    if not folder.is_dir():
        raise NoExportsError(f"There is no folder {folder}. Name the folder with your exports.")
    found: dict[tuple[str, ...], list[tuple[Path, str]]] = {}
    left: list[str] = []
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and not NOTES.match(path.name)
    ]
    for path in files[:MOST_FILES]:
        form = _format(path)
        if form is None:
            if path.suffix not in (".toml", ".md"):
                left.append(_why_not(path, folder))
            continue
        try:
            separator, header = _header(path, form)
        except (ValueError, OSError, pl.exceptions.PolarsError) as exc:
            left.append(f"{path.name} cannot be read: {str(exc).splitlines()[0]}")
            continue
        found.setdefault((form, separator, *header), []).append((path, separator))
    if not found:
        raise NoExportsError(
            f"{folder} holds no file that can be read. Export tables as {', '.join(FORMATS)}. "
            + " ".join(left[:5])
        )
    taken: set[str] = set()
    return [_export(key[0], group, folder, taken) for key, group in found.items()], left


def _format(path: Path) -> str | None:
    for form in sorted((*FORMATS, "tsv", "txt"), key=len, reverse=True):
        if path.name.lower().endswith("." + form):
            return form
    return None


def _why_not(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    if path.suffix.lower() == ".json":
        return f"{name} is one JSON document; export it with one object a line, as .jsonl"
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        return f"{name} is a workbook; save each sheet as 'CSV UTF-8'"
    return f"{name} is of no kind that is read ({', '.join(FORMATS)})"


def _header(path: Path, form: str) -> tuple[str, tuple[str, ...]]:
    """The separator and the columns of a file."""
    if form == "parquet":
        return ",", tuple(pl.read_parquet_schema(path))
    if form.startswith("jsonl"):
        names = dict.fromkeys(name for row in _json_rows([path], 1_000) for name in row)
        return ",", tuple(names)
    block = next(blocks_of(path, form))[:1_000_000]
    lines = block.decode("utf-8-sig", errors="replace").splitlines()[:20]
    separator = _separator(lines)
    if separator == "blanks":
        return separator, tuple(lines[0].split())
    frame = pl.read_csv(
        lines[0].encode() + b"\n", separator=SEPARATORS[separator].decode(), infer_schema=False
    )
    return separator, tuple(frame.columns)


def _separator(lines: list[str]) -> str:
    """What stands between the columns: what stands in the header most often, and in each line."""
    for word, sign in sorted(
        SEPARATORS.items(),
        key=lambda one: -lines[0].count(one[1].decode()) if one[0] != "blanks" else 1,
    ):
        mark = sign.decode()
        if word != "blanks" and mark in lines[0] and all(mark in line for line in lines if line):
            return word
    widths = {len(line.split()) for line in lines if line.strip()}
    return "blanks" if len(widths) == 1 and widths != {1} else ","


def _export(form: str, group: list[tuple[Path, str]], folder: Path, taken: set[str]) -> Export:
    paths, separator = [path for path, _ in group], group[0][1]
    frame, is_whole = _rows(paths, form, separator)
    decimal = "," if form not in ("parquet",) and _has_decimal_commas(frame, separator) else "."
    stem = re.sub(r"[\W\d_]+$", "", paths[0].name.split(".")[0]) or paths[0].name.split(".")[0]
    name = re.sub(r"\W+", "_", stem.lower()).strip("_") or "table"
    while name in taken:
        name += "_2"
    taken.add(name)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return Export(
        name=name,
        files=tuple(paths),
        patterns=tuple(names) if len(names) <= 3 else (_pattern(names),),
        separator=separator,
        decimal=decimal,
        columns=tuple(Profile(column, frame[column], decimal) for column in frame.columns),
        is_whole=is_whole,
    )


def _pattern(names: list[str]) -> str:
    """A pattern for many names: what they begin and end with.

    >>> _pattern(["sales/2011-01.csv", "sales/2011-02.csv", "sales/2012-01.csv"])
    'sales/201*.csv'
    """
    first, last = min(names), max(names)
    same = next(
        (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    ending = names[0][names[0].rindex(".") :]
    return f"{first[:same]}*{ending}"


def _rows(paths: list[Path], form: str, separator: str) -> tuple[pl.DataFrame, bool]:
    """The rows of the files as text, up to ``MOST_ROWS``, and whether these are all."""
    if form.startswith("jsonl"):
        rows = _json_rows(paths, MOST_ROWS + 1)
        names = dict.fromkeys(name for row in rows for name in row)
        frame = pl.DataFrame(
            {
                name: pl.Series([_text(row.get(name)) for row in rows], dtype=pl.String)
                for name in names
            }
        )
        return frame.head(MOST_ROWS), frame.height <= MOST_ROWS
    frames, left = [], MOST_ROWS + 1
    for path in paths:
        if form == "parquet":
            read = pl.read_parquet(path, n_rows=left)
            frame = read.select(
                pl.col(name).cast(pl.String, strict=False)
                if not dtype.is_temporal()
                else pl.col(name).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%dT%H:%M:%S")
                for name, dtype in read.schema.items()
            )
        elif separator == "blanks":
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            cells = [line.split() for line in lines[: left + 1] if line.strip()]
            frame = pl.DataFrame(
                [row for row in cells[1:] if len(row) == len(cells[0])],
                schema=dict.fromkeys(cells[0], pl.String),
                orient="row",
            )
        else:
            frame = pl.read_csv(
                path,
                separator=SEPARATORS[separator].decode(),
                infer_schema=False,
                n_rows=left,
                encoding="utf8-lossy",
                truncate_ragged_lines=True,
            )
        frames.append(frame)
        left -= frame.height
        if left <= 0:
            break
    whole = pl.concat(frames)
    return whole.head(MOST_ROWS), whole.height <= MOST_ROWS


def _json_rows(paths: Iterable[Path], most: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in paths:
        for block in blocks_of(path, _format(path) or ""):
            for line in block.splitlines():
                if len(rows) >= most:
                    return rows
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _has_decimal_commas(frame: pl.DataFrame, separator: str) -> bool:
    """Whether numbers are written with a decimal comma; without a semicolon hardly anybody does."""
    if separator == ",":
        return False
    commas, points = 0, 0
    for column in frame.head(2_000).iter_columns():
        text = column.drop_nulls().str.strip_chars()
        commas += int(text.str.contains(r"^-?[\d.'’ ]*\d,\d+$").sum())
        points += int(text.str.contains(r"^-?\d+\.\d+$").sum())
    return commas > points


@dataclass(frozen=True, kw_only=True)
class MonthColumns:
    """Columns of which each is a month: their names, the pattern and the format of them."""

    names: tuple[str, ...]
    pattern: str
    format: str
    first: datetime
    last: datetime


def month_columns(export: Export) -> MonthColumns | None:
    """The columns of an export that are months, or None where there are fewer than three."""
    for form, word in ((MONTH_NAME, "%Y{}%m"), (MONTH_WORD, "%b{}%Y")):
        found = {one.name: form.match(one.name) for one in export.columns}
        months = {name: match for name, match in found.items() if match is not None}
        forms = {match["before"] + word.format(match["between"]) for match in months.values()}
        if len(months) >= 3 and len(forms) == 1:
            (written,) = forms
            before = next(iter(months.values()))["before"]
            year = "[12][0-9][0-9][0-9]"
            pattern = f"{before}{year}*" if word[1] == "Y" else f"{before}*{year}"
            days = sorted(datetime.strptime(f"{name} 01", f"{written} %d") for name in months)  # noqa: DTZ007
            return MonthColumns(
                names=tuple(months), pattern=pattern, format=written, first=days[0], last=days[-1]
            )
    return None


def latest_of(*columns: Profile | None) -> datetime | None:
    """The newest moment of these columns, without its zone."""
    newest = [one.latest for one in columns if one is not None]
    return max((moment for moment in newest if moment is not None), default=None)
