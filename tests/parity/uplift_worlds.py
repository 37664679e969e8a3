"""Simulated churn with several actions whose effects are known: for the tests and the benchmark.

Accounts in poor health are acted on more often, and leave more. Actions move the log-odds of
staying: one helps much, one a little, one does nothing at all, one harms; each by more or less in
each of six segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.causal.sample import NO_ACTION, Sample

ACTIONS = ("exec_call", "training", "newsletter", "price_talk")
HELP = np.array([0.75, 0.35, 0.0, -0.4])
"""Log-odds of staying that each action adds on average."""

NULL = 2  # the newsletter
SEGMENTS = 6
COVARIATES = ("health", "load", "size", "tenure", "usage", "noise")
PULL = np.array(
    [
        [-0.8, 0.0, 0.5, 0.0, 0.0, 0.0],
        [0.0, 0.6, 0.0, -0.5, 0.0, 0.0],
        [0.4, 0.0, -0.5, 0.0, 0.3, 0.0],
        [-0.5, 0.0, 0.0, 0.5, -0.3, 0.0],
    ]
)
"""What makes an account more likely to get each action: overlap is moderate."""


@dataclass(frozen=True)
class UpliftWorld:
    """A sample, what became of it, and the probability of staying under every arm."""

    sample: Sample
    stayed: np.ndarray
    rates: np.ndarray  # rows x arms

    def effects(self) -> np.ndarray:
        """Rows x actions: what each action would change for each account."""
        return self.rates[:, 1:] - self.rates[:, :1]


def segment_shifts(rng: np.random.Generator, spread: float = 0.25) -> np.ndarray:
    """Actions x segments: how much more (or less) each action helps in each segment."""
    shifts = spread * rng.normal(size=(len(ACTIONS), SEGMENTS))
    shifts[NULL] = 0.0
    return shifts


FIXED = segment_shifts(np.random.default_rng(20261122))


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def uplift_world(
    rng: np.random.Generator,
    *,
    rows: int = 4000,
    shifts: np.ndarray = FIXED,
    randomised: bool = False,
    rows_per_account: int = 1,
    personal: float = 0.0,
) -> UpliftWorld:
    """``personal``: how strongly every effect but the null one grows with load (log-odds)."""
    accounts = -(-rows // rows_per_account)
    account = np.repeat(np.arange(accounts), rows_per_account)[:rows]
    segment = rng.integers(SEGMENTS, size=accounts)[account]
    level = rng.normal(size=accounts)[account]
    x = rng.normal(size=(rows, len(COVARIATES)))
    x[:, 0] = 0.6 * level + 0.8 * x[:, 0]
    scores = np.column_stack([np.zeros(rows), -0.9 + x @ PULL.T + 0.1 * (segment[:, None] - 2.5)])
    if randomised:
        scores = np.tile([0.0, -0.7, -0.7, -0.7, -0.7], (rows, 1))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    arm = (rng.random((rows, 1)) > np.cumsum(chances, axis=1)[:, :-1]).sum(axis=1)
    base = (
        1.5
        + 0.9 * x[:, 0]
        - 0.4 * np.abs(x[:, 1])
        + 0.3 * x[:, 4]
        + 0.2 * level
        + 0.15 * (segment - 2.5)
    )
    change = HELP + shifts[:, segment].T + personal * x[:, [1]] * (HELP != 0)
    rates = expit(base[:, None] + np.column_stack([np.zeros(rows), change]))
    stayed = (rng.random(rows) < rates[np.arange(rows), arm]).astype(float)
    sample = Sample(
        covariates=np.column_stack([x, np.eye(SEGMENTS)[segment][:, 1:]]),
        covariate_names=(*COVARIATES, *(f"segment={number}" for number in range(1, SEGMENTS))),
        arm=arm,
        arms=(NO_ACTION, *ACTIONS),
        propensity=chances if randomised else np.full(chances.shape, np.nan),
        segment=np.array([f"segment {number}" for number in range(SEGMENTS)])[segment],
        cluster=account,
    )
    return UpliftWorld(sample=sample, stayed=stayed, rates=rates)
