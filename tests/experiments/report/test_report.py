from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from causal_worlds import EventWorld, event_world

from experiments.causal.analysis import CountedMoney, analyse
from experiments.causal.design import DesignNotWrittenError
from experiments.causal.power import ExperimentCandidate
from experiments.causal.trials import build_trials
from experiments.report.render import report_html
from experiments.report.report import Report, build_report, no_intervention_report


def write_workspace_report(
    world: EventWorld, *, cost: float | None = 5.0, **changes: object
) -> Report:
    designs = [replace(design, **changes) for design in world.designs]  # type: ignore[arg-type]
    return build_report(
        world.events,
        world.features,
        designs,
        as_of=world.as_of,
        costs={} if cost is None else {"success_call": cost},
        currency="USD",
        rng=np.random.default_rng(0),
        counted=CountedMoney(months=12, margin=0.8),
    )


@pytest.fixture(scope="module")
def world() -> EventWorld:
    return event_world(np.random.default_rng(3), accounts=2400)


@pytest.fixture(scope="module")
def report(world: EventWorld) -> Report:
    return write_workspace_report(world)


def test_both_designs_find_the_effect_and_stand_side_by_side(
    world: EventWorld, report: Report
) -> None:
    (action,) = report.actions
    lottery, judged = action.results
    assert (lottery.design.mechanism, judged.design.mechanism) == ("lottery", "judgement")
    for result in (lottery, judged):
        found, truth = result.churn.estimate, world.truth[result.design.intervention]
        assert abs(found.estimate - truth) <= 3 * found.standard_error
    assert action.agreement is not None
    assert "agree" in action.agreement


def test_where_people_chose_the_plain_difference_is_wrong(
    world: EventWorld, report: Report
) -> None:
    judged = report.actions[0].results[1]
    naive, truth = judged.naive.difference, world.truth["judged"]
    assert naive.estimate - truth > 3 * naive.standard_error  # the unhealthy were called
    found = judged.churn.estimate
    assert abs(found.estimate - truth) < abs(naive.estimate - truth)


def test_the_lottery_speaks_for_the_action(report: Report) -> None:
    (action,) = report.actions
    assert (action.verdict, action.grade) == ("works", "A")
    assert action.headline == action.results[0].headline
    assert report.headline == "Success call: works."


def test_checks_stand_beside_every_number(report: Report) -> None:
    for result in report.actions[0].results:
        assert [check.name for check in result.checks][:2] == ["enough_outcomes", "sample_ratio"]
        assert result.is_claimed, [c for c in result.checks if c.verdict == "failed"]
        assert result.counts.n_treated + result.counts.n_control == result.counts.n_trials
        assert sum(result.propensities.treated) == result.counts.n_treated


def test_money_is_revenue_less_cost(report: Report) -> None:
    money = report.actions[0].results[0].money
    assert money.total.estimate == pytest.approx(
        money.per_account.estimate * report.actions[0].results[0].counts.n_treated
    )
    assert money.cost == 5.0 * money.n_actions
    assert money.net is not None
    assert money.net.estimate == pytest.approx(money.total.estimate - money.cost)
    assert money.net.high - money.net.low == pytest.approx(money.total.high - money.total.low)


def test_the_value_is_stated_over_the_months_of_the_ranking_too(report: Report) -> None:
    (result, _) = report.actions[0].results
    run, mrr = result.money.long_run, result.mrr_after.estimate
    assert run is not None
    assert run.per_account.estimate == pytest.approx(12 * 0.8 * mrr.estimate)
    assert run.per_account.low == pytest.approx(12 * 0.8 * mrr.low)
    assert run.net is not None
    assert run.net.estimate == pytest.approx(run.total.estimate - result.money.cost)
    page = report_html(report)
    assert "As the ranking counts: that MRR for 12 months, 80.0% of it ours, per account" in page


def test_an_unknown_cost_leaves_the_net_unknown(world: EventWorld) -> None:
    only = replace(world, designs=world.designs[:1])
    money = write_workspace_report(only, cost=None).actions[0].results[0].money
    assert (money.cost, money.net) == (None, None)


def test_segments_are_reported_with_their_size(report: Report) -> None:
    segments = {item.segment: item for item in report.actions[0].results[0].segments}
    assert set(segments) == {"large", "small"}
    assert all(item.estimate.n_treated >= 30 for item in segments.values())


def test_what_would_change_our_mind_is_said(report: Report) -> None:
    lottery, judged = report.actions[0].results
    assert lottery.would_change
    assert any("lottery among equal cases" in reason for reason in judged.would_change)
    if judged.verdict == "works":
        assert judged.tipping_ratio is not None
        assert judged.tipping_ratio > 1


def test_the_same_seed_gives_the_same_report(world: EventWorld) -> None:
    only = replace(world, designs=world.designs[1:])
    assert write_workspace_report(only) == write_workspace_report(only)


def test_hidden_judgement_is_caught_by_the_placebo() -> None:
    """People knew something that no feature shows: the adjustment cannot work, and must not."""
    world = event_world(np.random.default_rng(5), accounts=2000, hidden=1.0, programmes=("judged",))
    placebo = event_world(
        np.random.default_rng(5), accounts=2000, hidden=1.0, programmes=("judged",)
    )
    assert world.truth == placebo.truth
    # A lagged trace of what people knew: it is in no covariate, and from before the start.
    secret = world.features.group_by("account_id").len().select("account_id")
    chosen = set(world.events.filter(pl.col("kind") == "action.executed")["account_id"])
    noise = np.random.default_rng(6).normal(size=secret.height)
    secret = secret.with_columns(
        (pl.col("account_id").is_in(chosen).cast(pl.Float64) + pl.Series(noise)).alias("trace")
    )
    features = world.features.join(secret, on="account_id")
    report = build_report(
        world.events,
        features,
        [replace(world.designs[0], placebos=("trace",))],
        as_of=world.as_of,
        costs={},
        currency="USD",
        rng=np.random.default_rng(0),
    )
    (result,) = report.actions[0].results
    failed = [check.name for check in result.checks if check.verdict == "failed"]
    assert failed == ["pre_period_placebo"]
    assert report.actions[0].verdict == "unknown"
    assert report.actions[0].grade is None
    assert result.headline.startswith("No effect is claimed. No effect before the start:")
    assert any(
        "“No effect before the start” would have to pass" in reason
        for reason in result.would_change
    )


def test_a_failed_check_silences_an_effect_however_clear(world: EventWorld) -> None:
    """The undrawn were called after all, at least by the log; the effect itself is as before."""
    undrawn = world.events.filter(
        (pl.col("kind") == "action.decided") & pl.col("properties").str.contains("control")
    )
    called = undrawn.sample(fraction=0.5, seed=1).with_columns(
        pl.lit("action.executed").alias("kind"),
        (pl.lit("again-") + pl.col("event_id")).alias("event_id"),
        pl.col("properties").str.replace("control", "by mistake"),
    )
    report = build_report(
        pl.concat([world.events, called]),
        world.features,
        world.designs[:1],
        as_of=world.as_of,
        costs={},
        currency="USD",
        rng=np.random.default_rng(0),
    )
    (result,) = report.actions[0].results
    assert result.churn.estimate.high < 0
    assert (result.verdict, result.is_claimed) == ("unknown", False)
    assert result.headline.startswith("No effect is claimed. The untreated stayed untreated:")
    assert report.headline == "Success call: not known."


def test_subtracting_what_was_certain_sharpens_money_and_moves_nothing_else(
    world: EventWorld,
) -> None:
    trials = build_trials(world.events, world.features, world.designs[1], as_of=world.as_of)
    raw = replace(
        trials, baselines={name: np.zeros(len(trials.sample)) for name in trials.baselines}
    )
    ours, without = (
        analyse(item, costs={}, currency="USD", rng=np.random.default_rng(0))
        for item in (trials, raw)
    )
    assert ours.revenue.estimate.standard_error < without.revenue.estimate.standard_error
    assert ours.revenue.mean_treated == without.revenue.mean_treated
    assert ours.churn == without.churn


def test_a_useless_action_is_not_said_to_work() -> None:
    world = event_world(np.random.default_rng(8), accounts=1200, effect=0.0, programmes=("pilot",))
    (action,) = write_workspace_report(world).actions
    assert action.verdict in ("unknown", "does not work")
    assert any("takes about" in reason for reason in action.results[0].would_change)


def test_too_early_a_report_is_not_identifiable_and_says_why(world: EventWorld) -> None:
    early = replace(world, as_of=world.designs[0].written_at - timedelta(days=200))  # type: ignore[operator]
    (action,) = write_workspace_report(early).actions
    assert action.verdict == "unknown"
    assert action.headline.startswith("Not identifiable yet.")
    assert not action.results
    assert all(
        "follow-up is not over yet" in item.why or "holds no trial" in item.why
        for item in action.unanswered
    )


def test_a_design_comes_before_its_report(world: EventWorld) -> None:
    with pytest.raises(DesignNotWrittenError, match="a design comes before the data"):
        write_workspace_report(world, written_at=None)


def test_without_interventions_the_report_says_so_and_proposes_a_lottery() -> None:
    call = ExperimentCandidate(
        action="success_call",
        name="Success call",
        eligible="running contracts",
        n_eligible=614,
        cost_per_account=60.0,
        prior_effect=0.03,
        base_rate=0.078,
    )
    report = no_intervention_report(
        as_of=event_world(np.random.default_rng(0), accounts=60).as_of,
        currency="USD",
        candidates=[call],
    )
    assert report.headline.startswith("No interventions were logged.")
    assert report.experiment is not None
    assert report.experiment_sentence is not None
    assert report.experiment_sentence.startswith(f"Draw {report.experiment.k} of 614 eligible")
    assert "USD" in report.experiment_sentence
    nothing = no_intervention_report(as_of=report.as_of, currency="USD", candidates=[])
    assert (nothing.experiment, nothing.experiment_sentence) == (None, None)


def test_no_design_gives_an_empty_report(world: EventWorld) -> None:
    assert (
        write_workspace_report(replace(world, designs=())).headline == "No design was asked about."
    )
