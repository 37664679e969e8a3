"""What a lottery says of whom to act on is said with its interval, and costs are all there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from experiments.targeting.arm_policy import HeldOutValue
from experiments.targeting.decisions import (
    CostError,
    LotteryDecisions,
    decide_by_lottery,
    parse_costs,
)
from experiments.targeting.lottery_file import read_accounts, read_lottery

ACTIONS = ("nothing", "call", "e=mail")


def lottery(effect, *, rows: int = 800, seed: int = 1) -> pl.DataFrame:
    """A coin decides about a call, which changes the outcome by ``effect`` of the use."""
    rng = np.random.default_rng(seed)
    use, arm = rng.normal(size=rows), rng.integers(0, 2, rows)
    return pl.DataFrame(
        {
            "account_id": [f"a{row}" for row in range(rows)],
            "action": np.array(["none", "call"])[arm],
            "propensity": 0.5,
            "outcome": 10 + arm * effect(use) + rng.normal(size=rows),
            "use": use,
        }
    )


def decided(effect, *, cost: float = 0.5) -> LotteryDecisions:
    read = read_lottery(lottery(effect), "lottery.csv")
    asked = read_accounts(
        pl.DataFrame({"account_id": ["a1", "new", "other"], "use": [-2.0, 2.0, 1.0]}),
        "asked.csv",
        read.facts,
    )
    return decide_by_lottery(
        read, asked, cost=np.array([0.0, cost]), currency="EUR", rng=np.random.default_rng(1)
    )


@pytest.fixture(scope="module")
def apart() -> LotteryDecisions:
    """A call brings who uses much 3 EUR, and takes 3 from who does not."""
    return decided(lambda use: 3 * np.sign(use))


def worth(found: LotteryDecisions, **changed: float) -> LotteryDecisions:
    """The same decisions with another held-out value."""
    values = {"value": 1.0, "alike": 0.9, "gain": 0.1, "low": -0.1, "high": 0.3} | changed
    return replace(found, decided=replace(found.decided, held_out=HeldOutValue(**values)))


def test_each_account_has_the_action_that_gains_most_beyond_its_cost(
    apart: LotteryDecisions,
) -> None:
    rows = apart.frame()
    assert rows.columns == [
        "account_id",
        "action",
        "gain",
        "currency",
        "told_apart",
        "simplest_policy",
        "gain:call",
    ]
    assert rows["told_apart"].to_list() == rows["action"].to_list()
    assert set(rows["simplest_policy"]) == {apart.lottery.actions[apart.simplest]}
    assert rows["gain"].to_list() == [round(gain, 4) for gain in rows["gain"]]
    assert rows["account_id"].to_list() == ["a1", "new", "other"]
    assert rows["action"].to_list() == ["none", "call", "call"]
    assert rows["gain"][0] == 0
    assert rows["gain"].to_list()[1:] == rows["gain:call"].to_list()[1:]
    assert rows["gain:call"].to_list() == pytest.approx([-3.5, 2.5, 2.5], abs=0.7)  # 4 errors
    assert set(rows["currency"]) == {"EUR"}


def test_where_it_pays_to_tell_accounts_apart_that_is_said_with_its_interval(
    apart: LotteryDecisions,
) -> None:
    assert apart.shown_to_pay
    assert apart.verdict.startswith("Telling accounts apart pays: +1.")
    assert "EUR a trial beside the same for everybody (95 % interval +1." in apart.verdict
    assert apart.verdict.endswith(", on accounts that it was not learned from.")


def test_where_all_gain_alike_the_simplest_policy_is_named() -> None:
    found = decided(lambda use: np.full_like(use, 3.0))
    assert found.verdict == (
        "Telling accounts apart was not shown to pay here: on accounts that it was not learned "
        "from it does the same for everybody. So every account has the simplest policy in the "
        "file: always 'call'."
    )
    assert set(found.frame()["simplest_policy"]) == {"call"}
    dear = decided(lambda use: np.full_like(use, 3.0), cost=9)
    assert dear.verdict.endswith("in the file: always 'none', that is to act on nobody.")
    assert set(dear.frame()["simplest_policy"]) == {"none"}
    assert not dear.shown_to_pay


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        (
            {},
            "was not shown to pay here: +0.10 EUR a trial beside the same for everybody (95 % interval"
            " -0.10 to +0.30), on accounts that it was not learned from. Each account has its own "
            "action in the file, since that brought more; the simplest policy is always 'none', that is "
            "to act on nobody; to follow it, take the column simplest_policy instead of action.",
        ),
        ({"low": 0.0}, "was not shown to pay here: +0.10"),
        (
            {"gain": -0.01},
            "was not shown to pay here: -0.01 EUR a trial beside the same for everybody "
            "(95 % interval -0.10 to +0.30), on accounts that it was not learned from. So every account "
            "has the simplest policy in the file: always 'none', that is to act on nobody.",
        ),
        (
            {"gain": 0.0104, "low": 0.0001, "high": 0.0207},
            "pays: +0.010 EUR a trial beside the same for everybody (95 % interval +0.000 to +0.021)",
        ),
        (
            {"gain": -0.2, "high": -0.1, "low": -0.3},
            "was not shown to pay here, it rather loses: -0.20 EUR a trial",
        ),
    ],
    ids=["may be more", "at the edge", "may be less", "small", "loses"],
)
def test_the_verdict_goes_by_the_interval(
    changed: dict[str, float],
    verdict: str,
    apart: LotteryDecisions,
) -> None:
    found = worth(apart, **changed)
    assert f"Telling accounts apart {verdict}" in found.verdict
    assert found.shown_to_pay == (found.decided.held_out.low > 0)


def test_where_telling_apart_brought_less_the_file_has_the_same_for_all_and_both_beside_it(
    apart: LotteryDecisions,
) -> None:
    found = worth(apart, gain=-0.2, high=-0.1, low=-0.3)
    assert found.verdict.endswith(
        "So every account has the simplest policy in the file: always "
        "'none', that is to act on nobody."
    )
    rows = found.frame()
    assert rows["action"].to_list() == rows["simplest_policy"].to_list() == ["none"] * 3
    assert rows["gain"].to_list() == [0, 0, 0]
    assert rows["told_apart"].to_list() == ["none", "call", "call"]
    assert [line[4] for line in found.table()] == ["3", "0"]


def test_where_both_policies_are_the_same_for_the_accounts_asked_that_is_said(
    apart: LotteryDecisions,
) -> None:
    given = replace(apart.decided, told_apart=np.full(3, apart.simplest))
    verdict = worth(replace(apart, decided=given)).verdict
    assert verdict.endswith(
        "Of these accounts all have the same action either way: always 'none', "
        "that is to act on nobody."
    )


def test_where_the_table_names_another_action_that_is_said(apart: LotteryDecisions) -> None:
    assert not any("By the table" in line for line in apart.lines())
    other = replace(apart, decided=replace(apart.decided, alike=1 - apart.simplest))
    assert other.lines()[-2] == (
        "By the table 'none' brings everybody most; the simplest policy goes by expected outcomes, "
        "which follow single large ones less."
    )


def test_what_each_action_brings_everybody_is_said_with_its_interval() -> None:
    found = decided(lambda use: np.full_like(use, 3.0))
    trials = lottery(lambda use: np.full_like(use, 3.0))
    mean, deviation, counts = (
        trials.group_by("action").agg(getattr(pl.col("outcome"), name)()).sort("action")["outcome"]
        for name in ("mean", "std", "count")
    )
    nothing, call = found.for_everybody
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    assert call.value == pytest.approx(mean[0] - mean[1] - 0.5, abs=0.1)
    error = np.sqrt((deviation**2 / counts).sum())
    assert call.high - call.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.table()[1][3] == f"{call.value:+.2f} ({call.low:+.2f} to {call.high:+.2f})"
    assert found.table()[0][3] == ""


def test_what_is_written_says_where_it_comes_from(apart: LotteryDecisions) -> None:
    plain = apart.to_dict(
        lottery_file="x/lottery.csv",
        asked_file="x/asked.csv",
        seed=4,
        made_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    )
    assert (plain["tells_apart"], plain["shown_to_pay"]) == (True, True)
    held_out = apart.decided.held_out
    assert plain["held_out"] == {
        "unit": "EUR a trial, outcome less cost, on accounts that it was not learned from",
        "told_apart": held_out.value,
        "same_for_everybody": held_out.alike,
        "gain_over_same_for_everybody": held_out.gain,
        "low": held_out.low,
        "high": held_out.high,
        "confidence": 0.95,
        "trials": 800,
        "accounts": 800,
    }
    calls = apart.lottery.trials.arm.sum()
    one = apart.for_everybody[1]
    assert plain["actions"] == [
        {
            "action": "none",
            "cost": 0.0,
            "trials": 800 - calls,
            "for_everybody_beside_nothing": 0.0,
            "low": 0.0,
            "high": 0.0,
            "accounts_decided": 1,
        },
        {
            "action": "call",
            "cost": 0.5,
            "trials": calls,
            "for_everybody_beside_nothing": one.value,
            "low": one.low,
            "high": one.high,
            "accounts_decided": 2,
        },
    ]
    assert plain["asked"] == {"file": "x/asked.csv", "accounts": 3, "in_lottery": 1}
    assert (plain["made_at"], plain["seed"]) == ("2026-03-01T12:00:00+00:00", 4)
    assert [(line[:3], line[4]) for line in apart.table()] == [
        (("none", "0.00", str(800 - calls)), "1"),
        (("call", "0.50", str(calls)), "2"),
    ]
    assert apart.lines()[-1] == apart.verdict
    assert apart.lines()[1:3] == [
        "Facts: use.",
        "3 accounts were decided about (in the lottery too: 1).",
    ]


def test_costs_are_read_by_action_whatever_its_name() -> None:
    assert parse_costs(["e=mail=.5", "call=12", "nothing=0"], ACTIONS).tolist() == [0.0, 12.0, 0.5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "The cost of call, e=mail is not known. Add --cost 'call=AMOUNT' --cost 'e=mail=AMOUNT'",
        ),
        (
            ["call=1"],
            "The cost of e=mail is not known. Add --cost 'e=mail=AMOUNT'; 0 where it costs",
        ),
        (["call=1", "e=mail=1", "sms=2"], "has the action 'sms' of --cost 'sms=2'. It has call"),
        (["call"], "'call' is no cost. Write --cost ACTION=AMOUNT"),
        (["=3"], "'=3' is no cost"),
        (["call=1", "call=2", "e=mail=1"], "The cost of 'call' is given twice"),
        (["call=cheap"], "'cheap' is no amount, in --cost 'call=cheap'"),
        (["call=-1"], "The cost of 'call' is -1. Give what it costs to do it once, 0 or more"),
        (["call=inf"], "The cost of 'call' is inf"),
        (["call=nan"], "The cost of 'call' is nan"),
        (["call=1", "e=mail=1", "nothing=3"], "'nothing' is to do nothing, .* costs nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_costs_that_are_none_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(CostError, match=message):
        parse_costs(words, ACTIONS)
