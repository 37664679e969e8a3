"""Gather the evidence about a model that may serve, from the test rows.

Gathered in a training, stored with the version as plain numbers, and read back when a person
promotes it later. The decision itself is the registry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.model_forms import ModelForm
from registry.promotion.level import IntervalEstimate
from registry.promotion.promotion import (
    CAPACITY,
    AuditResult,
    EvidenceDocument,
    EvidenceError,
    Gain,
    Promotion,
    PromotionEvidence,
    decide,
    gain,
    log_loss_rows,
)
from registry.store.store import ModelStore, NoChampionError, TrackingError
from training.metrics import (
    BOOTSTRAP_DRAWS,
    Interval,
    account_draws,
    calibration_slope,
    came_over_promised,
)
from training.models.binned_rows import Grower
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.model_selection import Contender
from training.models.specs import BASE_RATE, FORMULA
from training.pipeline.comparisons import (
    CAPACITIES,
    EvaluationRows,
    captured_revenue,
    captured_revenue_gain,
    enough_accounts,
    explanations_agreement,
    horizon_gains,
    segment_gains,
)
from training.pipeline.prepare import PreparedData

Vector = NDArray[np.float64]

PREFIX, BETWEEN = "evidence_", "|"
UNKNOWN_END = 1e6
"""An end of an interval that excludes nothing, as a number that can be stored."""

COUNTS = ("n_rows", "n_accounts", "n_positives", "n_rows_with_champion")
BY_CAPACITY = ("captured", "captured_over")
MEASURED = ("levels", "base_rate_levels", "slopes")
BY_KEY = (*BY_CAPACITY, "segments", *MEASURED)
MAY_LACK = (
    "over_formula",
    "over_champion",
    "over_refitted",
    "n_rows_with_champion",
    "explanations_agreement",
)


def evidence_of(
    best: Contender,
    contenders: Mapping[str, Contender],
    prepared: PreparedData,
    champion: ModelBundle | None,
    *,
    seed: int,
    attributes: pl.DataFrame | None = None,
    grower: Grower | None = None,
) -> PromotionEvidence:
    """The evidence of the test rows about the best model, at the longest horizon.

    ``attributes`` of the accounts of the test rows define segments; ``grower`` made the trees of
    the best model, and makes those of its refits.
    """
    training, test = prepared.training, prepared.test
    horizon = training.horizons[-1]
    rows, mine = EvaluationRows.of(prepared, attributes), best.probabilities[horizon]

    def over(probability: Vector) -> Gain:
        return gain_over(best, probability, prepared, seed=seed)

    formula = contenders.get(FORMULA.name)
    metrics = best.metrics[horizon]
    at_horizons = champion_probabilities(champion, prepared)
    known = at_horizons.get(horizon)
    refitted = None if known is not None else _refitted(champion, best, contenders)
    before, among = known, np.ones(len(mine), dtype=np.bool_)
    if before is None:
        stands = refitted or formula or contenders[BASE_RATE.name]
        at_horizons, before = stands.probabilities, stands.probabilities[horizon]
    else:
        among = ~np.isnan(before)
    captures = {
        k: (share, more)
        for k in CAPACITIES
        if (share := captured_revenue(rows, mine, k)) is not None
        and (more := captured_revenue_gain(rows, mine, before, k, among=among, seed=seed))
        is not None
    }
    return PromotionEvidence(
        log_loss=metrics["log_loss"].value,
        log_loss_low=metrics["log_loss"].low,
        log_loss_high=metrics["log_loss"].high,
        calibration_error=metrics["calibration_error"].value,
        n_rows=int(test.sum()),
        n_accounts=len(np.unique(rows.account)),
        n_positives=int(rows.outcome.sum()),
        over_base_rate=over(contenders[BASE_RATE.name].probabilities[horizon]),
        over_formula=None if formula is None else over(formula.probabilities[horizon]),
        over_champion=None
        if known is None
        else gain(
            log_loss_rows(rows.outcome[among], mine[among]),
            log_loss_rows(rows.outcome[among], before[among]),
            rows.account[among],
            np.random.default_rng(seed),
        ),
        over_refitted=None if refitted is None else over(refitted.probabilities[horizon]),
        n_rows_with_champion=None if known is None else int(among.sum()),
        captured={k: share for k, (share, _) in captures.items()},
        captured_over={k: more for k, (_, more) in captures.items()},
        segments={
            **segment_gains(rows, mine, before, among=among, seed=seed),
            **horizon_gains(prepared, best.probabilities, at_horizons, seed=seed),
        },
        explanations_agreement=_agreement(best, prepared, grower, seed=seed),
        levels=_levels_on_test_rows(best, prepared, seed=seed),
        base_rate_levels=_levels_on_test_rows(contenders[BASE_RATE.name], prepared, seed=seed),
        slopes={
            judged_rows(prepared, horizon): as_measured(
                calibration_slope(rows.outcome, mine, rows.account)
            )
        },
        on_other_accounts=prepared.split.by_accounts,
    )


def judged_rows(prepared: PreparedData, horizon: int) -> str:
    """The name of what is measured on the test rows at a horizon."""
    which = "other accounts" if prepared.split.by_accounts else "later rows"
    return f"{which}, {horizon} days"


def as_measured(found: Interval) -> IntervalEstimate:
    """An interval as evidence; ends that are not known exclude nothing."""
    return IntervalEstimate(
        value=found.value, low=max(found.low, -UNKNOWN_END), high=min(found.high, UNKNOWN_END)
    )


def level_on(y: Vector, p: Vector, account: NDArray[np.int64], *, seed: int) -> IntervalEstimate:
    """Came over promised on some rows, with an interval that draws whole accounts."""
    place = np.unique(account, return_inverse=True)[1]
    draws = account_draws(place, BOOTSTRAP_DRAWS, np.random.default_rng(seed))
    return as_measured(came_over_promised(y, p, place, draws))


def _levels_on_test_rows(
    contender: Contender, prepared: PreparedData, *, seed: int
) -> dict[str, IntervalEstimate]:
    """Came over promised on the test rows, by horizon that enough accounts can judge."""
    training, test = prepared.training, prepared.test
    found = {}
    for position, horizon in enumerate(training.horizons):
        outcome = training.outcomes[test, position]
        decided = ~np.isnan(outcome)
        y, account = outcome[decided], training.account[test][decided]
        if enough_accounts(y, account):
            found[judged_rows(prepared, horizon)] = level_on(
                y, contender.probabilities[horizon][decided], account, seed=seed
            )
    return found


def _refitted(
    champion: ModelBundle | None, best: Contender, contenders: Mapping[str, Contender]
) -> Contender | None:
    """The champion's kind of model, fitted to the rows that the best was fitted to; else None."""
    if champion is None:
        return None
    kind = champion.metadata.notes.get("model")
    return None if kind == best.spec.name else contenders.get(str(kind))


def _agreement(
    best: Contender, prepared: PreparedData, grower: Grower | None, *, seed: int
) -> float | None:
    if best.fitted.form is None:
        return None
    training = prepared.training
    columns = usable_columns(training, prepared.before_test, best.spec)

    def refit(rows: NDArray[np.bool_]) -> ModelForm | None:
        if not 0 < training.outcome[rows].sum() < rows.sum():
            return None
        return fit_rows(
            best.spec, training, rows, columns, best.parameters, seed=seed, grower=grower
        ).form

    return explanations_agreement(
        prepared, columns, best.fitted.form, refit, np.random.default_rng(seed)
    )


def gain_over(best: Contender, probability: Vector, prepared: PreparedData, *, seed: int) -> Gain:
    """How much better the best is than other probabilities of the test rows, longest horizon.

    The same draws of accounts at every call, so that a comparison has one interval everywhere.
    """
    training, test = prepared.training, prepared.test
    outcome = training.outcome[test]
    return gain(
        log_loss_rows(outcome, best.probabilities[training.horizons[-1]]),
        log_loss_rows(outcome, probability),
        training.account[test],
        np.random.default_rng(seed),
    )


def find_champion(store: ModelStore, model: str) -> tuple[ModelBundle | None, bool]:
    """The champion, if any, and whether the store could be asked at all."""
    try:
        return champion_or_none(store, model), True
    except TrackingError:
        return None, False


def champion_or_none(store: ModelStore, model: str) -> ModelBundle | None:
    """The bundle that serves, if any; one that cannot be used is not compared with."""
    try:
        return store.champion(model)
    except (NoChampionError, BundleError):
        return None


def champion_probabilities(
    champion: ModelBundle | None, prepared: PreparedData
) -> Mapping[int, Vector]:
    """The champion's probabilities on the test rows by horizon, NaN where it has learned from them.

    A champion is refitted on all rows that were mature at its ``as_of``, so it is compared on the
    cutoffs from then on, whose label windows open after all that it has seen. Empty where there are
    none with both outcomes, or the features are no longer the same.
    """
    training, test = prepared.training, prepared.test
    if (
        champion is None
        or training.horizons[-1] not in champion.horizons
        or champion.metadata.label_policy.get("rule", training.label.rule) != training.label.rule
        or any(training.digests.get(f.name) != f.digest for f in champion.contract.features)
    ):
        return {}
    later = np.array([at >= champion.metadata.as_of for at in training.cutoffs])
    among = later[training.cutoff[test]]
    if not 0 < training.outcome[test][among].sum() < among.sum():
        return {}
    matrix = training.part(test, training.columns(champion.contract.names))
    rows = np.ascontiguousarray(matrix)
    return {
        horizon: np.where(among, champion.probability(rows, horizon), np.nan)
        for horizon in training.horizons
        if horizon in champion.horizons
    }


def as_metrics(evidence: PromotionEvidence) -> dict[str, float]:
    """Evidence as flat numbers, so that it is stored with the version."""
    numbers: dict[str, float] = {}
    for name, value in asdict(evidence).items():
        if name in BY_KEY:
            for key, of_key in value.items():
                parts = of_key if isinstance(of_key, dict) else {"": of_key}
                numbers |= {
                    f"{PREFIX}{name}{BETWEEN}{key}{BETWEEN}{part}": float(number)
                    for part, number in parts.items()
                }
        elif isinstance(value, dict):
            numbers |= {f"{PREFIX}{name}_{part}": float(number) for part, number in value.items()}
        elif value is not None and value is not False:
            numbers[f"{PREFIX}{name}"] = float(value)
    return numbers


def measured_metrics(field: str, measured: Mapping[str, IntervalEstimate]) -> dict[str, float]:
    """Levels or slopes as flat numbers, so that they are stored with the version."""
    return {
        f"{PREFIX}{field}{BETWEEN}{key}{BETWEEN}{part}": float(number)
        for key, one in measured.items()
        for part, number in asdict(one).items()
    }


def from_metrics(numbers: Mapping[str, float]) -> PromotionEvidence:
    """Evidence read back from the numbers of a version.

    Raises:
        EvidenceError: the version carries none.
    """
    found: dict[str, object] = {}
    for field in fields(PromotionEvidence):
        if field.name in BY_KEY:
            found[field.name] = _by_key(numbers, field.name)
        elif field.name == "on_other_accounts":
            found[field.name] = f"{PREFIX}{field.name}" in numbers
        elif field.name.startswith("over_"):
            parts = {
                part.name: numbers.get(f"{PREFIX}{field.name}_{part.name}") for part in fields(Gain)
            }
            known = {name: value for name, value in parts.items() if value is not None}
            found[field.name] = Gain(**known) if len(known) == len(parts) else None
        else:
            value = numbers.get(f"{PREFIX}{field.name}")
            found[field.name] = int(value) if value is not None and field.name in COUNTS else value
    lacking = [name for name, value in found.items() if value is None and name not in MAY_LACK]
    if lacking:
        raise EvidenceError(
            f"This version carries no evidence ({', '.join(lacking)}), so it cannot be judged. "
            f"Train the model again (keepwell train)."
        )
    return PromotionEvidence(**found)  # type: ignore[arg-type]


def _by_key(
    numbers: Mapping[str, float], field: str
) -> dict[str | int, float | Gain | IntervalEstimate]:
    """A mapping of evidence; its parts are gains, measures, or single numbers under no name."""
    parts: dict[str, dict[str, float]] = {}
    for name, number in numbers.items():
        if name.startswith(f"{PREFIX}{field}{BETWEEN}"):
            _, key, part = name.split(BETWEEN)
            parts.setdefault(key, {})[part] = number
    return {
        (int(key) if field in BY_CAPACITY else key): (
            of_key[""]
            if set(of_key) == {""}
            else IntervalEstimate(**of_key)
            if field in MEASURED
            else Gain(**of_key)
        )
        for key, of_key in parts.items()
    }


def promotion_of_version(
    store: ModelStore,
    model: str,
    version: int,
    *,
    capacity: int = CAPACITY,
    audited: AuditResult | None = None,
) -> tuple[Promotion, EvidenceDocument]:
    """The promotion that the evidence of a stored version allows, and the evidence itself.

    Raises:
        UnknownModelError: there is no such version.
        EvidenceError: the version carries no evidence.
    """
    evidence = from_metrics(store.load(model, version).metrics)
    decision = decide(evidence, capacity=capacity, audited=audited)
    return decision, {**evidence.document(), **decision.document()}
