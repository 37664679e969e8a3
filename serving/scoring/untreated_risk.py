"""This module is about the risk if nobody acts on an account, beside the plain one.

The plain risk is that of accounts as they are treated. What the bundle knows of those that nobody
acted on moves it; where it can not tell, or where no model answers, it is not known, with the
reason, and never a number. Computed for one account when somebody looks at it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from registry.bundle.untreated_risk import TouchedShare
from serving.scoring.score import TIER_HORIZON_DAYS, AccountScore, HorizonProbability, Models
from serving.text_format import NOT_KNOWN, day, percent, percent_range

NOT_LOOKED_AT = "The model that answers was trained without looking at what was done for accounts."

BY_FORMULA = "The health formula answers for this account, and it knows nothing of that."


@dataclass(frozen=True, kw_only=True)
class UntouchedOutlook:
    """The risk if nobody acts, by horizon, or why it is not known."""

    at: tuple[HorizonProbability, ...] = ()
    note: str | None = None  # why there is none at all
    not_known: Mapping[int, str] = field(default_factory=dict)  # by horizon
    assumption: str | None = None  # what has to be true for it to be right
    touched: Mapping[int, TouchedShare] = field(default_factory=dict)  # labels, by horizon


def untouched_outlook(score: AccountScore, models: Models) -> UntouchedOutlook:
    """What an account does if nobody acts on it, as far as it is known.

    Args:
        score: of the account.
        models: what it was scored with.
    """
    if score.has_left:
        return UntouchedOutlook(note="The contract has ended.")
    if score.source != "model" or models.churn is None:
        return UntouchedOutlook(note=BY_FORMULA)
    model = models.churn.model
    known = model.untouched
    if known is None:
        return UntouchedOutlook(note=NOT_LOOKED_AT)
    if known.shift is None:
        return UntouchedOutlook(
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
        *({h: told[part] for h, told in plain.items()} for part in range(3)),
    )
    return UntouchedOutlook(
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


def untouched_lines(score: AccountScore, models: Models) -> tuple[str, ...]:
    """The same for the account page: at the days of the tiers, and what it rests on."""
    found = untouched_outlook(score, models)
    at = next((h for h in found.at if h.horizon_days == TIER_HORIZON_DAYS), None)
    if score.has_left:
        return ()
    if at is None:
        why = found.note or found.not_known.get(TIER_HORIZON_DAYS, "")
        return (f"If nobody acts: {NOT_KNOWN}. {why}".strip(),)
    share = found.touched[TIER_HORIZON_DAYS].share
    return (
        f"If nobody acts: {percent(at.probability)} within {at.horizon_days} days (95% "
        f"interval {percent_range(at.low, at.high)}; as of {day(score.as_of)}).",
        f"Somebody acted in {percent(share)} of the cases that this was learned from. "
        f"{found.assumption}",
    )
