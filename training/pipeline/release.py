"""Refit the chosen model on all mature rows and put it in a bundle.

Parameters are those of the best contender; the calibration comes from rows that the refits scored
out of time, the newest ones, because rates drift. The bundle tests itself on golden rows whose
scores are those of the library that fitted the model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.metadata import AMOUNT_ERROR
from training.dataset.cutoffs import mature, reach_of
from training.dataset.splits import CALIBRATION_SHARE, newest, rolling_folds
from training.dataset.training_set import TrainingSet
from training.dataset.treatments import TreatedRows
from training.models.binned_rows import BinnedRows, MakeGrower
from training.models.fit import fitting_of
from training.models.long_horizons import fit_long_horizons
from training.models.model_selection import fit_rows, score_out_of_time, usable_columns
from training.models.specs import ModelSpec, Parameters
from training.models.untreated_risk import fit_untreated_risk
from training.pipeline.examine_reasons import examine_reasons
from training.pipeline.prepare import PreparedData, usable_folds

GOLDEN_ROWS = 32

CALIBRATION_DRAWS = 200
"""Bootstrap draws for intervals: the ends of a 95 % interval rest on five of them."""


def release(
    spec: ModelSpec,
    prepared: PreparedData,
    parameters: Parameters,
    *,
    code_version: str,
    seed: int,
    metrics: Mapping[str, float],
    treated: TreatedRows | None = None,
    growing: MakeGrower = BinnedRows.of,
) -> ModelBundle:
    """Refit a spec on every mature row and bundle it.

    ``treated`` holds when accounts were acted on; None leaves that out of the bundle.
    ``growing`` makes the grower of trees.

    Raises:
        OneClassError: the rows hold too little to learn from.
        CalibrationError: the out-of-time rows cannot be calibrated.
    """
    training, known_until = prepared.training, prepared.known_until
    reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    cutoffs = mature(training.cutoffs, reach=reach, known_until=known_until)
    folds = usable_folds(
        training, rolling_folds(cutoffs, newest(cutoffs, CALIBRATION_SHARE), reach=reach)
    )
    rows = training.rows_at(cutoffs)
    columns = usable_columns(training, rows, spec)
    grower = growing(training, rows, columns) if fitting_of(spec).is_grown else None
    shorter = score_out_of_time(
        spec,
        training,
        folds,
        columns,
        parameters,
        seed=seed,
        draws=CALIBRATION_DRAWS,
        grower=grower,
    )
    long_horizons = fit_long_horizons(
        spec,
        training,
        prepared.long_horizons.outcomes,
        columns,
        parameters,
        at=known_until,
        seed=seed,
        draws=CALIBRATION_DRAWS,
    )
    untreated_risk = (
        None
        if treated is None
        else fit_untreated_risk(
            spec,
            training,
            treated,
            prepared.long_horizons.outcomes,
            columns,
            parameters,
            at=known_until,
            seed=seed,
        )
    )
    rise = _usual_rise(training, rows)
    matrix = training.part(rows, columns)
    fitted = fit_rows(spec, training, rows, columns, parameters, seed=seed, grower=grower)
    assert fitted.form is not None, "the constant is never released"
    reason_evidence = examine_reasons(
        spec, training, rows, folds, columns, parameters,
        served=fitted, out_of_time=shorter, seed=seed, grower=grower,
    )  # fmt: skip
    golden = matrix[np.random.default_rng(seed).permutation(len(matrix))[:GOLDEN_ROWS]]
    return ModelBundle(
        label=training.label.name,
        contract=FeatureContract(
            tuple(
                ContractFeature(name=training.names[j], digest=training.digests[training.names[j]])
                for j in columns
            )
        ),
        form=fitted.form,
        calibration=shorter.calibration.shifted(fitted.level).for_serving(training.horizons),
        long_horizons=tuple(chance.for_serving(fitted.level) for chance in long_horizons),
        base_rates={**_rates(training, shorter.rows), **{c.horizon: c.rate for c in long_horizons}},
        metadata=BundleMetadata(
            as_of=known_until,
            data_fingerprint=training.fingerprint,
            code_version=code_version,
            label_policy=training.label.policy,
            seeds={"training": seed},
            notes={
                "model": spec.name,
                **{f"later_{c.horizon}d": c.sentence for c in long_horizons},
            },
        ),
        reference=ReferenceDistribution.of(matrix),
        golden=GoldenRows(matrix=golden, raw=fitted.score(golden)),
        metrics={**metrics, **({} if rise is None else {AMOUNT_ERROR: rise[1]})},
        amount_ratio=None if rise is None else rise[0],
        not_estimable=prepared.not_estimable,
        untreated_risk=untreated_risk,
        reason_evidence=reason_evidence,
        model_text=fitted.text,
    )


def _rates(training: TrainingSet, rows: NDArray[np.bool_]) -> dict[int, float]:
    """Share with the outcome per horizon; half a row keeps an empty one off zero."""
    rates = {}
    for position, horizon in enumerate(training.horizons):
        outcome = training.outcomes[rows, position]
        outcome = outcome[~np.isnan(outcome)]
        rates[horizon] = float((outcome.sum() + 0.5) / (len(outcome) + 1))
    return rates


def _usual_rise(training: TrainingSet, rows: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Mean relative rise of MRR among rows that expanded, and its standard error over accounts.

    None for other labels. Rows of one account share the same rise, so accounts are the sample.
    """
    grown = rows & (training.outcome == 1) & ~np.isnan(training.amounts)
    if training.label.money != "expected_expansion" or not grown.any():
        return None
    amounts = training.amounts[grown]
    _, which = np.unique(training.account[grown], return_inverse=True)
    apart = np.bincount(which, amounts - amounts.mean())
    return float(amounts.mean()), float(np.sqrt((apart**2).sum()) / len(amounts))
