"""The newest plan is kept for leadership: what an hour is worth, when and by what, or why not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from experiments.planning.plan import BudgetUse, Hours, Plan, make_plan
from experiments.planning.team import Csm, Team
from features.workspace import Workspace
from serving.decisions.saved_plan import (
    NEWEST,
    SavedPlan,
    SavedPlanError,
    build_saved_plan,
    newest_plan,
    save_plan,
)
from serving.pages.views.capacity_view import MOST_LINES, hours_view
from serving.recommendations.plans import offers_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def plan(*prices: float, budget: float = 0.0) -> Plan:
    empty = make_plan(offers_of(()), Team(csms=(Csm(id="ann", hours=1.0),)))
    return replace(
        empty,
        value=1000.0,
        bound=1010.0,
        hours=tuple(
            Hours(id=f"m{n}", available=30.0, planned=29.5, price=price)
            for n, price in enumerate(prices)
        ),
        budgets=(BudgetUse(id="offers", available=500.0, planned=480.0, price=budget),),
    )


def of_monday(*prices: float, budget: float = 0.0) -> SavedPlan:
    return build_saved_plan(
        plan(*prices, budget=budget),
        as_of=MONDAY,
        made_at=MONDAY + timedelta(hours=9),
        made_by="keepwell plan team.toml",
        currency="EUR",
    )


def test_what_was_kept_is_read_and_a_newer_plan_takes_its_place(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    assert newest_plan(place) is None
    save_plan(place, of_monday(1.0))
    newer = of_monday(7.25, 3.0)
    save_plan(place, newer)
    assert newest_plan(place) == newer
    assert [each.name for each in place.plans_dir.iterdir()] == [NEWEST]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, '{"as_of": "soon"}', "\x00"],
    ids=["empty", "cut", "list", "deep", "other", "binary"],
)
def test_a_file_that_is_no_plan_is_an_error_with_what_to_do(text: str, tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    place.plans_dir.mkdir()
    (place.plans_dir / NEWEST).write_text(text, encoding="utf-8")
    with pytest.raises(SavedPlanError, match=r"cannot be read\. Make one again with keepwell plan"):
        newest_plan(place)


def test_a_price_that_is_no_number_is_no_plan(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    save_plan(place, of_monday(1.0))
    content = json.loads((place.plans_dir / NEWEST).read_text(encoding="utf-8"))
    content["limits"][0]["price"] = float("nan")
    (place.plans_dir / NEWEST).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SavedPlanError, match="cannot be read"):
        newest_plan(place)


def test_a_file_larger_than_any_plan_is_not_read(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    place.plans_dir.mkdir()
    (place.plans_dir / NEWEST).write_bytes(b" " * 4_000_001)
    with pytest.raises(SavedPlanError, match="larger than a plan can be"):
        newest_plan(place)


def test_the_dearest_hour_comes_first_with_unit_time_and_source() -> None:
    view = hours_view(of_monday(20.0, 140.5, 0.0, budget=1.5), now=MONDAY)
    assert view.headline == "One more hour of m1 would bring 140 EUR."
    assert [(line.name, line.brings) for line in view.lines] == [
        ("m1", "140 EUR an hour"),
        ("m0", "20 EUR an hour"),
        ("m2", "nothing: no action waits for it"),
        ("Budget offers", "1.50 EUR for each 1 EUR"),
    ]
    assert view.lines[0].used == "29.5 of 30 hours"
    assert view.about == (
        "Plan for the week from 2 March 2026, made 2 March 2026, 09:00 UTC by keepwell plan "
        "team.toml: 0 actions worth 1,000 EUR on a cautious count (99% of the most that any "
        "plan could bring); 0 actions that would pay wait."
    )
    assert not view.is_over


def test_a_week_that_is_over_says_so() -> None:
    week = timedelta(days=7)
    assert not hours_view(of_monday(1.0), now=MONDAY + week - timedelta(seconds=1)).is_over
    assert hours_view(of_monday(1.0), now=MONDAY + week).is_over


def test_hours_for_which_nothing_waits_and_no_plan_are_said_in_words() -> None:
    assert hours_view(of_monday(0.0), now=MONDAY).headline == (
        "One more hour would bring nothing: no action waits for hours."
    )
    assert hours_view(None, now=MONDAY).missing == "No plan has been made in this workspace."
    assert hours_view(None, now=MONDAY, problem="Broken.").missing == "Broken."


def test_of_many_the_dearest_are_shown_and_the_others_counted() -> None:
    view = hours_view(of_monday(*(float(n) for n in range(20))), now=MONDAY)
    assert [line.name for line in view.lines][:2] == ["m19", "m18"]
    assert len(view.lines) == MOST_LINES + 1  # and the budget
    assert view.left_out == "8 others, each worth no more than these."


def test_a_digit_that_is_another_one_is_noticed_and_a_plan_of_before_is_read(tmp_path):
    workspace = Workspace(tmp_path, environment={})
    made = build_saved_plan(plan(3.0), as_of=MONDAY, made_at=MONDAY, made_by="ann", currency="USD")
    save_plan(workspace, made)
    path = workspace.plans_dir / NEWEST
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("1000.0", "1001.0"), encoding="utf-8")
    with pytest.raises(SavedPlanError, match="cannot be read"):
        newest_plan(workspace)
    older = json.loads(whole)
    older.pop("content_digest")
    path.write_text(json.dumps(older), encoding="utf-8")
    assert newest_plan(workspace) == made
