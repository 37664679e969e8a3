"""Stages say how far each trial came; what cannot be one, or tells nothing, is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from experiments.table_file import TableFileError, read_table
from experiments.targeting.lottery_file import read_accounts, read_lottery
from experiments.targeting.stages import describe_stages

FILE = "lottery.csv"
MEND = (
    "Write 0 where a trial did not come so far; do not leave rows out by what came after the draw."
)
NUMBER = np.arange(240)
BOUGHT = NUMBER % 3 == 0
OFFERED = BOUGHT | (NUMBER % 12 == 1)
VISITED = OFFERED | (NUMBER % 5 == 0)


def on_the_way(**columns: object) -> pl.DataFrame:
    """A third of the trials has an outcome; further ones were made an offer, or visited at least.

    Nothing, a call or a mail was drawn for each.
    """
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "account_id": [f"a{row:03}" for row in NUMBER],
            "action": rng.choice(["none", "call", "mail"], 240),
            "propensity": 0.333,
            "outcome": BOUGHT * 9.0,
            "seats": rng.integers(1, 50, 240).astype(float),
            "visited": VISITED * 1,
            "offered": OFFERED,
        }
    ).with_columns(**columns)


def cells(table: pl.DataFrame, name: str, values: dict[int, object]) -> pl.DataFrame:
    """The table with other values in these rows, counted from 1."""
    column = table[name].to_list()
    for row, value in values.items():
        column[row - 1] = value
    return table.with_columns(pl.Series(name, column, strict=False))


def message_of(table: pl.DataFrame, stages: list[str], leave_out: tuple[str, ...] = ()) -> str:
    with pytest.raises(TableFileError) as refused:
        read_lottery(table, FILE, stages=stages, leave_out=leave_out)
    return str(refused.value)


def test_stages_are_read_in_their_order_and_are_no_facts() -> None:
    found = read_lottery(on_the_way(), FILE, stages=["visited", "offered"])
    assert found.stages == ("visited", "offered")
    assert found.reached.tolist() == np.column_stack([VISITED, OFFERED]).tolist()
    assert [fact.name for fact in found.facts] == ["seats"]


def test_without_stages_nothing_is_told_of_the_way() -> None:
    found = read_lottery(on_the_way(), FILE)
    assert (found.reached.shape, found.reached.dtype) == ((240, 0), np.bool_)


@pytest.mark.parametrize(
    "flags",
    [
        pl.Series(VISITED),
        pl.Series(VISITED * 1),
        pl.Series(VISITED * 1.0),
        pl.Series(np.where(VISITED, "1", " 0")),
        pl.Series(np.where(VISITED, "True", "false")),
        pl.Series(np.where(VISITED, "true", "false"), dtype=pl.Categorical),
    ],
    ids=["booleans", "whole numbers", "numbers", "text", "words", "categories"],
)
def test_every_way_to_write_a_stage_is_read_alike(flags: pl.Series, tmp_path: Path) -> None:
    on_the_way(visited=flags).write_parquet(tmp_path / "lottery.parquet")
    table = read_table(tmp_path / "lottery.parquet", "trials")
    assert table["visited"].dtype == flags.dtype
    found = read_lottery(table, FILE, stages=["visited"])
    assert found.reached[:, 0].tolist() == VISITED.tolist()


def test_only_trials_that_are_learned_from_need_their_stage() -> None:
    table = cells(on_the_way(visited=VISITED * 1.0), "outcome", {2: None, 3: None})
    table = cells(table, "propensity", {5: 1.0, 6: 1.0})
    table = cells(table, "visited", {2: None, 3: float("nan"), 5: None, 6: 7.0})
    found = read_lottery(table, FILE, stages=["visited"])
    used = ~np.isin(NUMBER, [1, 2, 4, 5])
    assert found.reached[:, 0].tolist() == VISITED[used].tolist()
    assert (found.without_outcome, found.without_chance) == (2, 2)


@pytest.mark.parametrize("empty", [None, float("nan")], ids=["empty", "NaN of a Parquet file"])
def test_an_empty_stage_is_0_or_wrong_and_no_reason_to_leave_a_row_out(
    empty: float | None,
    tmp_path: Path,
) -> None:
    cells(on_the_way(visited=VISITED * 1.0), "visited", {8: empty, 9: empty}).write_parquet(
        tmp_path / "lottery.parquet"
    )
    assert message_of(read_table(tmp_path / "lottery.parquet", "trials"), ["visited"]) == (
        f"Row 8 of lottery.csv has nothing for the stage 'visited', as have 1 more. {MEND}"
    )


def test_an_empty_word_is_no_stage() -> None:
    table = on_the_way(visited=pl.Series(np.where(VISITED, "1", "0")))
    assert message_of(cells(table, "visited", {8: " "}), ["visited"]) == (
        f"Row 8 of lottery.csv has nothing for the stage 'visited'. {MEND}"
    )
    assert message_of(on_the_way(visited=None), ["visited"]) == (
        f"Row 1 of lottery.csv has nothing for the stage 'visited', as have 239 more. {MEND}"
    )


@pytest.mark.parametrize(
    ("value", "said"), [("yes", "'yes'"), (2, "2"), (0.5, "0.5"), (float("inf"), "inf")]
)
def test_what_is_neither_0_nor_1_is_told_with_what_a_stage_holds(value: object, said: str) -> None:
    assert message_of(on_the_way(visited=pl.lit(value)), ["visited"]) == (
        f"Row 1 of lottery.csv has {said} for the stage 'visited', which is neither 0 nor 1, as "
        f"have 239 more. A stage holds 0 or 1, or true or false. {MEND}"
    )


def test_a_row_is_counted_as_the_file_has_it() -> None:
    table = cells(
        on_the_way(visited=pl.Series(np.where(VISITED, "1", "0"))),
        "outcome",
        dict.fromkeys(range(1, 101)),
    )
    assert message_of(cells(table, "visited", {141: "no"}), ["visited"]).startswith(
        "Row 141 of lottery.csv has 'no' for the stage 'visited'"
    )


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        (pl.lit("2026-01-01").str.to_date(), "Date"),
        (pl.Series([[1]] * 240), "List(Int64)"),
        (pl.struct(a=pl.lit(1, pl.Int64)), "Struct({'a': Int64})"),
        (pl.lit(b"1"), "Binary"),
    ],
    ids=["dates", "lists", "structs", "bytes"],
)
def test_a_column_that_holds_no_flags_is_refused_by_its_type(
    flags: object,
    dtype: str,
    tmp_path: Path,
) -> None:
    on_the_way(visited=flags).write_parquet(tmp_path / "lottery.parquet")
    assert message_of(read_table(tmp_path / "lottery.parquet", "trials"), ["visited"]) == (
        f"'visited' cannot be a stage of lottery.csv: it is neither numbers nor words ({dtype}). "
        f"Write 1 where a trial came so far and 0 where it did not, or leave the column out "
        f"(--leave-out 'visited')."
    )


def test_outcomes_without_a_stage_are_counted_and_no_row_is_to_be_left_out() -> None:
    assert message_of(on_the_way(visited=pl.lit(0)), ["visited"]) == (
        "80 trials of lottery.csv have an outcome other than 0 and 0 for 'visited'. If outcomes "
        "come without it, it is no stage: --leave-out 'visited'."
    )
    assert message_of(cells(on_the_way(), "visited", {4: 0}), ["visited"]).startswith(
        "1 trial of lottery.csv has an outcome other than 0 and 0 for 'visited'. If"
    )
    assert message_of(on_the_way(), ["offered", "visited"]) == (
        f"{int((VISITED & ~OFFERED).sum())} trials of lottery.csv have 1 for 'visited' and 0 for "
        f"'offered', which was named before it. Name stages in the order of the way. If 'visited' "
        f"comes without 'offered', that is no stage: --leave-out 'offered'."
    )


BESIDE = "Besides what every lottery has, its columns are seats, visited, offered."


@pytest.mark.parametrize(
    ("stages", "leave_out", "why"),
    [
        (["seen"], (), f"there is no such column. {BESIDE}"),
        (
            ["visited", "visited"],
            (),
            "it is named twice. Name each stage once, in the order of the way.",
        ),
        (
            ["visited"],
            ("visited",),
            "it is left out. Take away --leave-out 'visited' to tell who came "
            "so far, or --stage 'visited'.",
        ),
        *(
            (
                [name],
                (),
                "the column has another meaning in a lottery. Name one that says whether a "
                "trial came so far.",
            )
            for name in ("account_id", "action", "outcome", "propensity", "propensity:none")
        ),
        *(
            (
                [name],
                (),
                "decision_id and decided_at are passed over. Give the column another name "
                "where it says whether a trial came so far.",
            )
            for name in ("decision_id", "decided_at")
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_why_a_column_can_not_be_a_stage_is_said(
    stages: list[str],
    leave_out: tuple[str, ...],
    why: str,
) -> None:
    table = on_the_way(decision_id=1, decided_at=1).with_columns(
        pl.lit(1 / 3).alias(f"propensity:{name}") for name in ("none", "call", "mail")
    )
    assert message_of(table, stages, leave_out) == (
        f"{stages[0]!r} cannot be a stage of lottery.csv: {why}"
    )


def test_accounts_asked_about_need_no_stage_and_theirs_is_passed_over() -> None:
    facts = read_lottery(on_the_way(), FILE, stages=["visited", "offered"]).facts
    plain = pl.DataFrame({"account_id": ["x"], "seats": [3.0]})
    for table in (plain, plain.with_columns(visited=pl.lit("who knows"))):
        assert read_accounts(table, "asked.csv", facts).covariates.tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({}, ", or name it as a stage (--stage 'visited')"),
        (
            {"visited": pl.Series(np.where(VISITED, "true", "false"))},
            ", or name it as a stage (--stage 'visited')",
        ),
        ({"visited": pl.Series(np.where(VISITED, 3, 0))}, ""),
        ({"visited": pl.Series(np.where(VISITED, "yes", "no"))}, ""),
        ({"visited": pl.lit(1)}, ""),
        ({"visited": pl.Series(NUMBER % 2)}, ""),
    ],
    ids=["flags", "words of flags", "counts", "words", "no 0", "outcomes come without it"],
)
def test_what_could_be_a_stage_is_offered_as_one_where_accounts_lack_it(
    columns: dict[str, object],
    hint: str,
) -> None:
    facts = read_lottery(on_the_way(**columns), FILE, leave_out=["offered"]).facts
    with pytest.raises(TableFileError) as refused:
        read_accounts(pl.DataFrame({"account_id": ["x"], "seats": [3.0]}), "asked.csv", facts)
    assert str(refused.value) == (
        "asked.csv lacks the column(s) visited, which the lottery has. Add them; or leave out what "
        f"was known only after the draw (--leave-out 'visited'){hint}."
    )


ARM = NUMBER % 2
ACTIONS = ("none", "call")


def said(outcome: np.ndarray, **stages: np.ndarray) -> list[str]:
    return describe_stages(
        tuple(stages),
        np.column_stack(list(stages.values())),
        outcome * 1.0,
        arm=ARM,
        actions=ACTIONS,
    )


def test_who_came_how_far_is_counted() -> None:
    assert said(BOUGHT, visited=VISITED, offered=OFFERED) == [
        f"Of 240 trials {VISITED.sum()} came as far as 'visited', {OFFERED.sum()} as far as "
        f"'offered'; 80 have an outcome other than 0."
    ]
    assert (
        describe_stages((), np.zeros((240, 0), dtype=bool), BOUGHT * 1.0, arm=ARM, actions=ACTIONS)
        == []
    )


@pytest.mark.parametrize(
    ("stages", "what"),
    [
        ({"visited": NUMBER >= 0}, "'visited' tells nothing apart: all trials came so far."),
        (
            {"visited": BOUGHT},
            "'visited' tells nothing apart: all who came so far have an outcome other than 0.",
        ),
        (
            {"visited": VISITED, "offered": VISITED},
            "'offered' tells nothing apart: all who came as far as 'visited' came so far too.",
        ),
        (
            {"visited": VISITED, "offered": BOUGHT},
            "'offered' tells nothing apart: all who came so far have an outcome other than 0.",
        ),
    ],
    ids=["all", "with an outcome", "as before", "the last"],
)
def test_a_stage_that_tells_nothing_apart_is_named(
    stages: dict[str, np.ndarray],
    what: str,
) -> None:
    assert said(BOUGHT, **stages)[1:] == [what]


def test_an_action_with_which_nobody_came_so_far_is_named() -> None:
    nobody = "so that nothing is known of how they go on from there."
    assert said(BOUGHT & (ARM == 1), visited=VISITED & (ARM == 1), offered=OFFERED & (ARM == 1))[
        1:
    ] == [f"Nobody with the action 'none' came as far as 'visited', {nobody}"]
    assert said(BOUGHT & (NUMBER % 4 == 0), visited=VISITED, offered=BOUGHT & (ARM == 0))[1:] == [
        f"Nobody with the action 'call' came as far as 'offered', {nobody}"
    ]
    assert said(NUMBER < 0, visited=NUMBER < 0)[1:] == [
        "'visited' tells nothing apart: nobody came so far."
    ]
