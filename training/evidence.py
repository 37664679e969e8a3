"""This module is about evidence: what the test rows say about a model that may serve.

Gathered in a training, stored with the version as plain numbers, and read back when a person
promotes it later. The decision itself is the registry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

import numpy as np
from numpy.typing import NDArray

from registry.bundle import ModelBundle
from registry.promotion import (
    Evidence,
    EvidenceDocument,
    EvidenceError,
    Gain,
    Promotion,
    decide,
    gain,
    log_loss_rows,
)
from registry.store import ModelStore, NoChampionError
from training.prepare import Prepared
from training.race import Contender
from training.specs import BASE_RATE, FORMULA

Vector = NDArray[np.float64]

PREFIX = "evidence_"
COUNTS = ("n_rows", "n_accounts", "n_positives")


def evidence_of(
    best: Contender, contenders: Mapping[str, Contender], prepared: Prepared,
    champion: ModelBundle | None, *, seed: int,
) -> Evidence:
    """What the test rows say about the best model, at the longest horizon."""
    training, test = prepared.training, prepared.test
    horizon = training.horizons[-1]
    outcome, accounts = training.outcome[test], training.account[test]

    def over(probability: Vector) -> Gain:
        return gain_over(best, probability, prepared, seed=seed)

    formula = contenders.get(FORMULA.name)
    known = champion_probability(champion, prepared)
    metrics = best.metrics[horizon]
    return Evidence(
        log_loss=metrics["log_loss"].value, log_loss_low=metrics["log_loss"].low,
        log_loss_high=metrics["log_loss"].high,
        calibration_error=metrics["calibration_error"].value,
        n_rows=len(outcome), n_accounts=len(np.unique(accounts)), n_positives=int(outcome.sum()),
        over_base_rate=over(contenders[BASE_RATE.name].probabilities[horizon]),
        over_formula=None if formula is None else over(formula.probabilities[horizon]),
        over_champion=None if known is None else over(known),
    )


def gain_over(best: Contender, probability: Vector, prepared: Prepared, *, seed: int) -> Gain:
    """How much better the best is than other probabilities of the test rows, longest horizon.

    The same draws of accounts at every call, so that a comparison has one interval everywhere.
    """
    training, test = prepared.training, prepared.test
    outcome = training.outcome[test]
    return gain(log_loss_rows(outcome, best.probabilities[training.horizons[-1]]),
                log_loss_rows(outcome, probability), training.account[test],
                np.random.default_rng(seed))


def champion_or_none(store: ModelStore, model: str) -> ModelBundle | None:
    """The bundle that serves, if any does."""
    try:
        return store.champion(model)
    except NoChampionError:
        return None


def champion_probability(champion: ModelBundle | None, prepared: Prepared) -> Vector | None:
    """The champion's probabilities on the test rows; None where it has learned from them.

    A champion is refitted on all rows that were mature at its ``as_of``, so it can only be
    compared on cutoffs after that; nor can it be where the features are no longer the same.
    """
    training = prepared.training
    if (champion is None or champion.metadata.as_of > prepared.split.test[0]
            or training.horizons[-1] not in champion.horizons
            or any(training.digests.get(f.name) != f.digest for f in champion.contract.features)):
        return None
    matrix = training.matrix[prepared.test][:, training.columns(champion.contract.names)]
    return champion.probability(np.ascontiguousarray(matrix), training.horizons[-1])


def as_metrics(evidence: Evidence) -> dict[str, float]:
    """Evidence as flat numbers, so that it is stored with the version."""
    numbers: dict[str, float] = {}
    for name, value in asdict(evidence).items():
        if isinstance(value, dict):
            numbers |= {f"{PREFIX}{name}_{part}": float(number) for part, number in value.items()}
        elif value is not None:
            numbers[f"{PREFIX}{name}"] = float(value)
    return numbers


def from_metrics(numbers: Mapping[str, float]) -> Evidence:
    """Evidence read back from the numbers of a version.

    Raises:
        EvidenceError: the version carries none.
    """
    found: dict[str, object] = {}
    for field in fields(Evidence):
        if field.name.startswith("over_"):
            parts = {part.name: numbers.get(f"{PREFIX}{field.name}_{part.name}")
                     for part in fields(Gain)}
            known = {name: value for name, value in parts.items() if value is not None}
            found[field.name] = Gain(**known) if len(known) == len(parts) else None
        else:
            value = numbers.get(f"{PREFIX}{field.name}")
            found[field.name] = int(value) if value is not None and field.name in COUNTS else value
    lacking = [name for name, value in found.items()
               if value is None and name not in ("over_formula", "over_champion")]
    if lacking:
        raise EvidenceError(
            f"This version carries no evidence ({', '.join(lacking)}), so it can not be judged. "
            f"Train the model again (keepwell train)."
        )
    return Evidence(**found)  # type: ignore[arg-type]


def promotion_of_version(
    store: ModelStore, model: str, version: int
) -> tuple[Promotion, EvidenceDocument]:
    """What the evidence of a stored version allows, and the evidence itself.

    Raises:
        UnknownModelError: there is no such version.
        EvidenceError: the version carries no evidence.
    """
    evidence = from_metrics(store.load(model, version).metrics)
    return decide(evidence), evidence.document()
