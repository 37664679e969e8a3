"""A company whose Keepwell draws: who gets the last hours, and who is left alone for a term.

The riskier a group of accounts, the larger the share that is drawn, so that the plain difference
between offered and not offered is far off: only the odds on the timeline put it right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from causal_worlds import event, expit, frame

from experiments.randomisation.holdout import HoldoutRule, holdout_status
from experiments.randomisation.keyed_draw import LotteryKey, draw

START = datetime(2026, 1, 5, tzinfo=UTC)
AS_OF = START + timedelta(days=160)
DAY = timedelta(days=1)
ODDS = ((0.2, -1.5), (0.4, 0.0), (0.7, 2.0))
"""Share drawn, and how much riskier the group is (log-odds)."""

KEPT = 0.7
"""Share of those who would leave that an action keeps."""


@dataclass(frozen=True)
class DrawsWorld:
    events: pl.DataFrame
    features: pl.DataFrame
    drawn: int
    truth: float  # points of staying, over those that took part


def last_hours_world(seed: int, *, accounts: int = 540) -> DrawsWorld:
    """One draw a week, each of another group; others are called without a draw."""
    rng, key = np.random.default_rng(seed), _key(seed)
    rows: list[dict[str, object]] = []
    snapshots: list[dict[str, object]] = []
    effects: list[float] = []
    each = accounts // len(ODDS)
    for group, (share, risk) in enumerate(ODDS):
        at = START + timedelta(days=7 * group)
        names = [f"a{group}{number:04d}" for number in range(each)]
        health = rng.normal(size=each)
        leaves = expit(-1.2 + risk - 0.8 * health)
        drawn = draw(
            key.position,
            names,
            k=round(share * each),
            key_id=key.key_id,
            lottery_id=f"capacity-2026-W{2 + group:02d}-ann-success_call-1h-0",
        )
        offered = np.isin(names, drawn.drawn)
        effects += (KEPT * leaves).tolist()
        for number, name in enumerate(names):
            rows.append(
                event(
                    name,
                    "action.decided",
                    at,
                    drawn.propensity,
                    action="success_call",
                    intervention="last_hours_success_call",
                    chance="last_hours",
                    draw_id=drawn.lottery_id,
                    arm="offered" if offered[number] else "not_offered",
                )
            )
            if offered[number]:
                rows.append(event(name, "action.executed", at + DAY, action="success_call"))
        _company(
            rows,
            snapshots,
            names,
            health,
            at,
            rng.random(each) < np.where(offered, leaves * (1 - KEPT), leaves),
        )
    others = [f"b{number:04d}" for number in range(60)]
    for name in others:  # recommended and carried out without a draw; nearly all leave
        rows += [
            event(
                name,
                "action.decided",
                START,
                1.0,
                action="success_call",
                chance="none",
                decision_id=f"d-{name}",
            ),
            event(
                name, "action.executed", START + DAY, action="success_call", decision_id=f"d-{name}"
            ),
        ]
    _company(
        rows, snapshots, others, rng.normal(size=len(others)), START, rng.random(len(others)) < 0.9
    )
    return DrawsWorld(
        events=frame(rows),
        features=_features(snapshots),
        drawn=each * len(ODDS),
        truth=float(np.mean(effects)),
    )


def holdout_world(seed: int, *, accounts: int = 400, share: float = 0.4) -> DrawsWorld:
    """Everybody is recommended an action each month, and told so or left alone for the term."""
    rng, key = np.random.default_rng(seed), _key(seed)
    rule = HoldoutRule(share=share)
    rows: list[dict[str, object]] = []
    snapshots: list[dict[str, object]] = []
    names = [f"a{number:04d}" for number in range(accounts)]
    health = rng.normal(size=accounts)
    leaves = expit(-1.2 - 0.8 * health)
    held = np.zeros(accounts, dtype=bool)
    for number, name in enumerate(names):
        stands = holdout_status(
            rule,
            key,
            name,
            mrr=100.0,
            attributes={},
            as_of=START,
            term_started_at=START - DAY,
            term_ends_at=None,
        )
        assert stands is not None
        held[number] = stands.is_held_out
        odds = 1 - stands.propensity if stands.is_held_out else stands.propensity
        for month in range(3):  # asked again: the same draw
            rows.append(
                event(
                    name,
                    "action.decided",
                    START + timedelta(days=30 * month),
                    odds,
                    action="do_nothing" if stands.is_held_out else "success_call",
                    chance="holdout",
                    arm="held_out" if stands.is_held_out else "offered",
                    draw_id=stands.lottery_id,
                    intervention="standing_holdout",
                    decision_id=f"d-{name}-{month}",
                )
            )
    _company(
        rows,
        snapshots,
        names,
        health,
        START,
        rng.random(accounts) < np.where(held, leaves, leaves * (1 - KEPT)),
    )
    return DrawsWorld(
        events=frame(rows),
        features=_features(snapshots),
        drawn=accounts,
        truth=float(np.mean(KEPT * leaves)),
    )


def _key(seed: int) -> LotteryKey:
    return LotteryKey(key_id="2026", secret=seed.to_bytes(32, "big"))


def _company(
    rows: list[dict[str, object]],
    snapshots: list[dict[str, object]],
    names: list[str],
    health: np.ndarray,
    at: datetime,
    left: np.ndarray,
) -> None:
    for name, fitness, is_gone in zip(names, health, left, strict=True):
        rows.append(event(name, "contract.started", START - 200 * DAY, 100.0))
        if is_gone:
            rows.append(event(name, "contract.cancelled", at + 40 * DAY, reason="price"))
        snapshots.append(
            {"account_id": name, "as_of": at, "segment": "small", "health_score": float(fitness)}
        )


def _features(snapshots: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(snapshots).cast({"as_of": pl.Datetime("us", "UTC")})
