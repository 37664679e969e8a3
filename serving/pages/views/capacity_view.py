"""What one more hour would bring, as a block of the page of reports. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from serving.decisions.saved_plan import SavedLimit, SavedPlan
from serving.text_format import day, instant, money, number, percent, plural

PLAN_WEEK = timedelta(days=7)
"""How long a plan lasts."""
MOST_LINES = 12
NOTHING_MORE = "nothing: no action waits for it"


@dataclass(frozen=True, kw_only=True)
class LimitLine:
    """One CSM, pool or budget."""

    name: str
    used: str
    brings: str


@dataclass(frozen=True, kw_only=True)
class HoursView:
    """The newest plan for leadership; ``missing`` says why there is nothing to show."""

    missing: str
    headline: str
    about: str
    is_over: bool
    lines: tuple[LimitLine, ...]
    left_out: str


def hours_view(plan: SavedPlan | None, *, now: datetime, problem: str = "") -> HoursView:
    """What one more hour of everybody would bring, by the newest plan, dearest first."""
    if plan is None:
        return HoursView(
            missing=problem or "No plan has been made in this workspace.",
            headline="",
            about="",
            is_over=False,
            lines=(),
            left_out="",
        )
    ordered = sorted(plan.limits, key=lambda each: (each.kind != "hours", -each.price, each.id))
    shown = [*(each for each in ordered if each.kind == "hours")][:MOST_LINES]
    shown += [*(each for each in ordered if each.kind == "budget")][:MOST_LINES]
    rest = len(ordered) - len(shown)
    return HoursView(
        missing="",
        headline=_headline(plan),
        about=(
            f"Plan for the week from {day(plan.as_of)}, made {instant(plan.made_at)} by "
            f"{plan.made_by}: {plural(plan.actions, 'action')} worth "
            f"{money(plan.value, plan.currency)} on a cautious count "
            f"({percent(plan.share_of_bound)} of the most that any plan could bring); "
            f"{plural(plan.waiting, 'action')} that would pay "
            f"{'waits' if plan.waiting == 1 else 'wait'}."
        ),
        is_over=now - plan.as_of >= PLAN_WEEK,
        lines=tuple(_line(each, plan.currency) for each in shown),
        left_out=f"{plural(rest, 'other')}, each worth no more than these." if rest else "",
    )


def _headline(plan: SavedPlan) -> str:
    hours = [each for each in plan.limits if each.kind == "hours"]
    scarce = max(hours, key=lambda each: each.price, default=None)
    if scarce is None or scarce.price <= 0:
        return "One more hour would bring nothing: no action waits for hours."
    return f"One more hour of {scarce.id} would bring {money(scarce.price, plan.currency)}."


def _line(limit: SavedLimit, currency: str) -> LimitLine:
    if limit.kind == "hours":
        return LimitLine(
            name=limit.id,
            used=f"{number(limit.planned)} of {number(limit.available)} hours",
            brings=f"{money(limit.price, currency)} an hour" if limit.price > 0 else NOTHING_MORE,
        )
    return LimitLine(
        name=f"Budget {limit.id}",
        used=f"{money(limit.planned, currency)} of {money(limit.available, currency)}",
        brings=(
            f"{money(limit.price, currency)} for each {money(1.0, currency)}"
            if limit.price > 0
            else NOTHING_MORE
        ),
    )
