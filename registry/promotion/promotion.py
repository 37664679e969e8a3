"""Decide from evidence whether a challenger may serve, and say why.

Every comparison is paired (the same held-out rows) and clustered (whole accounts are drawn, since
the rows of one account are not independent). A gain is in log loss per row, positive when the
challenger is better. Reads nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from registry.promotion.level import LEAST_SLOPE, MOST_OFF, IntervalEstimate, levels_off

Floats = npt.NDArray[np.float64]
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
EvidenceDocument = Mapping[str, Json]


class EvidenceError(Exception):
    """The numbers given as evidence cannot be compared."""


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


REFITTED = "the champion's kind of model"


@dataclass(frozen=True, kw_only=True)
class PromotionEvidence:
    """The performance of a challenger on rows that it was not trained on.

    A comparison is None where there is nothing to compare with (no champion; the formula itself).
    ``n_rows_with_champion`` are the rows that neither of the two had learned from. Where there are
    none, ``over_refitted`` is over the champion's kind of model, if it is another kind, fitted to
    the same rows. Revenue captured is by the number of accounts that a team can look after at a
    cutoff, segments by their name; both are over whichever of these there is, else the formula, else
    the base rate.
    ``explanations_agreement`` is the rank correlation of feature importances between refits on
    other accounts. ``levels`` (came over promised) and ``slopes`` are by the rows that they are
    measured on: later ones by horizon, and those of the released model, which is refitted to all
    rows. ``base_rate_levels`` are those of the base rate on the same rows.
    ``on_other_accounts``: the rows are of other accounts of the same months, not of later ones.
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
    over_refitted: Gain | None = None
    n_rows_with_champion: int | None = None
    captured: Mapping[int, float] = field(default_factory=dict)
    captured_over: Mapping[int, Gain] = field(default_factory=dict)
    segments: Mapping[str, Gain] = field(default_factory=dict)
    explanations_agreement: float | None = None
    levels: Mapping[str, IntervalEstimate] = field(default_factory=dict)
    base_rate_levels: Mapping[str, IntervalEstimate] = field(default_factory=dict)
    slopes: Mapping[str, IntervalEstimate] = field(default_factory=dict)
    on_other_accounts: bool = False

    @property
    def other(self) -> str:
        """The gain that revenue captured and segments are compared with."""
        if self.over_champion is not None:
            return "the champion"
        if self.over_refitted is not None:
            return REFITTED
        return "the base rate" if self.over_formula is None else "the health formula"

    def document(self) -> EvidenceDocument:
        """As plain values, for the promotion record."""
        document = asdict(self)
        for name in ("captured", "captured_over"):  # JSON keys are texts
            document[name] = {str(key): value for key, value in document[name].items()}
        return document


CheckOutcome = Literal["passed", "failed", "not known"]


@dataclass(frozen=True, kw_only=True)
class PromotionCheck:
    """One check of the evidence: its outcome, and a sentence that explains it."""

    name: str
    outcome: CheckOutcome
    sentence: str


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The result of an audit of the training rows for leaks; None if it could not be made."""

    is_clean: bool | None
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The decision: every check, and approval where none failed."""

    checks: tuple[PromotionCheck, ...]

    @property
    def approved(self) -> bool:
        """Whether nothing speaks against it."""
        return all(check.outcome != "failed" for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What each check says."""
        return tuple(check.sentence for check in self.checks)

    def document(self) -> Mapping[str, Json]:
        """The checks as plain values, for the promotion record."""
        return {"checks": [asdict(check) for check in self.checks]}


def check_lines(evidence: EvidenceDocument) -> Iterator[str]:
    """One line for each check of a stored promotion.

    >>> list(check_lines({"checks": [{"outcome": "passed", "sentence": "It is better."}]}))
    ['- passed: It is better.']
    """
    checks = evidence.get("checks")
    for check in checks if isinstance(checks, Sequence) else ():
        if isinstance(check, Mapping):
            yield f"- {check['outcome']}: {check['sentence']}"


DRAWN_AT_ONCE = 100_000
"""Accounts drawn in one call: many small draws would take longer to ask for than to make."""


def gain(
    challenger: Floats, other: Floats, accounts: npt.NDArray[np.generic],
    rng: np.random.Generator, *, draws: int = 1000,
) -> Gain:  # fmt: skip
    """Compare the log loss per row of the challenger with another's, drawing whole accounts."""
    if not len(challenger) == len(other) == len(accounts) or not len(accounts):
        raise EvidenceError(
            f"{len(challenger)}, {len(other)} and {len(accounts)} rows cannot be paired; give "
            "the same, at least one, to both."
        )
    return ratio_gain(other - challenger, np.ones(len(other)), accounts, rng, draws=draws)


def ratio_gain(
    difference: Floats, of: Floats, accounts: npt.NDArray[np.generic], rng: np.random.Generator,
    *, draws: int = 1000,
) -> Gain:  # fmt: skip
    """The sum of differences divided by the sum of their totals, drawing whole accounts."""
    names, which = np.unique(accounts, return_inverse=True)
    total, whole = np.bincount(which, difference), np.bincount(which, of)
    at_once = max(1, DRAWN_AT_ONCE // len(names))
    means = np.empty(draws)
    for first in range(0, draws, at_once):
        some = means[first : first + at_once]
        chosen = rng.integers(0, len(names), (len(some), len(names)))
        of_drawn = whole[chosen].sum(axis=1)
        some[:] = np.nan  # a draw with nothing at stake has no ratio
        np.divide(total[chosen].sum(axis=1), of_drawn, out=some, where=of_drawn > 0)
    means = means[~np.isnan(means)]
    if not len(means):
        raise EvidenceError("Nothing is at stake in any of the rows, so no share of it is gained.")
    low, high = np.percentile(means, [2.5, 97.5])
    # A tie is half a win, so that a model compared with itself is at 0.5.
    confidence = float((means > 0).mean() + (means == 0).mean() / 2)
    return Gain(
        mean=_over(total.sum(), whole.sum()), low=float(low), high=float(high),
        confidence=confidence,
    )  # fmt: skip


def _over(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def log_loss_rows(outcome: npt.NDArray[np.generic], probability: Floats) -> Floats:
    """The log loss of each row; a certain mistake costs 34.5, not infinity."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return np.asarray(-np.where(outcome.astype(bool), np.log(p), np.log1p(-p)))


CAPACITY = 20
"""Accounts that a team looks after at a cutoff, by default."""


def decide(
    challenger: PromotionEvidence,
    *,
    least_confidence: float = 0.8,
    least_positives: int = 10,
    most_calibration_error: float = 0.1,
    capacity: int = CAPACITY,
    clearly: float = 0.95,
    most_false_alarms: float = 0.05,
    least_agreement: float = 0.5,
    audited: AuditResult | None = None,
) -> Promotion:
    """Better than base rate and formula with confidence, and nowhere clearly worse than before.

    All checks are run and listed, so that every reason of a refusal is seen at once.
    Revenue captured is compared at the measured capacity next to the one given.
    """
    rarer = min(challenger.n_positives, challenger.n_rows - challenger.n_positives)
    enough = rarer >= least_positives
    calibrated = challenger.calibration_error <= most_calibration_error
    return Promotion(checks=(
        _better("the base rate", challenger.over_base_rate, least_confidence),
        _better("the health formula", challenger.over_formula, least_confidence),
        _not_worse(challenger, least_confidence),
        _captures(challenger, capacity, clearly),
        _check(
            "outcomes", enough,
            f"{challenger.n_positives} outcome(s) among {challenger.n_rows} held-out rows of "
            f"{challenger.n_accounts} accounts; at least {least_positives} with it and "
            f"{least_positives} without are needed to judge.",
        ),
        _check(
            "calibration", calibrated,
            f"Its probabilities are off by {challenger.calibration_error:.3f} on average; at most "
            f"{most_calibration_error:.3f} is allowed.",
        ),
        _level(challenger),
        _slope(challenger),
        _segments(challenger, most_false_alarms),
        _stable(challenger.explanations_agreement, least_agreement),
        *(_later_months(challenger),) * challenger.on_other_accounts,
        _clean(audited),
    ))  # fmt: skip


def clearly_worse(segments: Mapping[str, Gain], *, most_false_alarms: float) -> tuple[str, ...]:
    """The segments where the challenger is worse, by Holm's step-down over all of them.

    With so many segments one of them looks worse by chance; the correction keeps the chance of
    naming any at ``most_false_alarms`` where the two are equally good.
    """
    worse = []
    ordered = sorted(segments.items(), key=lambda item: item[1].confidence)
    for place, (name, gain) in enumerate(ordered):
        if gain.mean >= 0 or gain.confidence > most_false_alarms / (len(ordered) - place):
            break
        worse.append(name)
    return tuple(worse)


def _check(name: str, passed: bool, sentence: str) -> PromotionCheck:
    return PromotionCheck(name=name, outcome="passed" if passed else "failed", sentence=sentence)


def _unknown(name: str, sentence: str) -> PromotionCheck:
    return PromotionCheck(name=name, outcome="not known", sentence=sentence)


def _better(other: str, gain: Gain | None, least: float) -> PromotionCheck:
    name = f"better than {other}"
    if gain is None:
        return _unknown(
            name, f"{other.capitalize()} gives no probability here, so it is not compared with it."
        )
    passed = gain.mean > 0 and gain.confidence >= least
    verdict = "Better than" if passed else "Not shown to be better than"
    return _check(name, passed,
                  f"{verdict} {other}: {_said(gain)}; at least {least:.0%} is needed.")  # fmt: skip


def _not_worse(challenger: PromotionEvidence, least: float) -> PromotionCheck:
    name, gain, rows = "not worse than the champion", challenger.over_champion, ""
    if gain is not None:
        rows = f" on {challenger.n_rows_with_champion} rows that neither has learned from"
    elif challenger.over_refitted is not None:
        gain, rows = challenger.over_refitted, " fitted to the same rows"
    else:
        return _unknown(name, "There is no champion to compare with, or only one of the same kind "
                              "that has learned from the held-out rows.")  # fmt: skip
    passed = gain.mean >= 0 or 1 - gain.confidence < least
    verdict = "Not clearly worse than" if passed else "Worse than"
    return _check(name, passed, f"{verdict} {challenger.other}{rows}: {_said(gain)}; it must not "
                                f"be worse in {least:.0%}.")  # fmt: skip


def _captures(challenger: PromotionEvidence, capacity: int, least: float) -> PromotionCheck:
    name, other = "revenue captured", challenger.other
    if not challenger.captured_over:
        return _unknown(name, "How much revenue it captures was not measured: MRR is unknown, or "
                              "this version was trained before.")  # fmt: skip
    capacity = min(challenger.captured_over, key=lambda measured: abs(measured - capacity))
    gain, share = challenger.captured_over[capacity], challenger.captured[capacity]
    passed = gain.mean >= 0 or 1 - gain.confidence < least
    verdict = "no clearly smaller" if passed else "a smaller"
    return _check(
        name, passed,
        f"Its first {capacity} accounts of each cutoff hold {share:.1%} of the revenue at stake, "
        f"{verdict} share than with {other}: {gain.mean:+.1%} (95 % interval {gain.low:+.1%} to "
        f"{gain.high:+.1%}), more in {gain.confidence:.0%} of the draws of accounts.",
    )  # fmt: skip


def _level(challenger: PromotionEvidence) -> PromotionCheck:
    name, levels = "level", challenger.levels
    if not levels:
        return _unknown(name, "Whether as many come as it promises was not measured: this version "
                              "was trained before.")  # fmt: skip
    off = levels_off(levels, challenger.base_rate_levels)
    shown = "; ".join(f"{each}: {levels[each]}" for each in (off or levels))
    drifted = [each for each in levels if levels[each].is_level_off and each not in off]
    moved = (
        f" The rate itself has moved: {'; '.join(drifted)} of the base rate are off as far."
        if drifted
        else ""
    )
    verdict = "Far from as many come as it promises" if off else "About as many come as it promises"
    return _check(
        name, not off,
        f"{verdict} (came over promised; {1 / MOST_OFF:.2f} to {MOST_OFF:.2f} is allowed, or what "
        f"chance explains): {shown}.{moved}",
    )  # fmt: skip


def _slope(challenger: PromotionEvidence) -> PromotionCheck:
    name, slopes = "slope", challenger.slopes
    if not slopes:
        return _unknown(name, "Whether higher probabilities come more often was not measured: this "
                              "version was trained before.")  # fmt: skip
    off = [each for each, slope in slopes.items() if slope.is_slope_off]
    shown = "; ".join(f"{each}: {slopes[each]}" for each in (off or slopes))
    verdict = (
        "Higher probabilities are not shown to come more often, or far less often than they say"
        if off
        else "Higher probabilities come more often"
    )
    return _check(
        name, not off,
        f"{verdict} (slope; 1 is as promised, 0 says nothing, and it has to be above 0 in 80 % and "
        f"not clearly below {LEAST_SLOPE}): {shown}.",
    )  # fmt: skip


def _segments(challenger: PromotionEvidence, most_false_alarms: float) -> PromotionCheck:
    name, segments = "segments", challenger.segments
    if not segments:
        return _unknown(name, "No segment holds enough accounts to be judged alone.")
    worse = clearly_worse(segments, most_false_alarms=most_false_alarms)
    if not worse:
        return _check(name, True, f"In none of {len(segments)} segments clearly worse than "
                                  f"{challenger.other}.")  # fmt: skip
    said = "; ".join(f"{each}: {_said(segments[each])}" for each in worse)
    return _check(name, False, f"Clearly worse than {challenger.other} in {len(worse)} of "
                               f"{len(segments)} segments, by Holm's correction at "
                               f"{most_false_alarms:.0%}: {said}.")  # fmt: skip


def _stable(agreement: float | None, least: float) -> PromotionCheck:
    name = "explanations"
    if agreement is None:
        return _unknown(name, "Whether its explanations are stable was not measured.")
    verdict = "the same features" if agreement >= least else "other features"
    return _check(name, agreement >= least,
                  f"Fitted to other accounts it rests on {verdict}: rank agreement "
                  f"{agreement:.2f}, and at least {least:.2f} is needed.")  # fmt: skip


def _later_months(challenger: PromotionEvidence) -> PromotionCheck:
    return _unknown(
        "later months",
        f"It was judged on other accounts of the same months ({challenger.n_accounts} of them); nothing "
        f"is known of later months, in which the rate may be another and the order of accounts is "
        f"usually a little worse. Train again once the label windows of later cutoffs have closed.",
    )


def _clean(audited: AuditResult | None) -> PromotionCheck:
    name = "leakage audit"
    if audited is None:
        return _unknown(name, "Its training rows were not audited for leaks here; keepwell models "
                              "promote does it.")  # fmt: skip
    if audited.is_clean:
        return _check(name, True, "The audit of its training rows found no leak.")
    said = ("could not be audited for leaks: " if audited.is_clean is None
            else "hold what was not known then: ")  # fmt: skip
    return _check(name, False, f"Its training rows {said}{' '.join(audited.sentences)}")


def _said(gain: Gain) -> str:
    return (
        f"log loss lower by {gain.mean:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}), "
        f"better in {gain.confidence:.0%} of the draws of accounts"
    )
