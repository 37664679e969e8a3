"""This module is about a table of logged decisions: what was chosen, how likely, what came of it.

The table is a CSV or Parquet file, or is made of a workspace's ledger. One row is one decision:

    action        what was chosen
    propensity    the probability with which it was chosen, above 0 and at most 1
    reward        what came of it; empty where that is not known yet
    account_id    rows of one account belong together; without it each row stands alone

What the candidate would do stands in one of three forms: ``candidate``, the action that it would
choose; ``candidate:ACTION`` for every action, the probability of each; or
``candidate_probability``, that of the logged action, where there are two actions. ``logged:ACTION``
are the probabilities of the policy that chose, where they are known. ``decision_id`` and
``decided_at`` are passed over; every other column is context that predicts the reward.

Rows in which chance had no say (propensity 1) are counted and left out: they are no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEEDED = ("action", "propensity", "reward")
PASSED_OVER = ("decision_id", "decided_at", "account_id")
NAMES = {"account_id": pl.String, "action": pl.String}
"""Columns of a CSV file that are no numbers, whatever they look like: 007 is not 7."""

CANDIDATE, CANDIDATE_OF, PROBABILITY, LOGGED_OF = (
    "candidate", "candidate:", "candidate_probability", "logged:")

MOST_ROWS = 2_000_000
MOST_ACTIONS = 200
MOST_WORDS = 20
"""A text column of more distinct words is no context; it is named."""

NO_TEXT = (pl.Binary, pl.Duration, pl.Object)
"""Types of a column, beside lists and the like, that are not read as words."""

ROUNDING = 1e-6
"""Probabilities as files have them, with six digits, sum to 1 within this."""


class ChoicesError(ValueError):
    """A table of logged decisions, or of accounts to decide about, can not be used as it is."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The decisions of a table in which chance had a say, and how many others there are.

    ``candidate`` and ``logged`` are n × k probabilities; ``logged`` is None where the table does
    not hold them.
    """

    actions: tuple[str, ...]
    chosen: Ints
    propensity: Floats
    reward: Floats
    cluster: Ints
    covariates: Floats
    candidate: Floats
    logged: Floats | None
    rows: int
    without_chance: int
    without_reward: int
    not_context: tuple[str, ...]


def read_table(path: Path, of: str = "logged decisions") -> pl.DataFrame:
    """The table of a file; ``of`` says in words what its rows are.

    Raises:
        ChoicesError: there is no such file, it is neither CSV nor Parquet, or has too many rows.
    """
    if not path.is_file():
        raise ChoicesError(f"There is no file {path}. Name a CSV or Parquet file of {of}.")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, n_rows=MOST_ROWS + 1)
        else:
            frame = pl.read_csv(path, n_rows=MOST_ROWS + 1, infer_schema_length=None,
                                try_parse_dates=True, schema_overrides=NAMES)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise ChoicesError(f"{path} can not be read as a table: {str(error).splitlines()[0]}. Save "
                           f"it as CSV with a heading, or as Parquet.") from error
    if frame.height > MOST_ROWS:
        raise ChoicesError(f"{path} has more than {MOST_ROWS:,} rows. Give a part of it.")
    return frame


def choices_of(table: pl.DataFrame) -> Choices:
    """The decisions of a table that another policy can be judged on.

    Raises:
        ChoicesError: a column is missing, or a row holds what can not be; the row is named,
            counted from 1 below the heading.
    """
    lacking = [name for name in NEEDED if name not in table.columns]
    if lacking:
        raise ChoicesError(f"The table lacks the column(s) {', '.join(lacking)}; it needs "
                           f"{', '.join(NEEDED)}, and what the candidate would do.")
    table = table.drop("_row", strict=False).with_row_index("_row", offset=1)
    table = table.with_columns(
        action=pl.col("action").cast(pl.String),
        propensity=numbers_in(table, "propensity"), reward=numbers_in(table, "reward"))
    refuse_rows(table, pl.col("action").fill_null("").str.strip_chars() == "", "has no action")
    refuse_rows(table, ~((pl.col("propensity") > 0) & (pl.col("propensity") <= 1)).fill_null(
        value=False), "has a propensity that is not above 0 and at most 1")
    refuse_rows(table, ~pl.col("reward").is_finite(), "has a reward that is not a finite number")
    known = table.filter(pl.col("reward").is_not_null())
    used = known.filter(pl.col("propensity") < 1)
    actions = _actions(table, used)
    candidate = _candidate(used, actions)
    logged = _wide(used, LOGGED_OF, actions)
    place = {name: number for number, name in enumerate(actions)}
    chosen = np.array([place[name] for name in used["action"]], dtype=np.int64)
    if logged is not None:
        _check_logged(used, logged, chosen)
    covariates, not_context = _context(used)
    cluster = np.arange(used.height)
    if "account_id" in used.columns:
        refuse_rows(used, pl.col("account_id").is_null(), "has no account_id")
        cluster = used["account_id"].cast(pl.String).rank("dense").to_numpy().astype(np.int64)
    return Choices(
        actions=actions, chosen=chosen, propensity=used["propensity"].to_numpy(),
        reward=used["reward"].to_numpy(), cluster=cluster, covariates=covariates,
        candidate=candidate, logged=logged, rows=table.height,
        without_chance=known.height - used.height, without_reward=table.height - known.height,
        not_context=not_context)


def numbers_in(table: pl.DataFrame, name: str, file: str = "", *,
               next_step: str = "Write a number.") -> pl.Series:
    """A column as numbers, null where it is empty; ``file`` is named where there are several.

    Raises:
        ChoicesError: a word that is no number, in the row that the column ``_row`` says, or counted
            from 1 where there is none; or a column that holds no words either.
    """
    column = table[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        text = text_in(table, name, file)
        numbers = text.cast(pl.Float64, strict=False)
        wrong = (text.fill_null("") != "") & numbers.is_null()
        if wrong.any():
            place = int(wrong.arg_true()[0])
            row = table["_row"][place] if "_row" in table.columns else place + 1
            raise ChoicesError(f"{_row(row, file)} has {text[place]!r:.40} for {name}, which is "
                               f"no number. {next_step}")
        return numbers
    return column.cast(pl.Float64)


def text_in(table: pl.DataFrame, name: str, file: str = "") -> pl.Series:
    """A column as text, without blanks around it.

    Raises:
        ChoicesError: a column of lists or the like, which a Parquet file may have.
    """
    column = table[name]
    if column.dtype.is_nested() or column.dtype in NO_TEXT:
        of = f" of {file}" if file else ""
        raise ChoicesError(f"The column {name!r}{of} is neither numbers nor words "
                           f"({column.dtype}). Write one number or one word in each row.")
    return column.cast(pl.String).str.strip_chars()


def refuse_rows(table: pl.DataFrame, wrong: pl.Expr, words: str, file: str = "", *,
                next_step: str = "Mend it, or leave the row out.") -> None:
    """Let no row pass that is wrong; their numbers are in the column ``_row``.

    Raises:
        ChoicesError: there are some; the first is named, how many more there are, and what to do.
    """
    rows = table.filter(wrong.fill_null(value=False))["_row"].to_list()
    if rows:
        more = f", as have {len(rows) - 1:,} more" if len(rows) > 1 else ""
        raise ChoicesError(f"{_row(rows[0], file)} {words}{more}. {next_step}")


def _row(number: int, file: str) -> str:
    return f"Row {number} of {file}" if file else f"Row {number}"


def _actions(table: pl.DataFrame, used: pl.DataFrame) -> tuple[str, ...]:
    """Every action that was logged or that the candidate may choose."""
    names = set(used["action"])
    if CANDIDATE in table.columns:
        names |= set(used[CANDIDATE].cast(pl.String).drop_nulls())
    for prefix in (CANDIDATE_OF, LOGGED_OF):
        names |= {name.removeprefix(prefix) for name in table.columns if name.startswith(prefix)}
    if len(names) > MOST_ACTIONS:
        raise ChoicesError(f"The table names {len(names):,} actions, and {MOST_ACTIONS} can be "
                           f"compared. Put those together that are the same kind of thing.")
    return tuple(sorted(names))


def _candidate(used: pl.DataFrame, actions: tuple[str, ...]) -> Floats:
    wide = [name for name in used.columns if name.startswith(CANDIDATE_OF)]
    forms = [CANDIDATE in used.columns, bool(wide), PROBABILITY in used.columns]
    if sum(forms) != 1:
        said = "does not say" if not any(forms) else "says in more than one form"
        raise ChoicesError(
            f"The table {said} what the candidate would do. Give one of: a column {CANDIDATE!r} "
            f"with the action, columns {CANDIDATE_OF + 'ACTION'!r} with the probability of each, "
            f"or {PROBABILITY!r} of the logged action where there are two actions.")
    if wide:
        found = _wide(used, CANDIDATE_OF, actions)
        assert found is not None
        return found
    place = {name: number for number, name in enumerate(actions)}
    if CANDIDATE in used.columns:
        refuse_rows(used, pl.col(CANDIDATE).is_null(), "does not say what the candidate would do")
        chosen = [place[name] for name in used[CANDIDATE].cast(pl.String)]
        return np.eye(len(actions))[np.array(chosen, dtype=np.int64)]
    used = used.with_columns(numbers_in(used, PROBABILITY).alias(PROBABILITY))
    refuse_rows(used, ~pl.col(PROBABILITY).is_between(0, 1).fill_null(value=False),
            f"has a {PROBABILITY} that is not between 0 and 1")
    if len(actions) > 2:
        raise ChoicesError(
            f"The table names {len(actions)} actions, and {PROBABILITY!r} says only how likely "
            f"the logged one is. Give columns {CANDIDATE_OF + 'ACTION'!r} with the probability of "
            f"each.")
    probability = used[PROBABILITY].to_numpy()
    found = np.empty((used.height, len(actions)))
    for number, name in enumerate(actions):
        found[:, number] = np.where(used["action"] == name, probability, 1 - probability)
    return found


def _wide(used: pl.DataFrame, prefix: str, actions: tuple[str, ...]) -> Floats | None:
    """The probabilities of ``prefix`` columns, n × k; an action without a column has none."""
    if not any(name.startswith(prefix) for name in used.columns):
        return None
    found = np.zeros((used.height, len(actions)))
    for number, action in enumerate(actions):
        if f"{prefix}{action}" in used.columns:
            found[:, number] = numbers_in(used, f"{prefix}{action}").to_numpy()
    total = found.sum(axis=1)
    wrong = np.flatnonzero(~((found >= 0).all(axis=1) & (np.abs(total - 1) <= ROUNDING)))
    if len(wrong):
        row = used["_row"][int(wrong[0])]
        raise ChoicesError(f"Row {row} has probabilities {prefix}… that do not sum to 1, or that "
                           f"are not all between 0 and 1; \"do nothing\" is an action too.")
    return np.asarray(found / total[:, None])


def _check_logged(used: pl.DataFrame, logged: Floats, chosen: Ints) -> None:
    said = logged[np.arange(len(chosen)), chosen]
    wrong = np.flatnonzero(np.abs(said - used["propensity"].to_numpy()) > ROUNDING)
    if len(wrong):
        row = int(wrong[0])
        raise ChoicesError(
            f"Row {used['_row'][row]} has the propensity {used['propensity'][row]:g}, and "
            f"{LOGGED_OF}{used['action'][row]} says {said[row]:g}. Both are the probability of "
            f"what was chosen.")


def _context(used: pl.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """Numbers as they are, few words as one column each; what is neither is named."""
    columns: list[Floats] = []
    left_out = []
    for name in used.columns:
        if (name in (*NEEDED, *PASSED_OVER, "_row", CANDIDATE, PROBABILITY)
                or name.startswith((CANDIDATE_OF, LOGGED_OF))):
            continue
        column = used[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = column.cast(pl.Float64).to_numpy().astype(np.float64)
            columns.append(np.where(np.isfinite(values), values, np.nan))
        elif column.dtype in (pl.String, pl.Categorical, pl.Enum) and (
                column.n_unique() <= MOST_WORDS):
            words = column.cast(pl.String)
            columns += [(words == word).fill_null(value=False).to_numpy().astype(np.float64)
                        for word in sorted(words.drop_nulls().unique())]
        else:
            left_out.append(name)
    covariates = np.column_stack(columns) if columns else np.zeros((used.height, 0))
    return covariates, tuple(left_out)
