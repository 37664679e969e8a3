"""The chance to leave knows when a contract can end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.calibration import Calibration, CalibrationError, sigmoid
from registry.bundle.long_horizons import LongHorizonChance
from registry.bundle.renewal_risk import ContractCalendar, RenewalRisk

CALENDAR = ContractCalendar(renewal=0, months=1)
LEADS = (30, 60, 90, 180, 365)
# levels and slopes of the leads; weight of the term; level and slope of the early rate
PLAIN = np.array([-3.0, -3.1, -3.2, -3.3, -3.2, 1.0, 0.9, 0.8, 0.6, 0.4, 0.9, -6.0, 0.5])
TERM = 2 * len(LEADS)
SHORT = [0, 1, 2, 5, 6, 7, 10, 11, 12]  # the same numbers of a model that ends at 90 days
EARLY = float(sigmoid(-6.0))


def risk(parameters=PLAIN, calendar=CALENDAR, seed: int = 0, n_draws: int = 40) -> RenewalRisk:
    away = np.random.default_rng(seed).normal(0, 0.08, (n_draws, len(parameters)))
    return RenewalRisk(
        leads=LEADS, calendar=calendar, parameters=parameters, draws=parameters + away
    )


def accounts(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, dtype=float)


def at_end(lead_band: int, months: float, f: float = 0.0) -> float:
    slope = PLAIN[len(LEADS) + lead_band]
    return float(sigmoid(PLAIN[lead_band] + PLAIN[TERM] * np.log(months) + slope * f))


def leaves(days: float, months: float, horizon: int, f: float = 0.0) -> float:
    return float(risk().probability(np.array([f]), accounts((days, months)), horizon)[0])


# A contract, the days of the question, and the decisions within them as (band of lead, months).
CONTRACTS = {
    "annual, ends in 37 days, asked about 30": (37, 12, 30, []),
    "annual, ends in 37 days, asked about 60": (37, 12, 60, [(1, 12)]),
    "annual, ends in 97 days, asked about 90": (97, 12, 90, []),
    "ends on the last day of the window, which is outside it": (30, 12, 30, []),
    "annual, ends in 97 days, asked about half a year": (97, 12, 180, [(3, 12)]),
    "annual, ends in 200 days, asked about half a year": (200, 12, 180, []),
    "annual, ends in 200 days, asked about a year": (200, 12, 365, [(4, 12)]),
    "quarterly, asked about a year": (20, 3, 365, [(0, 3), (3, 3), (4, 3), (4, 3)]),
    "two years, ends in 400 days, asked about a year": (400, 24, 365, []),
    "monthly, ends in 10 days, asked about 30": (10, 1, 30, [(0, 1)]),
    "monthly, each period is a decision": (10, 1, 90, [(0, 1), (1, 1), (2, 1)]),
    "monthly, ends today": (0, 1, 30, [(0, 1)]),
    "quarterly, ends in 80 days": (80, 3, 90, [(2, 3)]),
    "quarterly, ends in 5 days: the next end is 96 days away": (5, 3, 90, [(0, 3)]),
    "three years, two of them left": (730, 36, 90, []),
    "three years, ends in 20 days": (20, 36, 90, [(0, 36)]),
    "annual, ended 10 days ago: open within the grace": (-10, 12, 30, [(0, 12)]),
    "annual, ended 100 days ago and goes on: a year later": (-100, 12, 90, []),
    "monthly, ended 45 days ago and goes on: the next end of a month": (-45, 1, 30, [(0, 1)]),
    "term not known: taken for a year": (20, np.nan, 30, [(0, 12)]),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_can_end_where_its_term_does(name: str) -> None:
    days, months, horizon, decisions = CONTRACTS[name]
    stays = (1 - EARLY) ** (horizon / 30)
    for band, of in decisions:
        stays *= 1 - at_end(band, of)
    assert leaves(days, months, horizon) == pytest.approx(1 - stays, rel=1e-12)


def test_the_chance_at_the_renewal_is_one_of_the_factors() -> None:
    rows = accounts((20, 12), (50, 12), (97, 12), (364, 12), (365, 24))
    f = np.array([0.3, -0.2, 0.1, 0.2, 0.1])
    p, low, high = risk().at_renewal(f, rows)
    assert (low[:4] < p[:4]).all()
    assert (p[:4] < high[:4]).all()
    expected = [at_end(band, 12, f[i]) for i, band in enumerate((0, 1, 3, 4))]
    assert p[:4] == pytest.approx(expected)
    assert np.isnan(p[4])  # beyond what the model has learned
    by_a_year = risk().probability(f, rows, 365)
    early = 1 - (1 - sigmoid(-6.0 + 0.5 * f)) ** (365 / 30)
    assert by_a_year[2:] == pytest.approx((1 - (1 - np.nan_to_num(p)) * (1 - early))[2:])


def random_accounts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, RenewalRisk]:
    rng = np.random.default_rng(seed)
    months = rng.choice([1, 3, 6, 12, 24, 36, np.nan], n)
    days = np.floor(rng.uniform(-60, 400, n))
    parameters = np.concatenate(
        (rng.normal(-3, 1, 5), rng.uniform(0.6, 2, 5), rng.normal(1, 0.5, 1), [-6.0, 0.6])
    )
    return rng.normal(0, 1.5, n), np.column_stack((days, months)), risk(parameters)


def contradictions(n: int, seed: int) -> int:
    """Accounts that contradict themselves: by less time more, or by the renewal more than by then."""
    f, rows, model = random_accounts(n, seed)
    by = {h: model.probability(f, rows, h) for h in LEADS}
    wrong = (np.diff([*by.values()], axis=0) < 0).any(axis=0) | (by[30] < 0) | (by[365] > 1)
    days, _ = model.calendar.first(rows)
    p, *_ = model.at_renewal(f, rows)
    for h in by:
        # who can not leave within the horizon has the early rate alone, others at least the factor
        early = 1 - (1 - sigmoid(model.parameters[-2] + model.parameters[-1] * f)) ** (h / 30)
        wrong |= (days >= h) & ~np.isclose(by[h], early, rtol=1e-9, atol=1e-15)
        wrong |= (days < h) & (by[h] < p * (1 - 1e-12))
    return int(wrong.sum())


def test_no_account_contradicts_itself() -> None:
    assert contradictions(20_000, seed=1) == 0


@pytest.mark.slow
def test_none_of_a_million_accounts_contradicts_itself() -> None:
    assert sum(contradictions(100_000, seed) for seed in range(10)) == 0


def test_slope_and_interval_follow_from_the_formula() -> None:
    f, rows, model = random_accounts(200, seed=3)
    numeric = (model.probability(f + 1e-6, rows, 90) - model.probability(f - 1e-6, rows, 90)) / 2e-6
    assert model.slope(f, rows, 90) == pytest.approx(numeric, rel=1e-4, abs=1e-9)
    # the delta method beside the draws themselves, of small steps
    spread = np.random.default_rng(4).normal(0, 0.02, (4000, len(PLAIN)))
    near = replace(model, draws=model.parameters + spread)
    low, high = near.probability_interval(f, rows, 90)
    drawn = np.percentile(near.drawn(f, rows, 90), [2.5, 97.5], axis=1)
    assert low == pytest.approx(drawn[0], rel=0.05, abs=2e-4)
    assert high == pytest.approx(drawn[1], rel=0.05, abs=2e-4)


@pytest.fixture
def dated(make_linear_bundle) -> ModelBundle:
    """Features 0 and 1 are the date and the term, and have no weight in the score."""
    bundle = make_linear_bundle()
    form = bundle.form
    silent = np.array([0, 0, 1, 1, 1.0])
    form = replace(
        form,
        coefficient=form.coefficient * silent,
        missing_coefficient=form.missing_coefficient * silent,
    )
    matrix = bundle.golden.matrix
    return replace(
        bundle,
        form=form,
        golden=replace(bundle.golden, raw=form.score(matrix)),
        renewal_risk=risk(),
    )


def chance(horizon: int) -> LongHorizonChance:
    draws = np.random.default_rng(horizon).normal((0.9, -1.0), 0.05, (40, 2))
    calibration = Calibration(horizons=(horizon,), slope=0.9, intercepts=(-1.0,), draws=draws)
    return LongHorizonChance(slope=0.4, form=None, calibration=calibration)


def longer(bundle: ModelBundle, *parts: LongHorizonChance) -> ModelBundle:
    rates = {part.horizon: 0.2 for part in parts}
    return replace(
        bundle, long_horizons=parts, base_rates={**bundle.base_rates, **rates}, not_estimable={}
    )


def rows_of(dated: ModelBundle) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 5))
    rows[:, 0] = rng.choice([5.0, 37.0, 97.0, np.nan, -3.0], 60)
    rows[:, 1] = rng.choice([1.0, 12.0], 60)
    return rows


@pytest.mark.parametrize("horizon", [30, 60, 90])
def test_points_sum_to_the_probability_and_the_date_has_its_own(dated, horizon: int) -> None:
    rows = rows_of(dated)
    said = dated.explain(rows, horizon)
    assert said.probability == pytest.approx(dated.probability(rows, horizon))
    assert said.points.sum(axis=1) + said.base_probability == pytest.approx(
        said.probability, abs=1e-12
    )
    none = np.isnan(rows[:, 0])
    far = ~none & (dated.renewal_risk.calendar.first(rows)[0] >= horizon)
    assert (said.points[far, 0] < 0).all()  # its contract can not end within the horizon
    assert not said.points[none, 0].any()
    usual = dated.renewal_risk.probability(np.full(60, said.base), rows, horizon)
    assert said.points[~none, 0] == pytest.approx(usual[~none] - said.base_probability)


def test_the_date_is_told_by_its_theme(dated) -> None:
    rows, themes = rows_of(dated), np.array([1, 1, 0, 0, 2])
    by_theme = dated.explain(rows, 90, themes=themes)
    alone = dated.explain(rows, 90)
    assert by_theme.points.sum(axis=1) + by_theme.base_probability == pytest.approx(
        by_theme.probability, abs=1e-12
    )
    assert by_theme.points[:, 1] == pytest.approx(alone.points[:, :2].sum(axis=1), abs=1e-12)


def test_a_row_without_a_date_is_answered_by_the_score_alone(dated) -> None:
    rows = rows_of(dated)
    none = np.isnan(rows[:, 0])
    plain = replace(dated, renewal_risk=None)
    assert (dated.probability(rows, 60)[none] == plain.probability(rows, 60)[none]).all()
    assert (dated.probability(rows, 60)[~none] != plain.probability(rows, 60)[~none]).all()
    low, high = dated.probability_interval(rows, 60)
    assert (low <= dated.probability(rows, 60)).all()
    assert (high >= dated.probability(rows, 60)).all()
    assert np.isnan(dated.at_renewal(rows)[0][none]).all()
    assert plain.at_renewal(rows) is None


@pytest.mark.parametrize("horizon", [180, 365])
def test_beyond_the_score_decisions_count_where_they_are_known(dated, horizon: int) -> None:
    """Else, and in a bundle whose bands end with the score, there is the chance after 90 days."""
    far = longer(dated, chance(180), chance(365))
    rows = rows_of(far)
    raw, known = far.raw(rows), ~np.isnan(rows[:, 0])
    p = far.probability(rows, horizon)
    assert p[known] == pytest.approx(risk().probability(raw, rows, horizon)[known])
    plain = replace(far, renewal_risk=None)
    assert p[~known] == pytest.approx(plain.probability(rows, horizon)[~known])
    low, high = far.probability_interval(rows, horizon)
    assert (low <= p).all()
    assert (p <= high).all()
    said = far.explain(rows, horizon)
    assert said.probability == pytest.approx(p)
    assert said.points.sum(axis=1) + said.base_probability == pytest.approx(p, abs=1e-12)

    near = risk()
    older = replace(
        far,
        renewal_risk=replace(
            near, leads=LEADS[:3], parameters=near.parameters[SHORT], draws=near.draws[:, SHORT]
        ),
    )
    by_90, after = older.probability(rows, 90), plain.probability(rows, horizon)
    assert by_90 == pytest.approx(far.probability(rows, 90))
    stays = (1 - after) / (1 - plain.probability(rows, 90))
    assert older.probability(rows, horizon) == pytest.approx(1 - (1 - by_90) * stays)


def test_it_is_saved_and_read_and_older_bundles_have_none(dated, linear_model, tmp_path) -> None:
    dated.save(tmp_path / "dated")
    back = ModelBundle.load(tmp_path / "dated")
    rows = rows_of(dated)
    assert (back.probability(rows, 90) == dated.probability(rows, 90)).all()
    assert back.fingerprint == dated.fingerprint
    linear_model.save(tmp_path / "older")
    assert ModelBundle.load(tmp_path / "older").renewal_risk is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leads": (30, 30, 90, 180, 365)}, "rising order"),
        ({"parameters": PLAIN[:-1]}, "need 13 numbers"),
        ({"parameters": np.where(np.arange(13) == 6, -1.0, PLAIN)}, "not above zero"),
        ({"parameters": np.where(np.arange(13) == 0, np.nan, PLAIN)}, "not finite"),
        ({"draws": np.tile(PLAIN, (5, 1))}, "too few"),
    ],
)
def test_numbers_that_can_not_be_are_refused(change, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        replace(risk(), **change)


def test_one_of_another_model_is_refused(dated) -> None:
    elsewhere = risk(calendar=ContractCalendar(renewal=0, months=9))
    with pytest.raises(BundleError, match="same training"):
        replace(dated, renewal_risk=elsewhere)
