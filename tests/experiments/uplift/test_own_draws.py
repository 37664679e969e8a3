"""What Keepwell's own draws say is evidence of the best kind; what it only recommended is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from causal_worlds import event, frame
from own_draws_world import AS_OF, DAY, START, holdout_world, last_hours_world

from experiments.causal.interventions import (
    ALL_ACTIONS,
    assignments,
    drawn_between_actions,
    logged_interventions,
    propose_designs,
)
from experiments.causal.trials import build_trials
from experiments.uplift.workspace import measure_effects
from registry.playbook.playbook import load_playbook

WORLDS = 6


def measured(world, seed=1):
    return measure_effects(
        world.events,
        world.features,
        as_of=AS_OF,
        actions=load_playbook().by_id,
        rng=np.random.default_rng(seed),
    )


def of(found, action):
    [record] = [one for one in found.effects if one.action_id == action and one.segment is None]
    return record


@pytest.mark.parametrize(
    ("world", "action"),
    [(last_hours_world, "success_call"), (holdout_world, ALL_ACTIONS)],
    ids=["last-hours", "holdout"],
)
def test_the_effect_of_what_was_drawn_is_found_with_grade_a(world, action):
    errors, held = [], 0
    for seed in range(1, WORLDS + 1):
        drawn = world(seed)
        record = of(measured(drawn), action)
        assert (record.grade, record.n) == ("A", drawn.drawn)
        errors.append((record.estimate - drawn.truth) / record.standard_error)
        held += record.low <= drawn.truth <= record.high
    assert held >= WORLDS - 2  # 95 % intervals: three of six miss once in 400
    assert abs(np.mean(errors)) < 3 / np.sqrt(WORLDS)


def test_without_the_odds_the_difference_is_far_off():
    drawn = last_hours_world(1)
    trials = drawn.events.filter(pl.col("kind") == "action.decided", pl.col("quantity") < 1)
    left = drawn.events.filter(pl.col("kind") == "contract.cancelled")["account_id"]
    treated = trials["properties"].str.contains('"offered"').to_numpy()
    stayed = ~trials["account_id"].is_in(left.implode()).to_numpy()
    plain = stayed[treated].mean() - stayed[~treated].mean()
    record = of(measured(drawn), "success_call")
    assert abs(plain - drawn.truth) > 2 * record.standard_error


def test_a_decision_outside_a_draw_does_not_count():
    recommended = [
        event(
            f"a{number}",
            "action.decided",
            START,
            1.0,
            action="success_call",
            chance="none",
            decision_id=f"d{number}",
        )
        for number in range(3)
    ]
    between = [
        event(
            f"b{number}",
            "action.decided",
            START,
            0.5,
            action="success_call",
            chance="between_actions",
            draw_id="actions-2026-W02",
            decision_id=f"e{number}",
        )
        for number in range(2)
    ]
    events = frame([*recommended, *between])
    assert assignments(events).is_empty()
    assert logged_interventions(events) == ()
    assert drawn_between_actions(events) == 2


def test_decisions_of_a_log_that_says_nothing_of_chance_count_as_before():
    events = frame([event("a", "action.decided", START, None, action="success_call")])
    assert assignments(events)["is_treated"].to_list() == [True]


def test_a_draw_counts_once_for_an_account_however_often_it_is_asked_about():
    world = holdout_world(1, accounts=40)
    rows = assignments(world.events)
    assert rows.height == 40
    assert rows["at"].unique().to_list() == [START]
    assert set(rows["action"]) == {ALL_ACTIONS}


def test_the_next_term_is_another_draw():
    rows = [
        event(
            "a",
            "action.decided",
            START + days * DAY,
            0.9,
            action="success_call",
            chance="holdout",
            arm="offered",
            draw_id=draw_id,
            intervention="standing_holdout",
        )
        for days, draw_id in ((0, "first"), (30, "first"), (365, "second"))
    ]
    assert assignments(frame(rows))["at"].to_list() == [START, START + 365 * DAY]


def test_any_action_in_the_follow_up_is_an_exposure_of_those_left_alone():
    world = holdout_world(1, accounts=60)
    [held] = (
        world.events.filter(pl.col("properties").str.contains("held_out"))["account_id"]
        .unique()
        .sort()
        .head(1)
    )
    events = pl.concat(
        [
            world.events,
            frame([event(held, "action.executed", START + 3 * DAY, action="value_plan")]),
        ]
    )
    [design] = propose_designs(events, as_of=AS_OF, snapshots=[START])[:1]
    assert (design.intervention, design.mechanism) == ("standing_holdout", "lottery")
    found = build_trials(events, world.features, design, as_of=AS_OF)
    assert [found.account_ids[i] for i in np.flatnonzero(found.is_exposed)] == [held]


def test_draws_between_actions_are_told_of_and_compared_elsewhere():
    world = last_hours_world(2, accounts=300)
    events = pl.concat(
        [
            world.events,
            frame(
                [
                    event(
                        "a00001",
                        "action.decided",
                        START,
                        0.5,
                        action="tips_email",
                        chance="between_actions",
                        draw_id="actions-2026-W02",
                        decision_id="x",
                    )
                ]
            ),
        ]
    )
    found = measure_effects(
        events,
        world.features,
        as_of=AS_OF,
        actions=load_playbook().by_id,
        rng=np.random.default_rng(1),
    )
    assert any("1 decisions were drawn between actions" in note for note in found.notes)


def test_a_lottery_about_growing_is_measured_on_growing():
    [action] = [one.id for one in load_playbook().actions if one.prior.outcome == "expansion"][:1]
    names = [f"a{number:03d}" for number in range(200)]
    rows = [event(name, "contract.started", START - 200 * DAY, 100.0) for name in names]
    rng = np.random.default_rng(1)
    for number, name in enumerate(names):
        arm = "offered" if number % 2 else "not_offered"
        rows.append(
            event(
                name,
                "action.decided",
                START,
                0.5,
                action=action,
                chance="last_hours",
                intervention=f"last_hours_{action}",
                draw_id="d",
                arm=arm,
            )
        )
        if rng.random() < (0.7 if number % 2 else 0.2):
            rows.append(event(name, "contract.changed", START + 30 * DAY, 150.0))
    features = pl.DataFrame(
        {
            "account_id": names,
            "as_of": [START] * 200,
            "segment": ["small"] * 200,
            "health_score": rng.normal(size=200),
        }
    ).cast({"as_of": pl.Datetime("us", "UTC")})
    record = of(
        measure_effects(frame(rows), features, as_of=AS_OF, actions=load_playbook().by_id, rng=rng),
        action,
    )
    assert (record.grade, record.outcome) == ("A", "expansion")
    assert record.low < 0.5 < record.high
