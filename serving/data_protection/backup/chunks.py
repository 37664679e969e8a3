"""The chunks of a target: content under the name of its hash, stored once and read back.

A chunk that the newest backup names, with the size that it names, counts as stored. A chunk that no backup
names was left by a process that was killed: it is read and compared before it counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.data_protection.backup.encryption import Sealing
from serving.data_protection.backup.errors import DamagedBackupError, MissingObjectError
from serving.data_protection.backup.manifest import Chunk
from serving.data_protection.backup.target import Target

FOLDER = "chunks/"
NAME = re.compile("[0-9a-f]{64}")


@dataclass(kw_only=True)
class ChunkCounts:
    """How many chunks a backup needed, and how many of them it had to store."""

    needed: int = 0
    added: int = 0
    bytes_added: int = 0


@dataclass(frozen=True, kw_only=True)
class ChunkStore:
    """Content of one target by its hash.

    Attributes:
        named: the chunks of the newest backup, with their stored sizes.
    """

    target: Target
    sealing: Sealing
    named: Mapping[str, int] = field(default_factory=dict)
    counts: ChunkCounts = field(default_factory=ChunkCounts)
    _there: dict[str, int] = field(default_factory=dict)
    _sure: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        """Find out what the target holds, before anything is added."""
        listed = self.target.sizes(FOLDER)
        self._there.update({path.rpartition("/")[2]: size for path, size in listed.items()})

    def add(self, content: bytes) -> Chunk:
        """Store content unless it is there.

        Raises:
            DamagedBackupError: it was stored and cannot be read back.
        """
        name = self.sealing.name_of(content)
        self.counts.needed += 1
        if name not in self._sure:
            self._sure[name] = self._stored(name, content)
        return Chunk(name=name, stored=self._sure[name])

    def read(self, chunk: Chunk) -> bytes:
        """The content of a chunk.

        Raises:
            DamagedBackupError: it is missing, or is not what was stored.
        """
        try:
            stored = self.target.read(path_of(chunk.name))
        except MissingObjectError as error:
            raise DamagedBackupError(
                f"{self.target.address} lacks {path_of(chunk.name)}."
            ) from error
        content = self.sealing.open(stored, chunk.name)
        if self.sealing.name_of(content) != chunk.name:
            raise DamagedBackupError(f"{path_of(chunk.name)} is not what was written.")
        return content

    def _stored(self, name: str, content: bytes) -> int:
        size = self._there.get(name)
        if size is not None and (size == self.named.get(name) or self._holds(name, content)):
            return size
        sealed = self.sealing.seal(content, name)
        self.target.write(path_of(name), sealed)
        if not self._holds(name, content):
            raise DamagedBackupError(
                f"{self.target.address} does not give back what was written to it "
                f"({path_of(name)}). Look at that disk or storage, or name another target."
            )
        self.counts.added += 1
        self.counts.bytes_added += len(sealed)
        return len(sealed)

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return self.read(Chunk(name=name, stored=0)) == content
        except DamagedBackupError:
            return False


def path_of(name: str) -> str:
    """Where a chunk is in a target: no folder gets too many files.

    Raises:
        DamagedBackupError: no chunk has such a name, so it would lead to something else.
    """
    if NAME.fullmatch(name) is None:
        raise DamagedBackupError(f"The manifest names a chunk {name[:80]!r}, which cannot be one.")
    return f"{FOLDER}{name[:2]}/{name}"
