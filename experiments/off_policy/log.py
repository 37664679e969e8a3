"""The table of logged decisions: actions, propensities and rewards.

The table is a CSV or Parquet file, or is made of a workspace's ledger. One row is one decision:

    action        what was chosen
    propensity    the probability with which it was chosen, above 0 and at most 1
    reward        the result; empty where it is not known yet
    account_id    rows of one account belong together; without it each row stands alone

The candidate's choices have one of three forms: ``candidate``, the action that it would
choose; ``candidate:ACTION`` for every action, the probability of each; or
``candidate_probability``, that of the logged action, where there are two actions. ``logged:ACTION``
are the probabilities of the policy that chose, where they are known. ``decision_id`` and
``decided_at`` are ignored; every other column is context that predicts the reward.

Rows in which chance had no part (propensity 1) are counted and left out: they are no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.causal.sample import Floats, Ints
from experiments.table_file import (
    MOST_WORDS,
    TableFileError,
    number_rows,
    parse_numbers,
    refuse_rows,
)

NEEDED = ("action", "propensity", "reward")
PASSED_OVER = ("decision_id", "decided_at", "account_id")
CANDIDATE, CANDIDATE_OF, PROBABILITY, LOGGED_OF = (
    "candidate",
    "candidate:",
    "candidate_probability",
    "logged:",
)

MOST_ACTIONS = 200
ROUNDING = 1e-6
"""Probabilities as files have them, with six digits, sum to 1 within this."""


class ChoicesError(TableFileError):
    """Logged decisions cannot be judged on as they are."""


@dataclass(frozen=True, kw_only=True)
class ChoiceTable:
    """The decisions of a table in which chance had a part, and the number of others.

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


def build_logged_choices(table: pl.DataFrame) -> ChoiceTable:
    """The decisions of a table that another policy can be judged on.

    Raises:
        TableFileError: a column is missing, or a row holds what cannot be; the row is named,
            counted from 1 below the heading.
    """
    lacking = [name for name in NEEDED if name not in table.columns]
    if lacking:
        raise ChoicesError(
            f"The table lacks the column(s) {', '.join(lacking)}; it needs "
            f"{', '.join(NEEDED)}, and what the candidate would do."
        )
    table = number_rows(table)
    table = table.with_columns(
        action=pl.col("action").cast(pl.String),
        propensity=parse_numbers(table, "propensity"),
        reward=parse_numbers(table, "reward"),
    )
    refuse_rows(table, pl.col("action").fill_null("").str.strip_chars() == "", "has no action")
    refuse_rows(
        table,
        ~((pl.col("propensity") > 0) & (pl.col("propensity") <= 1)).fill_null(value=False),
        "has a propensity that is not above 0 and at most 1",
    )
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
    return ChoiceTable(
        actions=actions,
        chosen=chosen,
        propensity=used["propensity"].to_numpy(),
        reward=used["reward"].to_numpy(),
        cluster=cluster,
        covariates=covariates,
        candidate=candidate,
        logged=logged,
        rows=table.height,
        without_chance=known.height - used.height,
        without_reward=table.height - known.height,
        not_context=not_context,
    )


def _actions(table: pl.DataFrame, used: pl.DataFrame) -> tuple[str, ...]:
    """Every action that was logged or that the candidate may choose."""
    names = set(used["action"])
    if CANDIDATE in table.columns:
        names |= set(used[CANDIDATE].cast(pl.String).drop_nulls())
    for prefix in (CANDIDATE_OF, LOGGED_OF):
        names |= {name.removeprefix(prefix) for name in table.columns if name.startswith(prefix)}
    if len(names) > MOST_ACTIONS:
        raise ChoicesError(
            f"The table names {len(names):,} actions, and {MOST_ACTIONS} can be "
            f"compared. Put those together that are the same kind of thing."
        )
    return tuple(sorted(names))


def _candidate(used: pl.DataFrame, actions: tuple[str, ...]) -> Floats:
    wide = [name for name in used.columns if name.startswith(CANDIDATE_OF)]
    forms = [CANDIDATE in used.columns, bool(wide), PROBABILITY in used.columns]
    if sum(forms) != 1:
        finding = "does not say" if not any(forms) else "says in more than one form"
        raise ChoicesError(
            f"The table {finding} what the candidate would do. Give one of: a column {CANDIDATE!r} "
            f"with the action, columns {CANDIDATE_OF + 'ACTION'!r} with the probability of each, "
            f"or {PROBABILITY!r} of the logged action where there are two actions."
        )
    if wide:
        found = _wide(used, CANDIDATE_OF, actions)
        assert found is not None
        return found
    place = {name: number for number, name in enumerate(actions)}
    if CANDIDATE in used.columns:
        refuse_rows(used, pl.col(CANDIDATE).is_null(), "does not say what the candidate would do")
        chosen = [place[name] for name in used[CANDIDATE].cast(pl.String)]
        return np.eye(len(actions))[np.array(chosen, dtype=np.int64)]
    used = used.with_columns(parse_numbers(used, PROBABILITY).alias(PROBABILITY))
    refuse_rows(
        used,
        ~pl.col(PROBABILITY).is_between(0, 1).fill_null(value=False),
        f"has a {PROBABILITY} that is not between 0 and 1",
    )
    if len(actions) > 2:
        raise ChoicesError(
            f"The table names {len(actions)} actions, and {PROBABILITY!r} says only how likely "
            f"the logged one is. Give columns {CANDIDATE_OF + 'ACTION'!r} with the probability of "
            f"each."
        )
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
            found[:, number] = parse_numbers(used, f"{prefix}{action}").to_numpy()
    total = found.sum(axis=1)
    wrong = np.flatnonzero(~((found >= 0).all(axis=1) & (np.abs(total - 1) <= ROUNDING)))
    if len(wrong):
        row = used["_row"][int(wrong[0])]
        raise ChoicesError(
            f"Row {row} has probabilities {prefix}… that do not sum to 1, or that "
            f'are not all between 0 and 1; "do nothing" is an action too.'
        )
    return np.asarray(found / total[:, None])


def _check_logged(used: pl.DataFrame, logged: Floats, chosen: Ints) -> None:
    stated = logged[np.arange(len(chosen)), chosen]
    wrong = np.flatnonzero(np.abs(stated - used["propensity"].to_numpy()) > ROUNDING)
    if len(wrong):
        row = int(wrong[0])
        raise ChoicesError(
            f"Row {used['_row'][row]} has the propensity {used['propensity'][row]:g}, and "
            f"{LOGGED_OF}{used['action'][row]} says {stated[row]:g}. Both are the probability of "
            f"what was chosen."
        )


def _context(used: pl.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """Numbers as they are, and one column per word of a column with few; other columns are named."""
    columns: list[Floats] = []
    left_out = []
    for name in used.columns:
        if name in (*NEEDED, *PASSED_OVER, "_row", CANDIDATE, PROBABILITY) or name.startswith(
            (CANDIDATE_OF, LOGGED_OF)
        ):
            continue
        column = used[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = column.cast(pl.Float64).to_numpy().astype(np.float64)
            columns.append(np.where(np.isfinite(values), values, np.nan))
        elif column.dtype in (pl.String, pl.Categorical, pl.Enum) and (
            column.n_unique() <= MOST_WORDS
        ):
            words = column.cast(pl.String)
            columns += [
                (words == word).fill_null(value=False).to_numpy().astype(np.float64)
                for word in sorted(words.drop_nulls().unique())
            ]
        else:
            left_out.append(name)
    covariates = np.column_stack(columns) if columns else np.zeros((used.height, 0))
    return covariates, tuple(left_out)
