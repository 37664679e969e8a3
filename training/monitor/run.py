"""Monitor one champion: is the world still the one it was trained for?

::

    ── cutoffs it learned from ──┤ held out ┤ trained ├── since ──────────────────── newest ┤ as_of
       drift of features: then      drift of scores      matured labels: what came       now

Features of the newest snapshot are compared with the rows that the model learned from, its scores
with those of cutoffs whose outcomes it had not seen. Labels count if their window opened after the
training and has closed; until then there is an estimate, with its doubts. Functions of
values to values: reads through the reader it is given, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import UTC_INSTANT
from registry.bundle.bundle import ModelBundle
from registry.bundle.feature_contract import FeatureContractError
from registry.bundle.segment_gate import Look, segment_key
from training.dataset.cutoffs import first_of_months, mature, reach_of
from training.dataset.errors import TrainingError
from training.dataset.labels import ROW, Label, cohort_rows, label_rows
from training.dataset.training_set import FeatureReader
from training.monitor.drift import LEAST_ACCOUNTS, Drift, drift
from training.monitor.estimate import ExpectedPerformance, estimate
from training.monitor.matured import (
    WRONG,
    MaturedOutcomes,
    MaturedRows,
    SegmentFinding,
    judge_matured,
    segment_findings,
)

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Rows = NDArray[np.bool_]

SEGMENT = "segment"
"""The attribute by which a model is withheld."""

SHARES_FROM = 2_000
"""The number of rows whose contributions give the weight of each feature."""

SCORE = "score"

LEVELS = tuple(float(level) for level in np.linspace(0, 1, 21))


class MonitorError(TrainingError):
    """There is nothing to look at."""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The result of one look at a champion. None is not known; ``unknown`` gives the reason."""

    label: str
    as_of: datetime
    trained_at: datetime
    newest: datetime  # the snapshot that was looked at
    n_accounts: int
    features: Drift | None
    scores: Drift | None
    mean_then: float | None  # probability at the longest usual horizon
    mean_now: float
    spread_then: tuple[float, ...]  # quantiles of that probability at LEVELS
    spread_now: tuple[float, ...]
    matured: tuple[MaturedOutcomes, ...]  # by horizon
    estimate: ExpectedPerformance
    segments: tuple[SegmentFinding, ...]
    looks: Mapping[str, Look]  # of the segments, for the switch
    instead: str  # the fallback, in words
    unknown: tuple[str, ...]
    next_outcomes_at: datetime | None  # when the next label window closes; None: no cutoff waits

    @property
    def alarms(self) -> tuple[str, ...]:
        """The alarms that need a person, a word each."""
        off = tuple(f"calibration at {one.horizon} days" for one in self.matured if one.is_off)
        flat = tuple(f"slope at {one.horizon} days" for one in self.matured if one.says_little)
        worse = tuple(one.key for one in self.segments if one.finding == "worse")
        return (
            *(("features",) if self.features is not None and self.features.is_alarm else ()),
            *(("scores",) if self.scores is not None and self.scores.is_alarm else ()),
            *off,
            *flat,
            *worse,
        )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The rows of the look: the champion's matrix, with account and cutoff."""

    frame: pl.DataFrame
    matrix: Matrix
    account: NDArray[np.int64]
    segment: NDArray[np.str_]

    def at(self, cutoffs: tuple[datetime, ...]) -> Rows:
        return np.isin(
            _microseconds(self.frame["as_of"]), _microseconds(pl.Series(cutoffs, dtype=UTC_INSTANT))
        )


def monitor(
    label: Label,
    champion: ModelBundle,
    *,
    formula: ModelBundle | None,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    as_of: datetime,
    seed: int = 1,
) -> Monitoring:
    """Look at a champion as of a moment.

    Args:
        label: what it predicts.
        champion: the model that serves.
        formula: the health formula as it was calibrated when the champion was trained; without
            one the base rate of the champion is what it is compared with.
        events: the events of the kinds that the label reads, recorded before ``as_of``.
        reader: features as known at each row's moment, and the segment.
        digests: every feature there is, with the digest of its definition.
        cutoffs: moments that have a snapshot.
        as_of: nothing later counts.
        seed: of the draws.

    Raises:
        MonitorError: the champion is younger than the moment, or there are no accounts.
        FeatureContractError: the champion reads a feature that is gone or defined otherwise.
    """
    trained_at = champion.metadata.as_of
    if as_of < trained_at:
        raise MonitorError(
            f"The {label.name} champion was trained on what was known on {trained_at:%Y-%m-%d}, "
            f"which is later than {as_of:%Y-%m-%d}. Look at it as of a later day (--as-of)."
        )
    champion.contract.check(digests)
    usual = tuple(h for h in champion.horizons if h in label.horizons) or champion.horizons
    label = replace(label, horizons=champion.horizons, long_horizons=())
    seen = tuple(at for at in sorted(set(cutoffs)) if at <= as_of)
    monthly, newest = first_of_months(seen), seen[-1:]
    reach = reach_of(usual[-1], lead_days=label.lead_days)
    learned = mature(monthly, reach=reach, known_until=trained_at)
    held_out = tuple(at for at in monthly if at < trained_at and at not in (*learned, *newest))
    since = tuple(at for at in monthly if at >= trained_at)
    read = _read(
        label,
        champion,
        events,
        reader,
        digests,
        tuple(sorted({*learned, *held_out, *since, *newest})),
    )
    now = read.at(newest)
    if not now.any():
        what = f"as of {newest[0]:%Y-%m-%d}" if newest else f"until {as_of:%Y-%m-%d}"
        raise MonitorError(
            f"No account is in the cohort of {label.name!r} ({label.cohort}) in the newest "
            f"snapshot {what}. Make a newer one (keepwell snapshot), or ingest contracts."
        )
    rng = np.random.default_rng(seed)
    unknown: list[str] = []
    features = _feature_drift(champion, read, read.at(learned), now, unknown, rng)
    raw = champion.raw(read.matrix)
    scores = _score_drift(raw, read, read.at(held_out) if held_out else read.at(learned), now, rng)
    chance = champion.probability(read.matrix, usual[-1])
    then = read.at(held_out or learned)
    instead = "the base rate" if formula is None else "the health formula"
    rows, left_out = _matured_rows(
        label, champion, formula, read, events, digests, since, as_of, unknown
    )
    judging = next((rows[h] for h in reversed(usual) if rows[h].recent.can_compare), None)
    found = () if judging is None else segment_findings(judging, instead=instead, rng=rng)
    low, high = champion.probability_interval(read.matrix[now], usual[-1])
    windows = [at + reach_of(h, lead_days=label.lead_days) for at in since for h in usual]
    return Monitoring(
        label=label.name,
        as_of=as_of,
        trained_at=trained_at,
        newest=newest[0],
        n_accounts=int(now.sum()),
        features=features,
        scores=scores,
        mean_then=float(chance[then].mean()) if then.any() else None,
        mean_now=float(chance[now].mean()),
        spread_then=_spread(chance[then]),
        spread_now=_spread(chance[now]),
        matured=tuple(
            judge_matured(rows[h], left_out[h], level=1 - WRONG / len(label.horizons), rng=rng)
            for h in label.horizons
        ),
        estimate=estimate(
            chance[now],
            low,
            high,
            usual[-1],
            drift=features,
            past=tuple(rows[h] for h in usual),
            rng=rng,
        ),
        segments=found,
        looks=_looks(label, found, since, judging),
        instead=instead,
        unknown=tuple(unknown),
        next_outcomes_at=min((at for at in windows if at > as_of), default=None),
    )


def _read(
    label: Label,
    champion: ModelBundle,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
) -> _Read:
    rows = cohort_rows(label, events, cutoffs).select(ROW)
    if rows.is_empty():
        return _Read(
            frame=rows,
            matrix=np.empty((0, len(champion.contract.names))),
            account=np.empty(0, dtype=np.int64),
            segment=np.empty(0, dtype=np.str_),
        )
    frame = rows.join(reader(rows), on=ROW, how="left", maintain_order="left", validate="1:1")
    told = frame[SEGMENT] if SEGMENT in frame.columns else [None] * len(frame)
    return _Read(
        frame=frame,
        matrix=champion.contract.matrix(frame, digests=digests),
        account=np.unique(frame["account_id"].to_numpy(), return_inverse=True)[1],
        segment=np.array([segment_key(segment) for segment in told]),
    )


def _feature_drift(
    champion: ModelBundle,
    read: _Read,
    then: Rows,
    now: Rows,
    unknown: list[str],
    rng: np.random.Generator,
) -> Drift | None:
    if now.sum() < LEAST_ACCOUNTS:
        unknown.append(
            f"The drift of features and scores is not known: {int(now.sum())} accounts "
            f"are too few to tell, {LEAST_ACCOUNTS} are needed."
        )
        return None
    if not then.any():
        unknown.append(
            "The drift of features is not known: there are no snapshots of the cutoffs "
            "that the model learned from. Make them again: keepwell snapshot --from … "
            "--to …"
        )
        return None
    explained = rng.permutation(np.flatnonzero(then))[:SHARES_FROM]
    sizes = np.abs(champion.contributions(read.matrix[explained])[0]).mean(axis=0)
    shares = sizes / sizes.sum() if sizes.sum() > 0 else sizes
    return drift(
        champion.contract.names,
        shares,
        read.matrix[then],
        read.account[then],
        read.matrix[now],
        rng=rng,
    )


def _score_drift(
    raw: Vector, read: _Read, then: Rows, now: Rows, rng: np.random.Generator
) -> Drift | None:
    if now.sum() < LEAST_ACCOUNTS or not then.any():
        return None
    return drift((SCORE,), np.ones(1), raw[then, None], read.account[then], raw[now, None], rng=rng)


def _matured_rows(
    label: Label,
    champion: ModelBundle,
    formula: ModelBundle | None,
    read: _Read,
    events: pl.DataFrame,
    digests: Mapping[str, str],
    since: tuple[datetime, ...],
    as_of: datetime,
    unknown: list[str],
) -> tuple[dict[int, MaturedRows], dict[int, Mapping[str, int]]]:
    """The decided rows of each horizon at the cutoffs since the training, and what was left out."""
    inside = read.at(since)
    keys = read.frame.filter(pl.Series(inside)).select(ROW)
    labelled = label_rows(label, events, cohort_rows(label, events, since), known_until=as_of)
    outcomes = keys.join(labelled.frame, on=ROW, how="left", maintain_order="left")
    other = _fallback_probabilities(champion, formula, read, inside, digests, unknown)
    rows = {}
    for horizon in label.horizons:
        y = outcomes[label.column(horizon)].cast(pl.Float64).fill_null(np.nan).to_numpy()
        rows[horizon] = MaturedRows(
            horizon=horizon,
            outcome=y,
            instead=other.get(horizon),
            probability=_chance(champion, read.matrix[inside], horizon),
            account=read.account[inside],
            segment=read.segment[inside],
            cutoff=_microseconds(keys["as_of"]),
        ).where(~np.isnan(y))
    return rows, dict(labelled.excluded)


def _fallback_probabilities(
    champion: ModelBundle,
    formula: ModelBundle | None,
    read: _Read,
    inside: Rows,
    digests: Mapping[str, str],
    unknown: list[str],
) -> dict[int, Vector]:
    """By horizon, the probabilities of the fallback for these rows."""
    if formula is None:
        return {h: np.full(int(inside.sum()), champion.base_rate(h)) for h in champion.horizons}
    try:
        matrix = formula.contract.matrix(read.frame, digests=digests)[inside]
    except FeatureContractError as error:
        unknown.append(
            f"Nothing can be said against the health formula, so no segment is judged: {error}"
        )
        return {}
    return {h: _chance(formula, matrix, h) for h in formula.horizons}


def _chance(model: ModelBundle, matrix: Matrix, horizon: int) -> Vector:
    return model.probability(matrix, horizon) if len(matrix) else np.empty(0)


def _looks(
    label: Label,
    found: tuple[SegmentFinding, ...],
    since: tuple[datetime, ...],
    judging: MaturedRows | None,
) -> dict[str, Look]:
    """The findings as input of the switch, with how far outcomes were known."""
    if judging is None:
        return {}
    judged = np.isin(_microseconds(pl.Series(since, dtype=UTC_INSTANT)), judging.cutoff)
    known_to = max(at for at, there in zip(since, judged, strict=True) if there) + reach_of(
        judging.horizon, lead_days=label.lead_days
    )
    return {
        one.key: Look(finding=one.finding, known_to=known_to, because=one.because) for one in found
    }


def _spread(chance: Vector) -> tuple[float, ...]:
    return tuple(float(x) for x in np.quantile(chance, LEVELS)) if len(chance) else ()


def _microseconds(moments: pl.Series) -> NDArray[np.int64]:
    return np.asarray(moments.dt.epoch("us").to_numpy())
