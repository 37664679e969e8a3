"""Logged decisions of a simulated shop whose truth is known, and policies to judge on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.off_policy.estimators import Floats, LoggedChoices


@dataclass(frozen=True)
class World:
    log: LoggedChoices
    policy: Floats  # that chose
    target: Floats
    worse: Floats
    means: Floats

    def earns(self, policy: Floats) -> float:
        return float((policy * self.means).sum(axis=1).mean())


def world(seed: int, *, n: int = 600, k: int = 3, wrong: float = 0.5) -> World:
    """Rewards of some money or nothing, chosen by a policy that leans to what seems good."""
    rng = np.random.default_rng(seed)
    fact = rng.normal(size=(n, 2))
    chance = 1 / (1 + np.exp(1 - fact @ rng.normal(size=(2, k)) * 0.5 - rng.normal(size=k) * 0.3))
    amount = 50.0
    policy = softmax(fact @ rng.normal(size=(2, k)))
    target = softmax(fact @ rng.normal(size=(2, k)) * 1.5)
    chosen = (policy.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    row = np.arange(n)
    reward = amount * (rng.random(n) < chance[row, chosen])
    means = amount * chance
    worse = slightly_worse(policy, target, means)
    return World(
        log=LoggedChoices(
            chosen=chosen,
            propensity=policy[row, chosen],
            reward=reward,
            cluster=row,
            predicted=means * (1 + wrong * rng.normal(size=k)),
        ),
        policy=policy,
        target=target,
        worse=worse,
        means=means,
    )


def slightly_worse(policy: Floats, other: Floats, means: Floats) -> Floats:
    """Quite another policy that earns a hundredth less: the other one, mixed until it does."""

    def earns(one: Floats) -> float:
        return float((one * means).sum(axis=1).mean())

    wanted = 0.99 * earns(policy)
    end = means.argmin(axis=1) if earns(other) > wanted else means.argmax(axis=1)
    extreme = np.eye(means.shape[1])[end]
    share = (wanted - earns(other)) / (earns(extreme) - earns(other))
    return (1 - share) * other + share * extreme


def softmax(score: Floats) -> Floats:
    odds = np.exp(score - score.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    return np.asarray(0.8 * odds + 0.2 / odds.shape[1])
