"""An account whose contract ends after the days of the tiers is told why it may leave then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from small_company import READS, make_bundle

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.store.feast import WorkspaceFeatures
from registry.bundle.renewal_risk import ContractCalendar, RenewalRisk
from serving.pages.views.outlooks_view import outlook_lines
from serving.scoring.models_served import champions
from serving.scoring.outlooks import renewal_outlook
from serving.scoring.reasons.at_renewal import renewal_reasons
from serving.scoring.score import AccountScore
from serving.scoring.scored_columns import score_accounts

CATALOGUE, FORMULA = load_catalogue(), FORMULAS["balanced"]
# levels and slopes of 90 days and a year; weight of the term; level and slope of the early rate
NUMBERS = np.array([-2.0, -2.2, 1.0, 0.8, 0.3, -6.0, 0.5])


@pytest.fixture(scope="module")
def frame(shared_workspace):
    return WorkspaceFeatures(shared_workspace).online([f"acct-{n:02d}" for n in range(48)])


@pytest.fixture(scope="module")
def models(store, shared_workspace):
    """The champion, as one that knows when contracts can end."""
    found = champions(store)
    read = (*READS, "days_to_renewal")
    bundle = make_bundle(shared_workspace, read, [0.9, -0.7, -0.2, 0.1, -0.3, 0.0])
    risk = RenewalRisk(
        leads=(90, 365),
        calendar=ContractCalendar(renewal=len(READS), months=None),
        parameters=NUMBERS,
        draws=NUMBERS + np.random.default_rng(0).normal(0, 0.05, (40, len(NUMBERS))),
    )
    return replace(found, churn=replace(found.churn, model=replace(bundle, renewal_risk=risk)))


@pytest.fixture(scope="module")
def renewing_in(frame, models):
    """The score of an account whose term ends in so many days, by the models or other ones."""

    def score(days: float | None, with_models=models) -> AccountScore:
        ends = frame.with_columns(pl.lit(days, pl.Float64).alias("days_to_renewal"))
        scores = score_accounts(
            ends, with_models, catalogue=CATALOGUE, formula=FORMULA, now=frame["as_of"][0],
            max_age=timedelta(days=35), currency="USD",
        )  # fmt: skip
        return next(s for s in scores if s.source == "model" and not s.has_no_contract)

    return score


def said(score, models):
    return renewal_reasons(score, models, peers=None, catalogue=CATALOGUE.by_name, formula=FORMULA)


@pytest.mark.parametrize("days", [90, 200, 364])
def test_the_reasons_add_up_to_the_chance_at_the_renewal(renewing_in, models, days: float) -> None:
    score = renewing_in(days)
    outlook, reasons = renewal_outlook(score), said(score, models)
    assert outlook.at_the_end
    total = reasons.start + reasons.rest + sum(reason.points for reason in reasons.every)
    assert total == pytest.approx(100 * outlook.at.probability)
    usual = 100 / (1 + np.exp(2.2 - 0.3 * np.log(12) - 0.8 * models.churn.model.form.base))
    assert 100 * score.usual_at_renewal == pytest.approx(usual)
    assert reasons.start == pytest.approx(usual)  # the date itself is no reason, it is the question
    assert all(reason.record is None for reason in reasons.every)


@pytest.mark.parametrize("days", [89, 365, -3, None])
def test_there_are_none_where_the_tier_tells_it_or_nothing_is_known(
    renewing_in, models, days
) -> None:
    assert said(renewing_in(days), models) is None


def test_a_model_without_dates_has_none(renewing_in, store) -> None:
    assert said(renewing_in(200, champions(store)), champions(store)) is None


def test_the_page_says_the_date_of_the_end_alone(renewing_in, models) -> None:
    said = {line.what: line for line in outlook_lines(renewing_in(1.0), models)}
    assert said["Leaves at its renewal"].when.startswith("the renewal is in 1 day, on ")


def test_the_band_at_the_renewal_is_a_multiple_of_what_is_usual_then(renewing_in) -> None:
    score = renewing_in(200)
    usual = score.usual_at_renewal
    bands = {
        multiple: replace(
            score, at_renewal=replace(score.at_renewal, probability=multiple * usual)
        ).renewal_tier
        for multiple in (0.9, 1.1, 2.1, 4.1)
    }
    assert bands == {0.9: "low", 1.1: "medium", 2.1: "high", 4.1: "critical"}
    assert renewing_in(None).renewal_tier is None
