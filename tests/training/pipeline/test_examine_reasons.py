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
    LEAST_OUTCOMES_ALONE,
    FirstReasonRecord,
    ReasonEvidence,
    SegmentEvidence,
    SideEvidence,
    read_reason_evidence,
    reason_evidence_document,
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


SEGMENTS = ("large", "mid", "small")


def segments_of_rows(training: TrainingSet) -> np.ndarray:
    return np.array(SEGMENTS)[training.account % len(SEGMENTS)]


def company(
    accounts: int, seed: int = 0, *, reversed_in: str | None = None, quiet: float = 0.0
) -> TrainingSet:
    """Each driver is measured with a disturbance, and a suppressor measures the disturbance alone.

    By itself a suppressor says nothing of leaving; a model needs it to correct its driver.

    Args:
        accounts: of three segments, as many of each.
        seed: of the draw.
        reversed_in: the segment in which more of the first driver is safe.
        quiet: how much less often the accounts of "large" leave, in log-odds.
    """
    rng = np.random.default_rng(seed)
    rows = accounts * len(CUTOFFS)
    real = rng.normal(size=(rows, len(DRIVERS)))
    segment = np.array(SEGMENTS)[np.tile(np.arange(accounts), len(CUTOFFS)) % len(SEGMENTS)]
    way = np.ones_like(real)
    way[:, 0] = np.where(segment == reversed_in, -1.0, 1.0)
    rare = quiet * (segment == "large")
    disturbed = rng.normal(size=real.shape)
    matrix = np.exp(np.column_stack((1.5 * real + 1.5 * disturbed, 1.5 * disturbed)))
    leaves = rng.random(rows) < 1 / (1 + np.exp(2.6 + rare - 1.2 * (way * real).sum(axis=1)))
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
        served=served, held_out=held_out, segments=segments_of_rows(training), seed=0,
    )  # fmt: skip
    return served.form, evidence


class Served:
    """What the service asks of a bundle, from a form alone; points are log-odds here."""

    def __init__(self, form, usual) -> None:
        self.form, self.usual = form, usual

    def points(self, matrix, horizon_days, *, raw=None, within=None):
        return self.form.contributions_within(matrix, raw, within), 0.1


def told_themes(training: TrainingSet, form, evidence) -> tuple[Facts, np.ndarray, np.ndarray]:
    """Rows × themes: what each adds, and whether it is told."""
    facts = Facts.of(NAMES, CATALOGUE, FORMULAS["balanced"])
    usual = np.median(training.matrix, axis=0)
    frame = pl.DataFrame(dict(zip(NAMES, training.matrix.T, strict=True)))
    rows = facts.explain(
        Served(form, {}), training.matrix, 90, frame, raw=np.zeros(len(training.matrix))
    )
    segments = segments_of_rows(training).tolist()
    chosen = choose_reasons(rows, np.tile(usual, (len(training.matrix), 1)), evidence, segments)
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


@pytest.mark.parametrize(
    ("spec", "seed"),
    [(LOGISTIC, 0), (LOGISTIC, 1), (LOGISTIC, 2), (LIGHTGBM, 0), (LIGHTGBM, 1)],
    ids=lambda one: getattr(one, "name", one),
)
def test_a_driver_that_is_reversed_in_one_segment_is_no_reason_there_alone(spec, seed):
    training = company(1_500, seed, reversed_in="small")
    form, evidence = examined(training, spec)
    facts, added, told = told_themes(training, form, evidence)
    themes = [facts.themes.index(theme_of(name, CATALOGUE)) for name in NAMES]
    drive, suppress = themes[: len(DRIVERS)], themes[len(DRIVERS) :]
    here = segments_of_rows(training) == "small"
    _, _, by_all = told_themes(training, form, replace(evidence, segments={}))
    assert by_all[here, drive[0]].sum() > 300  # all accounts together would not keep it out
    assert not told[here, drive[0]].any()
    assert not told[:, suppress].any()
    # a true driver is large, its fact reads as on its side of what is usual, and it goes that way
    large = np.abs(added) >= 0.2 * np.abs(added).sum(axis=1, keepdims=True)
    apart = np.round(training.matrix) - np.round(np.median(training.matrix, axis=0))
    true = (large & (added * apart[:, np.argsort(themes)] > 0))[:, drive]
    true[here, 0] = False
    assert told[:, drive][true].mean() >= 0.95


def test_a_segment_with_few_outcomes_answers_with_all():
    training = company(900, reversed_in="large", quiet=3.0)
    _, evidence = examined(training, LOGISTIC)
    left = {
        name: len(np.unique(training.account[(training.outcome == 1) & inside]))
        for name in SEGMENTS
        if (inside := segments_of_rows(training) == name).any()
    }
    assert left["large"] < LEAST_OUTCOMES_ALONE <= min(left["mid"], left["small"])
    assert {name: one.outcomes for name, one in evidence.segments.items()} == {
        name: left[name] for name in ("mid", "small")
    }
    theme = theme_of(DRIVERS[0], CATALOGUE)
    assert evidence.theme_earned(theme, raises=True, segment="large")
    assert evidence.theme_earned(theme, raises=True, segment="large") == evidence.theme_earned(
        theme, raises=True
    )


def test_evidence_of_segments_is_stored_and_older_evidence_is_read():
    _, evidence = examined(company(300), LOGISTIC)
    document = reason_evidence_document(evidence)
    assert evidence.segments
    assert read_reason_evidence(document) == evidence
    del document["segments"]
    assert read_reason_evidence(document) == replace(evidence, segments={})


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


@pytest.mark.parametrize(
    ("every", "alone", "n", "earned"),
    [
        (
            side(40),
            side(24.3),
            1,
            True,
        ),  # 4.2 above, which chance would do; all together say so too
        (side(40), side(24.1), 1, False),  # not even a standard error
        (side(40), side(12, expected=9.9), 1, True),  # too few to tell alone: all together say yes
        (side(40), None, 1, True),
        (side(20), side(27.2), 1, True),  # all together say nothing, the segment does
        (side(20), side(27.2), 3, False),  # one in twenty is shared by three segments
        (side(20), side(29.5), 3, True),
        (side(20), None, 1, False),
    ],
)
def test_a_segment_answers_for_itself_where_enough_is_expected(every, alone, n, earned):
    own = SegmentEvidence(outcomes=60, themes={"use": (alone, None)}, features={})
    evidence = ReasonEvidence(
        refits=20,
        themes={"use": (every, None)},
        features={},
        first={},
        segments=dict.fromkeys(SEGMENTS[:n], own),
    )
    assert evidence.theme_earned("use", raises=True, segment="large") == earned
    by_all = evidence.theme_earned("use", raises=True)
    assert evidence.theme_earned("use", raises=True, segment="elsewhere") == by_all
    assert by_all == (every.came > 30)


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
