"""This module is about snapshots: the features of accounts as of a moment, and where they lie.

``build_snapshots`` is the only way from events to features: for a backfill, for one account after
a new event and on a cluster. ``SnapshotStore`` keeps one Parquet file per moment.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import HEALTH_SCORE, Catalogue
from features.definitions.attributes import CONTRACT_STATUS
from features.expressions import with_expressions
from features.health import FORMULAS, HealthFormula, health_expression
from features.sweep import sweep
from features.timeline import Timelines, prepare
from features.windows import microseconds
from features.workspace import write_atomically

MADE_FROM = "keepwell.made_from"
"""Key in a snapshot file's metadata."""


class SnapshotError(Exception):
    """A snapshot is asked for that is not there, or can not be made."""


def build_snapshots(
    events: pl.DataFrame, as_ofs: Sequence[datetime], catalogue: Catalogue, *,
    first_recorded: Mapping[str, datetime], formula: HealthFormula | None = None, threads: int = 1,
) -> pl.DataFrame:
    """The snapshot of every account that was known at each moment.

    Args:
        events: events of whole accounts (``EVENT_SCHEMA``, with ``superseded_at`` if known).
        as_ofs: aware moments, in any order.
        first_recorded: kind to the moment its first event of any account became known. A feature
            is unknown, not zero, while no source has sent any kind that it reads.
        formula: the health formula whose score is added; 003 by default.
        threads: account ranges worked on at once.

    Returns:
        ``account_id``, ``as_of``, attributes, features and ``health_score``, ordered by account
        and moment. Null is unknown.
    """
    cutoffs = np.array(sorted({microseconds(moment) for moment in as_ofs}), dtype=np.int64)
    timelines = prepare(events, catalogue)
    values = sweep(timelines.events, timelines.items, cutoffs, threads=threads)
    _forget_kinds_not_sent(values, catalogue, cutoffs, first_recorded)
    known = timelines.known_since[:, None] < cutoffs[None, :]
    frame = _primitive_frame(timelines, values, cutoffs, known, catalogue)
    frame = with_expressions(frame, events, catalogue.expressions, first_recorded=first_recorded)
    return _finish(frame, catalogue, formula or FORMULAS["003"])


def _forget_kinds_not_sent(
    values: npt.NDArray[np.float64], catalogue: Catalogue, cutoffs: npt.NDArray[np.int64],
    first_recorded: Mapping[str, datetime],
) -> None:
    for item, feature in enumerate(catalogue.primitives):
        sent = [microseconds(first_recorded[k]) for k in feature.reads if k in first_recorded]
        unsent = cutoffs <= min(sent) if sent else np.ones(len(cutoffs), dtype=np.bool_)
        values[:, unsent, item] = np.nan


def _primitive_frame(
    timelines: Timelines, values: npt.NDArray[np.float64], cutoffs: npt.NDArray[np.int64],
    known: npt.NDArray[np.bool_], catalogue: Catalogue,
) -> pl.DataFrame:
    account, cutoff = np.nonzero(known)
    rows = values[account, cutoff]
    columns: dict[str, pl.Series] = {
        "account_id": pl.Series("account_id", timelines.account_ids, pl.String).gather(account),
        "as_of": pl.Series("as_of", cutoffs[cutoff]).cast(pl.Datetime("us")).dt.replace_time_zone(
            "UTC"),
    }
    first_attribute = len(catalogue.primitives)
    for number, attribute in enumerate(catalogue.attributes, start=first_attribute):
        codes = pl.Series(rows[:, number]).fill_nan(None).cast(pl.Int64)
        words = pl.Series(timelines.words[attribute.name], dtype=pl.String)
        columns[attribute.name] = words.gather(codes)
    for number, feature in enumerate(catalogue.primitives):
        columns[feature.name] = pl.Series(feature.name, rows[:, number]).fill_nan(None)
    return pl.DataFrame(columns)


def _finish(frame: pl.DataFrame, catalogue: Catalogue, formula: HealthFormula) -> pl.DataFrame:
    frame = frame.with_columns(
        pl.coalesce(pl.col("contract_state"),
                    pl.when(pl.col("trial_state") == "trial").then(pl.lit("trial")),
                    pl.lit("none")).alias(CONTRACT_STATUS))
    for derived in catalogue.derived_in_order():
        inputs = [pl.col(name) for name in derived.inputs]
        value = derived.formula(*inputs).cast(pl.Float64)
        finite = pl.when(value.is_finite()).then(value)
        frame = frame.with_columns(finite.alias(derived.name))
    frame = frame.with_columns(health_expression(formula).alias(HEALTH_SCORE))
    attributes = [attribute.name for attribute in catalogue.attributes]
    return frame.select("account_id", "as_of", *attributes, CONTRACT_STATUS, *catalogue.names,
                        HEALTH_SCORE)


class SnapshotStore:
    """One Parquet file per moment in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, as_of: datetime) -> Path:
        """Where the snapshot as of this moment lies."""
        return self.folder / f"as_of_{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}.parquet"

    def write(self, frame: pl.DataFrame, *, made_from: str = "") -> tuple[Path, ...]:
        """Write the moments of the frame, each file swapped as a whole.

        ``made_from`` is a digest of the events and declarations, kept in each file's metadata.
        """
        for leftover in self.folder.glob(".as_of_*.tmp"):
            leftover.unlink()  # of a process that was killed; the workspace lock is held here
        paths = []
        moments = frame.partition_by("as_of", as_dict=True)
        for (as_of,), rows in sorted(moments.items()):
            content = io.BytesIO()
            rows.write_parquet(content, compression="zstd", statistics=True,
                               metadata={MADE_FROM: made_from})
            write_atomically(self.path(as_of), content.getvalue())
            paths.append(self.path(as_of))
        return tuple(paths)

    def moments(self) -> tuple[datetime, ...]:
        """The moments that are there, oldest first."""
        names = sorted(path.stem.removeprefix("as_of_")
                       for path in self.folder.glob("as_of_*.parquet"))
        return tuple(datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                     for name in names)

    def made_from(self, as_of: datetime) -> str | None:
        """The digest that the snapshot of this moment was written with; None without a snapshot."""
        path = self.path(as_of)
        return pl.read_parquet_metadata(path).get(MADE_FROM, "") if path.exists() else None

    def read(self, as_of: datetime) -> pl.DataFrame:
        """The snapshot as of this moment.

        Raises:
            SnapshotError: it was not made.
        """
        path = self.path(as_of)
        if not path.exists():
            there = self.moments()
            last = f" The newest is {there[-1]:%Y-%m-%d}." if there else " There is none yet."
            raise SnapshotError(f"There is no snapshot as of {as_of:%Y-%m-%d %H:%M} UTC in "
                                f"{self.folder}.{last} Make it with: keepwell snapshot --as-of "
                                f"{as_of:%Y-%m-%d}")
        return pl.read_parquet(path)

    def read_all(self) -> pl.DataFrame:
        """Every snapshot, oldest first.

        Raises:
            SnapshotError: there is none.
        """
        moments = self.moments()
        if not moments:
            raise SnapshotError(f"There is no snapshot in {self.folder}. Make some with: keepwell "
                                f"snapshot --from DATE --to DATE --every month")
        return pl.concat([self.read(moment) for moment in moments], how="diagonal")
