"""Judge a back-test: the rows of all origins together, every contender alike.

Intervals and paired differences draw whole accounts, the same draws everywhere. The best is the
one with the lowest log loss at the longest horizon among those that a training today would let
serve: where few accounts have left, only models made for that. The verdict is a sentence
with its reason: it has learned something, that is not shown, or nothing was learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from training.backtest.capacity import CapturedShare, captured_share
from training.backtest.groups import (
    LEAST_ACCOUNTS,
    Group,
    judge_group,
    judge_groups,
    mean_over_accounts,
    unknown_dimensions,
)
from training.backtest.long_horizons import LongHorizonOrigin, LongHorizonRows
from training.backtest.run import BacktestError, BacktestRows, BacktestRun, Origin
from training.metrics import BOOTSTRAP_DRAWS, Interval, account_draws, row_log_loss
from training.models.specs import BASE_RATE, FEW_ACCOUNTS, SPECS, ModelSpec

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Learned = Literal["yes", "not shown", "nothing"]

COMPARED_WITH = ("base_rate", "formula", "usage", "logistic")
"""The contenders that the best is compared with."""

LEAST_RANKING = 0.55
"""An AUC at a cutoff that is not shown to lie above this orders eleven pairs of twenty at best:
nothing a team could act on, whatever the interval says about 0.5."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What every contender captures of the revenue that went, at the team's capacity."""

    capacity: int  # accounts at every cutoff
    horizon: int
    n_rows: int
    n_without_mrr: int  # accounts without a known MRR cannot be ordered by it
    contenders: Mapping[str, CapturedShare]
    most: CapturedShare  # captured with perfect knowledge


@dataclass(frozen=True, kw_only=True)
class LongHorizonResult:
    """A long horizon, judged on the rows of the origins that could learn it, or why it is not."""

    horizon: int
    origins: tuple[LongHorizonOrigin, ...]
    pooled: Group | None  # None: not estimable
    why_not: str | None
    differences: Mapping[str, Mapping[str, Interval]]  # contender, other
    losses: tuple[Mapping[str, float], ...]  # per origin; empty where it judges nothing

    def sentence(self, best: ModelSpec) -> str:
        """The result of the best at this horizon, in a sentence."""
        if self.pooled is None:
            return f"{self.horizon} days: not estimable. {self.why_not}"
        opening = (
            f"{self.horizon} days: {self.pooled.n_rows:,} rows of "
            f"{self.pooled.n_accounts:,} accounts at "
            f"{sum(origin.n_rows > 0 for origin in self.origins)} of {len(self.origins)} "
            f"origins, {self.pooled.n_accounts_with_outcome:,} accounts with the outcome"
        )
        found = self.pooled.verdict
        if found is None:
            return f"{opening}: too few to judge."
        gap = found.over_base_rate
        verdict = (
            "is better than the base rate"
            if gap.high < 0
            else "is worse than the base rate"
            if gap.low > 0
            else "is not shown to be better than the base rate"
        )
        return (
            f"{opening}. The {best.title} {verdict}: log loss {gap.value:+.4f} ({gap.low:+.4f} "
            f"to {gap.high:+.4f}), AUC at a cutoff {found.ranking[best.name]}."
        )


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """A back-test, judged."""

    label: str
    origins: tuple[Origin, ...]
    horizons: tuple[int, ...]
    best: ModelSpec
    by_horizon: tuple[Group, ...]  # all rows, a horizon each
    long_horizons: tuple[LongHorizonResult, ...]
    differences: Mapping[int, Mapping[str, Mapping[str, Interval]]]  # horizon, contender, other
    losses: tuple[Mapping[str, float], ...]  # per origin: contender -> log loss, longest horizon
    counts: tuple[Mapping[str, int], ...]  # per origin: rows and outcomes, fitted and judged
    groups: tuple[Group, ...]
    capacity: Capacity | None
    learned: Learned
    left_out: Mapping[int, Mapping[str, int]]  # horizon, reason, rows
    notes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The result of the back-test, in a sentence."""
        horizon = self.horizons[-1]
        pooled = self.by_horizon[-1].verdict
        assert pooled is not None, "a back-test whose longest horizon cannot be judged is refused"
        auc = pooled.ranking[self.best.name]
        gap = pooled.over_base_rate
        found = (
            f"log loss at {horizon} days {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
            f" against the base rate, AUC at a cutoff {auc}"
        )
        said = {
            "yes": f"{self.best.title} is the best that may serve, and has learned something",
            "not shown": f"{self.best.title} is the best that may serve, but that it is better "
            f"than the base rate is not shown",
            "nothing": f"nothing was learned. {self.best.title} came closest",
        }[self.learned]
        return f"{self.label}: {said}: {found}."


def judge_backtest(
    played: BacktestRun,
    long_horizons: tuple[LongHorizonRows, ...] = (),
    *,
    capacity: int,
    seed: int = 0,
    n_draws: int = BOOTSTRAP_DRAWS,
) -> Backtest:
    """Judge a back-test that was run.

    Args:
        played: from ``run_backtest``.
        long_horizons: from ``backtest_long_horizons``, for the contenders of ``compare_with``.
        capacity: accounts that the team can act on at every cutoff.
        seed: of the draws.
        n_draws: bootstrap draws behind every interval.

    Raises:
        BacktestError: a capacity of nobody, or too few outcomes to judge the longest horizon.
    """
    check_capacity(capacity)
    draws = account_draws(played.rows.account, n_draws, np.random.default_rng(seed))
    with threadpool_limits(limits=1, user_api="blas"):  # as in a training
        return _judge(played, long_horizons, draws, capacity)


def _judge(
    played: BacktestRun, long_horizons: tuple[LongHorizonRows, ...], draws: Matrix, capacity: int
) -> Backtest:
    rows = played.rows
    best = best_of(played)
    everybody = np.ones(len(rows.account), dtype=np.bool_)
    by_horizon = tuple(
        judge_group(
            rows, everybody, position, best.name, draws, dimension="horizon", name=f"{horizon} days"
        )
        for position, horizon in enumerate(rows.horizons)
    )
    longest = by_horizon[-1]
    if longest.verdict is None:
        raise BacktestError(
            f"{longest.n_accounts_with_outcome} of {longest.n_accounts} judged accounts had the "
            f"outcome {rows.label.name!r} within {longest.horizon} days: too few to judge, which "
            f"takes {LEAST_ACCOUNTS} with it and {LEAST_ACCOUNTS} without. Add older snapshots, or "
            f"wait for labels to mature."
        )
    return Backtest(
        label=rows.label.name,
        origins=played.origins,
        horizons=rows.horizons,
        best=best,
        by_horizon=by_horizon,
        differences=_differences(rows, draws),
        long_horizons=tuple(_judge_long_horizon(long, best, draws) for long in long_horizons),
        losses=_losses(played),
        counts=tuple(_counts(played, number) for number in range(len(played.origins))),
        groups=_together(
            (
                *judge_groups(rows, best.name, draws),
                *(
                    group
                    for long in long_horizons
                    if long.rows is not None
                    for group in judge_groups(long.rows, best.name, draws)
                ),
            )
        ),
        capacity=_capacity(played, draws, capacity),
        learned=_learned(played, draws, longest, best),
        left_out=played.prepared.labelled.excluded,
        notes=(*played.notes, *_notes(played, best)),
    )


def _notes(played: BacktestRun, best: ModelSpec) -> list[str]:
    notes = [
        f"The {dimension} is not known of any account, so nothing is said by it."
        for dimension in unknown_dimensions(played.rows)
    ]
    if played.prepared.has_few_outcomes:
        notes.insert(
            0,
            f"Only the {best.title} may serve: fewer than {FEW_ACCOUNTS} distinct "
            f"accounts have left. The others are there to compare it with.",
        )
    return notes


def check_capacity(capacity: int) -> None:
    """Refuse a team that can act on nobody.

    Raises:
        BacktestError: the capacity is not positive.
    """
    if capacity < 1:
        raise BacktestError(
            f"A capacity of {capacity} accounts captures nothing. Give how many accounts the team "
            f"can act on at every cutoff, such as --capacity 20."
        )


def best_of(played: BacktestRun) -> ModelSpec:
    """The contender with the lowest log loss at the longest horizon among those that may serve."""
    losses = {name: loss.mean() for name, loss in _row_losses(played.rows, -1)[0].items()}
    serving = candidates(played)
    if not serving:
        raise BacktestError(
            "No model that may serve has anything to read: every model input is unknown or "
            "constant. Check that events are mapped (keepwell ingest), and make the snapshots "
            "again (keepwell snapshot)."
        )
    return min(serving, key=lambda spec: losses[spec.name])


def candidates(played: BacktestRun) -> tuple[ModelSpec, ...]:
    """The specs that a training today would let serve: where few accounts have left, those made for it."""
    few = played.prepared.has_few_outcomes
    return tuple(
        spec
        for spec in SPECS
        if spec.may_serve and (spec.for_few or not few) and spec.name in played.rows.probabilities
    )


def compare_with(best: ModelSpec, played: BacktestRun) -> tuple[ModelSpec, ...]:
    """The best and what it is compared with, of those that took part."""
    return tuple(
        spec
        for spec in SPECS
        if spec.name in played.rows.probabilities and (spec is best or spec.name in COMPARED_WITH)
    )


def _together(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups in their order, with the horizons of each group together."""
    order = {
        key: place
        for place, key in enumerate(
            dict.fromkeys((group.dimension, group.name) for group in groups)
        )
    }
    return tuple(sorted(groups, key=lambda group: order[group.dimension, group.name]))


def _judge_long_horizon(long: LongHorizonRows, best: ModelSpec, draws: Matrix) -> LongHorizonResult:
    """Judge a long horizon like a shorter one, on the rows that it has."""
    if long.rows is None:
        return LongHorizonResult(
            horizon=long.horizon,
            origins=long.origins,
            pooled=None,
            why_not=long.reason,
            differences={},
            losses=tuple({} for _ in long.origins),
        )
    everybody = np.ones(len(long.rows.account), dtype=np.bool_)
    losses, inside = _row_losses(long.rows, 0)
    origin = long.rows.origin[inside]
    return LongHorizonResult(
        horizon=long.horizon,
        origins=long.origins,
        why_not=None,
        pooled=judge_group(
            long.rows,
            everybody,
            0,
            best.name,
            draws,
            dimension="horizon",
            name=f"{long.horizon} days",
        ),
        differences=_differences(long.rows, draws)[long.horizon],
        losses=tuple(
            {
                name: float(loss[origin == number].mean())
                for name, loss in losses.items()
                if (origin == number).any()
            }
            for number in range(len(long.origins))
        ),
    )


def _row_losses(rows: BacktestRows, position: int) -> tuple[dict[str, Vector], NDArray[np.bool_]]:
    """Log loss of each decided row by contender, and which rows are decided."""
    inside = rows.decided(position)
    y = rows.outcomes[inside, position]
    return {
        name: row_log_loss(y, every[inside, position]) for name, every in rows.probabilities.items()
    }, inside


def _differences(rows: BacktestRows, draws: Matrix) -> dict[int, dict[str, dict[str, Interval]]]:
    """Log loss of each contender minus that of each other on the same rows."""
    differences: dict[int, dict[str, dict[str, Interval]]] = {}
    for position, horizon in enumerate(rows.horizons):
        losses, inside = _row_losses(rows, position)
        account = rows.account[inside]
        differences[horizon] = {
            name: {
                other: mean_over_accounts(losses[name] - losses[other], account, draws)
                for other in losses
                if other != name
            }
            for name in losses
        }
    return differences


def _losses(played: BacktestRun) -> tuple[dict[str, float], ...]:
    losses, inside = _row_losses(played.rows, -1)
    origin = played.rows.origin[inside]
    return tuple(
        {name: float(loss[origin == number].mean()) for name, loss in losses.items()}
        for number in range(len(played.origins))
    )


def _counts(played: BacktestRun, number: int) -> dict[str, int]:
    origin, rows = played.origins[number], played.rows
    fitted = origin.known.rows_at(origin.fitted)
    judged = rows.outcomes[rows.origin == number, -1]
    return {
        "fitted": int(fitted.sum()),
        "fitted_outcomes": int(origin.known.outcome[fitted].sum()),
        "judged": len(judged),
        "judged_outcomes": int(np.nansum(judged)),
    }


def _capacity(played: BacktestRun, draws: Matrix, capacity: int) -> Capacity | None:
    """Revenue captured at the longest horizon; None where no MRR went that is known of."""
    rows = played.rows
    decided = rows.decided(-1)
    known = decided & (rows.mrr > 0) & ~np.isnan(rows.value)
    y, value = rows.outcomes[known, -1], rows.value[known]
    if len(np.unique(rows.account[known][(y == 1) & (value > 0)])) < LEAST_ACCOUNTS:
        return None

    def of(score: Vector) -> CapturedShare:
        return captured_share(
            y, value, score, rows.cutoff[known], rows.account[known], draws, capacity=capacity
        )

    return Capacity(
        capacity=capacity,
        horizon=rows.horizons[-1],
        n_rows=int(known.sum()),
        n_without_mrr=int((decided & ~known).sum()),
        most=of(y * value),
        contenders={
            name: of(every[known, -1] * rows.mrr[known])
            for name, every in rows.probabilities.items()
        },
    )


def _learned(played: BacktestRun, draws: Matrix, longest: Group, best: ModelSpec) -> Learned:
    """Whether what may serve is better than the base rate, or at least ranks.

    Better: the interval of the paired difference to the base rate lies below 0. The best has
    learned something if it is better and its AUC at a cutoff lies above 0.5 (over all cutoffs, even
    the base rate's may). Nothing was learned where no candidate is better, and none is shown to
    rank as well as ``LEAST_RANKING``.
    """
    assert longest.verdict is not None, "checked before"
    losses, inside = _row_losses(played.rows, -1)
    account = played.rows.account[inside]
    ranking = longest.verdict.ranking
    better = {
        spec.name
        for spec in candidates(played)
        if mean_over_accounts(losses[spec.name] - losses[BASE_RATE.name], account, draws).high < 0
    }
    if best.name in better and ranking[best.name].low > 0.5:
        return "yes"
    ranks = any(ranking[spec.name].low > LEAST_RANKING for spec in candidates(played))
    return "not shown" if better or ranks else "nothing"
