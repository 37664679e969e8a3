"""This module is about what else may come of an account: an end at its renewal, less, silence.

Leaving at the coming renewal is read off the churn curve, and growing by then off the curve of
expansion: the probability by the shortest served horizon that holds the renewal date, so it is
always one of the horizons that are shown. Where the date is unknown, past, or further away than
the curve reaches, it is not known, with the reason in words that a customer manager reads.
A contraction or a silence that no model says anything of is a sentence. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.scoring.score import OTHER_OUTCOMES, AccountScore, HorizonProbability
from serving.text_format import plural

RENEWAL = "days_to_renewal"


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A probability, or why there is none."""

    at: HorizonProbability | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class RenewalOutlook:
    """What comes of the account by its coming renewal: by the end of a horizon that holds it."""

    days_to_renewal: float | None
    at: HorizonProbability | None
    note: str | None


def renewal_outlook(score: AccountScore) -> RenewalOutlook:
    """The probability of leaving by the horizon that holds the renewal date, or why there is none.

    A label window of h days is half-open: a contract that ends h days from now lies outside.
    """
    return _by_renewal(score, score.churn, "No chance to leave is given for this account.")


def growth_by_renewal(score: AccountScore) -> RenewalOutlook:
    """The chance to expand by the horizon that holds the renewal date, or why there is none."""
    why = score.expansion_note or "No chance to grow is given for this account."
    if not score.growth:
        return RenewalOutlook(days_to_renewal=score.features.get(RENEWAL), at=None, note=why)
    return _by_renewal(score, score.growth, why)


def _by_renewal(
    score: AccountScore, curve: Sequence[HorizonProbability], not_given: str
) -> RenewalOutlook:
    days = score.features.get(RENEWAL)

    def unknown(note: str) -> RenewalOutlook:
        return RenewalOutlook(days_to_renewal=days, at=None, note=note)

    if score.has_left:
        return unknown("The contract has ended.")
    if days is None:
        return unknown("No renewal date is known.")
    if days < 0:
        return unknown(
            f"The renewal date passed {plural(round(-days), 'day')} ago, and no new one is known."
        )
    holding = [h for h in curve if h.horizon_days > days]
    if not holding:
        longest = max((h.horizon_days for h in curve), default=0)
        return unknown(
            f"The renewal is {plural(round(days), 'day')} away, not within the "
            f"{longest} days for which a chance is given."
        )
    if holding[0].probability is None:
        return unknown(not_given)
    return RenewalOutlook(days_to_renewal=days, at=holding[0], note=None)


def other_outlooks(score: AccountScore) -> dict[str, Outlook]:
    """What the models of other outcomes say, and why where they say nothing."""
    return {
        name: Outlook(at=score.others.get(name), note=score.other_notes.get(name))
        for name in OTHER_OUTCOMES
    }
