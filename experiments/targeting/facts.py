"""Facts of accounts in a file, as columns that a model is learned from.

A column of numbers is one column, a column of few words is one column for each word. The words come
from the trials of a lottery: accounts to decide about are read the same way, and a word that no
trial has is refused, because nothing is known of it. Unknown is not zero: unknown numbers stay
unknown, and a missing word is one more word if trials lack it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.causal.sample import Floats
from experiments.table_file import (
    MOST_WORDS,
    TableFileError,
    parse_numbers,
    parse_text,
    refuse_rows,
)

WORDS = (pl.String, pl.Categorical, pl.Enum)
"""Types of a column of words."""

FLAGS = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """How a column is read: a number where ``words`` is None, else one of these.

    ``has_unknown``: some trial lacks the word. ``may_be_stage``: it is 0 and 1 only, and 1 wherever
    there is an outcome, so that it may be a stage on the way there.
    """

    name: str
    words: tuple[str, ...] | None
    has_unknown: bool
    may_be_stage: bool

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns that are made of it."""
        if self.words is None:
            return (self.name,)
        return tuple(f"{self.name}: {word}" for word in self._shown) + (
            (f"{self.name}: not known",) if self.has_unknown else ()
        )

    @property
    def _shown(self) -> tuple[str, ...]:
        """Two words need one column only."""
        words = self.words or ()
        return words[1:] if len(words) == 2 and not self.has_unknown else words

    def columns(self, table: pl.DataFrame, file: str) -> Floats:
        """Rows x columns; NaN where unknown, if no trial lacks it.

        Raises:
            TableFileError: a number that is none or infinite, or a word that no trial has.
        """
        if self.words is None:
            return np.asarray(_numbers(table, self.name, file)[:, None])
        words = parse_words(table, self.name, file)
        strange = words.filter(words.is_not_null() & ~words.is_in(self.words))
        if len(strange):
            row = int((words == strange[0]).arg_true()[0])
            raise TableFileError(
                f"Row {table['_row'][row]} of {file} has {strange[0]!r:.40} for {self.name}, which "
                f"no trial of the lottery has, so that nothing is known of it. The lottery has "
                f"{', '.join(self.words)}. Mend it, leave the account out, or leave the column out "
                f"(--leave-out {self.name!r})."
            )
        unknown = words.is_null().to_numpy()
        is_word = np.empty((len(words), len(self._shown)))
        for place, word in enumerate(self._shown):
            is_word[:, place] = (words == word).fill_null(value=False).to_numpy()
        if self.has_unknown:
            return np.column_stack([is_word, unknown])
        is_word[unknown] = np.nan
        return is_word


def fact_of(trials: pl.DataFrame, name: str, file: str) -> Fact:
    """The fact of a column of trials with known outcomes.

    Raises:
        TableFileError: it is empty, has too many words, or is neither numbers nor words.
    """
    column = trials[name]
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.null_count() == len(column):
        raise TableFileError(
            f"The column {name!r} of {file} is empty, so that it tells nothing. "
            f"Leave it out (--leave-out {name!r})."
        )
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return Fact(
            name=name, words=None, has_unknown=False, may_be_stage=_may_be_stage(trials, name)
        )
    if column.dtype not in WORDS:
        raise TableFileError(
            f"The column {name!r} of {file} is neither numbers nor words "
            f"({column.dtype}). Write it as a number, such as days before the draw, "
            f"or leave it out (--leave-out {name!r})."
        )
    words = parse_words(trials, name, file)
    distinct = tuple(sorted(words.drop_nulls().unique()))
    if len(distinct) > MOST_WORDS:
        numbers = words.drop_nulls().cast(pl.Float64, strict=False)
        if 2 * numbers.null_count() < len(numbers):
            _numbers(trials, name, file)  # its error names the value that is no number
        raise TableFileError(
            f"The column {name!r} of {file} has {len(distinct):,} different words, and "
            f"{MOST_WORDS} are the most that a fact may have. Put those together that are alike, "
            f"or leave it out (--leave-out {name!r})."
        )
    return Fact(
        name=name,
        words=distinct,
        has_unknown=bool(words.is_null().any()),
        may_be_stage=_may_be_stage(trials, name),
    )


def parse_words(table: pl.DataFrame, name: str, file: str) -> pl.Series:
    """A column as words; null where there is none.

    Raises:
        TableFileError: it holds lists or the like.
    """
    words = parse_text(table, name, file)
    return words.set(words == "", None)


def parse_flags(table: pl.DataFrame, name: str) -> pl.Series:
    """A column of numbers or words as 0 and 1; null where it is empty, NaN where it is neither."""
    column = table[name]
    if column.dtype in WORDS:
        words = column.cast(pl.String).str.strip_chars().str.to_lowercase()
        numbers = words.set(words == "", None).replace_strict(
            FLAGS, default=math.nan, return_dtype=pl.Float64
        )
        return numbers.set(words.fill_null("") == "", None)
    numbers = column.cast(pl.Float64).fill_nan(None)
    return numbers.set(~numbers.is_in([0.0, 1.0]).fill_null(value=True), math.nan)


def _may_be_stage(trials: pl.DataFrame, name: str) -> bool:
    flags = parse_flags(trials, name).drop_nulls()
    passed_by = (parse_flags(trials, name) == 0) & (trials["outcome"] != 0)
    return set(flags.unique()) == {0.0, 1.0} and not passed_by.any()


def _numbers(table: pl.DataFrame, name: str, file: str) -> Floats:
    if table[name].dtype == pl.Boolean:
        return np.asarray(table[name].cast(pl.Float64).fill_null(np.nan).to_numpy())
    numbers = parse_numbers(
        table, name, file, next_step="Write a number, or leave it empty where it is not known."
    ).fill_null(np.nan)
    refuse_rows(
        table.filter(numbers.is_infinite()),
        pl.lit(value=True),
        f"has an infinite number for {name}",
        file,
    )
    return np.asarray(numbers.to_numpy())
