"""What is expected of an account under each arm, and that it does not follow luck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

from experiments.causal.sample import NO_ACTION, Sample, SampleError
from experiments.targeting import outcome_model as model
from experiments.targeting.outcome_model import expected_outcomes

ARMS = (NO_ACTION, "call", "mail")


def trials(rng, rows, arms=ARMS):
    x = rng.normal(size=(rows, 3))
    return Sample(
        covariates=x,
        covariate_names=("a", "b", "c"),
        arm=np.arange(rows) % len(arms),
        arms=arms,
        propensity=np.full((rows, len(arms)), 1 / len(arms)),
        cluster=np.arange(rows),
        segment=np.where(np.arange(rows) % 5 > 1, "large", "small"),
    )


def asked(rng, rows=400):
    return rng.normal(size=(rows, 3))


def bought(sample, rng, *, effects, more=(1.0, 1.0, 1.0), x=None):
    """(chance, amount) of rows x arms, and drawn outcomes: few buy, some much."""
    x = sample.covariates if x is None else x
    chance = expit(-2.2 + 0.3 * x[:, [1]] + effects(x))
    amount = 50 * np.exp(0.2 * x[:, [2]]) * np.array(more)
    own = np.arange(len(x)), np.arange(len(x)) % 3
    drawn = (
        (rng.random(len(x)) < chance[own])
        * amount[own]
        * np.exp(0.8 * rng.normal(size=len(x)) - 0.32)
    )
    return chance * amount, drawn


def by_a(x):
    return np.column_stack([np.zeros(len(x)), 0.6 * x[:, 0], np.full(len(x), 0.3)])


def test_who_buys_more_by_which_arm_is_found():
    rng = np.random.default_rng(1)
    sample, new = trials(rng, 4500), asked(rng)
    _, spent = bought(sample, rng, effects=by_a)
    truth, _ = bought(sample, rng, effects=by_a, x=new)
    found = expected_outcomes(sample, spent, asked=new)
    assert found.shape == truth.shape
    assert np.corrcoef(found[:, 1] - found[:, 0], truth[:, 1] - truth[:, 0])[0, 1] > 0.85
    assert found.mean(axis=0) == pytest.approx(truth.mean(axis=0), rel=0.25)  # two errors or so


def test_where_all_gain_alike_effects_lie_close_together():
    """Nearer to one another than what models of each arm by itself say."""
    rng = np.random.default_rng(2)
    sample, new = trials(rng, 3000), asked(rng)
    outcome = sample.covariates[:, 1] + 0.5 * (sample.arm == 1) + rng.normal(size=3000)
    found = expected_outcomes(sample, outcome, asked=new)
    assert (found[:, 1] - found[:, 0]).mean() == pytest.approx(0.5, abs=0.1)
    assert (found[:, 1] - found[:, 0]).std() < 0.03
    assert (found[:, 2] - found[:, 0]).std() < 0.03


def test_a_few_large_amounts_do_not_speak_for_an_arm():
    """Two buyers of much in one arm: the mean of that arm doubles, what is expected hardly does."""
    rng = np.random.default_rng(3)
    sample, new = trials(rng, 3000), asked(rng)
    spent = np.where(rng.random(3000) < 0.1, 50.0, 0.0) + np.where(np.arange(3000) % 300 == 0, 1, 0)
    lucky = spent.copy()
    lucky[np.flatnonzero((sample.arm == 1) & (spent == 50))[:2]] = 2500.0
    assert lucky[sample.arm == 1].mean() > 1.9 * spent[sample.arm == 1].mean()
    found = expected_outcomes(sample, lucky, asked=new).mean(axis=0)
    assert found[1] / found[0] < 1.35


def test_arms_that_change_amounts_are_seen():
    rng = np.random.default_rng(4)
    sample, new = trials(rng, 3000), asked(rng)
    amount = 50 * np.array([1.0, 1.6, 1.0])[sample.arm] * np.exp(0.5 * rng.normal(size=3000))
    found = expected_outcomes(sample, amount * (np.arange(3000) % 10 < 3), asked=new).mean(axis=0)
    assert 1.4 < found[1] / found[0] < 1.7  # drawn toward the others
    assert found[2] / found[0] == pytest.approx(1.0, abs=0.1)


def test_zeros_and_ones_are_chances():
    rng = np.random.default_rng(5)
    sample, new = trials(rng, 2000), asked(rng)
    happened = (rng.random(2000) < 0.3 + 0.2 * (sample.arm == 2)).astype(float)
    found = expected_outcomes(sample, happened, asked=new)
    assert 0 < found.min() < found.max() < 1
    assert (found[:, 2] - found[:, 0]).mean() == pytest.approx(0.2, abs=0.06)
    assert expected_outcomes(sample, 7 * happened, asked=new) == pytest.approx(7 * found)


def test_where_nothing_ever_comes_nothing_is_expected():
    rng = np.random.default_rng(6)
    sample, new = trials(rng, 60), asked(rng)
    assert (expected_outcomes(sample, np.zeros(60), asked=new) == 0).all()
    assert (expected_outcomes(sample, np.full(60, 3.0), asked=new) == 3).all()


def test_an_answer_does_not_depend_on_who_else_is_asked_about():
    rng = np.random.default_rng(7)
    sample, new = trials(rng, 900), asked(rng)
    _, spent = bought(sample, rng, effects=by_a)
    together = expected_outcomes(sample, spent, asked=new)
    alone = expected_outcomes(sample, spent, asked=new[:1])
    assert alone[0] == pytest.approx(together[0])


def test_rows_of_one_account_count_together():
    """Every trial twice, in its account's cluster, says what it said once."""
    rng = np.random.default_rng(8)
    sample, new = trials(rng, 900), asked(rng)
    _, spent = bought(sample, rng, effects=by_a)
    twice = np.repeat(np.arange(900), 2)
    again = replace(
        sample.keep(np.ones(900, dtype=bool)),
        **{
            name: getattr(sample, name)[twice]
            for name in ("covariates", "arm", "propensity", "segment", "cluster")
        },
    )
    once = expected_outcomes(sample, spent, asked=new)
    assert expected_outcomes(again, spent[twice], asked=new) == pytest.approx(once, rel=1e-4)
    alone = replace(again, cluster=np.arange(1800))
    assert not np.allclose(expected_outcomes(alone, spent[twice], asked=new), once, rtol=1e-2)


def test_rows_of_one_account_count_apart_where_each_account_has_one_left():
    """Ten trials of every account, of which one at most came to anything."""
    rng = np.random.default_rng(25)
    cluster = np.repeat(np.arange(1200), 10)
    x = np.repeat(rng.normal(size=(1200, 3)), 10, axis=0)
    sample = Sample(
        covariates=x,
        covariate_names=("a", "b", "c"),
        arm=np.arange(12_000) % 3,
        arms=ARMS,
        propensity=np.full((12_000, 3), 1 / 3),
        segment=np.full(12_000, "all"),
        cluster=cluster,
    )
    came = np.arange(12_000) % 10 == rng.integers(0, 10, 1200)[cluster]
    bought = came & (rng.random(12_000) < expit(-0.5 + 0.8 * x[:, 0]))
    spent = bought * np.exp(3 + 0.5 * x[:, 1] + 0.3 * rng.normal(size=12_000))
    far = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0]])
    by_account, alone = (
        expected_outcomes(one, spent, asked=far, reached=came[:, None]).mean(axis=1)
        for one in (sample, replace(sample, cluster=np.arange(12_000)))
    )
    assert by_account == pytest.approx(alone, rel=0.05)
    assert by_account[0] > 3 * by_account[1]


def test_who_is_unknown_where_all_trials_are_known_is_expected_to_be_usual():
    rng = np.random.default_rng(26)
    sample = trials(rng, 2000, arms=(NO_ACTION, "call"))
    a = sample.covariates[:, 0]
    outcome = sample.arm * np.where(a > 0, 3.0, -3.0) + rng.normal(size=2000)
    new = np.array([[np.nan, 0.0, 0.0], [-0.6, 0.0, 0.0], [0.6, 0.0, 0.0]])
    unknown, low, high = np.diff(expected_outcomes(sample, outcome, asked=new))[:, 0]
    assert [low, high] == pytest.approx([-3, 3], abs=0.6)
    assert unknown == pytest.approx(0, abs=0.6)


def test_where_all_lost_nobody_is_expected_to_gain():
    rng = np.random.default_rng(27)
    sample, new = trials(rng, 600), 4 * asked(rng)
    _, spent = bought(sample, rng, effects=by_a)
    gained, lost = (expected_outcomes(sample, sign * spent, asked=new) for sign in (1, -1))
    assert lost == pytest.approx(-gained)
    assert gained.min() >= 0


def test_amounts_that_differ_by_rounding_are_one_amount():
    sample = trials(np.random.default_rng(28), 60)
    outcome = np.where(np.arange(60) % 2 == 0, 30.000000000000004, 30.0)
    assert expected_outcomes(sample, outcome, asked=np.zeros((2, 3))) == pytest.approx(30.0)


def test_large_numbers_alike_are_no_effect():
    rng = np.random.default_rng(29)
    sample = trials(rng, 900)
    found = expected_outcomes(sample, 1e6 + rng.normal(size=900), asked=asked(rng))
    assert np.abs(found[:, 1:] - found[:, [0]]).max() < 0.3
    assert found == pytest.approx(1e6, abs=1)


def test_what_is_unknown_is_a_fact_of_its_own():
    rng = np.random.default_rng(9)
    sample = trials(rng, 3000, arms=(NO_ACTION, "call"))
    unknown = rng.random(3000) < 0.3
    covariates = np.where(
        unknown[:, None] & np.array([True, False, False]), np.nan, sample.covariates
    )
    covariates[:, 2] = np.nan  # known of nobody
    outcome = (sample.arm == 1) * (1.0 * unknown) + 0.3 * rng.normal(size=3000)
    found = expected_outcomes(
        replace(sample, covariates=covariates),
        outcome,
        asked=np.array([[0.0, 0.0, np.nan], [np.nan, 0.0, 1.0]]),
    )
    assert found[:, 1] - found[:, 0] == pytest.approx([0, 1], abs=0.1)


def test_an_effect_that_jumps_is_followed_and_one_that_rises_is_not_cut_into_steps():
    rng = np.random.default_rng(13)
    sample = trials(rng, 3000, arms=(NO_ACTION, "call"))
    a, noise = sample.covariates[:, 0], 0.5 * rng.normal(size=3000)
    near = np.array([[-0.15, 0.0, 0.0], [0.15, 0.0, 0.0]])

    def effects(of):
        found = expected_outcomes(sample, (sample.arm == 1) * of + noise, asked=near)
        return found[:, 1] - found[:, 0]

    assert np.diff(effects(np.sign(a)))[0] > 1.2
    assert np.diff(effects(a))[0] == pytest.approx(0.3, abs=0.1)


def drawn(rng, chance, sample):
    own = np.arange(len(sample)), sample.arm
    return (rng.random(len(sample)) < chance(sample.covariates)[own]).astype(float)


def spread_of_gains(seed, chance, rows=6000):
    """How far expected gains differ between accounts, beside how far they truly do."""
    rng = np.random.default_rng(seed)
    sample, new = trials(rng, rows, arms=(NO_ACTION, "call")), asked(rng)
    found, truth = (
        outcomes[:, 1] - outcomes[:, 0]
        for outcomes in (
            expected_outcomes(sample, drawn(rng, chance, sample), asked=new),
            chance(new),
        )
    )
    return float(np.std(found)), float(np.std(truth))


def test_an_action_may_add_the_same_points_to_all():
    """Though a common change of the odds would add four times as many here as there."""

    def points(x):
        low = 0.03 + 0.25 * expit(2 * x[:, [1]])
        return np.column_stack([low, low + 0.12])

    spreads = [spread_of_gains(seed, points)[0] for seed in range(1, 6)]
    assert np.mean(spreads) < 0.016  # .022 by odds alone


def test_an_action_may_change_the_odds_of_all_alike():
    def odds(x):
        return expit(-2.5 + 1.2 * x[:, [1]] + np.array([0, 0.8]))

    for seed in (1, 2, 3):
        spread, truth = spread_of_gains(seed, odds)
        assert spread == pytest.approx(truth, rel=0.25)


def test_a_point_is_more_odds_where_few_come():
    """By the form itself: what doubles a chance of .05 doubles none of .2, and no chance is left."""
    x = np.repeat([[-1.0], [1.0]], 500, axis=0)
    happened = np.concatenate([np.arange(500) % 20 == 0, np.arange(500) % 5 == 0]).astype(float)
    far = np.array([[-1.0], [1.0], [-50.0], [50.0]])
    form = model._same_points(model._form(x, far), happened, 1.0)
    low, high, *furthest = form.asked_weight
    slopes = np.array([0.05 * 0.95, 0.2 * 0.8])
    expected = 1.25 * slopes.mean() / (slopes + 0.25 * slopes.mean())
    assert [low, high] == pytest.approx(expected, rel=0.05)
    assert form.trials_weight[[0, -1]] == pytest.approx([low, high])
    assert max(furthest) <= 5.0


def test_where_accounts_do_not_differ_a_point_is_as_much_for_all():
    """Noise in many facts is not taken for chances that differ."""
    rng = np.random.default_rng(30)
    form = model._form(rng.normal(size=(400, 40)), rng.normal(size=(50, 40)))
    found = model._same_points(form, (np.arange(400) % 8 == 0).astype(float), 1.0)
    assert np.std(found.asked_weight) < 0.35


def came_and_bought(rng, sample, new):
    """Calls bring people to visit; of whom few buy, in any arm."""

    def visits(x):
        return expit(
            -1.8
            + 0.3 * x[:, [1]]
            + np.column_stack([np.zeros(len(x)), 0.5 + 0.5 * x[:, 0], np.zeros(len(x))])
        )

    def buys(x):
        return expit(-2.0 + 0.3 * x[:, [2]]) * np.ones(3)

    came = drawn(rng, visits, sample) > 0
    bought = came & (drawn(rng, buys, sample) > 0)
    return came, 50.0 * bought, 50 * visits(new) * buys(new)


def test_what_an_arm_changes_on_the_way_is_known_better_by_who_came_so_far():
    errors = []
    for seed in range(6):
        rng = np.random.default_rng([seed, 22])
        sample, new = trials(rng, 2400), asked(rng)
        came, spent, truth = came_and_bought(rng, sample, new)
        gains = truth - truth[:, [0]]
        errors.append(
            [
                np.sqrt(np.mean((found - found[:, [0]] - gains) ** 2))
                for found in (
                    expected_outcomes(sample, spent, asked=new, reached=came[:, None]),
                    expected_outcomes(sample, spent, asked=new),
                )
            ]
        )
    by_stages, without = np.mean(errors, axis=0)
    assert by_stages < 0.75 * without


def nobody_differs(rows, cluster=None):
    """Trials whose covariates are the same for all, so that shares are all there is to learn."""
    return Sample(
        covariates=np.zeros((rows, 1)),
        covariate_names=("a",),
        arm=np.arange(rows) % 3,
        arms=ARMS,
        propensity=np.full((rows, 3), 1 / 3),
        segment=np.full(rows, "all"),
        cluster=np.arange(rows) if cluster is None else cluster,
    )


def test_steps_are_multiplied_each_of_who_took_the_one_before():
    rng = np.random.default_rng(31)
    sample = nobody_differs(12_000)
    visited = rng.random(12_000) < np.array([0.3, 0.6, 0.4])[sample.arm]
    offered = visited & (rng.random(12_000) < 0.5)
    settled = np.where(rng.random(12_000) < 0.25, 8.0, -20.0) * (
        offered & (rng.random(12_000) < 0.8)
    )
    found = expected_outcomes(
        sample, settled, asked=np.zeros((1, 1)), reached=np.column_stack([visited, offered])
    )[0]
    for arm, expected in enumerate(found):
        assert expected == pytest.approx(settled[sample.arm == arm].mean(), rel=0.1)


def test_a_later_step_is_believed_to_change_less():
    """Four of twenty instead of two, all of them lucky perhaps."""
    sample, number = nobody_differs(600), np.arange(600) // 3
    visited = number % 10 == 0
    came = visited & (number < np.array([20, 80, 20])[sample.arm])
    gain = np.diff(
        expected_outcomes(sample, came * 1.0, asked=np.zeros((1, 1)), reached=visited[:, None])[0]
    )[0]
    assert 0.2 < gain / 0.03 < 0.5


def test_an_arm_of_whom_nobody_came_so_far_is_expected_to_go_on_as_the_others():
    sample, number = nobody_differs(900), np.arange(900) // 3
    visited = (number % 3 == 0) & (sample.arm < 2)
    bought = visited & (number % 2 == 0)
    found = expected_outcomes(
        sample, bought * 1.0, asked=np.zeros((1, 1)), reached=visited[:, None]
    )[0]
    assert found[:2] == pytest.approx([1 / 6, 1 / 6], abs=0.01)
    assert 0 < found[2] < 0.02  # half of next to none


def test_stages_that_say_nothing_change_nothing():
    rng = np.random.default_rng(23)
    sample, new = trials(rng, 900), asked(rng)
    _, spent = bought(sample, rng, effects=by_a)
    plain = expected_outcomes(sample, spent, asked=new)
    for stages in (
        np.ones((900, 1), dtype=bool),
        spent[:, None] > 0,
        np.column_stack([np.ones(900, dtype=bool), spent > 0, spent > 0]),
    ):
        assert np.array_equal(expected_outcomes(sample, spent, asked=new, reached=stages), plain)


def test_stages_out_of_order_are_refused():
    rng = np.random.default_rng(24)
    sample, new = trials(rng, 90), asked(rng)
    spent = np.where(np.arange(90) < 30, 1.0, 0.0)
    for stages, message in (
        (
            np.ones(90, dtype=bool),
            "Stages are true or false, 90 trials x stages, and not bool "
            r"of shape \(90,\)",
        ),
        (np.ones((90, 1)), "and not float64 of shape"),
        (
            np.zeros((90, 1), dtype=bool),
            r"30 trial\(s\) have an outcome and have not come to "
            "stage 1",
        ),
        (
            np.column_stack([spent > 0, np.ones(90, dtype=bool)]),
            r"60 trial\(s\) have come to stage 2 and have not come to stage 1",
        ),
    ):
        with pytest.raises(SampleError, match=message):
            expected_outcomes(sample, spent, asked=new, reached=stages)


def test_few_values_have_no_quartiles():
    few, many = np.array([[1.0, 2.0, np.nan] * 20]).T, np.arange(60.0)[:, None]
    assert model._jumps(few, few).shape == (60, 0)
    assert len(model._forms(few, few)) == 1
    assert model._jumps(many, many).shape == (60, 3)
    assert np.unique(model._jumps(many, many)[:, 1]).tolist() == pytest.approx([-1, 1], abs=0.1)


def test_the_evidence_of_numbers_is_their_density_under_the_model():
    """Up to a constant, over spreads and forms: multivariate normal, computed the long way."""
    rng = np.random.default_rng(10)
    wide = np.column_stack([np.ones(40), rng.normal(size=(40, 3))])
    number = wide @ [1.0, 0.5, 0.0, -0.2] + 0.7 * rng.normal(size=40)
    ours, theirs = [], []
    for design in (wide, wide[:, :2]):
        columns = design.shape[1]
        cautious = np.diag(
            [model.ANY_INTERCEPT**-2.0, *[model.EFFECT_SPREADS[2] ** -2.0] * (columns - 1)]
        )
        hat = design @ np.linalg.solve(design.T @ design + cautious, design.T)
        noise = np.sum((number - hat @ number) ** 2) / (40 - np.trace(hat))
        for one in (0.5, 4.0, 50.0):
            precision = np.array([1e-2, *[one] * (columns - 1)])
            ours.append(model._linear(design, number, 1.0)(precision, None).log_evidence)
            theirs.append(
                stats.multivariate_normal(
                    np.zeros(40),
                    noise * np.eye(40) + design @ np.diag(1 / precision) @ design.T,
                ).logpdf(number)
            )
    assert np.array(ours) - ours[0] == pytest.approx(np.array(theirs) - theirs[0])


def test_the_mode_and_the_evidence_of_chances_are_those_of_an_optimiser_and_an_integral():
    rng = np.random.default_rng(11)
    design = np.column_stack([np.ones(60), rng.normal(size=60)])
    happened = (rng.random(60) < expit(design @ [-1.0, 0.8])).astype(float)
    fit = model._logistic(design, happened, 1.0)

    def log_posterior(w, precision):
        odds = design @ w
        return (
            np.sum(happened * odds - np.logaddexp(0, odds))
            - np.sum(precision * w**2 - np.log(precision)) / 2
        )

    found = []
    for precision in (np.array([0.25, 1.0]), np.array([0.25, 25.0])):
        mode = optimize.minimize(lambda w, p=precision: -log_posterior(w, p), np.zeros(2)).x
        one = fit(precision, None)
        assert one.mean == pytest.approx(mode, abs=1e-3)
        grid = np.linspace(-4, 4, 61)
        inside = np.array(
            [
                [
                    log_posterior(mode + one.covariance.diagonal() ** 0.5 * [a, b], precision)
                    for a in grid
                ]
                for b in grid
            ]
        )
        area = np.prod(one.covariance.diagonal() ** 0.5) * (grid[1] - grid[0]) ** 2
        found.append((one.log_evidence, np.log(np.exp(inside).sum() * area)))
    (ours, theirs), (ours_too, theirs_too) = found
    assert ours - ours_too == pytest.approx(theirs - theirs_too, abs=0.05)  # Laplace's own error


def test_what_can_not_be_asked_is_refused():
    rng = np.random.default_rng(12)
    sample, new = trials(rng, 90), asked(rng)
    with pytest.raises(SampleError, match="outcome has to be known for each of the 90 trials"):
        expected_outcomes(sample, np.full(90, np.nan), asked=new)
    with pytest.raises(SampleError, match="3 covariates are needed: a, b, c"):
        expected_outcomes(sample, np.ones(90), asked=np.zeros((2, 5)))
