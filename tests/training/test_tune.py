from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from registry.calibration import sigmoid
from registry.promotion import log_loss_rows
from training.labels import label_named
from training.prepare import prepare
from training.race import usable_columns
from training.specs import LIGHTGBM, LOGISTIC
from training.tune import levelled_rows, tune


@pytest.fixture(scope="module")
def prepared(small_company):
    company = small_company(n_accounts=150)
    return prepare(label_named("churn"), events=company.events, reader=company.reader,
                   digests=company.digests, cutoffs=company.cutoffs,
                   known_until=company.known_until)


def study(prepared, spec, **changes):
    columns = usable_columns(prepared.training, prepared.before_test, spec)
    given = {"trials": 4, "seed": 1} | changes
    return tune(spec, prepared.training, prepared.tuning_folds, columns, **given)


def test_a_level_is_the_best_shift_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    f = rng.normal(3, 1, 400)
    y = (rng.random(400) < sigmoid(f - 4.5)).astype(float)
    best = minimize_scalar(lambda a: log_loss_rows(y, sigmoid(a + f)).mean()).fun
    assert levelled_rows(f, y).mean() == pytest.approx(best, abs=1e-5)  # half a row is added


def test_a_level_is_found_from_far_away() -> None:
    f = np.r_[np.full(50, 40.0), np.full(50, -40.0)] + 300
    y = np.r_[np.ones(49), 0, np.zeros(50)]
    assert levelled_rows(f, y).mean() < 0.8


def test_a_fold_without_outcomes_has_a_level() -> None:
    assert levelled_rows(np.linspace(-1, 1, 50), np.zeros(50)).mean() < 0.1


@pytest.mark.parametrize("spec", [LIGHTGBM, LOGISTIC], ids=lambda s: s.name)
def test_no_budget_keeps_the_defaults(prepared, spec) -> None:
    found = study(prepared, spec, trials=0)
    assert found.parameters == spec.parameters
    assert found.kept_defaults
    assert found.trials == 0


def test_the_same_seed_finds_the_same(prepared) -> None:
    assert study(prepared, LIGHTGBM) == study(prepared, LIGHTGBM)


def test_a_study_is_never_worse_than_the_defaults_on_its_folds(prepared) -> None:
    for spec in (LIGHTGBM, LOGISTIC):
        found = study(prepared, spec)
        assert found.loss <= found.default_loss


def test_defaults_stay_unless_they_are_clearly_beaten(prepared) -> None:
    for spec in (LIGHTGBM, LOGISTIC):
        assert study(prepared, spec, least_confidence=1.1).parameters == spec.parameters


def test_trials_are_told(prepared) -> None:
    heard = []
    study(prepared, LIGHTGBM, progress=lambda *step: heard.append(step))
    assert heard[-1] == ("churn: tuning", 4, 4)
