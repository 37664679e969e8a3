"""How an account came to where it is: what changed since a snapshot, its weeks of use, its days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from features.catalogue.feature import AnyFeature
from features.catalogue.parts import whole_of
from features.health.score import split_change
from serving.leaving_words import words_of
from serving.pages.views.charts import columns_picture
from serving.pages.views.reasons_view import STANDS_OUT
from serving.scoring.expected_money import MONTHS_PER_YEAR
from serving.scoring.explanations import fact_text
from serving.scoring.score import AccountScore
from serving.text_format import day, inside_sentence, money, percent, plain, plural, signed
from serving.timeline.days import TimelineDay, WeekOfUse

MOST_CHANGES = 5
"""The most reasons whose change is told."""


@dataclass(frozen=True, kw_only=True)
class ChangeLine:
    """One thing that moved since the last snapshot."""

    what: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DayView:
    """One day of the timeline."""

    title: str
    notable: tuple[str, ...]
    routine: str


def change_lines(
    before: AccountScore, now: AccountScore, catalogue: Mapping[str, AnyFeature]
) -> tuple[ChangeLine, ...]:
    """What moved since an earlier moment, both scored with the models of today."""
    lines = []
    old, new = before.churn_probability_90d, now.churn_probability_90d
    if old is not None and new is not None and before.source == now.source:
        lines.append(
            ChangeLine(
                what=words_of(now.leaving).chance,
                text=f"still {percent(new)}"
                if percent(old) == percent(new)
                else f"{percent(old)} → {percent(new)} ({signed(100 * (new - old))} points)",
            )
        )
    if before.health.score is not None and now.health.score is not None:
        was, is_now = f"{before.health.score:.0f}", f"{now.health.score:.0f}"
        text = f"still {is_now}" if was == is_now else f"{was} → {is_now}"
        if before.health.formula_version == now.health.formula_version:
            titles = {part.name: part.title for part in now.health.components}
            moved = [
                f"{titles[name]} {signed(by)}"
                for name, by in split_change(before.health, now.health)[:3]
                if abs(by) >= STANDS_OUT
            ]
            text += f" ({', '.join(moved)})" if moved else ""
        lines.append(ChangeLine(what="Health", text=text))
    old_mrr, new_mrr = before.features.get("mrr"), now.features.get("mrr")
    if old_mrr is not None and new_mrr is not None and old_mrr != new_mrr:
        if now.leaving.is_no_use:
            old_mrr, new_mrr = MONTHS_PER_YEAR * old_mrr, MONTHS_PER_YEAR * new_mrr
        lines.append(
            ChangeLine(
                what="Bought in 365 days" if now.leaving.is_no_use else "Monthly revenue",
                text=f"{money(old_mrr, now.currency)} → {money(new_mrr, now.currency)}",
            )
        )
    return (*lines, *_changed_reasons(before, now, catalogue))


def _changed_reasons(
    before: AccountScore, now: AccountScore, catalogue: Mapping[str, AnyFeature]
) -> tuple[ChangeLine, ...]:
    """The reasons whose number moved, the largest reasons first."""
    reasons = [*now.reasons.signals, *now.reasons.levers, *now.reasons.context]
    lines = []
    for reason in sorted(reasons, key=lambda r: -abs(r.points)):
        if reason.feature not in catalogue:
            continue
        was, text = (_text_of(reason.feature, one.features, catalogue) for one in (before, now))
        if was != text:
            lines.append(
                ChangeLine(
                    what=reason.title or plain(reason.theme).capitalize(),
                    text=f"{text}; before: {inside_sentence(was)}",
                )
            )
    return tuple(lines[:MOST_CHANGES])


def _text_of(
    name: str, features: Mapping[str, float | None], catalogue: Mapping[str, AnyFeature]
) -> str:
    whole = whole_of(name)
    of = None if whole is None else features.get(whole.feature)
    return fact_text(name, features.get(name), of, catalogue)


def use_picture(weeks: Sequence[WeekOfUse]) -> Markup | None:
    """A column for every week in which the account was known; None without any use."""
    if not any(week.uses for week in weeks):
        return None
    return columns_picture([w.uses for w in weeks], title=use_note(weeks))


def use_note(weeks: Sequence[WeekOfUse]) -> str:
    """The last week beside a usual one, counting only weeks in which the account was known."""
    uses = [week.uses for week in weeks if week.uses is not None]
    if not uses:
        return "Nothing is known of the use of the product yet."
    which = f"the last {plural(len(weeks), 'week')}"
    if len(uses) < len(weeks):
        which = f"the {plural(len(uses), 'week')} since the account is known,"
    if not any(uses):
        return f"No use of the product is known in {which.rstrip(',')}."
    usual = f", {sorted(uses)[len(uses) // 2]:,} in a usual week" if len(uses) > 1 else ""
    counted = "Sessions" if weeks[-1].are_sessions else "Feature uses"
    return (
        f"{counted} a week, {which} up to {day(_midnight(weeks[-1]))}: "
        f"{uses[-1]:,} in the last week{usual}."
    )


def _midnight(week: WeekOfUse) -> datetime:
    return datetime(week.until.year, week.until.month, week.until.day, tzinfo=UTC)


def day_view(found: TimelineDay) -> DayView:
    """A day of the timeline: what is notable on lines of its own, use in one line."""
    routine = [event.text for event in found.routine]
    shown = "; ".join(routine[:4])
    if len(routine) > 4:
        shown += f"; and {plural(len(routine) - 4, 'other kind')} of use"
    return DayView(
        title=f"{found.on:%-d %B %Y}", notable=tuple(e.text for e in found.notable), routine=shown
    )
