"""Risk if nobody acts, in worlds where the risk without interventions is known."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from features.events.schema import events_frame
from registry.bundle.calibration import sigmoid
from registry.bundle.untreated_risk import BY_JUDGEMENT, BY_LOT, NO_LOG, ONLY_CHURN
from training.dataset.labels import label_named
from training.dataset.training_set import TrainingSet
from training.dataset.treatments import NEVER, TreatedRows
from training.models.fitting.held_out import scores_by_fifths
from training.models.specs import LOGISTIC
from training.models.untreated_risk import fit_untreated_risk, treatment_intervals

HORIZONS = (30, 60, 90)
CUTOFFS = tuple(datetime(2023 + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(8))
UNTIL = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = [0, 1, 2]


@dataclass(frozen=True)
class World:
    training: TrainingSet
    treated: TreatedRows
    truth: dict[int, np.ndarray]  # horizon: the risk of each row if nobody acts

    def fitted(self, *, long_outcomes: dict | None = None, at: datetime = UNTIL):
        closed = ~np.isnan(self.training.outcome) & self.closed_by(at)
        near = scores_by_fifths(
            LOGISTIC, self.training, closed, COLUMNS, LOGISTIC.parameters, seed=1
        )
        return fit_untreated_risk(
            self.training, self.treated, long_outcomes or {}, COLUMNS, near, at=at, seed=1
        )

    def closed_by(self, at: datetime):
        """Rows whose longest window had closed at a moment."""
        reach = timedelta(days=self.training.label.lead_days + self.training.horizons[-1])
        closed = np.array([cutoff + reach <= at for cutoff in self.training.cutoffs])
        return closed[self.training.cutoff]

    def risk(self, found):
        """The risk if nobody acts that is made of a plain risk, and the plain one."""
        from training.models.fit import fit_linear

        matrix = self.training.matrix
        plain = {}
        for k, horizon in enumerate(HORIZONS):
            form = fit_linear(matrix, self.training.outcomes[:, k], strength=1.0)
            plain[horizon] = sigmoid(form.score(matrix))
        return plain, found.risk(matrix, plain, plain, plain)


def world(
    *,
    n: int = 900,
    factor: float = 0.25,
    by: str = "judgement",
    eager: float = 0.0,
    leaves: float = -2.6,
    seed: int = 3,
    share: float = 1.0,
) -> World:
    """Accounts at risk are acted on, which keeps most of them; a month at a time.

    ``eager`` is how readily they are acted on, ``factor`` what that leaves of the chance to go.
    """
    rng = np.random.default_rng(seed)
    rows = n * len(CUTOFFS)
    account, cutoff = np.repeat(np.arange(n), len(CUTOFFS)), np.tile(np.arange(len(CUTOFFS)), n)
    matrix = np.repeat(rng.normal(size=(n, 3)), len(CUTOFFS), axis=0)
    matrix += 0.3 * rng.normal(size=matrix.shape)
    chance = sigmoid(leaves + matrix[:, 0])  # to go in a month if nobody acts
    propensity = (
        np.full(rows, 0.5)
        if by == "lot"
        else sigmoid(eager - 1.5 + 1.8 * matrix[:, 0] + 0.5 * matrix[:, 1])
    )
    reached = rng.random(n)[account] < share
    outcome_days, treated_days = np.full(rows, NEVER), np.full(rows, NEVER)
    controls = []
    for month in range(3):
        open_ = np.isinf(outcome_days) & np.isinf(treated_days) & reached
        acts = open_ & (rng.random(rows) < propensity)
        treated_days[acts] = 30 * month + 0.5
        if by == "lot":
            controls += [(row, 30 * month + 0.5) for row in np.flatnonzero(open_ & ~acts)]
        safe = np.isfinite(treated_days)
        gone = np.isinf(outcome_days) & (rng.random(rows) < chance * np.where(safe, factor, 1.0))
        outcome_days[gone] = 30 * month + rng.uniform(1, 29, rows)[gone]
    training = TrainingSet(
        label=label_named("churn"),
        horizons=HORIZONS,
        names=("a", "b", "c"),
        digests=dict.fromkeys("abc", "1"),
        matrix=matrix,
        outcomes=np.column_stack([(outcome_days < h).astype(float) for h in HORIZONS]),
        amounts=np.full(rows, np.nan),
        cutoffs=CUTOFFS,
        cutoff=cutoff,
        accounts=tuple(f"a{i:04}" for i in range(n)),
        account=account,
    )
    nothing = np.full(rows, np.nan)
    return World(
        training=training,
        treated=TreatedRows(
            outcome_days=outcome_days,
            treated_days=treated_days,
            by_chance=np.isfinite(treated_days) & (by == "lot"),
            action=("call",) * rows,
            control_row=np.array([row for row, _ in controls], dtype=np.int64),
            control_days=np.array([days for _, days in controls]),
            control_chance=np.full(len(controls), 0.5),
            days_since_treatment=nothing,
            days_since_choice=nothing,
        ),
        truth={h: 1 - (1 - chance) ** (k + 1) for k, h in enumerate(HORIZONS)},
    )


@pytest.fixture(scope="module")
def judged():
    made = world()
    return made, made.fitted()


def test_where_the_risky_are_treated_the_plain_risk_understates_and_this_does_not(judged) -> None:
    made, found = judged
    plain, told = made.risk(found)
    risky = made.truth[90] > np.quantile(made.truth[90], 0.8)
    for horizon in (60, 90):
        truth = made.truth[horizon]
        short = (truth - plain[horizon])[risky].mean()
        assert short > 0.05  # the world is confounded, or this test says nothing
        left = (truth - told[horizon][0])[risky].mean()
        assert abs(left) < 0.5 * short
        error = np.sqrt(((told[horizon][0] - truth) ** 2).mean())
        assert error < 0.8 * np.sqrt(((plain[horizon] - truth) ** 2).mean())
    assert found.shares[90].treated > 0.2 * found.shares[90].rows
    assert found.assumption == BY_JUDGEMENT


def test_weights_matter_where_the_risky_are_treated(judged) -> None:
    """Leaving out treated rows without weighing the others would still understate."""
    made, found = judged
    _, told = made.risk(found)
    untreated = made.treated.treated_days >= np.minimum(made.treated.outcome_days, 90)
    left_out = made.training.outcome[untreated].mean()
    truth = made.truth[90].mean()
    assert abs(told[90][0].mean() - truth) < 0.5 * abs(left_out - truth)


def test_where_nothing_works_it_is_the_plain_risk_within_its_error() -> None:
    made = world(factor=1.0, seed=4)
    found = made.fitted()
    assert found.shift is not None
    for value, variance in (
        (found.shift.shift, found.shift.covariance[0][0]),
        (found.shift.weight, found.shift.covariance[1][1]),
    ):
        assert abs(value) < 3 * np.sqrt(variance)
    plain, told = made.risk(found)
    assert abs(told[90][0].mean() - plain[90].mean()) < 0.02


def test_the_chances_of_a_lottery_are_taken_as_logged() -> None:
    made = world(by="lot")
    found = made.fitted()
    plain, told = made.risk(found)
    assert found.assumption == BY_LOT
    assert found.drawn_share == 1
    truth = made.truth[90].mean()
    assert truth - plain[90].mean() > 0.03
    assert abs(told[90][0].mean() - truth) < 0.3 * (truth - plain[90].mean())


def intervals_of(made: World):
    return treatment_intervals(made.training, made.treated, {}, made.training.matrix, at=UNTIL)


def test_a_draw_of_a_half_that_spared_a_row_makes_it_stand_for_two() -> None:
    for months, one in enumerate(intervals_of(world(n=100, by="lot")), start=1):
        assert np.allclose(one.stay[one.untreated], 0.5**months)
        assert np.allclose(one.weight[one.untreated], 2.0**months)
        assert (one.weight[~one.untreated] == 0).all()


def test_rows_that_stay_untouched_stand_for_all_where_a_person_chose() -> None:
    made = world(n=2000)
    first = intervals_of(made)[0]
    truth = made.truth[30][first.rows].mean()
    left_out = first.outcome[first.untreated].mean()
    assert truth - left_out > 0.02
    assert abs(np.average(first.outcome, weights=first.weight) - truth) < 0.6 * (truth - left_out)


def test_what_is_done_after_the_outcome_changes_nothing(judged) -> None:
    made, found = judged
    left = np.isfinite(made.treated.outcome_days) & np.isinf(made.treated.treated_days)
    late = np.where(left, made.treated.outcome_days + 0.25, made.treated.treated_days)
    again = replace(made, treated=replace(made.treated, treated_days=late)).fitted()
    assert again.shares == found.shares
    assert again.shift.shift == pytest.approx(found.shift.shift, abs=1e-9)


def test_its_error_is_about_what_it_scatters_by() -> None:
    found = [world(n=250, by="lot", seed=seed).fitted().shift for seed in range(20, 34)]
    for value, place in (([one.shift for one in found], 0), ([one.weight for one in found], 1)):
        said = np.mean([np.sqrt(one.covariance[place][place]) for one in found])
        assert 0.6 < said / np.std(value) < 1.6  # of 14 companies, known to a fifth


def test_it_lies_between_0_and_1_never_falls_and_is_inside_its_interval(judged) -> None:
    made, found = judged
    _, told = made.risk(found)
    before = np.zeros(len(made.training.account))
    for horizon in HORIZONS:
        value, low, high = told[horizon]
        assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
        assert (value >= before).all()
        before = value


def test_without_a_log_it_is_unknown_and_not_the_plain_risk() -> None:
    made = world(n=200)
    nobody = replace(
        made.treated,
        treated_days=np.full_like(made.treated.treated_days, NEVER),
        by_chance=np.zeros_like(made.treated.by_chance),
    )
    found = replace(made, treated=nobody).fitted()
    assert found.shift is None
    assert set(found.not_known.values()) == {NO_LOG}
    assert found.risk(made.training.matrix, {}, {}, {}) == {}
    assert found.sentences == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 300, "share": 0.02}, r"Only \d+ accounts were treated, and 10 are needed"),
        ({"n": 300, "leaves": -6.0}, r"Only \d+ accounts had the outcome without being treated"),
        ({"eager": 7.0}, r"\d+% of the rows were all but sure to be treated"),
    ],
    ids=["few are treated", "few untreated leave", "nearly all are treated"],
)
def test_where_the_log_can_not_tell_there_is_a_reason_with_counts(changes, said) -> None:
    found = world(**changes).fitted()
    assert found.shift is None
    for horizon in HORIZONS:
        assert re.search(said, found.not_known[horizon])
    assert any("Risk if nobody acts: not known." in sentence for sentence in found.sentences)


def test_a_few_rows_that_stand_for_all_are_not_enough(monkeypatch) -> None:
    made = world(n=120, leaves=-1.0)
    assert made.fitted().shift is not None
    monkeypatch.setattr("training.models.untreated_risk.LEAST_EFFECTIVE", 119)
    found = made.fitted()
    assert "are worth" in found.not_known[90]
    assert found.effective_accounts < 119


def test_immature_rows_are_left_out(judged) -> None:
    made, found = judged
    at = datetime(2023, 9, 28, tzinfo=UTC)  # the 90 days of July and later are still open
    early = made.fitted(at=at)
    assert early.effective_accounts < found.effective_accounts
    late = made.training.cutoff >= CUTOFFS.index(datetime(2023, 7, 1, tzinfo=UTC))

    def flipped(position: int) -> float:
        outcomes = made.training.outcomes.copy()
        outcomes[late, position] = 1 - outcomes[late, position]
        other = replace(made, training=replace(made.training, outcomes=outcomes))
        return other.fitted(at=at).shift.shift

    assert flipped(2) == early.shift.shift
    assert flipped(0) != early.shift.shift  # their 30 days have closed


def test_a_longer_horizon_joins_or_is_refused_on_its_own(judged) -> None:
    made, found = judged
    nobody_left = made.training.outcome.copy()  # in the time after 90 days
    more = made.fitted(long_outcomes={180: nobody_left}, at=datetime(2024, 6, 1, tzinfo=UTC))
    assert more.shift.horizons == HORIZONS
    assert more.shift.shift == found.shift.shift
    assert "Only 0 accounts had the outcome" in more.not_known[180]
    rng = np.random.default_rng(2)
    went = np.maximum(nobody_left, rng.random(len(nobody_left)) < 0.2)
    outcome_days = np.where((went == 1) & (nobody_left == 0), 120.0, made.treated.outcome_days)
    joined = replace(made, treated=replace(made.treated, outcome_days=outcome_days)).fitted(
        long_outcomes={180: went}, at=datetime(2024, 6, 1, tzinfo=UTC)
    )
    assert joined.shift.horizons == (*HORIZONS, 180)


def test_other_labels_are_counted_and_not_estimated() -> None:
    made = world(n=100)
    other = replace(made.training, label=label_named("expansion"))
    found = replace(made, training=other).fitted()
    assert found.shares[90].treated > 0
    assert set(found.not_known.values()) == {ONLY_CHURN}


def test_the_same_data_and_seed_give_the_same_numbers(judged) -> None:
    made, found = judged
    again = made.fitted()
    assert again.shift.shift == found.shift.shift
    assert again.shift.covariance == found.shift.covariance


def test_a_training_says_it_in_its_summary_its_card_and_its_bundle(small_company, trained) -> None:
    company = small_company()
    rng = np.random.default_rng(9)
    calls = [
        replace(
            company._event(i, "action.executed", CUTOFFS[0], int(day), None),
            properties='{"action":"call"}',
        )
        for i in rng.permutation(len(company.risk))[:60]
        for day in rng.integers(-300, 200, 3)
    ]
    store = type(trained[1])()
    result = company.train(trials=0, store=store, interventions=events_frame(calls))
    untreated = result.bundle.untreated_risk
    assert untreated.shares[90].treated > 0
    assert set(untreated.shares) == set(result.bundle.horizons)
    for sentence in untreated.sentences:
        assert sentence in result.summary
        assert sentence in store.runs[0].documents["model_card.md"]
    formula = store.runs[1].bundle
    assert formula.untreated_risk is None  # a fallback, which answers not known
    plain, _ = trained
    assert set(plain.bundle.untreated_risk.not_known.values()) == {NO_LOG}
    assert "treated" not in plain.summary
