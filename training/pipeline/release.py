"""Refit the chosen model on all mature rows and put it in a bundle.

Parameters are those of the best contender; the calibration comes from scores of fits without the
row's account, in which the newest rows weigh most, because rates drift. The bundle
tests itself on golden rows whose scores are those of the library that fitted the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.metadata import AMOUNT_ERROR, EXTENDED_FROM
from training.dataset.cutoffs import mature, reach_of
from training.dataset.labels import label_named
from training.dataset.splits import newest, rolling_folds
from training.dataset.training_set import TrainingSet
from training.dataset.treatments import TreatedRows
from training.metrics import calibration_slope
from training.models.binned_rows import BinnedRows, MakeGrower
from training.models.calibration import extended
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import HeldOutScores, recency, score_held_out
from training.models.long_horizons import fit_long_horizons
from training.models.specs import ModelSpec, Parameters
from training.models.untreated_risk import fit_untreated_risk
from training.pipeline.evidence import as_measured, level_on, measured_metrics
from training.pipeline.examine_reasons import examine_reasons
from training.pipeline.prepare import PreparedData, usable_folds

GOLDEN_ROWS = 32

RATE_SHARE = 1 / 3
"""The base rate is that of the newest third of the cutoffs, because rates drift."""

BY_DATE = "Contracts with a known date are counted by their decisions; others, "

CALIBRATION_DRAWS = 200
"""Bootstrap draws for intervals: the ends of a 95 % interval rest on five of them."""


LONGEST_EXTENDED = 90
"""The horizon of tiers, money and actions."""


def release(
    spec: ModelSpec,
    prepared: PreparedData,
    parameters: Parameters,
    *,
    code_version: str,
    seed: int,
    metrics: Mapping[str, float],
    treated: TreatedRows | None = None,
    segments: NDArray[np.str_] | None = None,
    growing: MakeGrower = BinnedRows.of,
) -> ModelBundle:
    """Refit a spec on every mature row and bundle it.

    ``treated`` holds when accounts were acted on; None leaves that out of the bundle. ``segments`` is the
    segment of each row, by which reasons are examined; None: by all rows together.
    ``growing`` makes the grower of trees.

    Raises:
        OneClassError: the rows hold too little to learn from.
        CalibrationError: the out-of-time rows cannot be calibrated.
    """
    training, known_until = prepared.training, prepared.known_until
    reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    cutoffs = mature(training.cutoffs, reach=reach, known_until=known_until)
    rows = training.rows_at(cutoffs)
    columns = usable_columns(training, rows, spec)
    grower = growing(training, rows, columns) if fitting_of(spec).is_grown else None
    shorter = score_held_out(
        spec,
        training,
        rows,
        columns,
        parameters,
        at=known_until,
        seed=seed,
        draws=CALIBRATION_DRAWS,
        grower=grower,
    )
    long_horizons = fit_long_horizons(
        spec,
        training,
        prepared.long_horizons.outcomes,
        columns,
        shorter.scores,
        at=known_until,
        seed=seed,
        draws=CALIBRATION_DRAWS,
        calibration=shorter.calibration,
    )
    untreated_risk = (
        None
        if treated is None
        else fit_untreated_risk(
            training,
            treated,
            prepared.long_horizons.outcomes,
            columns,
            shorter.scores,
            at=known_until,
            seed=seed,
        )
    )
    rise = _usual_rise(training, rows)
    matrix = training.part(rows, columns)
    fitted = fit_rows(spec, training, rows, columns, parameters, seed=seed, grower=grower)
    assert fitted.form is not None, "the constant is never released"
    folds = usable_folds(training, rolling_folds(cutoffs, newest(cutoffs, RATE_SHARE), reach=reach))
    reason_evidence = examine_reasons(
        spec, training, rows, folds, columns, parameters,
        served=fitted, held_out=shorter, segments=segments, seed=seed, grower=grower,
    )  # fmt: skip
    golden = matrix[np.random.default_rng(seed).permutation(len(matrix))[:GOLDEN_ROWS]]
    dated = "" if shorter.renewal_risk is None else BY_DATE
    bundle = ModelBundle(
        label=training.label.name,
        contract=FeatureContract(
            tuple(
                ContractFeature(name=training.names[j], digest=training.digests[training.names[j]])
                for j in columns
            )
        ),
        form=fitted.form,
        calibration=shorter.calibration.for_serving(training.horizons),
        shares=tuple(share.for_serving() for share in shorter.shares),
        renewal_risk=shorter.renewal_risk,
        long_horizons=tuple(chance.for_serving() for chance in long_horizons),
        base_rates={
            **_rates(training, training.rows_at(newest(cutoffs, RATE_SHARE))),
            **{c.horizon: c.rate for c in long_horizons},
        },
        metadata=BundleMetadata(
            as_of=known_until,
            data_fingerprint=training.fingerprint,
            code_version=code_version,
            label_policy=training.label.policy,
            seeds={"training": seed},
            notes={
                "model": spec.name,
                **({"judged_on": prepared.split.judged_on} if prepared.split.by_accounts else {}),
                **{f"later_{c.horizon}d": f"{dated}{c.sentence}" for c in long_horizons},
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
    bundle = _with_longer_horizons(bundle, shorter.scores[~np.isnan(shorter.scores)], seed=seed)
    judged = _judge_released(bundle, training, rows, shorter, known_until, seed=seed)
    return replace(bundle, metrics={**bundle.metrics, **judged})


def _with_longer_horizons(
    bundle: ModelBundle, scores: NDArray[np.float64], *, seed: int
) -> ModelBundle:
    """Horizons up to 90 days where only shorter ones were learned, as if their rate went on.

    Tiers, money and actions are of 90 days, and a company with one month of outcomes has no other answer
    to them; nor has a model that was asked for 30 days alone. Each such horizon is marked in the notes.
    """
    last = bundle.horizons[-1]
    usual = label_named(bundle.label).horizons
    to = tuple(days for days in usual if last < days <= LONGEST_EXTENDED)
    if not to or to[-1] != LONGEST_EXTENDED or bundle.renewal_risk is not None:
        return bundle
    rate = bundle.base_rate(last)
    days = " and ".join(map(str, to))
    return replace(
        bundle,
        shares=(),  # they are of the horizon that was the last
        calibration=extended(bundle.calibration, scores, to, seed=seed),
        base_rates={**bundle.base_rates, **{d: 1 - (1 - rate) ** (d / last) for d in to}},
        untreated_risk=None,
        not_estimable={d: why for d, why in bundle.not_estimable.items() if d not in to},
        metadata=replace(
            bundle.metadata,
            notes={
                **bundle.metadata.notes,
                EXTENDED_FROM: str(last),
                "later_extended": f"Within {days} days: taken from the chance within {last} days, as if "
                f"accounts went on leaving at its rate, because nothing longer was learned. Where windows of "
                f"{to[-1]} days have closed, train for them: keepwell train {bundle.label}.",
            },
        ),
    )


def _judge_released(
    bundle: ModelBundle,
    training: TrainingSet,
    rows: NDArray[np.bool_],
    held_out: HeldOutScores,
    at: datetime,
    *,
    seed: int,
) -> dict[str, float]:
    """The level of the released model on its own rows, and the slope of their held-out scores.

    A calibration that was learned on scores which mean something else than those of the released
    model is seen here, whatever the judgement on later rows was about. Rows weigh as they do in the
    calibration.
    """
    weight = recency(training, at)[rows]
    matrix = training.part(rows, training.columns(bundle.contract.names))
    account = np.unique(training.account[rows], return_inverse=True)[1]
    levels = {}
    for position, horizon in enumerate(training.horizons):
        y = training.outcomes[rows, position]
        if y.any():
            levels[f"released model, {horizon} days"] = level_on(
                weight * y, weight * bundle.probability(matrix, horizon), account, seed=seed
            )
    longest = training.horizons[-1]
    p = held_out.calibration.probability(held_out.scores[rows], len(training.horizons) - 1)
    slope = as_measured(calibration_slope(training.outcome[rows], p, account))
    return {
        **measured_metrics("levels", levels),
        **measured_metrics("slopes", {f"released model, {longest} days": slope}),
    }


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
