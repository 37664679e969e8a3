"""Look for features that predict the outcome too well by themselves.

Each feature is cut into bins, and missing is a bin; the outcome rate of a bin is learned on four
fifths of the accounts and scores the last fifth. The AUC of honest features was measured on clean
samples (``docs/explanation``); a feature far above it must hold something from after the cutoff.
For columns that were recomputed from the timeline only the absolute bounds apply, because a feature
that was known then may well stand out. Pure.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.audit.report import AuditedSet, CheckScope, LeakFinding
from training.metrics import Interval, account_draws, auc

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

MOST_AUC = 0.90
"""No honest feature alone reaches this; the best of any label on the clean samples has 0.85."""

MOST_ABOVE_OTHERS = 0.15
"""How far a column that cannot be recomputed may lie above the best unrelated one."""

RELATED = 0.8
"""Features whose ranks correlate by more than this are related and are not compared."""

MOST_MISSING_AUC = 0.80
"""Bound for the absence of a value alone; the best on the clean samples has 0.70."""

MOST_PURE = 0.90
"""The largest share of the outcome where a feature has one value; churn, samples: 0.46."""

FOLDS, BINS, LEAK_DRAWS = 5, 20, 400
MOST_RANKED = 60  # the best ones are compared with each other; the rest cannot be too good
LEAST_ROWS_OF_A_CLASS = 20
PRIOR_ROWS = 5.0  # of the base rate, added to each bin
EDGES = (0.01, *np.linspace(1 / BINS, 1 - 1 / BINS, BINS - 1), 0.99)
Z = 1.96  # 95 %


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A feature in bins; the last code is missing."""

    name: str
    codes: Codes
    names_of_bins: tuple[str, ...]
    is_missing: NDArray[np.bool_]
    score: Vector  # out of fold
    auc: float


def check_features(
    audited: AuditedSet,
    *,
    recomputed: frozenset[str],
    rng: np.random.Generator,
) -> tuple[list[LeakFinding], list[CheckScope]]:
    """Features that alone predict the outcome too well, by value or by absence.

    ``recomputed`` names the columns that were compared with the timeline.
    """
    decided = audited.frame.filter(audited.outcome.is_not_null())
    y = decided["label"].cast(pl.Float64).to_numpy()
    fewer = int(min(y.sum(), len(y) - y.sum()))
    if fewer < LEAST_ROWS_OF_A_CLASS:
        why = f"{fewer} rows have the rarer outcome, {LEAST_ROWS_OF_A_CLASS} are needed"
        return [], [
            CheckScope(check="alone", at=why, was_possible=False),
            CheckScope(check="missing", at=why, was_possible=False),
        ]
    accounts = decided["account_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    folds = _folds(decided["account_id"])
    columns = [_column(name, decided, y, folds) for name in audited.features]
    draws = account_draws(accounts, LEAK_DRAWS, rng)[:, accounts]
    alone, best = _alone(columns, y, draws, recomputed)
    missing, most = _given_away(columns, y, accounts, draws, recomputed)
    return [*alone, *missing], [
        CheckScope(
            check="alone",
            at=f"{len(columns)} features on {len(y):,} rows; the best within the bound is {best}",
        ),
        CheckScope(
            check="missing", at=f"{len(columns)} features; the absence that says most is {most}"
        ),
    ]


def _alone(
    columns: list[_Column],
    y: Vector,
    draws: Vector,
    recomputed: frozenset[str],
) -> tuple[list[LeakFinding], str]:
    ordered = sorted(columns, key=lambda column: -column.auc)
    ranks = {column.name: rankdata(column.score) for column in ordered[:MOST_RANKED]}
    findings, best = [], "none"
    for column in ordered[:MOST_RANKED]:
        other = next(
            (
                o
                for o in ordered
                if o.name != column.name and not _are_related(ranks[column.name], ranks.get(o.name))
            ),
            None,
        )
        bound = MOST_AUC
        if column.name not in recomputed and other is not None:
            bound = min(MOST_AUC, max(other.auc, 0.5) + MOST_ABOVE_OTHERS)
        interval = _interval(y, column.score, draws) if column.auc > bound else None
        if interval is None or interval.low <= bound:
            best = f"{column.name} (AUC {column.auc:.2f})" if best == "none" else best
            continue
        beside = "" if other is None else f"; the next best, {other.name}, has {other.auc:.2f}"
        findings.append(
            LeakFinding(
                check="alone",
                feature=column.name,
                rows=len(y),
                evidence=f"alone, on accounts it was not fitted to, it has an AUC of {interval}; the "
                f"bound is {bound:.2f}{beside}",
                next=_BACKDATED if column.name in recomputed else _FOLLOWS,
            )
        )
    return findings, best


def _given_away(
    columns: list[_Column],
    y: Vector,
    accounts: Codes,
    draws: Vector,
    recomputed: frozenset[str],
) -> tuple[list[LeakFinding], str]:
    findings = []
    most, said = 0.5, "none"
    rarer = y if y.mean() <= 0.5 else 1 - y
    for column in columns:
        gap = column.is_missing.astype(np.float64)
        if 0 < gap.sum() < len(gap):
            area = float(auc(y, gap, np.ones((1, len(y))))[0])
            turned = gap if area >= 0.5 else -gap
            if max(area, 1 - area) > MOST_MISSING_AUC:
                interval = _interval(y, turned, draws)
                if interval.low > MOST_MISSING_AUC:
                    findings.append(_missing_finding(column, y, interval))
                    continue
            if max(area, 1 - area) > most:
                most = max(area, 1 - area)
                said = f"that of {column.name} (AUC {most:.2f})"
        findings += _pure(column, rarer, accounts, y)
    return [
        replace(found, next=_BACKDATED) if found.feature in recomputed else found
        for found in findings
    ], said


def _missing_finding(column: _Column, y: Vector, interval: Interval) -> LeakFinding:
    gone = column.is_missing
    return LeakFinding(
        check="missing",
        feature=column.name,
        rows=int(gone.sum()),
        evidence=f"whether it is known predicts the outcome with an AUC of {interval} (bound "
        f"{MOST_MISSING_AUC:.2f}): {y[gone].mean():.0%} of the {int(gone.sum()):,} rows "
        f"without a value have it, {y[~gone].mean():.0%} of those with one",
        next=_FILLED_AFTER,
    )


def _pure(column: _Column, rarer: Vector, accounts: Codes, y: Vector) -> list[LeakFinding]:
    """The bins, and all that is known, in which almost every row has the rarer outcome."""
    states = {name: column.codes == code for code, name in enumerate(column.names_of_bins)}
    states["known"] = ~column.is_missing
    for name, inside in states.items():
        n_rows = int(inside.sum())
        if n_rows == 0 or rarer[inside].mean() <= MOST_PURE:
            continue
        n_accounts = len(np.unique(accounts[inside]))
        if _wilson_low(float(rarer[inside].mean()), n_accounts) > MOST_PURE:
            share = float(y[inside].mean())
            return [
                LeakFinding(
                    check="missing",
                    feature=column.name,
                    rows=n_rows,
                    evidence=f"where it is {name}, {share:.0%} of {n_rows:,} rows of {n_accounts:,} "
                    f"accounts have the outcome, {y.mean():.0%} of all do",
                    next=_FILLED_AFTER,
                )
            ]
    return []


_FOLLOWS = (
    "Ask when this value is written. If it follows from the outcome, leave it out, or "
    "read it as it was known at the cutoff."
)
_BACKDATED = (
    "It equals what was recorded before the cutoff, so look at the kinds of event that "
    "it reads: a source that dates events back writes a recorded_at that is too early."
)
_FILLED_AFTER = (
    "Ask who fills it and when. A field that is filled because of the outcome is "
    "left out, or read as it was known at the cutoff."
)


def _column(name: str, decided: pl.DataFrame, y: Vector, folds: Codes) -> _Column:
    codes, names = _codes(name, decided)
    score = np.empty(len(y))
    n_bins = len(names)
    for fold in range(FOLDS):
        held = folds == fold
        base = y[~held].mean() if (~held).any() else 0.0
        rows = np.bincount(codes[~held], minlength=n_bins)
        happened = np.bincount(codes[~held], weights=y[~held], minlength=n_bins)
        score[held] = ((happened + PRIOR_ROWS * base) / (rows + PRIOR_ROWS))[codes[held]]
    return _Column(
        name=name,
        codes=codes,
        names_of_bins=names,
        is_missing=codes == n_bins - 1,
        score=score,
        auc=float(auc(y, score, np.ones((1, len(y))))[0]),
    )


def _codes(name: str, decided: pl.DataFrame) -> tuple[Codes, tuple[str, ...]]:
    """Bin of each row and the bins' names; the last bin is the missing values."""
    values = decided[name]
    if values.dtype.is_temporal():
        values = (values.cast(pl.Datetime("us", "UTC")) - decided["as_of"]).dt.total_hours() / 24
    if values.dtype.is_numeric():
        values = values.cast(pl.Float64).fill_nan(None)
    distinct = values.drop_nulls().unique().sort()
    if not values.dtype.is_float() or len(distinct) <= 2 * BINS:
        texts = values.cast(pl.String)
        words = distinct.cast(pl.String)
        codes = texts.replace_strict(words, pl.int_range(len(words), eager=True), default=None)
        return (
            codes.fill_null(len(words)).cast(pl.Int64).to_numpy(),
            (*words.to_list(), "missing"),
        )
    edges = np.unique(np.quantile(values.drop_nulls().to_numpy(), EDGES))
    bins = np.searchsorted(edges, values.fill_null(0.0).to_numpy(), side="left")
    named = [
        f"at most {edges[0]:g}",
        *(f"above {a:g} and at most {b:g}" for a, b in itertools.pairwise(edges)),
        f"above {edges[-1]:g}",
        "missing",
    ]
    return np.where(values.is_null().to_numpy(), len(named) - 1, bins), tuple(named)


def _folds(account_ids: pl.Series) -> Codes:
    """A stable fifth for each account: no account scores itself."""
    fold = {
        account: hashlib.blake2b(account.encode(), digest_size=8).digest()[0] % FOLDS
        for account in account_ids.unique()
    }
    return np.array([fold[account] for account in account_ids], dtype=np.int64)


def _are_related(one: Vector | None, other: Vector | None) -> bool:
    if one is None or other is None:
        return False
    if one.std() == 0 or other.std() == 0:
        return False
    return bool(abs(np.corrcoef(one, other)[0, 1]) > RELATED)


def _interval(y: Vector, score: Vector, draws: Vector) -> Interval:
    spread = auc(y, score, draws)
    low, high = np.nanquantile(spread, [0.025, 0.975])
    value = float(auc(y, score, np.ones((1, len(y))))[0])
    return Interval(value=value, low=float(low), high=float(high))


def _wilson_low(share: float, n: int) -> float:
    """Lower 95 % limit of a share; rows of one account count as one."""
    centre = share + Z * Z / (2 * n)
    half = Z * float(np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)))
    return (centre - half) / (1 + Z * Z / n)
