"""Companies whose actions do what is written here, so that a decision can be held to the best one.

A row is an account in a quarter. People who know the account's health decided what it received:
the risky were called more often, and leave more often anyway. What an action does is a share of
the churn probability that goes away (negative: comes on top), by segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.sample import NO_ACTION, Sample
from experiments.effects.belief import MeasuredEffects
from experiments.policy.recommend import DO_NOTHING, AccountState, Limits, recommend
from experiments.uplift.effect_records import Measurement, action_effects
from registry.playbook.actions import Action
from registry.playbook.condition_grammar import parse_condition
from registry.playbook.playbook import Playbook, load_playbook

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SEGMENTS = ("small", "mid", "enterprise")
LIMITS = Limits(quiet_hours=None)
COVARIATES = ("health", "log_mrr", "tenure_years", "use_trend", "noise")

Shares = Mapping[str, tuple[float, float, float]]


def standardised(values: np.ndarray) -> np.ndarray:
    """Values in standard deviations from their mean."""
    numbers = np.asarray(values, dtype=float)
    spread = float(numbers.std())
    return np.asarray((numbers - numbers.mean()) / (spread if spread > 0 else 1.0))


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An action of these worlds: what it costs, and what the playbook believes that it does."""

    id: str
    cost_usd: float
    hours: float
    believed: float
    strength: float = 20.0


OFFERS = (
    Offer(id="guide", cost_usd=2, hours=0.0, believed=0.04),
    Offer(id="call", cost_usd=0, hours=1.0, believed=0.12),
    Offer(id="training", cost_usd=20, hours=3.0, believed=0.20),
    Offer(id="reminder", cost_usd=5, hours=0.1, believed=0.08),
)

WORKING: Shares = {
    "guide": (0.02, 0.02, 0.0),
    "call": (0.05, 0.25, 0.30),
    "training": (0.05, 0.20, 0.45),
    "reminder": (0.10, 0.05, 0.0),
}
WORLDS: Mapping[str, Shares] = {
    "confounded": WORKING,
    "null": {offer.id: (0.0, 0.0, 0.0) for offer in OFFERS},
    "harmful": {**WORKING, "reminder": (-0.5, -0.5, -0.5)},
    "drifting": WORKING,
    "turned": WORKING,
}
"""What each action does, by segment. In the drifting world the actions did half of that at the
beginning of the history, and what wears off of the calls has halved by its end. In the turned one
trainings have driven accounts away since the middle of the history."""

TURNED = -0.3
"""Share of the churn probability that a training adds since it turned."""

HISTORY_DAYS = 730


@dataclass(frozen=True, kw_only=True)
class Quarters:
    """Accounts in quarters, one entry each."""

    covariates: np.ndarray
    segment: np.ndarray  # place in SEGMENTS
    mrr: np.ndarray
    churn: np.ndarray  # probability to leave in the quarter when nobody acts
    foreseen: np.ndarray  # the same as a model gives it

    def __len__(self) -> int:
        return len(self.mrr)


def quarters(rng: np.random.Generator, rows: int) -> Quarters:
    """Accounts as they come; a model foresees their churn with some error."""
    segment = rng.choice(3, rows, p=(0.5, 0.35, 0.15))
    health = rng.normal(size=rows)
    mrr = np.exp(rng.normal(size=rows) * 0.5) * np.array([250.0, 1200.0, 5000.0])[segment]
    tenure = rng.exponential(2.0, rows)
    trend = 0.5 * health + rng.normal(size=rows)
    odds = -2.4 - 0.8 * health - 0.3 * trend - 0.1 * np.minimum(tenure, 6)
    return Quarters(
        covariates=np.column_stack([health, np.log(mrr), tenure, trend, rng.normal(size=rows)]),
        segment=segment,
        mrr=mrr,
        churn=_expit(odds),
        foreseen=_expit(odds + rng.normal(size=rows) * 0.3),
    )


def shares_of(world: str, at: np.ndarray) -> np.ndarray:
    """Actions x segments x moments (0: the beginning of the history, 1: now)."""
    table = np.array([WORLDS[world][offer.id] for offer in OFFERS])[:, :, None] * np.ones_like(at)
    if world == "drifting":
        table = table * (0.5 + 0.5 * at)
        table[1] *= 1.0 - 0.5 * at
    if world == "turned":
        table[2] = np.where(at > 0.5, TURNED, table[2])
    return table


def history(
    rng: np.random.Generator, world: str, rows: int
) -> tuple[Quarters, np.ndarray, np.ndarray]:
    """What happened: the accounts, the arm of each, and whether it stayed."""
    seen = quarters(rng, rows)
    health, trend = seen.covariates[:, 0], seen.covariates[:, 3]
    odds = np.column_stack(
        [
            np.zeros(rows),
            -1.0 - 0.2 * health,
            -1.2 - 0.8 * health - 0.2 * trend,
            -1.8 - 0.6 * health + 0.3 * (seen.segment == 2),
            -1.2 + 0.2 * trend,
        ]
    )
    chance = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    arm = (rng.random(rows)[:, None] > chance.cumsum(axis=1)).sum(axis=1).clip(max=len(OFFERS))
    shares = shares_of(world, np.linspace(0, 1, rows))
    relative = np.where(arm > 0, shares[arm - 1, seen.segment, np.arange(rows)], 0.0)
    stays = rng.random(rows) > np.minimum(seen.churn * (1 - relative), 1.0)
    return seen, arm, stays.astype(float)


def learned(
    rng: np.random.Generator,
    seen: Quarters,
    arm: np.ndarray,
    stays: np.ndarray,
    *,
    repeats: int = 1,
) -> MeasuredEffects:
    """What the log says of every action, as the policy reads it."""
    received = [0, *(a for a in range(1, len(OFFERS) + 1) if (arm == a).sum() >= 10)]
    rows = np.isin(arm, received)
    place = {a: number for number, a in enumerate(received)}
    sample = Sample(
        covariates=seen.covariates[rows],
        covariate_names=COVARIATES,
        arm=np.array([place[a] for a in arm[rows]]),
        arms=(NO_ACTION, *(OFFERS[a - 1].id for a in received[1:])),
        propensity=np.full((int(rows.sum()), len(received)), np.nan),
        segment=np.array(SEGMENTS)[seen.segment[rows]],
        cluster=np.arange(int(rows.sum())),
    )
    scores = cross_fit(sample, stays[rows], rng=rng, repeats=repeats)
    before = standardised(0.7 * seen.covariates[rows, 0] + rng.normal(size=int(rows.sum())))
    placebo = cross_fit(sample, before, rng=rng, repeats=repeats)
    measured = Measurement(
        outcome="retention",
        horizon_days=90,
        measured_from=NOW,
        measured_to=NOW,
        source="a simulated log",
    )
    found = action_effects(
        scores,
        stays[rows],
        placebos={"use before": placebo},
        measured=measured,
        rng=rng,
        age_days=np.linspace(HISTORY_DAYS, 0, len(seen))[rows],
    )
    return MeasuredEffects(effects=found.records)


def decisions(now: Quarters, evidence: MeasuredEffects, limits: Limits = LIMITS) -> np.ndarray:
    """The arm that the policy puts first for every account."""
    book, ids = _playbook(), [DO_NOTHING, *(offer.id for offer in OFFERS)]
    return np.array(
        [
            ids.index(
                recommend(
                    AccountState(
                        account_id=str(row),
                        as_of=NOW,
                        features={},
                        mrr=float(now.mrr[row]),
                        attributes={
                            "contract_status": "active",
                            "segment": SEGMENTS[now.segment[row]],
                        },
                        churn_probability=float(now.foreseen[row]),
                        score_source="model",
                    ),
                    playbook=book,
                    limits=limits,
                    history=(),
                    as_of=NOW,
                    evidence=evidence,
                )
                .ranked[0]
                .action_id
            )
            for row in range(len(now))
        ]
    )


def worth(now: Quarters, world: str) -> np.ndarray:
    """Accounts x arms: what each arm truly brings a year, net of its cost."""
    relative = shares_of(world, np.ones(1))[:, :, 0][:, now.segment]
    saved = np.minimum(now.churn * relative, now.churn) * now.mrr * LIMITS.horizon_months
    cost = np.array([o.cost_usd + o.hours * LIMITS.hourly_cost for o in OFFERS])
    return np.column_stack([np.zeros(len(now)), (saved * LIMITS.margin - cost[:, None]).T])


def _playbook() -> Playbook:
    book = load_playbook()
    like = book.by_id["success_call"]
    return replace(
        book,
        actions=tuple(_action(like, offer) for offer in OFFERS),
        sequences=(),
        guards=(),
        conflicts=(),
        families={},
        urgencies=(),  # what is measured is the weighing
        conversation=None,
    )


def _action(like: Action, offer: Offer) -> Action:
    return replace(
        like,
        id=offer.id,
        name=offer.id,
        triggers=(parse_condition("mrr > 0"),),
        eligibility=(),
        cost_usd=offer.cost_usd,
        hours=offer.hours,
        family=None,
        due=(),
        promise=None,
        channel="internal",
        prior=replace(like.prior, mean=offer.believed, strength=offer.strength),
    )


def _expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
