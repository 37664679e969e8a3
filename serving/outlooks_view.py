"""This module is about how the other outlooks are shown: the renewal, the far, less, silence.

Each line says what, by when, how likely with its interval and what is usual, and which model says
so; where nothing is known it says why instead, and never a number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from serving.outlooks import other_outlooks, renewal_outlook
from serving.scoring import (
    CONTRACTION,
    SILENT_CHURN,
    AccountScore,
    HorizonProbability,
    Models,
    sentence,
)
from serving.words import NOT_KNOWN, day, percent, percent_range, plural

FAR_HORIZONS = (180, 365)
"""Days; beside those that stand in the picture. Trained where the history reaches."""

OUTCOME_DAYS = 90
"""What the models of the outcomes below look ahead; their own number stands where one serves."""

OUTCOMES = {CONTRACTION: "Pays at least a tenth less", SILENT_CHURN: "Falls silent for 30 days"}


@dataclass(frozen=True, kw_only=True)
class OutlookLine:
    """One thing that may come of the account, as text."""

    what: str
    when: str
    chance: str
    range: str
    note: str  # how it is read, or why it is not known
    source: str


def outlook_lines(score: AccountScore, models: Models) -> tuple[OutlookLine, ...]:
    """The renewal, the far horizons, contraction and silence, each with its source or its reason.

    Args:
        score: of the account.
        models: what it was scored with.
    """
    found = other_outlooks(score)
    return (_renewal(score), *(_far(score, models, horizon) for horizon in FAR_HORIZONS),
            *(_line(score, what, found[name].at, note=found[name].note or "",
                    source=models.others[name].version if name in models.others else "",
                    unknown=f"within {OUTCOME_DAYS} days")
              for name, what in OUTCOMES.items()))


def _renewal(score: AccountScore) -> OutlookLine:
    found = renewal_outlook(score)
    days = found.days_to_renewal
    line = _line(score, "Leaves at its renewal", found.at, source=score.model_version or "",
                 note=found.note or "Read off the chance to leave by the shortest horizon that "
                                    "holds the renewal.")
    if days is None or days < 0 or score.has_left:
        return line
    on = f"the renewal is in {plural(round(days), 'day')}, on {day(_after(score, days))}"
    return replace(line, when=f"{line.when}; {on}" if line.when else on)


def _far(score: AccountScore, models: Models, horizon: int) -> OutlookLine:
    """The chance to leave within a far horizon, or why it is not known."""
    at = score.churn_at(horizon)
    note = "" if at is not None and at.probability is not None else _why_not(score, models, horizon)
    return _line(score, f"Leaves within {horizon} days", at, source=score.model_version or "",
                 note=note, unknown=f"by {day(_after(score, horizon))}")


def _why_not(score: AccountScore, models: Models, horizon: int) -> str:
    if score.has_left:
        return "The contract has ended."
    if score.degraded is not None:
        return score.degraded
    reasons = models.churn.model.not_estimable if models.churn is not None else {}
    if horizon not in reasons:
        return "Not estimable: the model that answers was not trained for so long a time."
    said, _, _ = reasons[horizon].partition(". ")  # what to do about it is on the model's card
    return sentence(f"Not estimable: {said}")


def _line(score: AccountScore, what: str, at: HorizonProbability | None, *, note: str, source: str,
          unknown: str = "") -> OutlookLine:
    if at is None or at.probability is None:
        return OutlookLine(what=what, when=unknown, chance=NOT_KNOWN, range="", note=note,
                           source="")
    usual = "" if at.base_rate is None else f"; usual {percent(at.base_rate)}"
    covers = "" if at.low is None else f"95% interval {percent_range(at.low, at.high)}{usual}"
    return OutlookLine(
        what=what, when=f"within {at.horizon_days} days, by {day(_after(score, at.horizon_days))}",
        chance=percent(at.probability), range=covers, note=note,
        source=f"Said by {source}." if source else "")


def _after(score: AccountScore, days: float) -> datetime:
    return score.as_of + timedelta(days=days)
