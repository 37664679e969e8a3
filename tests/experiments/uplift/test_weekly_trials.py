from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from causal_worlds import event, event_world, frame

from experiments.causal.trials import NoTrialsError
from experiments.effects.effects_file import read_effects
from experiments.uplift.weekly_trials import LEAST_TREATED, build_weekly_trials
from experiments.uplift.workspace import measure_effects, write_effects
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.playbook.playbook import load_playbook

DAY = timedelta(days=1)
START = datetime(2026, 1, 5, tzinfo=UTC)
AS_OF = START + timedelta(days=200)


def snapshots(accounts, weeks=1, every=7):
    moments = [START + timedelta(days=every * week) for week in range(weeks)]
    return pl.DataFrame(
        [
            {
                "account_id": name,
                "as_of": moment,
                "segment": "large",
                "health_score": float(place % 7),
                "csm": "ann",
            }
            for moment in moments
            for place, name in enumerate(accounts)
        ]
    ).cast({"as_of": pl.Datetime("us", "UTC")})


def company(*more, accounts=120, called=40):
    """Accounts with a contract; the first ones are called a day after the first snapshot."""
    names = [f"a{number:03d}" for number in range(accounts)]
    rows = [event(name, "contract.started", START - 300 * DAY, 100.0) for name in names]
    rows += [
        event(name, "action.executed", START + DAY, action="success_call")
        for name in names[:called]
    ]
    return names, frame([*rows, *more])


def built(names, events, weeks=1, **settings):
    return build_weekly_trials(events, snapshots(names, weeks), as_of=AS_OF, **settings)


def test_a_week_in_which_an_account_is_called_is_a_trial_of_the_call():
    found = built(*company())
    assert found.sample.arms == ("none", "success_call")
    assert np.bincount(found.sample.arm).tolist() == [80, 40]
    assert not found.sample.logged.any()
    assert found.first_start == START
    assert found.followed_to == START + timedelta(days=97)


def test_who_was_called_is_in_no_trial_until_the_wash_out_is_over():
    names, events = company(
        event("a119", "action.executed", START + 30 * DAY, action="success_call")
    )
    found = built(names, events, weeks=5)
    assert found.excluded["washout"] == 40 * 4
    assert built(names, events, weeks=5, washout_days=7).excluded["washout"] == 40


def test_a_call_at_the_very_start_is_of_the_week_and_one_at_its_end_is_not():
    found = built(
        *company(
            event("a100", "action.executed", START, action="success_call"),
            event("a101", "action.executed", START + 7 * DAY, action="success_call"),
        )
    )
    assert np.bincount(found.sample.arm).tolist() == [79, 41]
    assert found.is_exposed.sum() == 1


def test_who_left_within_the_week_is_in_no_arm():
    found = built(
        *company(
            event("a000", "contract.cancelled", START + 3 * DAY, reason="price"),
            event("a100", "contract.cancelled", START + 3 * DAY, reason="price"),
        )
    )
    assert found.excluded["left_in_window"] == 2
    assert np.bincount(found.sample.arm).tolist() == [79, 39]


def test_leaving_after_the_week_is_the_outcome():
    found = built(
        *company(
            event("a000", "contract.cancelled", START + 7 * DAY, reason="price"),
            event("a001", "contract.cancelled", START + 98 * DAY, reason="price"),
        )
    )
    left = found.outcomes["retention"] == 0
    assert left.sum() == 1
    assert found.sample.arm[left].tolist() == [1]


def test_growing_is_more_than_a_tenth():
    found = built(
        *company(
            event("a000", "contract.changed", START + 20 * DAY, 110.0),
            event("a001", "contract.changed", START + 20 * DAY, 109.0),
        )
    )
    assert found.outcomes["expansion"].sum() == 1


def test_two_actions_in_a_week_are_no_trial_of_either():
    found = built(*company(event("a000", "action.executed", START + 2 * DAY, action="discount")))
    assert found.excluded["several"] == 1
    assert found.too_few == {}


def test_what_was_drawn_by_lot_is_left_to_the_lottery():
    lots = [
        event(
            f"a{number:03d}",
            "action.decided",
            START + DAY,
            0.5,
            action="value_plan",
            intervention="pilot",
            arm=arm,
        )
        for number, arm in ((50, "treated"), (51, "control"))
    ]
    done = event("a050", "action.executed", START + DAY, action="value_plan", intervention="pilot")
    found = built(*company(*lots, done))
    assert found.excluded["several"] == 1
    assert "value_plan" not in found.sample.arms


def test_a_rare_action_is_left_out_and_counted():
    rare = [
        event(f"a{number:03d}", "action.executed", START + DAY, action="discount")
        for number in range(60, 60 + LEAST_TREATED - 1)
    ]
    found = built(*company(*rare))
    assert found.too_few == {"discount": LEAST_TREATED - 1}
    assert found.sample.arms == ("none", "success_call")


def test_being_called_later_is_known_of_the_untouched():
    found = built(
        *company(event("a100", "action.executed", START + 40 * DAY, action="success_call"))
    )
    assert found.is_exposed.sum() == 1


def test_only_what_was_known_is_seen():
    names, events = company()
    late = events.with_columns(
        pl.when(pl.col("kind") == "action.executed")
        .then(pl.lit(AS_OF))
        .otherwise(pl.col("recorded_at"))
        .alias("recorded_at")
    )
    with pytest.raises(NoTrialsError, match="No action that people decided about"):
        built(names, late)


def test_trials_open_at_most_once_a_week():
    names, events = company(
        event("a119", "action.executed", START + 20 * DAY, action="success_call")
    )
    daily = build_weekly_trials(
        events, snapshots(names, weeks=15, every=1), as_of=AS_OF, washout_days=0
    )
    weekly = built(names, events, weeks=3, washout_days=0)
    assert len(daily.sample) == len(weekly.sample)


def test_a_log_with_too_little_says_how_much_there_is():
    with pytest.raises(
        NoTrialsError, match="117 usable weeks without an action and 3 of 'success_call'"
    ):
        built(*company(called=3))


def measured(world, **settings):
    return measure_effects(
        world.events,
        world.features,
        as_of=world.as_of,
        rng=np.random.default_rng(1),
        actions=load_playbook().by_id,
        **settings,
    )


@pytest.fixture(scope="module")
def both():
    world = event_world(np.random.default_rng(3), accounts=600)
    return world, measured(world)


def test_a_lottery_speaks_before_judgement(both):
    world, found = both
    overall = found.effects[0]
    assert (overall.action_id, overall.segment, overall.grade) == ("success_call", None, "A")
    assert overall.source == "the lottery 'pilot'"
    assert abs(overall.estimate + world.truth["pilot"]) < 3 * overall.standard_error
    assert {record.segment for record in found.effects} == {None, "large", "small"}


def test_judgement_alone_is_measured_by_weekly_trials():
    world = event_world(np.random.default_rng(3), accounts=600, programmes=("judged",))
    found = measured(world)
    overall = found.effects[0]
    assert overall.source == "weekly trials of what people chose"
    assert overall.grade in ("C", "E")
    assert (overall.grade == "C") == all(
        check.verdict != "failed" for check in found.gradings["success_call"].checks
    )
    assert overall.low > 0


def test_an_outreach_with_a_month_of_follow_up_is_measured_over_it():
    world = event_world(np.random.default_rng(3), accounts=600, programmes=("judged",))
    found = measured(world, horizon_days=30)
    overall = found.effects[0]
    assert overall.horizon_days == 30
    assert overall.source == "weekly trials of what people chose, followed for 30 days"


def test_where_nothing_was_logged_it_is_said(both):
    world, _ = both
    quiet = world.events.filter(~pl.col("kind").str.starts_with("action."))
    found = measure_effects(
        quiet,
        world.features,
        as_of=world.as_of,
        rng=np.random.default_rng(1),
        actions=load_playbook().by_id,
    )
    assert found.effects == ()
    assert "Log actions as they are done" in found.notes[0]


def test_the_file_is_what_the_policy_reads(both, tmp_path):
    _, found = both
    (tmp_path / "effects.json").write_text(json.dumps(found.to_dict()), encoding="utf-8")
    read = read_effects(tmp_path)
    assert read.effects == found.effects
    assert read.segment_attribute == "segment"


def test_a_workspace_without_snapshots_says_what_to_do(tmp_path):
    workspace = Workspace(tmp_path)
    SnapshotStore(workspace.snapshots_dir)
    with pytest.raises(NoTrialsError, match="There is no snapshot from before 2026-07-24"):
        write_effects(workspace, as_of=AS_OF)
