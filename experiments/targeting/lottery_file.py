"""Read the file of a lottery: accounts, drawn actions, propensities and outcomes.

A CSV or Parquet file; one row is one trial:

    account_id    rows of one account belong together
    action        what was drawn; doing nothing has a name too
    propensity    the chance with which it was drawn, above 0 and at most 1: 0.5 for a coin
    outcome       the result, in money; empty where it is not known yet

``propensity:ACTION`` for each action stand in place of ``propensity`` or beside it; they are needed
where three arms or more were drawn by chances that differ between rows. ``decision_id`` and
``decided_at`` are ignored. Columns that are named as stages hold whether a trial reached that stage
on the way to its outcome (`stages`). Every other column is a fact about the account from
before the draw: a number, or one of few words; empty where it is not known. A second file has the
same facts of the accounts to decide about, each once.

Rows in which chance had no part (propensity 1), or whose outcome is open, are counted and left out.
A file whose arms do not fit its propensities, or differ in a fact, is no lottery and is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.causal.sample import NO_ACTION, Bools, Floats, Ints, Sample
from experiments.table_file import TableFileError, number_rows, parse_numbers, refuse_rows
from experiments.targeting.facts import Fact, fact_of, parse_words
from experiments.targeting.propensities import (
    PROPENSITY,
    PROPENSITY_OF,
    all_propensities,
    propensities,
    propensity_columns,
)
from experiments.targeting.randomisation_check import find_draw_problem
from experiments.targeting.stages import read_stages

NEEDED = ("account_id", "action", "outcome")
PASSED_OVER = ("decision_id", "decided_at")

LEAST_ACCOUNTS = 30
"""The least number of accounts per arm: a fold has to hold some of each."""

AN_OUTCOME = "Write what came of it, or leave it empty where that is open."

ITS_ROWS = "a lottery's trials"
ASKED_ROWS = "the accounts to decide about"


@dataclass(frozen=True, kw_only=True)
class LotteryTrials:
    """The trials of a file with a known outcome in which chance had a part.

    ``actions`` are the arms as the file names them, doing nothing first. ``reached`` is trials x
    ``stages``, whether each trial reached the stage.
    """

    trials: Sample
    outcome: Floats
    actions: tuple[str, ...]
    facts: tuple[Fact, ...]
    stages: tuple[str, ...]
    reached: Bools
    account_ids: frozenset[str]
    rows: int
    without_chance: int
    without_outcome: int


@dataclass(frozen=True, kw_only=True)
class AskedAccounts:
    """The accounts to decide about, and the columns that are made of their facts."""

    account_ids: tuple[str, ...]
    covariates: Floats


def read_lottery(
    table: pl.DataFrame,
    file: str,
    *,
    nothing: str = NO_ACTION,
    stages: Sequence[str] = (),
    leave_out: Collection[str] = (),
) -> LotteryTrials:
    """The lottery of a table; ``nothing`` is the action that is to do nothing.

    ``stages`` are columns, in their order on the way to an outcome.

    Raises:
        TableFileError: a column is missing, a row is invalid, or it is no lottery.
    """
    _refuse_missing(table, file, stages, leave_out)
    table = number_rows(table)
    table = table.with_columns(
        account_id=parse_words(table, "account_id", file),
        action=parse_words(table, "action", file),
        outcome=parse_numbers(table, "outcome", file, next_step=AN_OUTCOME),
    )
    for name in ("account_id", "action"):
        refuse_rows(table, pl.col(name).is_null(), f"has no {name}", file)
    refuse_rows(
        table,
        ~pl.col("outcome").is_finite(),
        "has an outcome that is no finite number",
        file,
        next_step=AN_OUTCOME,
    )
    actions = _actions(table, file, nothing)
    arm = np.array([actions.index(name) for name in table["action"]], dtype=np.int64)
    own, chances = propensities(table, file, actions, arm)
    by_chance = own < 1
    if not by_chance.any():
        raise TableFileError(
            f"Every row of {file} has propensity 1: chance had no say, so that "
            f"nothing is known of what was not chosen. {_people_chose()}"
        )
    known = table["outcome"].is_not_null().to_numpy()
    if not (by_chance & known).any():
        raise TableFileError(
            f"No outcome of {file} is known yet. Wait until the follow-up of some trials is over."
        )
    rows = by_chance & known
    used = table.filter(pl.Series(rows))
    facts = tuple(fact_of(used, name, file) for name in _fact_names(table, {*stages, *leave_out}))
    if not facts:
        raise TableFileError(
            f"{file} has no column with a fact about the accounts, so that nothing "
            f"tells them apart. Add what was known of them before the draw."
        )
    reached = read_stages(used, file, stages)
    cluster = _clusters(used, file, actions, arm[rows])
    trials = Sample(
        covariates=np.column_stack([fact.columns(used, file) for fact in facts]),
        covariate_names=tuple(name for fact in facts for name in fact.column_names),
        arm=arm[rows],
        arms=(NO_ACTION, *actions[1:]),
        segment=np.full(used.height, "all"),
        propensity=all_propensities(
            used, file, actions, arm[rows], own[rows], None if chances is None else chances[rows]
        ),
        cluster=cluster,
    )
    doubt = find_draw_problem(trials, actions)
    if doubt is not None:
        raise TableFileError(f"{file} is not what its propensities say: {doubt}")
    return LotteryTrials(
        trials=trials,
        outcome=used["outcome"].to_numpy(),
        actions=actions,
        facts=facts,
        stages=tuple(stages),
        reached=reached,
        account_ids=frozenset(used["account_id"]),
        rows=table.height,
        without_chance=int((~by_chance).sum()),
        without_outcome=int((by_chance & ~known).sum()),
    )


def read_accounts(table: pl.DataFrame, file: str, facts: tuple[Fact, ...]) -> AskedAccounts:
    """The accounts of a table with these facts; other columns are ignored.

    Raises:
        TableFileError: a column is missing, an account stands there twice, or a fact cannot be
        read.
    """
    lacking = [
        name for name in ("account_id", *(fact.name for fact in facts)) if name not in table.columns
    ]
    if lacking:
        late = [fact for fact in facts if fact.name in lacking]
        or_else = ""
        if late:
            one = next((fact for fact in late if fact.may_be_stage), late[-1])
            stage = f", or name it as a stage (--stage {one.name!r})" if one.may_be_stage else ""
            or_else = (
                f"; or leave out what was known only after the draw (--leave-out "
                f"{one.name!r}){stage}"
            )
        raise TableFileError(
            f"{file} lacks the column(s) {', '.join(lacking)}, which the lottery "
            f"has. Add them{or_else}."
        )
    if not table.height:
        raise TableFileError(
            f"{file} holds no account. Give one row for each account to decide about."
        )
    table = number_rows(table)
    table = table.with_columns(account_id=parse_words(table, "account_id", file))
    refuse_rows(table, pl.col("account_id").is_null(), "has no account_id", file)
    twice = table.filter(pl.col("account_id").is_duplicated())
    if twice.height:
        name = twice["account_id"][0]
        rows = twice.filter(pl.col("account_id") == name)["_row"].to_list()
        raise TableFileError(
            f"{file} has account {name!r} in rows {rows[0]} and {rows[1]}; "
            f"{twice['account_id'].n_unique():,} account(s) stand there more than once. Give each "
            f"account to decide about once, with its newest facts."
        )
    return AskedAccounts(
        account_ids=tuple(table["account_id"]),
        covariates=np.column_stack([fact.columns(table, file) for fact in facts]),
    )


def _refuse_missing(
    table: pl.DataFrame, file: str, stages: Sequence[str], leave_out: Collection[str]
) -> None:
    lacking = [name for name in NEEDED if name not in table.columns]
    if lacking:
        raise TableFileError(
            f"{file} lacks the column(s) {', '.join(lacking)}; a lottery has "
            f"{', '.join((*NEEDED, PROPENSITY))}, and facts from before the draw."
        )
    if PROPENSITY not in table.columns and not propensity_columns(table):
        raise TableFileError(
            f"{file} has no column {PROPENSITY!r} with the chance of what was drawn, "
            f"and no {PROPENSITY_OF + 'ACTION'!r}. {_people_chose()}"
        )
    strange = [name for name in leave_out if name not in table.columns or name in NEEDED]
    if strange:
        facts = ", ".join(_fact_names(table, ())) or "none"
        raise TableFileError(
            f"{', '.join(strange)} cannot be left out of {file}: only a column "
            f"with a fact can. Its facts are {facts}."
        )
    for name in stages:
        why = _no_stage(table, name, stages, leave_out)
        if why is not None:
            raise TableFileError(f"{name!r} cannot be a stage of {file}: {why}")
    if not table.height:
        raise TableFileError(f"{file} holds no row below its heading. Give one row for each trial.")


def _no_stage(
    table: pl.DataFrame, name: str, stages: Sequence[str], leave_out: Collection[str]
) -> str | None:
    """Why a column cannot be a stage, with the next step; None if it can."""
    if name not in table.columns or name == "_row":
        return (
            f"there is no such column. Besides what every lottery has, its columns are "
            f"{', '.join(_fact_names(table, ())) or 'none'}."
        )
    if name in PASSED_OVER:
        return (
            f"{' and '.join(PASSED_OVER)} are passed over. Give the column another name where "
            f"it says whether a trial came so far."
        )
    if name not in _fact_names(table, ()):
        return (
            "the column has another meaning in a lottery. Name one that says whether a trial "
            "came so far."
        )
    if name in leave_out:
        return (
            f"it is left out. Take away --leave-out {name!r} to tell who came so far, or "
            f"--stage {name!r}."
        )
    if list(stages).count(name) > 1:
        return "it is named twice. Name each stage once, in the order of the way."
    return None


def _people_chose() -> str:
    return (
        "This command takes lotteries: where people chose, those who were acted on were others "
        "to begin with, and what they were before would be taken for a gain. Add propensities "
        "if a draw decided; what people chose is measured by `keepwell effects`."
    )


def _fact_names(table: pl.DataFrame, leave_out: Collection[str]) -> list[str]:
    known = {*NEEDED, *PASSED_OVER, PROPENSITY, "_row", *propensity_columns(table), *leave_out}
    return [name for name in table.columns if name not in known]


def _actions(table: pl.DataFrame, file: str, nothing: str) -> tuple[str, ...]:
    """Doing nothing, and the others by name."""
    names = sorted(table["action"].unique())
    if len(names) == 1:
        raise TableFileError(
            f"Every row of {file} has the action {names[0]!r}: there is nothing to "
            f"compare it with. A lottery has rows in which nothing was done."
        )
    if nothing not in names:
        raise TableFileError(
            f"No row of {file} has the action {nothing!r}, with which the others are compared. It "
            f"has {', '.join(names)}; say which of them is to do nothing with --no-action WORD."
        )
    others = tuple(name for name in names if name != nothing)
    if NO_ACTION in others:
        raise TableFileError(
            f"{file} has the action {NO_ACTION!r} beside {nothing!r}, and both say "
            f"that nothing is done. Name it otherwise."
        )
    for name in propensity_columns(table):
        of = name.removeprefix(PROPENSITY_OF)
        if of not in names and (parse_numbers(table, name, file).fill_null(0) > 0).any():
            raise TableFileError(
                f"{file} has the column {name!r}, and no row has the action {of!r}. "
                f"Nothing can be learned of what was never drawn: leave out the "
                f"rows in which it could have been."
            )
    return (nothing, *others)


def _clusters(used: pl.DataFrame, file: str, actions: tuple[str, ...], arm: Ints) -> Ints:
    """A number for each account; every arm needs enough accounts."""
    cluster = used["account_id"].rank("dense").to_numpy().astype(np.int64)
    for number, name in enumerate(actions):
        accounts = np.unique(cluster[arm == number]).size
        if accounts < LEAST_ACCOUNTS:
            raise TableFileError(
                f"{file} has {accounts} account(s) with the action {name!r} whose outcome is "
                f"known, and {LEAST_ACCOUNTS} are the least to decide by. Wait for more, or leave "
                f"the rows out in which it could be drawn."
            )
    return cluster
