"""How reasons are shown: bars to both sides of a line, in three lists."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from registry.outcomes import OutcomeWords
from serving.pages.views.charts import reason_bar
from serving.scoring.explanations import Reason, Reasons
from serving.text_format import NOT_KNOWN, inside_sentence, percent, signed

STANDS_OUT = 0.1
"""Fewer points than this read as none."""

LISTS = (
    ("signals", "What we see", "What the account does and meets."),
    ("levers", "What an action can move", "Start here when you plan a call."),
    ("context", "Circumstances", "Good to know; nobody can change them."),
)


@dataclass(frozen=True, kw_only=True)
class ReasonLine:
    """One reason with its bar."""

    text: str
    comparison: str
    also: str
    points: str
    bar: Markup
    direction: str


@dataclass(frozen=True, kw_only=True)
class ReasonList:
    """One of the three lists."""

    title: str
    note: str
    lines: tuple[ReasonLine, ...]


@dataclass(frozen=True, kw_only=True)
class ReasonsView:
    """The reasons of one score as a picture."""

    lists: tuple[ReasonList, ...]
    summary: str
    less_label: str
    more_label: str


def reasons_view(reasons: Reasons, probability: float | None, about: OutcomeWords) -> ReasonsView:
    """Reasons as bars to both sides of one line."""
    everything = [*reasons.signals, *reasons.levers, *reasons.context]
    widest = max((abs(r.points) for r in everything), default=0.0)
    found = []
    for name, title, note in LISTS:
        lines = tuple(_reason_line(r, widest) for r in getattr(reasons, name))
        if lines:
            found.append(ReasonList(title=title, note=note, lines=lines))
    if reasons.start is None or probability is None:
        lost = sum(r.points for r in everything)
        summary = (
            f"The health formula takes away {lost:.0f} of 100 points in all. Longer bars "
            f"take away more."
            if everything
            else "Nothing takes points away."
        )
        return ReasonsView(
            lists=tuple(found), summary=summary, less_label="", more_label="takes points away"
        )
    shown = sum(r.points for r in everything)
    rest = reasons.rest or 0.0
    smaller = f", smaller things by {signed(rest)}" if abs(rest) >= STANDS_OUT else ""
    summary = (
        f"The model starts every account at {percent(reasons.start / 100)}. What is listed here "
        f"moves this one by {signed(shown)} points{smaller}, to {percent(probability)}. These go "
        f"with {about.gerund} among past accounts; that does not show that they cause it."
    )
    return ReasonsView(
        lists=tuple(found),
        summary=summary,
        less_label=f"less likely to {about.verb}",
        more_label=f"more likely to {about.verb}",
    )


def _reason_line(reason: Reason, widest: float) -> ReasonLine:
    unit = "points" if reason.points_unit == "percentage points" else "health points"
    known = [text for text in map(inside_sentence, reason.also) if not text.startswith(NOT_KNOWN)]
    also = "; ".join(known)
    return ReasonLine(
        text=reason.text,
        comparison=reason.comparison or "",
        also=f"also {also}" if also else "",
        points=signed(reason.points, f" {unit}"),
        bar=reason_bar(reason.points, widest),
        direction="toward" if reason.is_risk else "away",
    )
