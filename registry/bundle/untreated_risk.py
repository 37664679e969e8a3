"""The risk of an account if nobody acts on it, as a bundle stores it.

Some labels that a model learned from are of accounts that somebody acted on. For each time between
two horizons, the chance of accounts that are still there is shifted in log-odds::

    logit q'_k = logit q_k + shift + weight · (t - centre),    t = log-odds of being acted on

so a probability stays between 0 and 1 and never falls as the horizon grows. Where the log of
interventions is not enough, there is a reason instead of a number; the plain risk is never put in
its place. Holds the numbers and applies them; `training.models.untreated_risk` fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm

Floats = npt.NDArray[np.float64]

NO_LOG = (
    "No interventions are logged, so what accounts do that nobody acts on is not known. "
    "It can differ from the plain risk."
)

ONLY_CHURN = "It is estimated for churn alone."

BY_LOT = (
    "Who was acted on was drawn by lot with chances that are logged, so nothing is assumed "
    "about why."
)

BY_JUDGEMENT = (
    "Assumes that what is known of an account explains who was acted on and who was "
    "not; that cannot be checked (grade C)."
)

TINY = 1e-12


class UntreatedRiskError(Exception):
    """The numbers of untreated accounts in a bundle cannot be used."""


@dataclass(frozen=True, kw_only=True)
class TreatedShare:
    """The labels within a horizon whose accounts were acted on before their outcome."""

    rows: int
    treated: int
    with_outcome: int
    treated_with_outcome: int
    actions: Mapping[str, int] = field(default_factory=dict)  # of the first treatment

    def __post_init__(self) -> None:
        if not (
            0 <= self.treated_with_outcome <= min(self.treated, self.with_outcome)
            and max(self.treated, self.with_outcome) <= self.rows
        ):
            raise UntreatedRiskError(
                f"Of {self.rows} labels {self.treated} are said to be treated and "
                f"{self.with_outcome} to have the outcome, {self.treated_with_outcome} both: that "
                f"does not add up. Train the model again."
            )

    @property
    def share(self) -> float:
        """Share of the labels that was treated."""
        return self.treated / self.rows if self.rows else 0.0

    @property
    def sentence(self) -> str:
        """The counts in words."""
        kept, treated_without_outcome = (
            self.rows - self.with_outcome,
            self.treated - self.treated_with_outcome,
        )
        counts = (
            f"{self.treated:,} of {self.rows:,} labels ({self.share:.1%}) were treated by a "
            f"logged intervention: {self.treated_with_outcome:,} of {self.with_outcome:,} with "
            f"the outcome, {treated_without_outcome:,} of {kept:,} without"
        )
        named = ", ".join(f"{name} {n:,}" for name, n in self.actions.items())
        return f"{counts}. First: {named}." if named else f"{counts}."


@dataclass(frozen=True, kw_only=True, eq=False)
class UntreatedShift:
    """The difference in log-odds between untreated accounts and all accounts."""

    horizons: tuple[int, ...]  # for which it is known, rising
    shift: float
    weight: float  # of the log-odds of being acted on
    centre: float
    bounds: tuple[float, float]  # of these log-odds, as they were in training
    covariance: tuple[tuple[float, float], tuple[float, float]]  # of shift and weight
    treatment: LinearForm  # the log-odds of being acted on, by the model's own features

    def __post_init__(self) -> None:
        numbers = [
            self.shift,
            self.weight,
            self.centre,
            *self.bounds,
            *(value for row in self.covariance for value in row),
        ]
        if not np.isfinite(numbers).all() or self.bounds[0] > self.bounds[1]:
            raise UntreatedRiskError(
                "A number of the risk if nobody acts is not finite, or a lower "
                "bound lies above its upper bound. Train the model again."
            )
        if not self.horizons or list(self.horizons) != sorted({*self.horizons}):
            raise UntreatedRiskError(
                f"The horizons {self.horizons} of the risk if nobody acts are not "
                f"in rising order. Train the model again."
            )
        if min(np.linalg.eigvalsh(np.array(self.covariance))) < -TINY:
            raise UntreatedRiskError(
                "The shift of the risk if nobody acts has a variance below zero. "
                "Train the model again."
            )

    def row_shifts(self, matrix: Floats) -> tuple[Floats, Floats]:
        """Each row's shift in log-odds, and its standard error."""
        t = np.clip(self.treatment.score(matrix), *self.bounds) - self.centre
        (a, b), (_, c) = self.covariance
        return self.shift + self.weight * t, np.sqrt(np.maximum(a + 2 * b * t + c * t * t, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class UntreatedRisk:
    """The risk of accounts that nobody acts on, and the counts of treated labels."""

    shares: Mapping[int, TreatedShare]  # by horizon
    shift: UntreatedShift | None
    not_known: Mapping[int, str]  # by horizon: why there is no risk if nobody acts
    drawn_share: float  # of the treatments: those that a lottery decided on
    effective_accounts: float  # the number of accounts that the weighted rows are worth

    def __post_init__(self) -> None:
        named = {*self.not_known, *(self.shift.horizons if self.shift else ())}
        if named != {*self.shares}:
            raise UntreatedRiskError(
                f"The risk if nobody acts is given or denied for {sorted(named)} days and labels are "
                f"counted for {sorted(self.shares)}. Train the model again."
            )

    @property
    def assumption(self) -> str:
        """What has to be true for the number to be right, in one sentence."""
        return BY_LOT if self.drawn_share == 1 else BY_JUDGEMENT

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences of a training: the treated labels, and the shift; () without any."""
        horizon, share = max(
            ((h, s) for h, s in self.shares.items() if s.treated), default=(0, None)
        )
        if share is None:
            return ()
        counts = f"Within {horizon} days {share.sentence}"
        if self.shift is None:
            return counts, f"Risk if nobody acts: not known. {self.not_known[horizon]}"
        error = self.shift.covariance[0][0] ** 0.5
        return counts, (
            f"Risk if nobody acts: {self.shift.shift:+.2f} ± {USUAL * error:.2f} in log-odds for an "
            f"account that is acted on as often as the mean, {self.shift.weight:+.2f} ± "
            f"{USUAL * self.shift.covariance[1][1] ** 0.5:.2f} for each unit more; the untreated "
            f"rows are worth {self.effective_accounts:,.0f} accounts. {self.assumption}"
        )

    def risk(
        self,
        matrix: Floats,
        probability: Mapping[int, Floats],
        low: Mapping[int, Floats],
        high: Mapping[int, Floats],
    ) -> dict[int, tuple[Floats, Floats, Floats]]:
        """By horizon: the probability if untreated and its 95 % interval, from the plain ones.

        The plain interval and the error of the shift are taken for independent, in log-odds.
        """
        if self.shift is None:
            return {}
        moved, error = self.shift.row_shifts(matrix)
        found, stays, before = {}, np.ones(len(matrix)), np.zeros(len(matrix))
        for horizon in self.shift.horizons:
            p = probability[horizon]
            q = np.clip((p - before) / np.maximum(1 - before, TINY), 0.0, 1.0)
            stays = stays * (1 - sigmoid(_log_odds(q) + moved))
            before = p
            plain, now = _log_odds(p), _log_odds(1 - stays)
            down = np.hypot(plain - _log_odds(low[horizon]), USUAL * error)
            up = np.hypot(_log_odds(high[horizon]) - plain, USUAL * error)
            risk = 1 - stays
            found[horizon] = (
                risk,
                np.minimum(sigmoid(now - down), risk),
                np.maximum(sigmoid(now + up), risk),
            )
        for near, far in pairwise(found):  # an interval never ends before that of a shorter horizon
            for bound in (1, 2):
                np.maximum(found[far][bound], found[near][bound], out=found[far][bound])
        return found


USUAL = 1.959964
"""Standard errors from the middle to the end of a 95 % interval."""


def untreated_risk_document(one: UntreatedRisk) -> dict[str, Any]:
    """The value as plain JSON."""
    shift = one.shift
    return {
        "shares": {
            str(h): {
                "rows": s.rows,
                "touched": s.treated,
                "with_outcome": s.with_outcome,
                "touched_with_outcome": s.treated_with_outcome,
                "actions": [[name, n] for name, n in s.actions.items()],
            }
            for h, s in one.shares.items()
        },
        "not_known": {str(h): reason for h, reason in one.not_known.items()},
        "drawn_share": float(one.drawn_share),
        "effective_accounts": float(one.effective_accounts),
        "shift": None
        if shift is None
        else {
            "horizons": list(shift.horizons),
            "shift": float(shift.shift),
            "weight": float(shift.weight),
            "centre": float(shift.centre),
            "bounds": [float(bound) for bound in shift.bounds],
            "covariance": [[float(value) for value in row] for row in shift.covariance],
        },
    }


def read_untreated_risk(document: Mapping[str, Any], treatment: LinearForm | None) -> UntreatedRisk:
    """The value that a document and the stored form hold."""
    stored = document["shift"]
    shift = None
    if stored is not None:
        if treatment is None:
            raise UntreatedRiskError(
                "The bundle lacks the form of the risk if nobody acts. Train the model again."
            )
        (a, b), (c, d) = stored["covariance"]
        low, high = stored["bounds"]
        shift = UntreatedShift(
            horizons=tuple(int(h) for h in stored["horizons"]),
            shift=float(stored["shift"]),
            weight=float(stored["weight"]),
            centre=float(stored["centre"]),
            bounds=(float(low), float(high)),
            covariance=((float(a), float(b)), (float(c), float(d))),
            treatment=treatment,
        )
    return UntreatedRisk(
        shares={
            int(h): TreatedShare(
                rows=int(s["rows"]),
                treated=int(s["touched"]),
                with_outcome=int(s["with_outcome"]),
                treated_with_outcome=int(s["touched_with_outcome"]),
                actions={str(name): int(n) for name, n in s["actions"]},
            )
            for h, s in document["shares"].items()
        },
        shift=shift,
        not_known={int(h): str(why) for h, why in document["not_known"].items()},
        drawn_share=float(document["drawn_share"]),
        effective_accounts=float(document["effective_accounts"]),
    )


def _log_odds(p: Floats) -> Floats:
    clipped = np.clip(p, TINY, 1 - TINY)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
