"""Read a table of units (accounts, people, shops) with the arm of each and its outcome.

Nothing is guessed that would change the answer: which columns are facts from before is said by the
user, and so is who decided. A row whose arm or outcome is not known is left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import polars as pl

from experiments.causal.sample import Floats, Ints, Words
from experiments.table_file import (
    MOST_WORDS,
    TableFileError,
    number_rows,
    parse_numbers,
    parse_text,
    refuse_rows,
)

UNTREATED = ("0", "none", "control", "no", "false", "untreated")
"""Words for the arm that nothing was done to, where none is named."""

LEAST_ROWS = 10
"""The least number of rows in an arm."""

ROWS = "one row for each account or person"
ODDS_TOLERANCE = 0.01

NAME_OF_AN_ID = re.compile(
    r"((?i:^|[^a-z]|account|client|company|customer|member|user)(?i:id|key|uuid|guid|number|nr|no)"
    r"|[a-z]I[dD]|(?i:account))$"
)
"""How a column is called that names rows: ``member_no``, ``userid``, ``accountId``, and not ``paid``."""

LEAST_DIFFERENT, FEW, HARDLY_ANY = 30, 0.05, 0.01
"""Rows with another value than the commonest: a measurement from before with fewer than so many, and a
smaller share than ``FEW``, or a smaller one than ``HARDLY_ANY``, shows no difference between arms."""

DATE = r"^\d{4}-\d{2}-\d{2}"
"""How a text begins that is a day."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """The columns of a table by their part in the question, and who decided.

    ``before`` are measurements of the outcome, or of what is like it, from before, in order of time.
    ``odds`` are the shares with which a lottery drew each arm; empty where they are not on record.
    """

    treated: str
    outcome: str
    untreated: str | None = None
    covariates: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    cluster: str | None = None
    segment: str | None = None
    by_lot: bool = False
    odds: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ArmsTable:
    """The usable rows of a table as arrays; ``arms`` are as the table names them, untreated first.

    ``facts`` are the columns that are adjusted for, by name; ``before`` those that stand for the
    outcome before. ``unknown_outcome`` counts rows left out, by arm; ``unknown_arm`` those of none.
    """

    arms: tuple[str, ...]
    arm: Ints
    outcome: Floats
    facts: Mapping[str, Floats]
    before: Mapping[str, Floats]
    cluster: Ints
    segment: Words
    rows: int
    unknown_outcome: tuple[int, ...]
    unknown_arm: int

    @property
    def is_binary(self) -> bool:
        """Whether the outcome is 0 or 1 in every row."""
        return bool(np.isin(self.outcome, (0.0, 1.0)).all())


def read_arms(table: pl.DataFrame, file: str, question: Question) -> ArmsTable:
    """The arms of a table.

    Raises:
        TableFileError: a column is missing or cannot be read, or there is nothing to compare.
    """
    _refuse_columns(table, file, question)
    table = number_rows(table)
    words = _arm_words(table, question.treated, file)
    outcome = _numbers(table, question.outcome, file, "it is the outcome")
    has_arm, known = words.is_not_null(), outcome.is_not_null()
    arms = _arms(words, file, question)
    unknown = tuple(int(((words == name) & ~known).sum()) for name in arms)
    used = table.filter(has_arm & known)
    arm = np.array([arms.index(one) for one in words.filter(has_arm & known)], dtype=np.int64)
    for number, name in enumerate(arms):
        if (count := int((arm == number).sum())) < LEAST_ROWS:
            raise TableFileError(
                f"{file} has {count} row(s) with {question.treated} = {name!r} and a known "
                f"{question.outcome}; {LEAST_ROWS} are the least. Wait for more, or leave this arm "
                f"out of the table."
            )
    facts: dict[str, Floats] = {}
    for name in question.covariates:
        facts.update(_fact(used, name, file))
    return ArmsTable(
        arms=arms,
        arm=arm,
        outcome=outcome.filter(has_arm & known).to_numpy(),
        facts=facts,
        before={
            name: _refuse_constant(_numbers(used, name, file, "it is measured before"), name, file)
            .fill_null(float("nan"))
            .to_numpy()
            for name in question.before
        },
        cluster=_cluster(used, question.cluster, file),
        segment=_segment(used, question.segment, file),
        rows=table.height,
        unknown_outcome=unknown,
        unknown_arm=int((~has_arm).sum()),
    )


def parse_odds(given: Sequence[str]) -> dict[str, float]:
    """``ARM=SHARE`` as shares by arm; 1/3 is a share too.

    >>> parse_odds(["call=1/4", "none=0.75"])
    {'call': 0.25, 'none': 0.75}

    Raises:
        TableFileError: no share between 0 and 1.
    """
    odds = {}
    for words in given:
        name, is_given, share = words.rpartition("=")
        try:
            value = float(Fraction(share.strip())) if is_given else 0.0
        except (ValueError, ZeroDivisionError):
            value = 0.0
        if not 0 < value < 1:
            raise TableFileError(
                f"--odds {words!r} is no arm with its share. Write --odds ARM=SHARE with a share "
                f"between 0 and 1, such as --odds call=1/2."
            )
        odds[name.strip()] = value
    return odds


def _refuse_columns(table: pl.DataFrame, file: str, question: Question) -> None:
    named = {
        "--treated": [question.treated],
        "--outcome": [question.outcome],
        "--covariates": question.covariates,
        "--before": question.before,
        "--cluster": [question.cluster] if question.cluster else [],
        "--segment": [question.segment] if question.segment else [],
    }
    for option, names in named.items():
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise TableFileError(
                f"{file} has no column {', '.join(map(repr, lacking))} ({option}). It has "
                f"{', '.join(table.columns)}."
            )
    after = {question.treated, question.outcome} & {*question.covariates, *question.before}
    if after or question.treated == question.outcome:
        raise TableFileError(
            f"{', '.join(sorted(after)) or question.treated} is named as the arm or the outcome and "
            f"as something else too. Name each column once."
        )
    both = set(question.covariates) & set(question.before)
    if both:
        raise TableFileError(
            f"{', '.join(sorted(both))} is in --covariates and in --before. Leave it in --before, "
            f"which adjusts for it too."
        )
    if not (question.covariates or question.before):
        why = (
            "nothing would show that the arms were alike at the draw"
            if question.by_lot
            else "those who were acted on were others to begin with"
        )
        raise TableFileError(
            f"No fact from before is named, so that {why}. Name the columns of {file} that were "
            f"known before anything was done, with --covariates and --before."
        )


def _arm_words(table: pl.DataFrame, name: str, file: str) -> pl.Series:
    column = table[name]
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if (column.drop_nulls() % 1 == 0).all():
            column = column.cast(pl.Int64)
    words = parse_text(table.with_columns(column), name, file)
    return words.set(words == "", None)


def _arms(words: pl.Series, file: str, question: Question) -> tuple[str, ...]:
    """The arm of those that nothing was done to, and the others by name."""
    names = sorted(words.drop_nulls().unique())
    listed = ", ".join(names[:MOST_WORDS])
    if len(names) < 2:
        raise TableFileError(
            f"Every row of {file} has {question.treated} = {listed or 'nothing'}: there is nothing "
            f"to compare with. Add the rows that were not acted on."
        )
    if len(names) > MOST_WORDS:
        raise TableFileError(
            f"{question.treated} of {file} has {len(names):,} different values; an arm is one of "
            f"few. Name the column that says what was done, or make few groups of its values."
        )
    untreated = question.untreated
    if untreated is None:
        likely = [name for name in names if name.lower() in UNTREATED]
        if len(likely) != 1:
            raise TableFileError(
                f"{question.treated} of {file} has the values {listed}. Say which of them is to do "
                f"nothing, with --untreated WORD."
            )
        untreated = likely[0]
    if untreated not in names:
        raise TableFileError(
            f"No row of {file} has {question.treated} = {untreated!r}. It has {listed}."
        )
    arms = (untreated, *(name for name in names if name != untreated))
    odds = question.odds
    if odds and (set(odds) != set(arms) or abs(sum(odds.values()) - 1) > ODDS_TOLERANCE):
        raise TableFileError(
            f"--odds has {', '.join(f'{name}={share:.3g}' for name, share in odds.items())}. Give "
            f"one share for each of {', '.join(arms)}; together they are 1."
        )
    return arms


def _numbers(table: pl.DataFrame, name: str, file: str, why: str) -> pl.Series:
    if table[name].dtype == pl.Boolean:
        return table[name].cast(pl.Float64)
    numbers = parse_numbers(
        table, name, file, next_step=f"Write a number ({why}), or leave it empty if not known."
    ).fill_nan(None)
    refuse_rows(
        table.filter(numbers.is_infinite()),
        pl.lit(value=True),
        f"has an infinite number for {name}",
        file,
    )
    return numbers


def _fact(table: pl.DataFrame, name: str, file: str) -> dict[str, Floats]:
    """A column of numbers as it is, days as their number, few words as one column a word but the first."""
    dtype = table[name].dtype
    days = _days(table[name])
    if days is not None:
        return {name: days.fill_null(float("nan")).to_numpy()}
    known = table[name].drop_nulls()
    if (
        not dtype.is_float()
        and NAME_OF_AN_ID.search(name)
        and 2 * known.n_unique() > len(known) > 1
    ):
        raise TableFileError(
            f"{name} of {file} has {known.n_unique():,} different values in {len(known):,} rows: it names "
            f"the rows and is no fact of them. Take it out of --covariates."
        )
    if dtype.is_numeric() or dtype == pl.Boolean:
        numbers = _numbers(table, name, file, "it is a fact from before")
        return {name: numbers.fill_null(float("nan")).to_numpy()}
    words = parse_text(table, name, file).fill_null("not known")
    names = sorted(words.unique())
    if len(names) > MOST_WORDS:
        raise TableFileError(
            f"{name} of {file} has {len(names):,} different words, and {MOST_WORDS} are the most. "
            f"Put those together that are alike, or take it out of --covariates."
        )
    return {f"{name}: {word}": (words == word).cast(pl.Float64).to_numpy() for word in names[1:]}


def _days(column: pl.Series) -> pl.Series | None:
    """Days since the first one, where a column holds days or moments; None where it does not."""
    if column.dtype == pl.String and column.drop_nulls().str.contains(DATE).all():
        days = column.str.slice(0, 10).str.to_date(strict=False)
        if days.null_count() > column.null_count():
            return None  # a word that only looks like a day is not to become unknown
        column = days
    if not column.dtype.is_temporal() or column.dtype == pl.Time or not column.count():
        return None
    return (column.cast(pl.Date) - column.cast(pl.Date).min()).dt.total_days().cast(pl.Float64)


def _refuse_constant(column: pl.Series, name: str, file: str) -> pl.Series:
    """Refuse a measurement from before that is the same in nearly all rows."""
    known = column.drop_nulls()
    commonest = known.mode()
    same = int((known == commonest[0]).sum()) if len(commonest) else 0
    other = len(known) - same
    if other < HARDLY_ANY * len(known) or (other < LEAST_DIFFERENT and other < FEW * len(known)):
        raise TableFileError(
            f"{name} of {file} is {commonest[0]:g} in {same:,} of {len(known):,} rows, so it cannot show "
            f"whether the arms were alike before. Name in --before what differs between rows, such as "
            f"use or spending of an earlier time."
        )
    return column


def _cluster(table: pl.DataFrame, name: str | None, file: str) -> Ints:
    if name is None:
        return np.arange(table.height)
    words = parse_text(table, name, file)
    table = table.with_columns(words)
    refuse_rows(table, pl.col(name).is_null(), f"has no {name}", file)
    return words.rank("dense").to_numpy().astype(np.int64)


def _segment(table: pl.DataFrame, name: str | None, file: str) -> Words:
    if name is None:
        return np.full(table.height, "all")
    words = parse_text(table, name, file).fill_null("not known")
    if words.n_unique() > MOST_WORDS:
        raise TableFileError(
            f"{name} of {file} has {words.n_unique():,} different values, and {MOST_WORDS} are the "
            f"most segments. Put those together that are alike."
        )
    return words.to_numpy().astype(str)
