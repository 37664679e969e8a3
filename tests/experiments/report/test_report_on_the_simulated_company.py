"""From the simulated company's telemetry to the report, against the truth that was kept apart."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from experiments.causal.analysis import DesignResult
from experiments.causal.design import write_design
from experiments.causal.interventions import propose_designs
from experiments.report.report import Report, build_report
from experiments.simulation.ground_truth import Truth
from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.catalogue.catalogue import load_catalogue
from features.compute.snapshots import build_snapshots

SETTINGS = WorldSettings(accounts=1100, months=18, pilot_share=0.4, judgement_share=0.4)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Truth]:
    world = simulate(SETTINGS, np.random.default_rng(7))
    calendar = world.settings.calendar
    moments = [
        calendar.starts_at + timedelta(days=int(day))
        for day in calendar.month_starts[1 : calendar.months + 1]
    ]
    first = world.events.group_by("kind").agg(pl.col("recorded_at").min())
    features = build_snapshots(
        world.events, moments, load_catalogue(), first_recorded=dict(first.rows())
    )
    folder = tmp_path_factory.mktemp("designs")
    designs = [
        write_design(design, folder, at=calendar.ends_at)
        for design in propose_designs(world.events, as_of=calendar.ends_at, snapshots=moments)
    ]
    report = build_report(
        world.events,
        features,
        designs,
        as_of=calendar.ends_at,
        costs={"success_call": 60.0},
        currency="USD",
        rng=np.random.default_rng(1),
    )
    return report, world.truth


def results(report: Report) -> dict[str, DesignResult]:
    return {
        result.design.intervention: result for action in report.actions for result in action.results
    }


def true_fall(truth: Truth, result: DesignResult, segment: str = "all") -> float:
    """The truth is about staying; a report is about leaving."""
    row = truth.effects.filter(
        (pl.col("intervention") == result.design.intervention) & (pl.col("segment") == segment)
    )
    name = "itt" if result.design.estimand == "ITT" else "att"
    return -float(row[f"{name}_retention"].item())


def test_every_effect_is_within_three_errors_of_the_truth(found: tuple[Report, Truth]) -> None:
    report, truth = found
    assert len(results(report)) == 5
    for result in results(report).values():
        estimate = result.churn.estimate
        assert abs(estimate.estimate - true_fall(truth, result)) <= 3 * estimate.standard_error


def test_revenue_kept_is_within_three_errors_of_the_truth(found: tuple[Report, Truth]) -> None:
    report, truth = found
    for result in results(report).values():
        name = "itt" if result.design.estimand == "ITT" else "att"
        row = truth.effects.filter(
            (pl.col("intervention") == result.design.intervention) & (pl.col("segment") == "all")
        )
        estimate = result.mrr_after.estimate
        assert abs(estimate.estimate - float(row[f"{name}_revenue"].item())) <= (
            3 * estimate.standard_error
        )


def test_judgement_makes_the_plain_difference_wrong_and_adjustment_mends_it(
    found: tuple[Report, Truth],
) -> None:
    report, truth = found
    judged = results(report)["success_call_by_judgement"]
    target, naive = true_fall(truth, judged), judged.naive.difference
    assert naive.estimate - target > 3 * naive.standard_error
    assert naive.estimate > 0 > target  # it even says that calls drive accounts away
    assert abs(judged.churn.estimate.estimate - target) < abs(naive.estimate - target)


def test_no_sound_lottery_is_silenced(found: tuple[Report, Truth]) -> None:
    for result in results(found[0]).values():
        if result.design.mechanism == "lottery":
            failed = [check.name for check in result.checks if check.verdict == "failed"]
            assert failed in ([], ["enough_outcomes"])


def test_what_does_nothing_is_not_said_to_work(found: tuple[Report, Truth]) -> None:
    verdicts = {action.action: action.verdict for action in found[0].actions}
    assert verdicts["tips_email"] in ("unknown", "does not work")
    assert verdicts["concession"] != "works"


def test_lotteries_and_judgement_are_told_apart_by_the_log(found: tuple[Report, Truth]) -> None:
    mechanisms = {name: item.design.mechanism for name, item in results(found[0]).items()}
    assert [name for name, mechanism in mechanisms.items() if mechanism == "judgement"] == [
        "success_call_by_judgement"
    ]
