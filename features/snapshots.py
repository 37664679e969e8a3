"""This module is about snapshots: the features of accounts as of a moment, and where they lie.

``snapshots_of`` is the only way from events to features: for a backfill, for accounts that new
events touched and on a cluster. ``build_snapshots`` prepares the events first. ``SnapshotStore``
keeps one Parquet file per moment.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from features.catalogue import HEALTH_SCORE, Catalogue
from features.definitions.attributes import CONTRACT_STATUS
from features.expressions import with_expressions
from features.feature import Derived
from features.health import FORMULAS, HealthFormula, health_expression
from features.sweep import sweep
from features.timeline import Timelines, prepare
from features.windows import FOREVER, microseconds
from features.workspace import write_atomically

READ_AT_ONCE = 1 << 16
"""Bytes of each column that are in memory before they are decoded, where it is read in parts."""

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
    return snapshots_of([prepare(events, catalogue)], events, as_ofs, catalogue,
                        first_recorded=first_recorded, formula=formula, threads=threads)


def snapshots_of(
    timelines: Sequence[Timelines], events: pl.DataFrame, as_ofs: Sequence[datetime],
    catalogue: Catalogue, *, first_recorded: Mapping[str, datetime],
    formula: HealthFormula | None = None, threads: int = 1,
) -> pl.DataFrame:
    """``build_snapshots`` of accounts that were prepared before, in blocks of their own.

    Args:
        timelines: the accounts, each in one of them.
        events: what the catalogue's expressions read of these accounts; more changes nothing.
        as_ofs: aware moments, in any order.
        catalogue: what the accounts were prepared for.
        first_recorded: as ``build_snapshots`` takes it.
        formula: as ``build_snapshots`` takes it.
        threads: account ranges of one block worked on at once.
    """
    cutoffs = np.array(sorted({microseconds(moment) for moment in as_ofs}), dtype=np.int64)
    unsent = _unsent(catalogue, cutoffs, first_recorded)
    values = []
    for block in timelines:
        swept = sweep(block.events, block.items, cutoffs, threads=threads)
        swept[:, unsent] = np.nan
        values.append(swept)
    frame = with_expressions(_primitive_frame(timelines, values, cutoffs, catalogue), events,
                             catalogue.expressions, first_recorded=first_recorded)
    return _finish(frame, catalogue, formula or FORMULAS["003"])


def _unsent(
    catalogue: Catalogue, cutoffs: npt.NDArray[np.int64], first_recorded: Mapping[str, datetime],
) -> npt.NDArray[np.bool_]:
    """(n_cutoffs, n_items): where no source had sent any kind that the item reads."""
    since = {kind: microseconds(moment) for kind, moment in first_recorded.items()}
    first = [min((since[kind] for kind in feature.reads if kind in since), default=FOREVER)
             for feature in catalogue.primitives]
    unsent = np.zeros((len(cutoffs), len(first) + len(catalogue.attributes)), dtype=np.bool_)
    unsent[:, :len(first)] = cutoffs[:, None] <= np.array(first, dtype=np.int64)
    return unsent


def _primitive_frame(
    timelines: Sequence[Timelines], values: Sequence[npt.NDArray[np.float64]],
    cutoffs: npt.NDArray[np.int64], catalogue: Catalogue,
) -> pl.DataFrame:
    """A row for each account and cutoff at which anything of it was known."""
    known = [np.nonzero(block.known_since[:, None] < cutoffs[None, :]) for block in timelines]
    # Feature by feature in memory, as the columns of a frame want it.
    rows = np.concatenate([swept.transpose(2, 0, 1)[:, account, cutoff] for swept, (account, cutoff)
                           in zip(values, known, strict=True)], axis=1)
    columns: dict[str, pl.Series] = {
        "account_id": pl.concat([pl.Series(block.account_ids, dtype=pl.String).gather(account)
                                 for block, (account, _) in zip(timelines, known, strict=True)]),
        "as_of": pl.Series(np.concatenate([cutoffs[cutoff] for _, cutoff in known])).cast(
            pl.Datetime("us")).dt.replace_time_zone("UTC"),
    }
    first_attribute = len(catalogue.primitives)
    for number, attribute in enumerate(catalogue.attributes, start=first_attribute):
        words = [block.words[attribute.name] for block in timelines]
        before = np.cumsum([0, *(len(some) for some in words)])[:-1]  # words of earlier blocks
        offset = np.repeat(before, [len(account) for account, _ in known])
        codes = pl.Series(rows[number] + offset).fill_nan(None).cast(pl.Int64)
        said = pl.Series([word for some in words for word in some], dtype=pl.String)
        columns[attribute.name] = said.gather(codes)
    numbers = pl.DataFrame(list(rows[:first_attribute]),
                           schema=[feature.name for feature in catalogue.primitives])
    return pl.DataFrame(columns).hstack(numbers.fill_nan(None).get_columns())


def _finish(frame: pl.DataFrame, catalogue: Catalogue, formula: HealthFormula) -> pl.DataFrame:
    frame = frame.with_columns(
        pl.coalesce(pl.col("contract_state"),
                    pl.when(pl.col("trial_state") == "trial").then(pl.lit("trial")),
                    pl.lit("none")).alias(CONTRACT_STATUS))
    for step in catalogue.derived_in_steps:
        frame = frame.with_columns(_value_of(derived) for derived in step)
    frame = frame.with_columns(health_expression(formula).alias(HEALTH_SCORE))
    attributes = [attribute.name for attribute in catalogue.attributes]
    return frame.select("account_id", "as_of", *attributes, CONTRACT_STATUS, *catalogue.names,
                        HEALTH_SCORE)


def _value_of(derived: Derived) -> pl.Expr:
    """The value of a derived feature, null where it is no finite number."""
    value = derived.formula(*(pl.col(name) for name in derived.inputs)).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value).alias(derived.name)


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
        return pl.read_parquet(self.there(as_of))

    def there(self, as_of: datetime) -> Path:
        """The file of the snapshot as of this moment.

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
        return path

    def parts(self, as_of: datetime, columns: Collection[str], *, rows: int
              ) -> Iterator[pl.DataFrame]:
        """These columns of a snapshot, where they are there, so many accounts at a time.

        Raises:
            SnapshotError: it was not made.
        """
        file = pq.ParquetFile(self.there(as_of), buffer_size=READ_AT_ONCE)
        wanted = [name for name in file.schema_arrow.names if name in columns]
        # asked for all row groups at once, Arrow keeps what it has read of each to the end
        for group in range(file.num_row_groups):
            # one thread: a second brings the parts sooner for a third more processor time
            for batch in file.iter_batches(batch_size=rows, columns=wanted, row_groups=[group],
                                           use_threads=False):
                yield pl.DataFrame(pl.from_arrow(batch))

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
