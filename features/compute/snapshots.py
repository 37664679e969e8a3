"""Compute snapshots: the features of accounts as of a moment.

``compute_snapshots`` is the only way from events to features: for a backfill, for accounts with new
events, and on a cluster. ``build_snapshots`` encodes the events first. ``SnapshotStore`` stores one
Parquet file per moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.catalogue.feature import Derived
from features.compute.encode import EncodedTimelines, encode_timelines
from features.compute.expressions import with_expressions
from features.health.formula import FORMULAS, HealthFormula
from features.health.score import health_scores
from features.kernel.sweep import sweep
from features.kernel.windows import FOREVER, microseconds


def build_snapshots(
    events: pl.DataFrame,
    as_ofs: Sequence[datetime],
    catalogue: Catalogue,
    *,
    first_recorded: Mapping[str, datetime],
    formula: HealthFormula | None = None,
    threads: int = 1,
) -> pl.DataFrame:
    """The snapshot of every account that was known at each moment.

    Args:
        events: events of whole accounts (``EVENT_SCHEMA``, with ``superseded_at`` if known).
        as_ofs: aware moments, in any order.
        first_recorded: kind to the moment its first event of any account became known. A feature
            is unknown, not zero, while no source has sent any kind that it reads.
        formula: the health formula whose score is added; ``balanced`` by default.
        threads: how many account ranges are computed at once.

    Returns:
        ``account_id``, ``as_of``, attributes, features and ``health_score``, ordered by account
        and moment. Null is unknown.
    """
    return compute_snapshots(
        [encode_timelines(events, catalogue)],
        events,
        as_ofs,
        catalogue,
        first_recorded=first_recorded,
        formula=formula,
        threads=threads,
    )


def compute_snapshots(
    timelines: Sequence[EncodedTimelines],
    events: pl.DataFrame,
    as_ofs: Sequence[datetime],
    catalogue: Catalogue,
    *,
    first_recorded: Mapping[str, datetime],
    formula: HealthFormula | None = None,
    threads: int = 1,
) -> pl.DataFrame:
    """``build_snapshots`` for accounts that are encoded already, in blocks.

    Args:
        timelines: the blocks; each account is in one of them.
        events: the events of these accounts that the catalogue's expressions read, or more.
        as_ofs: aware moments, in any order.
        catalogue: the catalogue for which the accounts were encoded.
        first_recorded: as in ``build_snapshots``.
        formula: as in ``build_snapshots``.
        threads: how many account ranges of one block are computed at once.
    """
    cutoffs = np.array(sorted({microseconds(moment) for moment in as_ofs}), dtype=np.int64)
    unsent = _unsent(catalogue, cutoffs, first_recorded)
    values = []
    for block in timelines:
        swept = sweep(block.events, block.items, cutoffs, threads=threads)
        swept[:, unsent] = np.nan
        values.append(swept)
    frame = with_expressions(
        _primitive_frame(timelines, values, cutoffs, catalogue),
        events,
        catalogue.expressions,
        first_recorded=first_recorded,
    )
    return _finish(frame, catalogue, formula or FORMULAS["balanced"], first_recorded)


def _unsent(
    catalogue: Catalogue,
    cutoffs: npt.NDArray[np.int64],
    first_recorded: Mapping[str, datetime],
) -> npt.NDArray[np.bool_]:
    """(n_cutoffs, n_items): whether no source had sent a kind that the item reads."""
    since = {kind: microseconds(moment) for kind, moment in first_recorded.items()}
    first = [
        min((since[kind] for kind in feature.reads if kind in since), default=FOREVER)
        for feature in catalogue.primitives
    ]
    unsent = np.zeros((len(cutoffs), len(first) + len(catalogue.attributes)), dtype=np.bool_)
    unsent[:, : len(first)] = cutoffs[:, None] <= np.array(first, dtype=np.int64)
    return unsent


def _primitive_frame(
    timelines: Sequence[EncodedTimelines],
    values: Sequence[npt.NDArray[np.float64]],
    cutoffs: npt.NDArray[np.int64],
    catalogue: Catalogue,
) -> pl.DataFrame:
    """A row for each account and cutoff at which an event of it was known."""
    known = [np.nonzero(block.known_since[:, None] < cutoffs[None, :]) for block in timelines]
    # Feature by feature in memory, because each feature becomes a column.
    rows = np.concatenate(
        [
            swept.transpose(2, 0, 1)[:, account, cutoff]
            for swept, (account, cutoff) in zip(values, known, strict=True)
        ],
        axis=1,
    )
    columns: dict[str, pl.Series] = {
        "account_id": pl.concat(
            [
                pl.Series(block.account_ids, dtype=pl.String).gather(account)
                for block, (account, _) in zip(timelines, known, strict=True)
            ]
        ),
        "as_of": pl.Series(np.concatenate([cutoffs[cutoff] for _, cutoff in known]))
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC"),
    }
    first_attribute = len(catalogue.primitives)
    for number, attribute in enumerate(catalogue.attributes, start=first_attribute):
        words = [block.words[attribute.name] for block in timelines]
        before = np.cumsum([0, *(len(some) for some in words)])[:-1]  # words of earlier blocks
        offset = np.repeat(before, [len(account) for account, _ in known])
        codes = pl.Series(rows[number] + offset, nan_to_null=True).cast(pl.Int64)
        said = pl.Series([word for some in words for word in some], dtype=pl.String)
        columns[attribute.name] = said.gather(codes)
    numbers = [
        pl.Series(feature.name, row, nan_to_null=True)
        for feature, row in zip(catalogue.primitives, rows, strict=False)
    ]
    return pl.DataFrame(columns).hstack(numbers)


def _finish(
    frame: pl.DataFrame,
    catalogue: Catalogue,
    formula: HealthFormula,
    first_recorded: Mapping[str, datetime],
) -> pl.DataFrame:
    frame = frame.with_columns(
        pl.coalesce(
            pl.col("contract_state"),
            pl.when(pl.col("trial_state") == "trial").then(pl.lit("trial")),
            pl.when(_contracts_are_sent(catalogue, first_recorded)).then(pl.lit("none")),
        ).alias(CONTRACT_STATUS)
    )
    for step in catalogue.derived_in_steps:
        frame = frame.with_columns(_value_of(derived) for derived in step)
    frame = frame.with_columns(health_scores(frame, formula).alias(HEALTH_SCORE))
    attributes = [attribute.name for attribute in catalogue.attributes]
    return frame.select(
        "account_id", "as_of", *attributes, CONTRACT_STATUS, *catalogue.names, HEALTH_SCORE
    )


def _contracts_are_sent(catalogue: Catalogue, first_recorded: Mapping[str, datetime]) -> pl.Expr:
    """Whether a source had sent a contract of anybody; else nobody can be said to have none."""
    reads = next(a.reads for a in catalogue.attributes if a.name == "contract_state")
    since = [first_recorded[kind] for kind in reads if kind in first_recorded]
    return pl.col("as_of") > min(since) if since else pl.lit(value=False)


@cache  # an expression takes longer to write than to compute for a few accounts
def _value_of(derived: Derived) -> pl.Expr:
    """The value of a derived feature, null where it is no finite number."""
    value = derived.formula(*(pl.col(name) for name in derived.inputs)).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value).alias(derived.name)
