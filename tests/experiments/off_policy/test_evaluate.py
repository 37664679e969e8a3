"""A candidate passes where the log shows it; else it is said what is missing and what helps."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from logged_choices import World, world

from experiments.off_policy.estimators import Floats, compare
from experiments.off_policy.evaluate import DEFAULT, Evaluation, evaluate_choices
from experiments.off_policy.log import build_logged_choices

NAMES = ("call", "mail", "nothing")


def load_logged_decisions(one: World, target: Floats, *, with_logged: bool = True) -> pl.DataFrame:
    columns: dict[str, object] = {
        "action": [NAMES[a] for a in one.log.chosen],
        "propensity": one.log.propensity,
        "reward": one.log.reward,
    }
    for place, name in enumerate(NAMES):
        columns[f"candidate:{name}"] = target[:, place]
        if with_logged:
            columns[f"logged:{name}"] = one.policy[:, place]
    return pl.DataFrame(columns)


def judged(table: pl.DataFrame) -> Evaluation:
    return evaluate_choices(build_logged_choices(table), unit="USD", rng=np.random.default_rng(1))


def best_of(one: World) -> Floats:
    return np.asarray(np.eye(3)[one.means.argmax(axis=1)])


def test_a_much_better_candidate_passes_and_its_value_is_near_the_truth() -> None:
    one = world(3, n=900)
    found = judged(load_logged_decisions(one, best_of(one)))
    assert found.passes
    assert found.verdict.startswith("The candidate passes: it would have earned more, by +")
    assert found.values is not None
    value = found.values[DEFAULT]
    assert value.low <= one.earns(best_of(one)) <= value.high
    assert found.earned == pytest.approx(one.log.reward.mean())
    assert [row[0] for row in found.table()][:2] == ["DR with shrinkage", "DR"]
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_slightly_worse_candidate_does_not_pass() -> None:
    found = [
        judged(load_logged_decisions(one, one.worse)) for one in (world(seed) for seed in range(12))
    ]
    assert sum(each.passes for each in found) <= 2  # 5 % each: more is one in fifty
    assert all("that bound is not above 0" in each.verdict for each in found if not each.passes)


def test_without_its_probabilities_the_policy_that_logged_is_its_own_rewards() -> None:
    one = world(5)
    with_them = judged(load_logged_decisions(one, one.target)).comparison
    without = judged(load_logged_decisions(one, one.target, with_logged=False)).comparison
    assert with_them is not None
    assert without is not None
    assert without.difference == pytest.approx(with_them.difference, abs=3 * without.error)
    same = compare(one.log, one.policy)
    assert same.low < 0 < same.high


def test_a_log_without_chance_teaches_nothing_and_says_what_to_do() -> None:
    one = world(1)
    found = judged(
        load_logged_decisions(one, one.target, with_logged=False).with_columns(propensity=1.0)
    )
    assert (found.passes, found.values, found.comparison) == (False, None, None)
    assert found.verdict.startswith(
        "Nothing can be learned from this log. Every decision has propensity 1: chance had no say"
    )
    assert "a lottery among accounts that compete for the last hours" in found.verdict
    assert found.table() == []
    assert found.to_dict()["values"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda log: log.clear(), "It holds no decision."),
        (lambda log: log.with_columns(reward=pl.lit(None, pl.Float64)), "No outcome is known yet."),
        (
            lambda log: log.head(29),
            "Chance had a say in 29 decisions whose outcome is known, and 30",
        ),
        (
            lambda log: log.with_columns(account_id=pl.int_range(pl.len()) % 29),
            "The decisions are about 29 accounts, and 30 are the least",
        ),
        (lambda log: log.filter(pl.col("action") == "mail"), "'mail' was chosen in every decision"),
    ],
    ids=["empty", "no outcome", "few", "few accounts", "one action"],
)
def test_why_nothing_can_be_learned_is_said(change, said: str) -> None:
    one = world(1)
    found = judged(change(load_logged_decisions(one, one.target, with_logged=False)))
    assert found.comparison is None
    assert said in found.verdict


def test_choices_that_the_log_never_tried_do_not_pass() -> None:
    one = world(3, n=900)
    log = load_logged_decisions(one, best_of(one), with_logged=False)
    moved = log.rename({"candidate:nothing": "candidate:visit"}).with_columns(
        pl.lit(0.0).alias("candidate:nothing")
    )
    found = judged(moved)
    assert found.unsupported == pytest.approx(best_of(one)[:, 2].mean())
    assert not found.passes
    assert "actions that the log never tried" in found.verdict
    by_row = judged(load_logged_decisions(one, best_of(one)))
    assert by_row.unsupported == 0.0


def test_propensities_that_were_not_those_of_the_draw_do_not_pass() -> None:
    one = world(3, n=900)
    log = load_logged_decisions(one, best_of(one), with_logged=False)
    found = judged(log.with_columns(pl.col("propensity") / 2))
    assert found.comparison is not None
    assert found.comparison.passes
    assert not found.passes
    assert "its weights average 1.95" in found.verdict


def test_few_effective_decisions_do_not_pass() -> None:
    one = world(3, n=40)
    found = judged(load_logged_decisions(one, best_of(one)))
    assert not found.passes
    assert "30 are the least for a verdict. Wait for more decisions" in found.verdict


def test_what_was_read_is_said_with_counts() -> None:
    one = world(2, n=100)
    log = load_logged_decisions(one, one.target).with_columns(
        name=pl.format("n{}", pl.int_range(pl.len()))
    )
    said = " ".join(judged(log).lines())
    assert "100 decisions: 100 in which chance had a say" in said
    assert "neither numbers nor few words: name." in said
    assert "the largest weight of one is" in said
