"""What a workspace says about chance: nothing unless asked, and refused if it cannot be."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from experiments.planning.team import Pool, Team
from experiments.randomisation.holdout import HoldoutRule
from experiments.randomisation.keyed_draw import Exploration
from registry.playbook.actions import Role
from registry.playbook.playbook import load_playbook
from serving.api.serializers import recommendation_answer
from serving.decisions.exploration_settings import (
    CHANCE_FILE,
    ExplorationSettingsError,
    read_exploration_settings,
    week_of,
)
from serving.pages.views.actions_view import actions_intro
from serving.recommendations.plans import plan_as_of
from serving.recommendations.snapshot import decisions_as_of
from serving.settings import ServiceSettings, service_settings

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "let-chance-decide.md"
SECRET = "ab" * 32
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
ALL = 'key_id = "2026"\nexplore = true\nlast_hours = true\nholdout_share = 0.5\noff = ["public"]\n'


def rules(tmp_path, text=ALL, secret=SECRET):
    (tmp_path / CHANCE_FILE).write_text(text, encoding="utf-8")
    return read_exploration_settings(tmp_path, secret)


def score(account_id="acme", *, segment="smb", mrr=500.0, renewal=90.0):
    return SimpleNamespace(
        account_id=account_id,
        as_of=NOW,
        attributes={"segment": segment},
        features={"mrr": mrr, "days_to_renewal": renewal},
    )


def test_without_a_file_or_without_a_draw_nothing_is_drawn(tmp_path):
    assert read_exploration_settings(tmp_path, SECRET) is None
    assert rules(tmp_path, 'key_id = "2026"\n', None) is None


def test_what_is_asked_for_is_drawn_and_the_same_all_week(tmp_path):
    said = rules(tmp_path)
    chance = said.chance_of(score(), NOW)
    assert chance.lottery_id == "actions-2026-W10"
    assert said.chance_of(score(), NOW + timedelta(days=6)) == chance
    assert said.chance_of(score(), NOW + timedelta(days=7)) != chance
    lottery = said.capacity_lottery([score(), score("b", segment="public")], NOW)
    assert lottery.closeness == {"acme": 0.1, "b": 0.0}
    assert SECRET not in repr(said)


def test_a_week_over_the_end_of_a_year_is_one_week():
    new_year = datetime(2027, 1, 1, tzinfo=UTC)
    assert week_of(new_year) == week_of(new_year - timedelta(days=1)) == "2026-W53"


def test_what_is_not_asked_for_is_not_drawn(tmp_path):
    said = rules(tmp_path, 'key_id = "2026"\nholdout_share = 0.1\n')
    assert said.chance_of(score(), NOW) is None
    assert said.capacity_lottery([score()], NOW) is None
    assert (
        rules(tmp_path, 'key_id = "2026"\nexplore = true\n').standing_of(score(), NOW, NOW) is None
    )


def test_an_account_is_held_out_until_its_renewal(tmp_path):
    said, start = rules(tmp_path), NOW - timedelta(days=275)
    held = [s for n in range(60) if (s := said.standing_of(score(f"a{n}"), start, NOW)).is_held_out]
    assert 10 < len(held) < 50
    assert held[0].until == NOW + timedelta(days=90)
    assert said.standing_of(score(renewal=None), start, NOW).until is None
    assert said.standing_of(score(segment="public"), start, NOW) is None
    assert said.standing_of(score(), None, NOW) is None


def test_the_file_of_the_page_asks_for_what_is_usual_but_for_its_draws(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [block] = [block for block in blocks if "key_id" in block]
    assert {line.split(" = ")[0] for line in block.splitlines() if line} == {
        "key_id",
        "explore",
        "last_hours",
        "lotteries",
        "holdout_share",
        "off",
        "holdout_none_above_mrr",
        *(field.name for field in fields(Exploration)),
    }
    said = rules(tmp_path, block)
    assert said.exploration == Exploration(off=("public",))
    assert said.holdout == HoldoutRule(share=0.05, off=("public",))


def test_how_far_chance_goes_with_large_accounts_is_set_beside_it(tmp_path):
    said = rules(
        tmp_path,
        'key_id = "a"\nexplore = true\nlast_hours = true\nholdout_share = 0.2\n'
        'off = ["emea"]\nsegment_attribute = "region"\ncloseness = 0.4\n'
        "whole_up_to_mrr = 50\nnone_above_mrr = 200\nmost_actions = 2\n"
        "holdout_none_above_mrr = 80",
    )
    assert said.exploration == Exploration(
        closeness=0.4,
        whole_up_to_mrr=50,
        none_above_mrr=200,
        most_actions=2,
        off=("emea",),
        segment_attribute="region",
    )
    accounts = [
        score("small", mrr=50.0),
        score("larger", mrr=100.0),
        score("large", mrr=201.0),
        score("off", mrr=50.0),
    ]
    accounts[3].attributes["region"] = "emea"
    closeness = said.capacity_lottery(accounts, NOW).closeness
    assert closeness == {"small": 0.4, "larger": 0.2, "large": 0.0, "off": 0.0}
    assert [said.standing_of(one, NOW, NOW) is not None for one in accounts] == [
        True,
        False,
        False,
        False,
    ]
    assert said.chance_of(accounts[0], NOW).exploration == said.exploration


def test_a_segment_that_no_account_has_is_warned_of(own_workspace, store, make_client, caplog):
    (own_workspace.root / CHANCE_FILE).write_text(
        'key_id = "a"\nexplore = true\noff = ["small", "publc"]\n', encoding="utf-8"
    )
    with caplog.at_level("WARNING", logger="keepwell.serving"):
        make_client(own_workspace, store, lottery_key=SECRET).app.state.service.refresh()
    [said] = [one.getMessage() for one in caplog.records if CHANCE_FILE in one.getMessage()]
    assert said == (
        "chance.toml leaves out segments that no account has now: publc. Where one is "
        "misspelt, its accounts are drawn."
    )


@pytest.mark.parametrize("segment", ["small", "mid"])
def test_nothing_is_drawn_in_a_segment_that_is_off(
    shared_workspace, store, as_of, tmp_path, segment
):
    said = rules(tmp_path, ALL.replace("public", segment) + "closeness = 0.9\n")
    by_segment = {"small": [], "mid": []}
    for one in decisions_as_of(shared_workspace, store, as_of, rules=said):
        by_segment[one.score.attributes["segment"]].append(one.recommendation)
    assert {(a.lot, a.standing, a.propensity) for a in by_segment.pop(segment)} == {
        (None, None, 1.0)
    }
    [others] = by_segment.values()
    assert any(a.lot for a in others)
    assert any(a.standing for a in others)


@pytest.mark.parametrize(
    ("text", "secret", "message"),
    [
        (ALL, None, "KEEPWELL_LOTTERY_KEY is not set"),
        (ALL, "xy" * 32, "KEEPWELL_LOTTERY_KEY is not hexadecimal"),
        (ALL, "ab" * 31, "has 31 bytes"),
        ("key_id = ", SECRET, "cannot be read"),
        ("explore = true", SECRET, "lacks `key_id`"),
        ('key_id = "a"\nluck = 1', SECRET, r"unknown key\(s\) luck"),
        ('key_id = "a"\nholdout_share = 0.9', SECRET, r"chance\.toml: The holdout .* at most 0\.5"),
        (
            'key_id = "a"\nholdout_share = -0.1',
            SECRET,
            r"`holdout_share` is -0\.1; it has to be at least 0",
        ),
        ('key_id = "a"\noff = "public"', SECRET, "`off` has to be a list of texts"),
        ('key_id = "a"\ncloseness = 1', SECRET, r"chance\.toml: The closeness .* below 1"),
        (
            'key_id = "a"\nwhole_up_to_mrr = 9e9',
            SECRET,
            "Give two amounts above 0, the first at most",
        ),
        (
            'key_id = "a"\nnone_above_mrr = 500',
            SECRET,
            r"chance\.toml: .* whole_up_to_mrr = 1000\.0 and ends at none_above_mrr = 500\.0 \(left out",
        ),
        (
            'key_id = "a"\nnone_above_mrr = inf',
            SECRET,
            "`none_above_mrr` is inf, which is no finite",
        ),
        (
            'key_id = "a"\nwhole_up_to_mrr = inf\nnone_above_mrr = inf',
            SECRET,
            "`whole_up_to_mrr` is inf, which is no finite number",
        ),
        ('key_id = "a"\nmost_actions = inf', SECRET, "`most_actions` is inf, which is no finite"),
        (
            'key_id = "a"\nholdout_share = 0.1\nholdout_none_above_mrr = inf',
            SECRET,
            r"`holdout_none_above_mrr` is inf.*such as 1e12\.",
        ),
        ('key_id = "a"\nmost_actions = 1', SECRET, "`most_actions` is 1; it has to be at least 2"),
        (
            'key_id = "a"\nmost_actions = 2.5',
            SECRET,
            r"`most_actions` is 2\.5; give a whole number",
        ),
        ('key_id = "a"\nexplore = "yes"', SECRET, "`explore` has to be true or false"),
    ],
    ids=[
        "no key",
        "no hex",
        "short",
        "no toml",
        "no id",
        "unknown",
        "most",
        "negative",
        "no list",
        "close",
        "amounts",
        "one amount",
        "no end",
        "no ends",
        "any actions",
        "anybody",
        "one action",
        "half an action",
        "no flag",
    ],
)
def test_rules_that_can_not_be_used_are_refused(tmp_path, text, secret, message):
    with pytest.raises(ExplorationSettingsError, match=message):
        rules(tmp_path, text, secret)


def test_the_key_comes_from_the_environment_and_never_shows():
    settings = service_settings({"KEEPWELL_LOTTERY_KEY": SECRET})
    assert settings.lottery_key == SECRET
    assert SECRET not in repr(settings)
    assert ServiceSettings().lottery_key is None


# -- in the decisions of a workspace -------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(shared_workspace, store, as_of, tmp_path_factory):
    said = rules(tmp_path_factory.mktemp("chance"), ALL.replace('off = ["public"]', "off = []"))
    return decisions_as_of(shared_workspace, store, as_of, rules=said)


def test_every_decision_says_the_propensity_of_what_came_first(drawn):
    for one in drawn:
        answer = one.recommendation
        assert one.decision.propensity == answer.propensity
        assert one.decision.action == answer.ranked[0].action_id
        by_chance = answer.lot is not None or (
            answer.standing is not None and answer.otherwise != one.decision.action
        )
        assert (answer.propensity < 1) is by_chance


def test_some_are_held_out_and_left_alone(drawn):
    standings = [one for one in drawn if one.recommendation.standing]
    held = [one for one in standings if one.recommendation.standing.is_held_out]
    assert 0 < len(held) < len(standings)
    owed = {
        action.id
        for action in load_playbook().actions
        if action.service_message or action.promise == "plan"
    }
    assert {one.decision.action for one in held} <= {"do_nothing", *owed}
    assert any(w["reason"] == "held_out" for one in held for w in one.decision.withheld)


def test_without_rules_nothing_is_drawn(shared_workspace, store, as_of):
    assert {one.decision.propensity for one in decisions_as_of(shared_workspace, store, as_of)} == {
        1.0
    }


def test_a_plan_is_drawn_with_the_same_rules(shared_workspace, store, as_of, tmp_path):
    team = Team(pools=(Pool(id="all", hours=2.0, skills=get_args(Role)),))
    wide = rules(tmp_path, 'key_id = "2026"\nlast_hours = true\n')
    plan = plan_as_of(shared_workspace, store, as_of, team, rules=wide)
    plain = plan_as_of(shared_workspace, store, as_of, team)
    assert plan.actions.height == plain.actions.height
    assert plain.lots == ()
    in_lots = {name for lot in plan.lots for name in lot.draw.drawn}
    assert in_lots == set(plan.actions.filter(plan.actions["propensity"] < 1)["account_id"])


def test_the_answer_says_what_was_drawn(drawn):
    for one in drawn:
        answer = recommendation_answer(one, one.decision, most=3)
        said, meant = answer.holdout, one.recommendation.standing
        assert (said is None) is (meant is None)
        if said is not None:
            assert (said.is_held_out, said.until) == (meant.is_held_out, meant.until)
            assert said.otherwise == one.recommendation.otherwise
        lot = one.recommendation.lot
        assert (answer.lot is None) is (lot is None)
        assert lot is None or answer.lot.drawn == [answer.action]
        assert sum(answer.dropped.values()) == len(answer.withheld)
    assert any(one.recommendation.lot for one in drawn)


def test_the_page_says_that_a_lot_has_spoken(drawn):
    for one in drawn:
        answer = one.recommendation
        words = actions_intro(answer)
        is_held_out = answer.standing is not None and answer.standing.is_held_out
        assert words.startswith("Drawn by lot to be left alone until") is is_held_out
        assert ("comes first was drawn by lot." in words) is (answer.lot is not None)
