"""Read scores and outcomes from Parquet or CSV, and pair them row by row.

A row is an account at a moment. A file without ``as_of`` has one row an account, which is paired
with every moment of the other file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset.errors import TrainingError

Vector = NDArray[np.float64]

ACCOUNT, MOMENT = "account_id", "as_of"
PROBABILITY = re.compile(r"^(?:(?P<name>\w+)_)?probability_(?P<days>\d+)d$")
OUTCOME = re.compile(r"^(?P<name>\w+)_(?P<days>\d+)d$")


class ScoreTableError(TrainingError):
    """A file holds no scores or no outcomes that could be judged."""


@dataclass(frozen=True, kw_only=True)
class PairedRows:
    """Scores and outcomes of the same accounts at the same moments, horizon by horizon."""

    account: NDArray[np.int64]  # from 0
    moment: NDArray[np.str_]  # as ISO day; empty where no file has one
    probabilities: Mapping[int, Vector]  # horizon -> one per row, NaN not scored
    against: Mapping[int, Vector]  # those of the other file; empty without one
    outcomes: Mapping[int, Vector]  # 1, 0, NaN not decided
    groups: Mapping[str, NDArray[np.str_]]  # column -> the group of each row


def pair_tables(
    scores: pl.DataFrame,
    outcomes: pl.DataFrame,
    against: pl.DataFrame | None = None,
    *,
    outcome: str = "churn",
    horizon: int | None = None,
    by: Sequence[str] = ("segment",),
) -> PairedRows:
    """Pair scores with outcomes.

    Args:
        scores: ``account_id``, maybe ``as_of``, and ``<outcome>_probability_<days>d`` or
            ``probability_<days>d``; with ``horizon``, ``probability``.
        outcomes: the same keys, and ``<outcome>_<days>d`` or ``outcome_<days>d`` of 1, 0 or
            nothing (not decided); with ``horizon``, ``outcome``.
        against: other scores of the same form.
        outcome: which of several outcomes.
        horizon: days, for files of one horizon, or to judge only this one.
        by: columns of either file that name groups; those that neither has are left out.

    Raises:
        ScoreTableError: a column is missing, values are no probabilities, or no row is in all.
    """
    left = _columns(scores, "scores", outcome, horizon)
    right = _columns(outcomes, "outcomes", outcome, horizon)
    other = {} if against is None else _columns(against, "scores to compare with", outcome, horizon)
    days = sorted(h for h in left if h in right and (against is None or h in other))
    if not days:
        raise ScoreTableError(
            f"The files share no horizon of {outcome!r}: the scores have "
            f"{_listed(left)}, the outcomes {_listed(right)}"
            + ("" if against is None else f", the scores to compare with {_listed(other)}")
            + ". Name the columns like churn_probability_90d and churn_90d, or give --horizon."
        )
    frame = _keyed(scores, "scores").select(
        *_keys(scores), *_present(scores, by), *(pl.col(left[h]).alias(f"p{h}") for h in days)
    )
    found = _keyed(outcomes, "outcomes").select(
        *_keys(outcomes),
        *(name for name in _present(outcomes, by) if name not in scores.columns),
        *(pl.col(right[h]).alias(f"y{h}") for h in days),
    )
    frame = _paired(frame, found)
    if against is not None:
        more = _keyed(against, "scores to compare with")
        frame = _paired(
            frame, more.select(*_keys(against), *(pl.col(other[h]).alias(f"q{h}") for h in days))
        )
    if frame.is_empty():
        raise ScoreTableError(
            "No row of the scores has an outcome: account_id and as_of must be the same in both "
            "files. as_of is the day or the instant of the score."
        )
    numbers = {h: [_numbers(frame, f"{part}{h}") for part in "py"] for h in days}
    return PairedRows(
        account=np.unique(frame[ACCOUNT].to_numpy(), return_inverse=True)[1],
        moment=(
            frame[MOMENT].to_numpy().astype(np.str_)
            if MOMENT in frame.columns
            else np.full(len(frame), "", dtype=np.str_)
        ),
        probabilities={h: _probabilities(p, left[h]) for h, (p, _) in numbers.items()},
        outcomes={h: _outcomes(y, right[h]) for h, (_, y) in numbers.items()},
        against={
            h: _probabilities(_numbers(frame, f"q{h}"), other[h])
            for h in (days if against is not None else ())
        },
        groups={
            name: frame[name].cast(pl.String).fill_null("unknown").to_numpy().astype(np.str_)
            for name in by
            if name in frame.columns
        },
    )


def read_table(file: Path) -> pl.DataFrame:
    """A table from Parquet or, where the name ends in .csv, from CSV.

    Raises:
        ScoreTableError: there is no such file, or it is neither.
    """
    if not file.is_file():
        raise ScoreTableError(f"There is no file {file}. Give a Parquet or a CSV file.")
    try:
        if file.suffix.lower() == ".csv":
            return pl.read_csv(file, infer_schema_length=None, try_parse_dates=True,
                               schema_overrides={ACCOUNT: pl.String})  # fmt: skip
        return pl.read_parquet(file)
    except pl.exceptions.PolarsError as exc:
        raise ScoreTableError(
            f"{file} is no Parquet file, or no CSV file if it ends in .csv ({exc})."
        ) from exc


def _columns(frame: pl.DataFrame, what: str, outcome: str, horizon: int | None) -> dict[int, str]:
    """The column of each horizon: the one that names the outcome before the one that does not."""
    is_scores = what != "outcomes"
    pattern, alone = (PROBABILITY, "probability") if is_scores else (OUTCOME, "outcome")
    found: dict[int, str] = {}
    for plain in (True, False):
        for name in frame.columns:
            match = pattern.match(name)
            if match is None:
                continue
            named = match["name"]
            if named == outcome or (plain and named == (None if is_scores else "outcome")):
                found[int(match["days"])] = name
    if horizon is not None:
        if horizon not in found and alone in frame.columns:
            found[horizon] = alone
        found = {days: name for days, name in found.items() if days == horizon}
    return found


def _keyed(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """The frame with keys as text and day, each once."""
    if ACCOUNT not in frame.columns:
        raise ScoreTableError(f"The file of {what} has no column {ACCOUNT}.")
    keyed = frame.with_columns(pl.col(ACCOUNT).cast(pl.String))
    if MOMENT in frame.columns:
        kind = frame.schema[MOMENT]
        if kind == pl.String:
            day = pl.col(MOMENT).str.slice(0, 10).str.to_date(strict=False)
        elif isinstance(kind, pl.Datetime) and kind.time_zone is not None:
            day = pl.col(MOMENT).dt.convert_time_zone("UTC").dt.date()
        else:
            day = pl.col(MOMENT).cast(pl.Date, strict=False)
        keyed = keyed.with_columns(day.alias(MOMENT))
        if keyed[MOMENT].null_count():
            raise ScoreTableError(
                f"{keyed[MOMENT].null_count()} value(s) of {MOMENT} in the file of {what} are no "
                f"days. Write them like 2024-03-01."
            )
    twice = len(keyed) - keyed.select(_keys(keyed)).n_unique()
    if twice:
        raise ScoreTableError(
            f"{twice} row(s) of the file of {what} repeat an account"
            + (" at the same day." if MOMENT in frame.columns else "; give as_of with each row.")
        )
    return keyed


def _paired(frame: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    keys = [name for name in (ACCOUNT, MOMENT) if name in frame.columns and name in other.columns]
    return frame.join(other, on=keys, how="inner", maintain_order="left")


def _keys(frame: pl.DataFrame) -> list[str]:
    return [name for name in (ACCOUNT, MOMENT) if name in frame.columns]


def _present(frame: pl.DataFrame, by: Sequence[str]) -> list[str]:
    return [name for name in by if name in frame.columns and name not in (ACCOUNT, MOMENT)]


def _numbers(frame: pl.DataFrame, name: str) -> Vector:
    values = frame[name].cast(pl.Float64, strict=False).fill_null(np.nan)
    return np.array(values.to_numpy(), dtype=np.float64)


def _probabilities(values: Vector, column: str) -> Vector:
    known = values[~np.isnan(values)]
    if len(known) and not (known.min() >= 0 and known.max() <= 1):
        raise ScoreTableError(
            f"{column} holds values from {known.min():g} to {known.max():g}. A probability lies "
            f"between 0 and 1; percent are not read."
        )
    return values


def _outcomes(values: Vector, column: str) -> Vector:
    known = values[~np.isnan(values)]
    if not np.isin(known, (0.0, 1.0)).all():
        raise ScoreTableError(
            f"{column} holds other values than 1 (it came), 0 (it did not) and nothing (it is not "
            f"known yet)."
        )
    return values


def _listed(found: Mapping[int, str]) -> str:
    return ", ".join(f"{days} days" for days in sorted(found)) or "none"
