"""Store snapshots: one Parquet file per moment."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.workspace_files import write_atomically

READ_AT_ONCE = 1 << 16
"""Bytes of each column that are buffered where a snapshot is read in parts."""

MADE_FROM = "keepwell.made_from"
"""Key in a snapshot file's metadata."""


class SnapshotError(Exception):
    """A snapshot does not exist, or cannot be computed."""


class SnapshotStore:
    """One Parquet file per moment in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, as_of: datetime) -> Path:
        """The path of the snapshot as of this moment, which may not exist."""
        return self.folder / f"as_of_{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}.parquet"

    def write(self, frame: pl.DataFrame, *, digest: str = "") -> tuple[Path, ...]:
        """Write one file for each moment of the frame; each is replaced as a whole.

        ``digest`` is the ``snapshot_digest`` of the events and declarations. The metadata of each
        file hold it.
        """
        for leftover in self.folder.glob(".as_of_*.tmp"):
            leftover.unlink()  # of a process that was killed; the workspace lock is held here
        paths = []
        moments = frame.partition_by("as_of", as_dict=True)
        for (as_of,), rows in sorted(moments.items()):
            content = io.BytesIO()
            rows.write_parquet(
                content, compression="zstd", statistics=True, metadata={MADE_FROM: digest}
            )
            write_atomically(self.path(as_of), content.getvalue())
            paths.append(self.path(as_of))
        return tuple(paths)

    def moments(self) -> tuple[datetime, ...]:
        """The moments that have a snapshot, oldest first."""
        names = sorted(
            path.stem.removeprefix("as_of_") for path in self.folder.glob("as_of_*.parquet")
        )
        return tuple(
            datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for name in names
        )

    def digest(self, as_of: datetime) -> str | None:
        """The digest that the snapshot of this moment was written with; None without a snapshot."""
        path = self.path(as_of)
        return pl.read_parquet_metadata(path).get(MADE_FROM, "") if path.exists() else None

    def read(self, as_of: datetime) -> pl.DataFrame:
        """The snapshot as of this moment.

        Raises:
            SnapshotError: it does not exist.
        """
        return pl.read_parquet(self.existing_path(as_of))

    def existing_path(self, as_of: datetime) -> Path:
        """The path of the snapshot as of this moment.

        Raises:
            SnapshotError: it does not exist.
        """
        path = self.path(as_of)
        if not path.exists():
            there = self.moments()
            last = f" The newest is {there[-1]:%Y-%m-%d}." if there else " There is none yet."
            raise SnapshotError(
                f"There is no snapshot as of {as_of:%Y-%m-%d %H:%M} UTC in "
                f"{self.folder}.{last} Make it with: keepwell snapshot --as-of "
                f"{as_of:%Y-%m-%d}"
            )
        return path

    def parts(
        self, as_of: datetime, columns: Collection[str], *, rows: int
    ) -> Iterator[pl.DataFrame]:
        """Those of these columns that a snapshot has, ``rows`` accounts at a time.

        Raises:
            SnapshotError: it does not exist.
        """
        file = pq.ParquetFile(self.existing_path(as_of), buffer_size=READ_AT_ONCE)
        wanted = [name for name in file.schema_arrow.names if name in columns]
        # one row group at a time: asked for all at once, Arrow keeps each in memory to the end
        for group in range(file.num_row_groups):
            # one thread: a second would cost a third more processor time
            for batch in file.iter_batches(
                batch_size=rows, columns=wanted, row_groups=[group], use_threads=False
            ):
                yield pl.DataFrame(pl.from_arrow(batch))

    def read_all(self) -> pl.DataFrame:
        """Every snapshot, oldest first.

        Raises:
            SnapshotError: there is none.
        """
        moments = self.moments()
        if not moments:
            raise SnapshotError(
                f"There is no snapshot in {self.folder}. Make some with: keepwell "
                f"snapshot --from DATE --to DATE --every month"
            )
        return pl.concat([self.read(moment) for moment in moments], how="diagonal")
