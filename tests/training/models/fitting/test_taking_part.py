"""Who takes part, and why others do not."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from training.dataset.labels import label_named
from training.dataset.training_set import TrainingSet
from training.models.fitting.taking_part import is_made_for, why_not
from training.models.specs import BASE_RATE, FORMULA, LOGISTIC, RENEWAL_RISK

NAMES = ("days_to_renewal", "term_months", "health_score", "usage")
N = 300


def training_set(leavers: int = 40, label: str = "churn") -> TrainingSet:
    """Yearly contracts of which so many left at their end, within 30 days."""
    rng = np.random.default_rng(0)
    matrix = np.column_stack(
        (np.full(N, 20.0), np.full(N, 12.0), rng.uniform(0, 100, N), rng.normal(size=N))
    )
    left = np.arange(N) < leavers
    return TrainingSet(
        label=label_named(label),
        horizons=(30, 60, 90),
        names=NAMES,
        digests=dict.fromkeys(NAMES, ""),
        matrix=matrix,
        outcomes=np.repeat(left[:, None].astype(float), 3, axis=1),
        amounts=np.full(N, np.nan),
        cutoffs=(datetime(2024, 1, 1, tzinfo=UTC),),
        cutoff=np.zeros(N, dtype=np.int64),
        accounts=tuple(f"a{i:03}" for i in range(N)),
        account=rng.permutation(N),
    )


EVERY = np.ones(N, dtype=np.bool_)


def dated(training: TrainingSet, days: float | np.ndarray) -> TrainingSet:
    matrix = training.matrix.copy()
    matrix[:, 0] = days
    return replace(training, matrix=matrix)


def test_the_renewal_model_is_about_contracts_that_end() -> None:
    assert is_made_for(RENEWAL_RISK, training_set())
    assert not is_made_for(RENEWAL_RISK, training_set(label="expansion"))
    assert is_made_for(LOGISTIC, training_set(label="expansion"))
    late = replace(training_set(), label=replace(label_named("churn"), lead_days=7))
    assert not is_made_for(RENEWAL_RISK, late)  # its days would count from another moment


def test_one_term_for_all_is_known_too() -> None:
    days = np.arange(N) % 90
    assert why_not(RENEWAL_RISK, dated(training_set(), days), EVERY) is None
    assert why_not(LOGISTIC, training_set(), EVERY) is None
    assert why_not(BASE_RATE, training_set(), EVERY) is None


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        (dated(training_set(), np.nan), "no date of renewal is known"),
        (dated(training_set(leavers=11), np.arange(N) % 90), r"^11 decisions .* ended in leaving"),
        (dated(training_set(), 200.0 + np.arange(N)), "^0 decisions"),
    ],
    ids=["no date", "few left", "ends later"],
)
def test_why_it_takes_no_part_is_said(training: TrainingSet, reason: str) -> None:
    said = why_not(RENEWAL_RISK, training, EVERY)
    assert said is not None
    assert re.search(reason, said), said


def test_a_feature_that_is_not_there_is_named() -> None:
    training = replace(training_set(), matrix=np.full((N, 4), np.nan))
    assert why_not(FORMULA, training, EVERY) == (
        "health_score is unknown or constant in the training rows."
    )
