from __future__ import annotations

import numpy as np
import pytest

from experiments.causal.estimators.aipw import Scores
from experiments.causal.sample import Sample, SampleError
from experiments.uplift.segments import (
    SPREADS,
    MeanPrior,
    _posterior,
    segment_uplifts,
)

RNG_SEED = 11


def made_scores(
    rng: np.random.Generator, effects: np.ndarray, *, rows: int = 30, noise: float = 1.0
) -> Scores:
    """Scores as if cross-fitting had been done: segments of equal size, known effects."""
    actions, segments = effects.shape
    segment = np.repeat(np.arange(segments), rows)
    total = segments * rows
    score = np.zeros((1, total, actions + 1))
    score[0, :, 1:] = effects[:, segment].T + noise * rng.normal(size=(total, actions))
    sample = Sample(
        covariates=np.zeros((total, 1)),
        covariate_names=("health",),
        arm=np.arange(total) % (actions + 1),
        arms=("none", *(f"act_{i}" for i in range(actions))),
        propensity=np.full((total, actions + 1), np.nan),
        segment=np.array([f"segment {number}" for number in segment]),
        cluster=np.arange(total),
    )
    return Scores(
        sample=sample,
        score=score,
        propensity=np.full((total, actions + 1), 0.5),
        weight=np.ones(total),
    )


@pytest.mark.parametrize("belief", [None, MeanPrior(mean=0.1, deviation=0.05)])
def test_it_is_what_conditioning_a_normal_distribution_gives(belief):
    """The same posterior written down as one joint normal of effects and counts."""
    rng = np.random.default_rng(RNG_SEED)
    raw, variance = rng.normal(size=(1, 5)), rng.uniform(0.2, 1.0, size=(1, 5))
    _, means, covariances, (own, playbook) = _posterior(raw, variance, [belief], 0.5)
    wide = 100.0
    for row in (15, 30):
        spread = SPREADS[row] * 0.5
        centre, deviation = (0.0, wide) if belief is None else (belief.mean, belief.deviation)
        prior = spread**2 * np.eye(5) + deviation**2
        gain = prior @ np.linalg.inv(prior + np.diag(variance[0]))
        expected = centre + gain @ (raw[0] - centre)
        left = prior - gain @ prior
        # Knowing next to nothing (a deviation of a hundred) is nearly knowing nothing.
        assert means[row, 0] == pytest.approx(expected, abs=1e-3)
        assert covariances[row, 0] == pytest.approx(left, abs=1e-3)
        assert own[row, 0] == pytest.approx(np.diag(gain), abs=1e-3)
        if belief is not None:
            assert playbook[row, 0] == pytest.approx(1 - gain.sum(axis=1), abs=1e-3)


def test_bands_hold_all_segments_of_an_action_and_shrinking_pays():
    rng = np.random.default_rng(RNG_SEED)
    held, shrunk, counted = [], [], []
    for _ in range(80):
        truth = rng.normal(0.05, 0.05, size=(3, 6))
        found = segment_uplifts(made_scores(rng, truth, noise=0.4), rng=rng)
        estimate, raw, low, high = (
            np.array([getattr(item, name) for item in found]).reshape(3, 6)
            for name in ("estimate", "raw", "low", "high")
        )
        held.append(((low <= truth) & (truth <= high)).all(axis=1))
        shrunk.append((estimate - truth) ** 2)
        counted.append((raw - truth) ** 2)
    # 240 actions: 93 % is three errors below 97 %.
    assert np.mean(held) > 0.93
    assert np.mean(shrunk) < 0.6 * np.mean(counted)


def test_shares_say_what_an_estimate_is_made_of():
    rng = np.random.default_rng(RNG_SEED)
    effects = np.array([[0.0, 0.0, 0.1], [0.2, 0.2, 0.3]])
    beliefs = {"act_0": MeanPrior(mean=0.05, deviation=0.02)}
    few, many = (
        segment_uplifts(
            made_scores(np.random.default_rng(1), effects, rows=rows), rng=rng, beliefs=beliefs
        )
        for rows in (20, 5000)
    )
    for item in (*few, *many):
        assert item.own_share + item.action_share + item.playbook_share == pytest.approx(1.0)
        assert min(item.own_share, item.action_share, item.playbook_share) >= -1e-12
    assert few[0].playbook_share > 0.8 > 0.5 > many[0].playbook_share
    assert few[3].playbook_share == 0.0  # nothing is believed of the second action
    assert many[0].own_share > few[0].own_share


def test_a_segment_in_which_nobody_left_borrows_the_variance_of_the_others():
    scores = made_scores(np.random.default_rng(2), np.zeros((1, 4)))
    scores.score[0, :30, 1] = 0.2
    found = segment_uplifts(scores, rng=np.random.default_rng(0))
    assert found[0].raw_error > 0.3 * found[1].raw_error


def test_segments_are_counted():
    found = segment_uplifts(
        made_scores(np.random.default_rng(2), np.zeros((2, 3))), rng=np.random.default_rng(0)
    )
    assert [(item.action, item.segment) for item in found[:2]] == [
        ("act_0", "segment 0"),
        ("act_0", "segment 1"),
    ]
    assert (found[0].n, found[0].n_treated, found[0].n_control) == (30, 10, 10)


def test_a_segment_of_one_account_is_refused():
    scores = made_scores(np.random.default_rng(2), np.zeros((1, 3)))
    scores.sample.cluster[scores.sample.segment == "segment 1"] = 5
    with pytest.raises(SampleError, match="Segment 'segment 1' has fewer than two accounts"):
        segment_uplifts(scores, rng=np.random.default_rng(0))


def test_scores_that_do_not_vary_are_refused():
    scores = made_scores(np.random.default_rng(2), np.zeros((2, 3)))
    scores.score[:, :, 1] = 0.25
    with pytest.raises(SampleError, match="'act_0': its scores do not vary within segments"):
        segment_uplifts(scores, rng=np.random.default_rng(0))
    assert {
        item.action
        for item in segment_uplifts(scores, rng=np.random.default_rng(0), actions=["act_1"])
    } == {"act_1"}
