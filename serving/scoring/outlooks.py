"""What may come of one account besides churn and growth within a horizon.

Leaving at the coming renewal is one of the factors of the churn curve where the model knows the ends
of terms; it is known up to a year ahead, also where the curve ends sooner. Else it is read off the
curve, as growing by then is off the curve of expansion: the probability by the shortest served
horizon that holds the renewal date. Contraction and silence have models of their own.

The risk if nobody acts stands beside the plain one, which is that of accounts as they are treated.
It is computed for one account when its page or answer is asked for, from what the bundle learned of accounts
that nobody acted on.

What is not known has its reason in words that a customer manager reads, and never a number. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from registry.bundle.untreated_risk import TreatedShare
from serving.scoring.score import (
    OTHER_OUTCOMES,
    TIER_HORIZON_DAYS,
    AccountScore,
    HorizonProbability,
    Models,
)
from serving.text_format import NOT_KNOWN, day, percent, percent_range, plural

RENEWAL = "days_to_renewal"


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A probability, or why there is none."""

    at: HorizonProbability | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class RenewalOutlook:
    """What comes of the account by its coming renewal.

    ``at_the_end`` says that ``at`` is the chance to leave when the term ends, of an account that is
    still there; else it is that by the end of a horizon that holds the date.
    """

    days_to_renewal: float | None
    at: HorizonProbability | None
    note: str | None
    at_the_end: bool = False


def renewal_outlook(score: AccountScore) -> RenewalOutlook:
    """The probability of leaving at the renewal, or why there is none.

    A label window of h days is half-open: a contract that ends h days from now lies outside.
    """
    if score.at_renewal is None:
        return _by_renewal(score, score.churn, "No chance to leave is given for this account.")
    return RenewalOutlook(
        days_to_renewal=score.features[RENEWAL], at=score.at_renewal, note=None, at_the_end=True
    )


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


NOT_LOOKED_AT = "The model that answers was trained without looking at what was done for accounts."

BY_FORMULA = "The health formula answers for this account, and it knows nothing of that."


@dataclass(frozen=True, kw_only=True)
class UntreatedOutlook:
    """The risk if nobody acts, by horizon, or why it is not known."""

    at: tuple[HorizonProbability, ...] = ()
    note: str | None = None  # why there is none at all
    not_known: Mapping[int, str] = field(default_factory=dict)  # by horizon
    assumption: str | None = None  # what has to be true for it to be right
    touched: Mapping[int, TreatedShare] = field(default_factory=dict)  # labels, by horizon


def untreated_outlook(score: AccountScore, models: Models) -> UntreatedOutlook:
    """What an account does if nobody acts on it, as far as it is known.

    Args:
        score: of the account.
        models: what it was scored with.
    """
    if score.has_no_contract:
        ended = "The contract has ended." if score.has_left else "No contract has begun."
        return UntreatedOutlook(note=ended)
    if score.source != "model" or models.churn is None:
        return UntreatedOutlook(note=BY_FORMULA)
    model = models.churn.model
    known = model.untreated_risk
    if known is None:
        return UntreatedOutlook(note=NOT_LOOKED_AT)
    if known.shift is None:
        return UntreatedOutlook(
            note=next(iter(known.not_known.values())),
            touched=known.shares,
            not_known=known.not_known,
        )
    plain = {
        h.horizon_days: [
            np.array([np.nan if value is None else value])
            for value in (h.probability, h.low, h.high)
        ]
        for h in score.churn
    }
    risk = known.risk(
        model.contract.matrix({**score.attributes, **score.features}),
        *({h: values[part] for h, values in plain.items()} for part in range(3)),
    )
    return UntreatedOutlook(
        at=tuple(
            HorizonProbability(
                horizon_days=h, probability=float(p[0]), low=float(low[0]), high=float(high[0])
            )
            for h, (p, low, high) in risk.items()
        ),
        not_known=known.not_known,
        assumption=known.assumption,
        touched=known.shares,
    )


def untreated_lines(score: AccountScore, models: Models) -> tuple[str, ...]:
    """The same for the account page: at the days of the tiers, and what it rests on."""
    found = untreated_outlook(score, models)
    at = next((h for h in found.at if h.horizon_days == TIER_HORIZON_DAYS), None)
    if score.has_no_contract:
        return ()
    if at is None:
        why = found.note or found.not_known.get(TIER_HORIZON_DAYS, "")
        return (f"If nobody acts: {NOT_KNOWN}. {why}".strip(),)
    share = found.touched[TIER_HORIZON_DAYS].share
    return (
        f"If nobody acts: {percent(at.probability)} within {at.horizon_days} days (95% "
        f"interval {percent_range(at.low, at.high)}; as of {day(score.as_of)}).",
        f"The chance above is of accounts as they were treated: in {percent(share)} of the past "
        f"cases somebody acted.{_why_lower(at, score)} {found.assumption}",
    )


def _why_lower(at: HorizonProbability, score: AccountScore) -> str:
    """What to think of a risk that is lower if nobody acts; "" where it reads as higher or equal."""
    plain, alone = score.churn_probability_90d, at.probability
    if plain is None or alone is None or alone >= plain or percent(alone) == percent(plain):
        return ""
    if at.high is not None and plain <= at.high:
        return (
            " That it is lower may be chance, as its interval holds both; it does not show that acting "
            "does harm."
        )
    return (
        " It is lower most likely since people act where they see trouble, of which the data do not show "
        "all; it does not show that acting does harm."
    )
