from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.catalogue.themes import theme_of
from features.health.formula import FORMULAS
from features.health.score import health_column
from registry.promotion.reason_evidence import (
    LEAST_FIRST,
    FirstReasonRecord,
    ReasonEvidence,
    SideEvidence,
)
from serving.scoring.reasons.choice import choose_reasons
from serving.scoring.reasons.facts import Facts
from serving.scoring.score import NONE
from training.dataset.labels import label_named
from training.dataset.splits import Fold
from training.dataset.training_set import TrainingSet
from training.models.fitting.fit_rows import fit_rows
from training.models.fitting.held_out import score_held_out
from training.models.specs import FORMULA_PRIOR, LIGHTGBM, LOGISTIC
from training.pipeline.examine_reasons import MOST_ROWS, _some, examine_reasons

CATALOGUE = load_catalogue().by_name
DRIVERS = ("errors_28d", "tickets_28d", "days_since_login")
SUPPRESSORS = ("invoices_issued_90d", "nudges_sent_28d", "seats")
"""Their directions are open, so that only what the training finds out can keep them out."""

NAMES = (*DRIVERS, *SUPPRESSORS)
CUTOFFS = tuple(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=30 * n) for n in range(4))


def company(accounts: int, seed: int = 0) -> TrainingSet:
    """Each driver is measured with a disturbance, and a suppressor measures the disturbance alone.

    By itself a suppressor says nothing of leaving; a model needs it to correct its driver.
    """
    rng = np.random.default_rng(seed)
    rows = accounts * len(CUTOFFS)
    real = rng.normal(size=(rows, len(DRIVERS)))
    disturbed = rng.normal(size=real.shape)
    matrix = np.exp(np.column_stack((1.5 * real + 1.5 * disturbed, 1.5 * disturbed)))
    leaves = rng.random(rows) < 1 / (1 + np.exp(2.6 - 1.2 * real.sum(axis=1)))
    return TrainingSet(
        label=label_named("churn"),
        horizons=(90,),
        names=NAMES,
        digests=dict.fromkeys(NAMES, ""),
        matrix=matrix,
        outcomes=leaves[:, None].astype(float),
        amounts=np.full(rows, np.nan),
        cutoffs=CUTOFFS,
        cutoff=np.repeat(np.arange(len(CUTOFFS)), accounts),
        accounts=tuple(f"a{n}" for n in range(accounts)),
        account=np.tile(np.arange(accounts), len(CUTOFFS)),
    )


def examined(training: TrainingSet, spec, parameters=None):
    """The served form and the evidence of its reasons."""
    columns, every = list(range(len(training.names))), np.ones(len(training.outcome), bool)
    folds = (Fold(train=CUTOFFS[:2], held_out=CUTOFFS[2:]),)
    parameters = parameters or {**spec.parameters, "strength": 1.0}
    served = fit_rows(spec, training, every, columns, parameters, seed=0)
    at = CUTOFFS[-1] + timedelta(days=366)
    held_out = score_held_out(spec, training, every, columns, parameters, at=at, seed=0)
    evidence = examine_reasons(
        spec, training, every, folds, columns, parameters,
        served=served, held_out=held_out, seed=0,
    )  # fmt: skip
    return served.form, evidence


class Served:
    """What the service asks of a bundle, from a form alone; points are log-odds here."""

    def __init__(self, form, usual) -> None:
        self.form, self.usual = form, usual

    def points(self, matrix, horizon_days, *, raw=None):
        return self.form.contributions(matrix), 0.1

    def theme_points(self, matrix, horizon_days, themes, *, raw=None):
        return self.form.theme_contributions(matrix, self.form.score(matrix), themes), 0.1


def told_themes(training: TrainingSet, form, evidence) -> tuple[Facts, np.ndarray, np.ndarray]:
    """Rows × themes: what each adds, and whether it is told."""
    facts = Facts.of(NAMES, CATALOGUE, FORMULAS["balanced"])
    usual = np.median(training.matrix, axis=0)
    frame = pl.DataFrame(dict(zip(NAMES, training.matrix.T, strict=True)))
    rows = facts.explain(
        Served(form, {}), training.matrix, 90, frame, raw=np.zeros(len(training.matrix))
    )
    chosen = choose_reasons(rows, np.tile(usual, (len(training.matrix), 1)), evidence)
    told = np.zeros(rows.by_theme.shape, bool)
    for order in chosen.order.T:
        told[np.nonzero(order != NONE)[0], order[order != NONE]] = True
    return facts, rows.by_theme, told


@pytest.mark.parametrize("spec", [LOGISTIC, LIGHTGBM], ids=lambda spec: spec.name)
def test_no_planted_suppressor_is_a_reason_and_nearly_every_driver_is(spec):
    training = company(700)
    form, evidence = examined(training, spec)
    facts, added, told = told_themes(training, form, evidence)
    _, _, without = told_themes(training, form, None)
    themes = [theme_of(name, CATALOGUE) for name in NAMES]
    suppress = [facts.themes.index(theme) for theme in themes[len(DRIVERS) :]]
    drive = [facts.themes.index(theme) for theme in themes[: len(DRIVERS)]]
    assert without[:, suppress].sum() > 300  # nothing else would keep them out
    assert not told[:, suppress].any()
    large = np.abs(added) >= 0.2 * np.abs(added).sum(axis=1, keepdims=True)
    assert told[:, drive][large[:, drive]].mean() >= 0.95


def test_a_side_that_refits_do_not_agree_about_is_no_reason():
    """With forty accounts a coefficient of nothing points one way as often as the other."""
    training = company(60, seed=3)
    noise = replace(training, matrix=np.random.default_rng(9).lognormal(size=training.matrix.shape))
    _, evidence = examined(noise, LOGISTIC)
    earned = [
        evidence.feature_earned(name, raises=raises) for name in NAMES for raises in (True, False)
    ]
    assert sum(earned) <= 2
    assert min(s.same_sign for sides in evidence.features.values() for s in sides if s) < 0.8


def test_accounts_that_had_a_reason_first_are_counted_on_later_rows():
    training = company(700)
    _, evidence = examined(training, LOGISTIC)
    assert sum(record.accounts for record in evidence.first.values()) <= 2 * 700
    record = evidence.record(theme_of("errors_28d", CATALOGUE))
    assert record is not None
    assert record.accounts >= LEAST_FIRST
    assert record.expected == pytest.approx(record.came, rel=0.35)


def test_health_is_handed_back_before_anything_is_counted():
    training = company(300)
    formula = FORMULAS["balanced"]
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "nps_last": rng.integers(0, 11, len(training.outcome)).astype(float),
            "days_since_activity": rng.choice([2.0, 20.0], len(training.outcome)),
        }
    )
    health = health_column(frame, formula).to_numpy()
    leaves = rng.random(len(health)) < 1 / (1 + np.exp(0.08 * (health - 60)))
    names = (*frame.columns, "health_score")
    with_health = replace(
        training,
        names=names,
        digests=dict.fromkeys(names, "") | {"health_score": formula.version},
        matrix=np.column_stack((frame.to_numpy(), health)),
        outcomes=leaves[:, None].astype(float),
    )
    _, evidence = examined(with_health, FORMULA_PRIOR, FORMULA_PRIOR.parameters)
    assert evidence.themes["health"] == (None, None)
    assert evidence.features["health_score"] == (None, None)
    for theme in ("sentiment", "stickiness"):
        assert all(side is not None for side in evidence.themes[theme])
        assert evidence.theme_earned(theme, raises=True)
        assert evidence.theme_earned(theme, raises=False)


def test_more_rows_than_are_needed_are_left_out_by_account():
    account = np.repeat(np.arange(5_000), 4)
    some = _some(np.ones(len(account), bool), account, np.random.default_rng(0))
    assert some.sum() <= MOST_ROWS
    assert some.sum() >= MOST_ROWS - 4
    assert set(np.bincount(account[some])) <= {0, 4}
    few = np.ones(40, bool)
    assert _some(few, account[:40], np.random.default_rng(0)).all()


def side(came: float, *, expected: float = 20.0, same_sign: float = 1.0) -> SideEvidence:
    return SideEvidence(accounts=200.0, came=came, expected=expected, same_sign=same_sign)


@pytest.mark.parametrize(
    ("one", "raises", "earned"),
    [
        (side(30), True, True),
        (side(30), False, False),
        (side(10), False, True),
        (side(10), True, False),
        (side(24), True, False),  # chance would do it
        (side(30, same_sign=0.79), True, False),
        (side(30, same_sign=0.8), True, True),
        (side(0, expected=1.9), True, True),  # too few to tell
    ],
)
def test_a_side_is_earned_by_what_came_and_by_refits(one, raises, earned):
    assert one.earned(raises=raises) == earned


def test_what_nobody_examined_is_believed_and_few_have_no_record():
    evidence = ReasonEvidence(
        refits=20,
        themes={"use": (None, side(30))},
        features={},
        first={
            "use": FirstReasonRecord(accounts=20, came=3, expected=2.5),
            "support": FirstReasonRecord(accounts=19, came=3, expected=2.5),
        },
    )
    assert evidence.theme_earned("use", raises=True)
    assert not evidence.theme_earned("use", raises=False)
    assert evidence.feature_earned("seats", raises=True)
    assert evidence.record("use") is not None
    assert evidence.record("support") is None
    assert evidence.record("billing") is None
