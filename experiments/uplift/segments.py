"""Estimate the effect of each action in each segment, with shrinkage.

The mean score of a small segment is mostly noise. Segments of one action are taken as drawn around
its mean, with a spread that all actions share, and the action's mean around what the playbook
believes (empirical Bayes; Morris 1983)::

    raw_s = effect_s + error_s      effect_s = mean + N(0, spread²)      mean ~ N(belief)

The spread is not fixed at its best estimate but averaged over, by its likelihood and a gamma prior
that is 0 at 0 (Chung et al. 2013): with few segments the best estimate is often 0, and bands around
it are too narrow. Bands hold for all segments of an action together. Arrays in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.causal.contrast import Scores
from experiments.causal.estimates import CONFIDENCE, clustered_error, mean_and_error
from experiments.causal.sample import Floats, Ints, SampleError

TYPICAL_SPREAD = 0.05
"""Prior spread of segment effects around the action's mean, in points."""

BORROWED = 30
"""The weight, in accounts, of the variance of all segments beside a segment's own: in a segment in
which nobody left, its own variance is almost 0."""

SPREADS = np.geomspace(0.02, 8.0, 48)
"""The spreads averaged over, as multiples of the typical one."""

DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class MeanPrior:
    """The prior of an action's mean effect, in points."""

    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class SegmentUplift:
    """The effect of one action in one segment: as counted (``raw``), and shrunk.

    ``low`` and ``high`` hold for all segments of the action together. ``own_share``,
    ``action_share`` and ``playbook_share`` are the shares of its sources and sum to 1.
    """

    action: str
    segment: str
    raw: float
    raw_error: float
    estimate: float
    standard_error: float
    low: float
    high: float
    own_share: float
    action_share: float
    playbook_share: float
    n: int
    n_treated: int
    n_control: int


def segment_uplifts(
    scores: Scores,
    *,
    rng: np.random.Generator,
    beliefs: Mapping[str, MeanPrior] | None = None,
    typical_spread: float = TYPICAL_SPREAD,
    actions: Sequence[str] | None = None,
) -> tuple[SegmentUplift, ...]:
    """The effect of these actions (all by default) in every segment, in the order of the arms.

    Raises:
        SampleError: a segment of fewer than two accounts, or an action whose scores do not vary.
    """
    sample, beliefs = scores.sample, beliefs or {}
    names = np.unique(sample.segment)
    masks = [sample.segment == name for name in names]
    accounts = np.array([np.unique(sample.cluster[mask]).size for mask in masks])
    degrees = accounts - 1 + np.minimum(BORROWED, accounts.sum() - len(masks))
    for name, count in zip(names, accounts, strict=True):
        if count < 2:
            raise SampleError(
                f"Segment {str(name)!r} has fewer than two accounts; join it with another."
            )
    numbers = [
        number
        for number, arm in enumerate(sample.arms)
        if number > 0 and (actions is None or arm in actions)
    ]
    raw, variance = (np.empty((len(numbers), len(names))) for _ in range(2))
    for place, action in enumerate(numbers):
        raw[place], variance[place] = _raw(scores, action, masks)
        if variance[place].min() <= 0:
            raise SampleError(
                f"{sample.arms[action]!r}: its scores do not vary within segments, "
                f"so no error can be estimated. Wait until accounts have left and "
                f"stayed."
            )
    held = [beliefs.get(sample.arms[action]) for action in numbers]
    weight, means, covariances, shares = _posterior(raw, variance, held, typical_spread)
    found = []
    for place, action in enumerate(numbers):
        middle = weight @ means[:, place]
        apart = means[:, place] - middle
        spread = (
            np.tensordot(weight, covariances[:, place], axes=1)
            + (weight[:, None] * apart).T @ apart
        )
        error = np.sqrt(np.diag(spread))
        reach = _reach(weight, apart, covariances[:, place], error, degrees, rng) * error
        own, playbook = (weight @ share[:, place] for share in shares)
        for number, (name, mask) in enumerate(zip(names, masks, strict=True)):
            arm = sample.arm[mask]
            found.append(
                SegmentUplift(
                    action=sample.arms[action],
                    segment=str(name),
                    raw=float(raw[place, number]),
                    raw_error=float(np.sqrt(variance[place, number])),
                    estimate=float(middle[number]),
                    standard_error=float(error[number]),
                    low=float(middle[number] - reach[number]),
                    high=float(middle[number] + reach[number]),
                    own_share=float(own[number]),
                    playbook_share=float(playbook[number]),
                    action_share=float(1 - own[number] - playbook[number]),
                    n=int(mask.sum()),
                    n_treated=int((arm == action).sum()),
                    n_control=int((arm == 0).sum()),
                )
            )
    return tuple(found)


def _raw(scores: Scores, action: int, masks: list[np.ndarray]) -> tuple[Floats, Floats]:
    """Mean score and its variance by segment, the variance drawn toward that of all segments."""
    cluster, score = scores.sample.cluster, scores.of(action)
    values, errors, accounts = np.array(
        [mean_and_error(score[:, mask], cluster[mask]) for mask in masks]
    ).T
    within = np.empty_like(score)
    for mask in masks:
        within[:, mask] = score[:, mask] - score[:, mask].mean(axis=1, keepdims=True)
    everybody = np.median([clustered_error(row / row.size, cluster)[0] ** 2 for row in within])
    rows = np.array([mask.sum() for mask in masks])
    pooled = everybody * within.shape[1] ** 2 * accounts / accounts.sum() / rows**2
    own = accounts - 1
    return values, (own * errors**2 + BORROWED * pooled) / (own + BORROWED)


def _posterior(
    raw: Floats,
    variance: Floats,
    beliefs: list[MeanPrior | None],
    typical: float,
) -> tuple[Floats, Floats, Floats, tuple[Floats, Floats]]:
    """Weight of each spread; given it: means, covariances, shares of own data and of the playbook."""
    spreads = SPREADS * typical
    steps = np.gradient(spreads)
    log_weight = np.log(steps * SPREADS) - SPREADS
    count, segments = raw.shape
    means, own, playbook = (np.empty((len(spreads), count, segments)) for _ in range(3))
    covariances = np.empty((len(spreads), count, segments, segments))
    for place, belief in enumerate(beliefs):
        believed = 0.0 if belief is None else belief.deviation**-2
        centre = 0.0 if belief is None else belief.mean
        for row, spread in enumerate(spreads):
            total = variance[place] + spread**2
            precision = float(np.sum(1 / total)) + believed
            mean = (float(np.sum(raw[place] / total)) + believed * centre) / precision
            kept = spread**2 / total
            means[row, place] = kept * raw[place] + (1 - kept) * mean
            covariances[row, place] = np.outer(1 - kept, 1 - kept) / precision + np.diag(
                kept * variance[place]
            )
            own[row, place] = kept + (1 - kept) / total / precision
            playbook[row, place] = (1 - kept) * believed / precision
            log_weight[row] += 0.5 * (
                mean**2 * precision
                - believed * centre**2
                - np.sum(raw[place] ** 2 / total)
                - np.sum(np.log(total))
                - np.log(precision)
            )
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum(), means, covariances, (own, playbook)


def _reach(
    weight: Floats,
    apart: Floats,
    covariances: Floats,
    error: Floats,
    degrees: Ints,
    rng: np.random.Generator,
) -> float:
    """The half-width of a band, in errors, that holds all segments together.

    Errors are estimated themselves, so the draws are Student's t by segment.
    """
    which = rng.choice(len(weight), size=DRAWS, p=weight)
    noise = rng.normal(size=(DRAWS, len(error)))
    roots = np.linalg.cholesky(covariances + 1e-12 * np.eye(len(error)))
    drawn = apart[which] + np.einsum("dij,dj->di", roots[which], noise)
    drawn *= np.sqrt(degrees / rng.chisquare(degrees, size=drawn.shape))
    furthest = np.abs(drawn / error).max(axis=1)
    single = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return max(float(np.quantile(furthest, CONFIDENCE)), single)
