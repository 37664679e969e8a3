"""This module is about whether a challenger may serve: decided on evidence alone, said in words.

Every comparison is paired (the same held-out rows) and clustered (whole accounts are drawn, since
the rows of one account are not independent). A gain is in log loss per row, positive when the
challenger is better. Reads nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
EvidenceDocument = Mapping[str, Json]


class EvidenceError(Exception):
    """The numbers given as evidence can not be compared."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much lower the challenger's log loss is than another's on the same rows.

    ``confidence`` is the share of bootstrap draws in which the challenger is better.
    """

    mean: float
    low: float
    high: float
    confidence: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.mean, self.low, self.high, self.confidence]).all():
            raise EvidenceError("A gain holds a number that is not finite.")
        if not 0 <= self.confidence <= 1:
            raise EvidenceError(f"A confidence lies between 0 and 1, not at {self.confidence}.")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a challenger from rows that it was not trained on.

    A comparison is None where there is nothing to compare with (no champion; the formula itself).
    """

    log_loss: float
    log_loss_low: float
    log_loss_high: float
    calibration_error: float
    n_rows: int
    n_accounts: int
    n_positives: int
    over_base_rate: Gain
    over_formula: Gain | None = None
    over_champion: Gain | None = None

    def document(self) -> EvidenceDocument:
        """As plain values, for the promotion record."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The decision and each reason for it, as sentences."""

    approved: bool
    reasons: tuple[str, ...]


def gain(
    challenger: Floats, other: Floats, accounts: npt.NDArray[np.generic],
    rng: np.random.Generator, *, draws: int = 1000,
) -> Gain:  # fmt: skip
    """Compare the log loss per row of the challenger with another's, drawing whole accounts."""
    if not len(challenger) == len(other) == len(accounts) or not len(accounts):
        raise EvidenceError(
            f"{len(challenger)}, {len(other)} and {len(accounts)} rows can not be paired; give "
            "the same, at least one, to both."
        )
    difference = other - challenger
    names, which = np.unique(accounts, return_inverse=True)
    total = np.bincount(which, difference)
    rows = np.bincount(which).astype(np.float64)
    means = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(0, len(names), len(names))
        means[draw] = total[chosen].sum() / rows[chosen].sum()
    low, high = np.percentile(means, [2.5, 97.5])
    # A tie is half a win, so that a model compared with itself is at 0.5.
    confidence = float((means > 0).mean() + (means == 0).mean() / 2)
    return Gain(
        mean=float(difference.mean()), low=float(low), high=float(high), confidence=confidence
    )


def log_loss_rows(outcome: npt.NDArray[np.generic], probability: Floats) -> Floats:
    """The log loss of each row; a certain mistake costs 34.5, not infinity."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return np.asarray(-np.where(outcome.astype(bool), np.log(p), np.log1p(-p)))


def decide(
    challenger: Evidence,
    *,
    least_confidence: float = 0.8,
    least_positives: int = 10,
    most_calibration_error: float = 0.1,
) -> Promotion:
    """Better than base rate and formula with confidence, and not clearly worse than the champion.

    All reasons are given, so that a refusal can be mended in one go.
    """
    checks = [
        _better("the base rate", challenger.over_base_rate, least_confidence),
        _better("the health formula", challenger.over_formula, least_confidence),
        _not_worse(challenger.over_champion, least_confidence),
        (
            challenger.n_positives >= least_positives,
            f"{challenger.n_positives} outcome(s) among {challenger.n_rows} held-out rows of "
            f"{challenger.n_accounts} accounts; at least {least_positives} are needed to judge.",
        ),
        (
            challenger.calibration_error <= most_calibration_error,
            f"Its probabilities are off by {challenger.calibration_error:.3f} on average; at most "
            f"{most_calibration_error:.3f} is allowed.",
        ),
    ]
    return Promotion(
        approved=all(passed for passed, _ in checks), reasons=tuple(why for _, why in checks)
    )


def _better(other: str, gain: Gain | None, least: float) -> tuple[bool, str]:
    if gain is None:
        return True, f"It is not compared with {other}."
    passed = gain.mean > 0 and gain.confidence >= least
    verdict = "Better than" if passed else "Not shown to be better than"
    return passed, f"{verdict} {other}: {_said(gain)}; at least {least:.0%} is needed."


def _not_worse(gain: Gain | None, least: float) -> tuple[bool, str]:
    if gain is None:
        return True, "There is no champion to compare with."
    passed = gain.mean >= 0 or 1 - gain.confidence < least
    verdict = "Not clearly worse than" if passed else "Worse than"
    return passed, f"{verdict} the champion: {_said(gain)}; it must not be worse in {least:.0%}."


def _said(gain: Gain) -> str:
    return (
        f"log loss lower by {gain.mean:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}), "
        f"better in {gain.confidence:.0%} of the draws of accounts"
    )
