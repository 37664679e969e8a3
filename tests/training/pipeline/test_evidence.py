from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.bundle import BundleError
from registry.promotion.level import IntervalEstimate
from registry.promotion.promotion import (
    AuditResult,
    EvidenceError,
    Gain,
    PromotionEvidence,
    decide,
)
from registry.store.store import MemoryModelStore, TrainingRun
from training.dataset.labels import label_named
from training.models.model_selection import run_contender
from training.models.specs import BASE_RATE, FORMULA, LOGISTIC
from training.pipeline.evidence import (
    as_metrics,
    champion_or_none,
    evidence_of,
    from_metrics,
    promotion_of_version,
)
from training.pipeline.prepare import prepare

GAIN = Gain(mean=0.01, low=-0.002, high=0.02, confidence=0.93)
EVIDENCE = PromotionEvidence(
    log_loss=0.26,
    log_loss_low=0.21,
    log_loss_high=0.31,
    calibration_error=0.02,
    n_rows=1626,
    n_accounts=585,
    n_positives=122,
    over_base_rate=GAIN,
    over_formula=GAIN,
    over_champion=GAIN,
    n_rows_with_champion=300,
    captured={5: 0.2, 20: 0.4},
    captured_over={5: GAIN, 20: GAIN},
    segments={"MRR lowest third": GAIN},
    explanations_agreement=0.75,
    levels={"later rows, 90 days": IntervalEstimate(value=1.05, low=0.9, high=1.2)},
    base_rate_levels={"later rows, 90 days": IntervalEstimate(value=1.0, low=0.9, high=1.1)},
    slopes={"released model, 90 days": IntervalEstimate(value=0.9, low=0.6, high=1.2)},
)


@pytest.mark.parametrize(
    "evidence",
    [
        EVIDENCE,
        replace(EVIDENCE, over_champion=None, over_refitted=GAIN),
        replace(EVIDENCE, over_formula=None),
        replace(
            EVIDENCE,
            captured={},
            captured_over={},
            segments={},
            explanations_agreement=None,
            levels={},
            base_rate_levels={},
            slopes={},
        ),
    ],
    ids=["whole", "no champion", "no formula", "of before"],
)
def test_evidence_is_read_back_as_it_was_stored(evidence) -> None:
    assert from_metrics(as_metrics(evidence)) == evidence


def test_other_metrics_do_not_disturb() -> None:
    assert from_metrics({"log_loss_90d": 0.3} | as_metrics(EVIDENCE)) == EVIDENCE


@pytest.mark.parametrize("lost", ["evidence_n_rows", "evidence_over_base_rate_mean"])
def test_evidence_that_is_not_whole_is_refused(lost) -> None:
    numbers = as_metrics(EVIDENCE)
    del numbers[lost]
    with pytest.raises(EvidenceError, match="carries no evidence"):
        from_metrics(numbers)


# ── level and slope ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def contest(small_company):
    """A prepared training with a model, the formula and the base rate, judged on later rows."""
    company = small_company(n_accounts=500, leaves=0.06)
    prepared = prepare(
        label_named("churn"),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )
    draws = np.ones((2, len(prepared.training.accounts)))
    return prepared, {
        spec.name: run_contender(
            spec,
            prepared.training,
            prepared.before_test,
            prepared.test,
            spec.parameters,
            draws,
            at=prepared.split.test[0],
            seed=1,
        )
        for spec in (LOGISTIC, FORMULA, BASE_RATE)
    }


def failed_checks(contest, change) -> set[str]:
    prepared, contenders = contest
    best = contenders[LOGISTIC.name]
    changed = replace(best, probabilities={h: change(p) for h, p in best.probabilities.items()})
    evidence = evidence_of(changed, contenders, prepared, None, seed=1)
    return {check.name for check in decide(evidence).checks if check.outcome == "failed"}


def test_a_model_that_has_learned_something_is_not_refused(contest) -> None:
    assert failed_checks(contest, lambda p: p) == set()


def test_a_model_that_is_half_too_high_is_refused(contest) -> None:
    assert "level" in failed_checks(contest, lambda p: np.minimum(1.5 * p, 0.99))


def test_a_model_that_says_nothing_is_refused_by_more_than_one_check(contest) -> None:
    shuffled = failed_checks(contest, np.random.default_rng(2).permutation)
    assert shuffled >= {"better than the base rate", "slope"}
    same = failed_checks(contest, lambda p: np.full(len(p), p.mean()))
    assert same >= {"better than the health formula", "slope"}


# ── held against the champion ──────────────────────────────────────────────────────────────────


class Damaged(MemoryModelStore):
    """A store whose champion cannot be used."""

    def champion(self, label: str):
        raise BundleError("truncated or altered")


def test_a_champion_that_can_not_be_used_is_no_standard_to_reach() -> None:
    assert champion_or_none(Damaged(), "churn") is None
    assert champion_or_none(MemoryModelStore(), "churn") is None


@pytest.fixture(scope="module")
def retrained(small_company):
    """A champion of months ago, and a challenger of today."""
    company, store = small_company(n_accounts=400, months=24), MemoryModelStore()
    company.train(store=store, trials=0, known_until=company.cutoffs[-6])
    return store, company.train(store=store, trials=0, by=None)


def test_the_champion_is_compared_on_rows_that_neither_has_learned_from(retrained) -> None:
    store, result = retrained
    evidence = from_metrics(result.bundle.metrics)
    assert evidence.over_champion is not None
    assert evidence.other == "the champion"
    champion = store.champion("churn")
    later = [at for at in result.split.test if at >= champion.metadata.as_of]
    assert 0 < len(later) < len(result.split.test)
    assert evidence.n_rows_with_champion is not None
    assert 0 < evidence.n_rows_with_champion < evidence.n_rows
    decision, document = promotion_of_version(
        store, "churn", 2, audited=AuditResult(is_clean=True, sentences=())
    )
    said = next(c for c in decision.checks if c.name == "not worse than the champion")
    assert f"on {evidence.n_rows_with_champion} rows that neither has learned" in said.sentence
    assert document["checks"] == decision.document()["checks"]
    assert document["n_rows"] == evidence.n_rows


def test_a_champion_of_today_has_learned_from_every_row(small_company) -> None:
    company, store = small_company(n_accounts=120), MemoryModelStore()
    company.train(store=store, trials=0)
    again = company.train(store=store, trials=0, by=None, seed=2)
    evidence = from_metrics(again.bundle.metrics)
    assert evidence.over_champion is None
    assert evidence.n_rows_with_champion is None
    assert evidence.other == "the health formula"


def test_a_young_champion_of_another_kind_is_fitted_to_the_same_rows(small_company) -> None:
    """The champion is renamed to another contender: what counts is how that one fares here."""
    company, store = small_company(n_accounts=120), MemoryModelStore()
    first = company.train(store=store, trials=0)
    kind = next(name for name in ("logistic", "lightgbm") if name != first.best.name)
    metadata = replace(first.bundle.metadata, notes={"model": kind})
    run_id = store.record_run(
        TrainingRun(
            label="churn",
            name=kind,
            bundle=replace(first.bundle, metadata=metadata),
            started_at=company.known_until,
            ended_at=company.known_until,
        )
    )
    store.promote(
        "churn", store.register("churn", run_id), evidence={}, by="ann", at=company.known_until
    )
    again = company.train(store=store, trials=0, by=None)
    evidence = from_metrics(again.bundle.metrics)
    assert evidence.over_champion is None
    assert evidence.over_refitted is not None
    difference = again.differences[kind]
    assert evidence.over_refitted.mean == pytest.approx(-difference.value)
    assert any(
        "the champion's kind of model fitted to the same rows" in reason
        for reason in again.promotion.reasons
    )


def test_a_training_that_promotes_keeps_every_check(trained) -> None:
    result, store = trained
    (change,) = store.history("churn")
    assert change.evidence["checks"] == result.promotion.document()["checks"]
    assert change.evidence["n_rows"] == result.rows["test"]
