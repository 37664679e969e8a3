"""Tables of others whose answer is published: Hillstrom's e-mails and LaLonde's training."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from experiments.table_estimates.arms_table import Question, read_arms
from experiments.table_estimates.table_effects import ArmEffect, Worth, estimate_table
from experiments.table_file import read_table

DATA = Path(__file__).parents[3].parent / "shared" / "data"
FACTS = ("age", "education", "black", "hispanic", "married", "nodegree", "re74")
DOLLARS = Worth(value=1.0, currency="USD")
EMAILS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")

needs_lalonde = pytest.mark.skipif(
    not (DATA / "lalonde").is_dir(), reason="../shared/data/lalonde is not there; it is not shipped"
)
needs_hillstrom = pytest.mark.skipif(
    not (DATA / "hillstrom").is_dir(),
    reason="../shared/data/hillstrom is not there; it is not shipped",
)


def effects_of(table: pl.DataFrame, question: Question, worth: Worth) -> tuple[ArmEffect, ...]:
    arms = read_arms(table, "table", question)
    return estimate_table(arms, "table", question, worth, seed=1).effects


def people(controls: str | None) -> pl.DataFrame:
    trained = read_table(DATA / "lalonde" / "nsw_dw.dta", "people")
    if controls is None:
        return trained
    others = read_table(DATA / "lalonde" / f"{controls}_controls.dta", "people")
    return pl.concat([trained.filter(treat=1), others], how="vertical_relaxed")


@needs_lalonde
def test_the_experiment_holds_the_published_effect() -> None:
    question = Question(
        treated="treat", outcome="re78", covariates=FACTS, before=("re75",), by_lot=True
    )
    (effect,) = effects_of(people(None), question, DOLLARS)
    assert effect.plain.estimate == pytest.approx(1794, abs=1)
    assert effect.plain.standard_error == pytest.approx(671, abs=10)
    assert effect.estimate.low < 1794 < effect.estimate.high
    assert abs(effect.estimate.estimate - 1794) < 671
    assert effect.judgement == "works"


@needs_lalonde
@pytest.mark.parametrize(("controls", "within"), [("cps", 224), ("psid", 372)])
def test_against_the_population_it_comes_near_and_is_not_to_be_used(
    controls: str, within: int
) -> None:
    question = Question(treated="treat", outcome="re78", covariates=FACTS, before=("re75",))
    (effect,) = effects_of(people(controls), question, DOLLARS)
    assert abs(effect.estimate.estimate - 1794) <= within
    assert effect.judgement == "do not use"
    assert {check.name: check.verdict for check in effect.checks}["pre_period_placebo"] == "failed"
    assert "re75" in effect.headline


@needs_hillstrom
def test_both_emails_are_as_published() -> None:
    question = Question(
        treated="segment",
        outcome="visit",
        untreated="No E-Mail",
        covariates=("recency", "history", "mens", "womens", "newbie", "zip_code", "channel"),
        by_lot=True,
        odds=dict.fromkeys(EMAILS, 1 / 3),
    )
    table = read_table(DATA / "hillstrom" / "hillstrom.csv.gz", "customers")
    mens, womens = effects_of(table, question, Worth())
    assert mens.estimate.low < 0.0766 < mens.estimate.high
    assert womens.estimate.low < 0.0452 < womens.estimate.high
    assert mens.estimate.estimate == pytest.approx(0.0766, abs=0.0034)
    assert womens.estimate.estimate == pytest.approx(0.0452, abs=0.0032)
    assert (mens.judgement, womens.judgement) == ("works", "works")
