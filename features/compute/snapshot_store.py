"""Store snapshots: one Parquet file per moment."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.reloaded_file import Stamp, stamp_of
from features.workspace_files import UnusableStoreError, write_atomically

READ_AT_ONCE = 1 << 16
"""Bytes of each column that are buffered where a snapshot is read in parts."""

MADE_FROM = "keepwell.made_from"
"""Key in a snapshot file's metadata."""


CONTENT = "keepwell.content"
"""Key in a snapshot file's metadata: the digest of the file, this digest itself left out."""

NO_DIGEST = "0" * 32


_checked: dict[Path, Stamp] = {}
"""The stamps of the snapshots that were found whole, in this process."""


class SnapshotError(Exception):
    """A snapshot does not exist, or cannot be computed."""


class DamagedSnapshotError(SnapshotError, UnusableStoreError):
    """A snapshot cannot be read, was cut short or altered."""


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
                content,
                compression="zstd",
                statistics=True,
                metadata={MADE_FROM: digest, CONTENT: NO_DIGEST},
            )
            write_atomically(self.path(as_of), _with_own_digest(content.getvalue()))
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
        try:
            return pl.read_parquet_metadata(path).get(MADE_FROM, "") if path.exists() else None
        except (pl.exceptions.PolarsError, OSError):
            return None  # it is damaged, and made again

    def read(self, as_of: datetime) -> pl.DataFrame:
        """The snapshot as of this moment.

        Raises:
            SnapshotError: it does not exist.
            DamagedSnapshotError: it is not the file that was written.
        """
        path = self.existing_path(as_of)
        try:
            content = path.read_bytes()
            metadata = pl.read_parquet_metadata(io.BytesIO(content))
            stored = metadata.get(CONTENT)
            is_older = metadata.keys() <= {MADE_FROM, "ARROW:schema"}  # it had no digest
            if is_older or (stored and _own_digest(content, stored) == stored):
                return pl.read_parquet(io.BytesIO(content))
            said = "it was altered"
        except (pl.exceptions.PolarsError, OSError) as exc:
            said = str(exc).partition("\n")[0]
        raise DamagedSnapshotError(
            f"The snapshot {path.name} is damaged ({said}). Make it again with: keepwell snapshot "
            f"--as-of {as_of:%Y-%m-%d}"
        )

    def check(self, as_of: datetime) -> None:
        """See that a snapshot is the file that was written; one that did not change is read once.

        Raises:
            DamagedSnapshotError: it is not.
        """
        path = self.path(as_of)
        stamp = stamp_of(path)
        if stamp is not None and _checked.get(path) != stamp:
            self.read(as_of)
            _checked[path] = stamp

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


def _own_digest(content: bytes, stored: str) -> str:
    """The digest of a file, with zeros in the place of the stored one."""
    head, found, tail = content.rpartition(stored.encode())
    whole = head + NO_DIGEST.encode() + tail if found else content
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def _with_own_digest(content: bytes) -> bytes:
    """A file whose metadata hold its digest; it is as long as before."""
    head, _, tail = content.rpartition(NO_DIGEST.encode())
    return head + _own_digest(content, NO_DIGEST).encode() + tail
