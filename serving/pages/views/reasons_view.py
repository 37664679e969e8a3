"""How reasons are shown: each theme with its bar, and under it the facts that say so."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from features.health.score import Health
from registry.outcomes import CHURN, Outcome
from registry.promotion.reason_evidence import FirstReasonRecord
from serving.pages.views.charts import reason_bar
from serving.pages.views.figures import AT_RENEWAL, figure, words
from serving.scoring.explanations import Evidence, Reason, Reasons
from serving.scoring.score import TIER_HORIZON_DAYS
from serving.text_format import percent, signed

STANDS_OUT = 0.1
"""Fewer points than this read as none."""

LEAST_REST = 0.1
"""Facts that are not listed are summed up where they are more than this share of their theme."""


ALIKE = 2.0
"""Past accounts are like this one where their mean chance is within this factor of its own."""


@dataclass(frozen=True, kw_only=True)
class FactLine:
    """A fact under a reason, with its own part of the points."""

    text: str
    comparison: str
    points: str


@dataclass(frozen=True, kw_only=True)
class ReasonLine:
    """One reason with its bar."""

    title: str
    points: str
    bar: Markup
    direction: str
    can_be_moved: bool
    facts: tuple[FactLine, ...]
    record: str  # what came of accounts that had it first; "" where that is not known


@dataclass(frozen=True, kw_only=True)
class ReasonList:
    """The reasons that point the same way."""

    title: str
    lines: tuple[ReasonLine, ...]


@dataclass(frozen=True, kw_only=True)
class ReasonsView:
    """The reasons of one score as a picture."""

    lists: tuple[ReasonList, ...]
    summary: str
    nothing: str  # why nothing is listed; "" where something is
    other: str  # what is not listed adds; "" where it is nothing
    less_label: str
    more_label: str


def reasons_view(
    reasons: Reasons, probability: float | None, outcome: Outcome, *, of: str, health: Health
) -> ReasonsView:
    """Reasons as bars to both sides of one line.

    Args:
        reasons: of one score.
        probability: that they explain.
        outcome: what is predicted.
        of: the account.
        health: of the account, which is explained where there is no probability.
    """
    about = outcome.words
    if reasons.start is None or probability is None:
        return _health_view(reasons, _widest(reasons), health)
    chance = figure(f"{outcome.name}_probability_90d", of, percent(probability))
    moved = (
        words(_moved(reasons), shown=signed(_shown(reasons)), chance=chance, gerund=about.gerund)
        if reasons.every
        else words("This one has {chance}.", chance=chance)
    )
    return _probability_view(
        reasons,
        outcome,
        probability,
        _start(reasons.start / 100, reasons.base_rate, outcome, of) + moved,
    )


def renewal_reasons_view(
    reasons: Reasons, probability: float, outcome: Outcome, *, of: str
) -> ReasonsView:
    """The reasons of the chance to leave when the term ends, in the same way.

    Args:
        reasons: of that chance.
        probability: that they explain.
        outcome: leaving.
        of: the account.
    """
    usual = (
        "With a contract like this, an account that is average in everything else leaves at its "
        "renewal with a chance of {start}"
    )
    return _probability_view(
        reasons,
        outcome,
        probability,
        words(
            usual + (f". {_moved(reasons)}" if reasons.every else ", and this one with {chance}."),
            start=figure("churn_start_at_renewal", of, percent((reasons.start or 0.0) / 100)),
            shown=signed(_shown(reasons)),
            chance=figure(AT_RENEWAL, of, percent(probability)),
            gerund=outcome.words.gerund,
        ),
    )


def _moved(reasons: Reasons) -> str:
    """What the reasons that are listed do to the chance, to be filled in."""
    what = (
        "moves this one by {shown} points, to {chance} with what is not listed"
        if round(_shown(reasons), 1)
        else "evens out; with what is not listed this one has {chance}"
    )
    return (
        f"What is listed here {what}. These go with {{gerund}} among past accounts; that does not "
        f"show that they cause it."
    )


def _widest(reasons: Reasons) -> float:
    return max((abs(r.points) for r in reasons.every), default=0.0)


def _shown(reasons: Reasons) -> float:
    return sum(r.points for r in reasons.every)


def _probability_view(
    reasons: Reasons, outcome: Outcome, probability: float, summary: Markup
) -> ReasonsView:
    about, everything, widest = outcome.words, reasons.every, _widest(reasons)
    rest = reasons.rest or 0.0
    sides = (
        (f"What goes with {about.gerund}", [r for r in everything if r.is_risk]),
        ("What speaks against it", [r for r in everything if not r.is_risk]),
    )
    return ReasonsView(
        lists=tuple(
            ReasonList(
                title=title,
                lines=tuple(_line(r, reasons, widest, outcome, probability) for r in side),
            )
            for title, side in sides
            if side
        ),
        summary=summary,
        nothing=""
        if everything
        else "Nothing about this account stands out from the others."
        if abs(rest) < STANDS_OUT
        else "No single reason is listed: each is small, or past accounts do not bear it out.",
        other=(
            f"Other signals ({reasons.others}): {signed(rest, ' points')}"
            if reasons.others and abs(rest) >= STANDS_OUT
            else f"What is not known: {signed(rest, ' points')}"
            if abs(rest) >= STANDS_OUT
            else ""
        ),
        less_label=f"less likely to {about.verb}",
        more_label=f"more likely to {about.verb}",
    )


def _start(start: float, base_rate: float | None, outcome: Outcome, of: str) -> Markup:
    """Where the reasons start, and how that differs from the average of all accounts."""
    alike = figure(f"{outcome.name}_start_90d", of, percent(start))
    sentence = words("An account that is average in everything has {start}", start=alike)
    if base_rate is None or percent(start) == percent(base_rate / 100):
        return sentence + ". "
    which, moves = ("high", "raise") if start < base_rate / 100 else ("low", "lower")
    return sentence + words(
        "; over all accounts the average is {average}, because a few {which} chances {moves} it. ",
        average=figure(f"{outcome.name}_base_rate_90d", of, percent(base_rate / 100)),
        which=which,
        moves=moves,
    )


def _health_view(reasons: Reasons, widest: float, health: Health) -> ReasonsView:
    lost = sum(r.points for r in reasons.every)
    lines = tuple(_line(r, reasons, widest, CHURN) for r in reasons.every)
    return ReasonsView(
        lists=(ReasonList(title="What takes points away", lines=lines),) if lines else (),
        summary=(
            f"The health formula takes away {lost:.0f} of 100 points in all. Longer bars "
            f"take away more."
            if lines
            else health.explanation
            if health.score is None
            else "Nothing takes points away."
        ),
        nothing="",
        other="",
        less_label="",
        more_label="takes points away",
    )


def _line(
    reason: Reason,
    reasons: Reasons,
    widest: float,
    outcome: Outcome,
    probability: float | None = None,
) -> ReasonLine:
    return ReasonLine(
        title=reason.title or reason.text,
        points=signed(reason.points, " points")
        if reason.points_unit == "percentage points"
        else signed(-reason.points, " health points"),  # the formula states what is missing of 100
        bar=reason_bar(reason.points, widest),
        direction="toward" if reason.is_risk else "away",
        can_be_moved=reason in reasons.levers,
        facts=(*map(_fact, reason.evidence), *_smaller_facts(reason)),
        record=_record(reason.record, outcome, probability),
    )


def _fact(one: Evidence) -> FactLine:
    return FactLine(
        text=one.text, comparison=one.comparison or "", points=signed(one.points, " points")
    )


def _smaller_facts(reason: Reason) -> tuple[FactLine, ...]:
    """What the theme gets from facts that are not listed, where the list is far from its points."""
    rest = reason.points - sum(one.points for one in reason.evidence)
    if not reason.evidence or abs(rest) < max(STANDS_OUT, LEAST_REST * abs(reason.points)):
        return ()
    return (
        FactLine(text="Its other facts together", comparison="", points=signed(rest, " points")),
    )


def _record(record: FirstReasonRecord | None, outcome: Outcome, probability: float | None) -> str:
    """What came of the past accounts that had a reason first, and what the model had said of them.

    Nothing is said where it had given them another chance than this account: 5 of 75 beside 26%
    would read as a contradiction, and is one of other contracts.

    >>> _record(FirstReasonRecord(accounts=40, came=6, expected=4.2), CHURN, 0.15)
    'Of 40 past accounts with this as their first reason, 6 left within 90 days; the model had \
expected 4'
    """
    if record is None or probability is None:
        return ""
    given = record.expected / record.accounts
    if max(given, probability) > ALIKE * min(given, probability):
        return ""
    return (
        f"Of {record.accounts:,} past accounts with this as their first reason, {record.came:,} "
        f"{outcome.words.past} within {TIER_HORIZON_DAYS} days; the model had expected "
        f"{record.expected:,.0f}"
    )
