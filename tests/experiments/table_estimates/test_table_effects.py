"""Effects from tables: a known truth comes out, and what misleads is not to be used."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from experiments.table_estimates.arms_table import Question, read_arms
from experiments.table_estimates.page import estimate_html, estimate_json
from experiments.table_estimates.table_effects import TableEstimate, Worth, estimate_table
from experiments.table_file import TableFileError

ROWS = 600
CALLED = Question(treated="called", outcome="spent", covariates=("size",), before=("spent_before",))
DRAWN = replace(CALLED, by_lot=True)
DOLLARS = Worth(value=1.0, currency="USD", costs={"1": 10.0}, when="Over 90 days")


def outreach(*, seed: int = 7, hidden: float = 0.0, drawn: bool = False) -> pl.DataFrame:
    """A call brings 25; who is larger is called more often, and who has ``hidden`` reasons."""
    rng = np.random.default_rng(seed)
    size, reason = rng.normal(size=ROWS), rng.normal(size=ROWS)
    lean = np.zeros(ROWS) if drawn else 0.6 * size + hidden * reason
    called = rng.random(ROWS) < 1 / (1 + np.exp(-lean))
    before = 200 + 40 * size + 60 * hidden * reason + rng.normal(0, 30, ROWS)
    spent = before + 25 * called + rng.normal(0, 40, ROWS)
    return pl.DataFrame(
        {
            "account_id": [f"a{row}" for row in range(ROWS)],
            "called": called.astype(int),
            "size": size,
            "spent_before": before,
            "spent": spent,
            "bought": (spent > 220).astype(int),
        }
    )


def answer_of(
    table: pl.DataFrame, question: Question = CALLED, worth: Worth = DOLLARS
) -> TableEstimate:
    return estimate_table(
        read_arms(table, "outreach.csv", question), "outreach.csv", question, worth, seed=1
    )


@pytest.fixture(scope="module")
def judged() -> TableEstimate:
    return answer_of(outreach())


def test_what_people_chose_is_adjusted_checked_and_worth_money(judged: TableEstimate) -> None:
    (effect,) = judged.effects
    assert effect.estimate.low < 25 < effect.estimate.high
    assert effect.plain.low > 25  # the larger were called, and spend more
    assert (effect.judgement, effect.grade) == ("works", "C")
    assert effect.headline.startswith("1 works, as far as the named facts explain")
    assert effect.money_sentence is not None
    assert effect.money_sentence.startswith("Over 90 days ")
    assert "It pays for itself in that time." in effect.money_sentence


def test_what_people_knew_and_the_table_does_not_hold_is_caught_by_the_past() -> None:
    (effect,) = answer_of(outreach(hidden=1.0)).effects
    assert effect.judgement == "do not use"
    assert effect.headline.startswith("1: do not use. No effect is claimed.")
    assert {check.name: check.verdict for check in effect.checks}["pre_period_placebo"] == "failed"


def test_a_past_that_is_the_same_for_nearly_everybody_is_refused() -> None:
    table = outreach().with_columns(
        spent_before=pl.when(pl.int_range(pl.len()) < 5).then(41.0).otherwise(40.0)
    )
    with pytest.raises(TableFileError, match=r"spent_before of outreach\.csv is 40 in 595 of 600"):
        answer_of(table)


def test_a_past_of_few_rows_or_of_two_values_is_no_constant() -> None:
    few = (
        outreach().head(40).with_columns(spent_before=(pl.int_range(pl.len()) % 3).cast(pl.Float64))
    )
    assert len(answer_of(few).effects) == 1


def test_an_amount_that_differs_in_every_row_is_a_fact_and_no_name() -> None:
    table = outreach().with_columns(paid=pl.int_range(pl.len()) * 7)
    assert len(answer_of(table, replace(CALLED, covariates=("size", "paid"))).effects) == 1


def test_a_word_that_only_looks_like_a_day_does_not_become_unknown() -> None:
    table = outreach().with_columns(
        joined=pl.when(pl.int_range(pl.len()) == 3)
        .then(pl.lit("2024-13-45"))
        .otherwise(pl.lit("2024-02-") + (10 + pl.int_range(pl.len()) % 19).cast(pl.String))
    )
    # 20 words are few enough to be told apart as words: 19 days and what is none
    assert (
        "joined: 2024-13-45"
        in read_arms(table, "outreach.csv", replace(CALLED, covariates=("joined",))).facts
    )


def test_days_are_facts_and_names_of_rows_are_none() -> None:
    table = outreach().with_columns(
        member_no=pl.int_range(pl.len()),
        joined=pl.date(2024, 1, 1) + pl.duration(days=pl.col("size") * 100 + 400),
    )
    by_number = answer_of(
        table.with_columns(days=(pl.col("size") * 100 + 400).cast(pl.Int64)),
        replace(CALLED, covariates=("days",)),
    )
    by_day = answer_of(table, replace(CALLED, covariates=("joined",)))
    words = answer_of(
        table.with_columns(pl.col("joined").cast(pl.String)),
        replace(CALLED, covariates=("joined",)),
    )
    for other in (by_day, words):
        assert other.effects[0].estimate.estimate == pytest.approx(
            by_number.effects[0].estimate.estimate, abs=0.5
        )
    with pytest.raises(
        TableFileError, match=r"member_no of outreach\.csv has 600 different values in 600 rows: it"
    ):
        answer_of(table, replace(CALLED, covariates=("size", "member_no")))
    with pytest.raises(TableFileError, match=r"account_id of outreach\.csv has 600"):
        answer_of(table, replace(CALLED, covariates=("account_id",)))


def test_without_a_past_what_people_chose_is_not_claimed() -> None:
    question = replace(CALLED, covariates=("size", "spent_before"), before=())
    (effect,) = answer_of(outreach(), question).effects
    assert effect.judgement == "do not use"
    assert "nothing like the outcome, measured before the start" in effect.headline


def test_a_lottery_is_read_by_its_odds() -> None:
    (effect,) = answer_of(outreach(drawn=True), DRAWN).effects
    assert effect.estimate.estimand == "ITT"
    assert effect.estimate.low < 25 < effect.estimate.high
    assert (effect.judgement, effect.grade) == ("works", "A")
    ratio = {check.name: check.verdict for check in effect.checks}["sample_ratio"]
    assert ratio == "not_applicable"  # the odds were not said


def test_arms_that_are_not_as_drawn_are_refused() -> None:
    table = outreach(drawn=True).filter((pl.col("called") == 1) | (pl.col("spent") > 200))
    (effect,) = answer_of(table, replace(DRAWN, odds={"0": 0.5, "1": 0.5})).effects
    assert effect.judgement == "do not use"
    assert "Arms as large as drawn" in effect.headline


def test_three_arms_and_a_binary_outcome() -> None:
    rng = np.random.default_rng(3)
    arm = rng.choice(["none", "call", "mail"], 3000)
    table = pl.DataFrame(
        {
            "arm": arm,
            "seats": rng.normal(size=3000),
            "segment": rng.choice(["small", "large"], 3000),
            "stayed": (rng.random(3000) < np.where(arm == "call", 0.7, 0.5)).astype(int),
        }
    )
    question = Question(
        treated="arm",
        outcome="stayed",
        covariates=("seats",),
        segment="segment",
        by_lot=True,
        odds={"none": 1 / 3, "call": 1 / 3, "mail": 1 / 3},
    )
    answer = answer_of(table, question, Worth())
    call, mail = answer.effects
    assert (call.arm, call.judgement) == ("call", "works")
    assert call.estimate.low < 0.2 < call.estimate.high
    assert (mail.arm, mail.judgement) == ("mail", "unknown")
    assert [one.segment for one in call.segments] == ["large", "small"]
    assert "points" in call.headline
    lower = answer_of(table, question, Worth(goal="lower"))
    assert lower.effects[0].judgement == "harms"


def test_rows_whose_arm_or_outcome_is_not_known_are_counted() -> None:
    table = outreach(drawn=True).with_columns(
        called=pl.when(pl.col("account_id") == "a0").then(None).otherwise("called"),
        spent=pl.when(pl.col("account_id").is_in(["a1", "a2", "a3"])).then(None).otherwise("spent"),
    )
    answer = answer_of(table, DRAWN)
    assert answer.unknown_arm == 1
    assert sum(answer.effects[0].left_out["the outcome is not known"]) == 3


def test_rows_of_one_cluster_are_one_observation() -> None:
    table = outreach(drawn=True)
    twice = pl.concat([table, table])
    alone = answer_of(table, DRAWN).effects[0].estimate
    doubled = answer_of(twice, replace(DRAWN, cluster="account_id")).effects[0].estimate
    assert doubled.n_clusters == ROWS
    assert doubled.standard_error == pytest.approx(alone.standard_error, rel=0.02)


def test_page_and_json_hold_the_answer(judged: TableEstimate) -> None:
    page = estimate_html(judged)
    assert "<script" not in page
    assert judged.effects[0].headline in page
    assert page.count("<svg") == 3  # effect, balance, overlap
    content = json.loads(estimate_json(judged))
    assert content["effects"][0]["estimate"]["estimate"] == judged.effects[0].estimate.estimate


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": "gone"}, r"has no column 'gone' \(--outcome\). It has account_id, called"),
        ({"covariates": (), "before": ()}, "No fact from before is named"),
        ({"covariates": ("spent",)}, "spent is named as the arm or the outcome and"),
        ({"covariates": ("spent_before",)}, "is in --covariates and in --before"),
        ({"treated": "account_id"}, "has 600 different values; an arm is one of few"),
        ({"untreated": "2"}, "No row of outreach.csv has called = '2'. It has 0, 1"),
        ({"covariates": ("note",)}, "has 600 different words, and 20 are the most"),
        ({"odds": {"0": 0.5}}, "Give one share for each of 0, 1; together they are 1"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(TableFileError, match=words):
        answer_of(
            outreach().with_columns(note=pl.col("account_id") + " wrote"), replace(CALLED, **change)
        )


def test_a_table_with_one_arm_or_few_rows_is_refused() -> None:
    table = outreach()
    with pytest.raises(TableFileError, match="there is nothing to compare with"):
        answer_of(table.filter(called=1))
    few = pl.concat([table.filter(called=1).head(4), table.filter(called=0)])
    with pytest.raises(TableFileError, match=r"has 4 row.s. with called = '1'"):
        answer_of(few)
    with pytest.raises(TableFileError, match="--cost names mail, which is no arm"):
        answer_of(table, worth=replace(DOLLARS, costs={"mail": 1.0}))
