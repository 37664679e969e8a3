"""Store snapshots: one Parquet file per moment."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.compute.written_snapshots import Digests, WrittenSnapshots, also_allowing
from features.format_version import PARQUET_KEY, newer_parquet
from features.reloaded_file import Stamp, stamp_of
from features.workspace_files import UnusableStoreError, write_atomically

FORMAT = 1
"""The newest version of the files; one that states none has version 1."""

READ_AT_ONCE = 1 << 16
"""Bytes of each column that are buffered where a snapshot is read in parts."""

MADE_FROM = "keepwell.made_from"
"""Key in a snapshot file's metadata."""


CONTENT = "keepwell.content"
"""Key in a snapshot file's metadata: the digest of the file, this digest itself left out."""

NO_DIGEST = "0" * 32

NAME = re.compile(r"as_of_(\d{8}T\d{6}Z)\.parquet")


_checked: dict[Path, tuple[Stamp, Digests]] = {}
"""The stamps of the snapshots that were found whole in this process, and the digests allowed then."""


class SnapshotError(Exception):
    """A snapshot does not exist, or cannot be computed."""


class DamagedSnapshotError(SnapshotError, UnusableStoreError):
    """A snapshot is missing, cannot be read, was cut short, altered or replaced."""


class SnapshotStore:
    """One Parquet file per moment in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written = WrittenSnapshots(folder)

    def path(self, as_of: datetime) -> Path:
        """The path of the snapshot as of this moment, which may not exist."""
        return self.folder / f"as_of_{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}.parquet"

    def write(self, frame: pl.DataFrame, *, digest: str = "") -> tuple[Path, ...]:
        """Write one file for each moment of the frame; each is replaced as a whole.

        ``digest`` is the ``snapshot_digest`` of the events and declarations. The metadata of each
        file hold it.
        """
        for leftover in self.folder.glob(".as_of_*.tmp"):
            if leftover.is_file():
                leftover.unlink()  # of a process that was killed; the workspace lock is held here
        contents: dict[Path, bytes] = {}
        moments = frame.partition_by("as_of", as_dict=True)
        for (as_of,), rows in sorted(moments.items()):
            content = io.BytesIO()
            rows.write_parquet(
                content,
                compression="zstd",
                statistics=True,
                metadata={MADE_FROM: digest, PARQUET_KEY: str(FORMAT), CONTENT: NO_DIGEST},
            )
            contents[self.path(as_of)] = _with_own_digest(content.getvalue())
        new = {path.name: _digest_of(content) for path, content in contents.items()}
        before = self._listed()
        self._written.replace(also_allowing(before, new.items()))
        for path, whole in contents.items():
            if path.is_dir():  # nobody reads a folder; it makes way
                path.replace(path.with_name(f".{path.name}.damaged.tmp"))
            write_atomically(path, whole)
        self._written.replace({**before, **{name: (one,) for name, one in new.items()}})
        return tuple(contents)

    def remove(self, as_of: datetime) -> None:
        """Remove the snapshot of a moment; the lock of the workspace is held here."""
        listed = dict(self._listed())
        listed.pop(self.path(as_of).name, None)
        self._written.replace(listed)
        self.path(as_of).unlink(missing_ok=True)

    @property
    def is_listed(self) -> bool:
        """Whether a list says which snapshots were written."""
        return self._written.read() is not None

    def adopt(self) -> None:
        """Take the snapshots as they are, where no list says what was written.

        The lock of the workspace is held here.
        """
        if not self.is_listed:
            self._written.replace(self._listed())

    def _listed(self) -> Mapping[str, Digests]:
        """The list of what was written; without one, what is there."""
        listed = self._written.read()
        if listed is not None:
            return listed
        return {self.path(m).name: self._stored_digest(m) for m in self.moments()}

    def _stored_digest(self, as_of: datetime) -> Digests:
        """The digest that a file holds of itself, if any."""
        try:
            stored = pl.read_parquet_metadata(self.path(as_of)).get(CONTENT)
        except (pl.exceptions.PolarsError, OSError):
            return ()
        return (stored,) if stored else ()

    def moments(self) -> tuple[datetime, ...]:
        """The moments that have a snapshot, oldest first."""
        return _moments(path.name for path in self.folder.glob("as_of_*.parquet"))

    def damaged(self) -> dict[datetime, DamagedSnapshotError]:
        """What is wrong with which snapshot, newest first; empty where all are as they were written."""
        listed = self._written.read() or {}
        found = {}
        for moment in sorted({*self.moments(), *_moments(listed)}, reverse=True):
            try:
                self.check(moment)
            except DamagedSnapshotError as error:
                found[moment] = error
        return found

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
        allowed = (self._written.read() or {}).get(path.name, ())
        try:
            content = path.read_bytes()
            metadata = pl.read_parquet_metadata(io.BytesIO(content))
            stored = metadata.get(CONTENT)
            newer = newer_parquet(metadata, newest=FORMAT, what="it")
            is_older = metadata.keys() <= {MADE_FROM, "ARROW:schema"}  # it had no digest
            if newer is not None:
                said = newer.rstrip(".")
            elif not is_older and not (stored and _own_digest(content, stored) == stored):
                said = "it was altered"
            elif allowed and stored not in allowed:
                said = "it is not the file that was written"
            else:
                return pl.read_parquet(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError) as exc:
            said = str(exc).partition("\n")[0]
        raise self._damaged(as_of, said)

    def _damaged(self, as_of: datetime, said: str) -> DamagedSnapshotError:
        return DamagedSnapshotError(
            f"The snapshot {self.path(as_of).name} is damaged ({said}). Make it again with: keepwell "
            f"snapshot --as-of {as_of:%Y-%m-%d}"
        )

    def check(self, as_of: datetime) -> None:
        """See that a snapshot is the file that was written; one that did not change is read once.

        Raises:
            DamagedSnapshotError: it is not.
        """
        path = self.path(as_of)
        listed, stamp = self._written.read() or {}, stamp_of(path)
        if stamp is None:
            if path.name in listed:
                raise self._damaged(as_of, "it is missing")
        elif _checked.get(path) != (known := (stamp, listed.get(path.name, ()))):
            self.read(as_of)
            _checked[path] = known

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


def _digest_of(content: bytes) -> str:
    """The digest that a whole file holds of itself."""
    return pl.read_parquet_metadata(io.BytesIO(content))[CONTENT]


def _moments(names: Iterable[str]) -> tuple[datetime, ...]:
    """The moments of files of snapshots, oldest first; other names are left out."""
    found = sorted(match[1] for name in names if (match := NAME.fullmatch(name)))
    return tuple(datetime.strptime(one, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for one in found)


def _with_own_digest(content: bytes) -> bytes:
    """A file whose metadata hold its digest; it is as long as before."""
    head, _, tail = content.rpartition(NO_DIGEST.encode())
    return head + _own_digest(content, NO_DIGEST).encode() + tail
