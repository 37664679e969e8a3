"""The manifest: the one file that lists the valid files of a lake.

A file that it does not list is ignored. So a batch of events takes effect in one step: when the
manifest is replaced. ``lake.py`` writes it. It holds a digest of each file that it lists, and one of
itself, so that a disk or a person who alters them is noticed (``integrity.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from features.format_version import newer_format
from features.reloaded_file import ReloadedFile
from features.workspace_files import UnusableStoreError

MANIFEST = "manifest.json"
FORMAT = 1
"""The version of the manifest's form. Version 1 is not written down, since 0.1.0 knows no such field."""


KINDS_OF_FILES = ("parts", "superseded", "quarantine")
"""The kinds of files of a lake; also the names of the fields that list them."""


CHECKSUM = "checksum"
"""Where the stored manifest has the digest of all its other content."""


class LakeError(Exception):
    """The lake cannot be read, or a frame cannot be added to it."""


class LakeDamagedError(LakeError, UnusableStoreError):
    """A file of the lake is missing, cut short or altered, or cannot be read."""


class MissingPartError(LakeDamagedError, FileNotFoundError):
    """A file that the manifest lists is not there."""


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """How far a table of a source has been ingested."""

    rows: int = 0
    last_recorded_at: datetime | None = None
    complete_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files of a lake, and what is known of their content."""

    generation: int = 0
    parts: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()  # files that the newest merge of each kind replaced
    retired_earlier: dict[str, int] = field(
        default_factory=dict
    )  # name: stays until this generation
    rows: int = 0
    events: int = 0
    fingerprint: int = 0
    first_recorded: dict[str, datetime] = field(default_factory=dict)
    last_recorded: dict[str, datetime] = field(default_factory=dict)
    sources: dict[str, SourceState] = field(default_factory=dict)  # "source.table": how far
    kinds: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # "source.table": the kinds of events it sent; unknown of those ingested by older versions
    mappings: dict[str, str] = field(
        default_factory=dict
    )  # "source.table": a digest of the mapping that it was last read with
    offsets: dict[str, int] = field(
        default_factory=dict
    )  # "group/topic/partition": the next message
    digests: dict[str, str] = field(
        default_factory=dict
    )  # of the listed files and key indexes; those of older versions have none

    @property
    def complete_until(self) -> datetime | None:
        """The last ``as_of`` for which every source is complete; None where no source says one."""
        return min(
            (
                state.complete_until
                for state in self.sources.values()
                if state.complete_until is not None
            ),
            default=None,
        )

    def complete_until_for(self, kinds: Collection[str]) -> datetime | None:
        """Up to when every source of these kinds is complete; one whose kinds are not known counts."""
        ends = [
            state.complete_until
            for name, state in self.sources.items()
            if state.complete_until is not None
            and (name not in self.kinds or not {*kinds}.isdisjoint(self.kinds[name]))
        ]
        return min(ends, default=self.complete_until)

    @property
    def digest(self) -> str:
        """Fingerprint of the events; it does not depend on their order and batches."""
        return f"{self.fingerprint:032x}"


def kind_of_file(name: str) -> str:
    """The kind of a file, one of ``KINDS_OF_FILES``, by its name.

    >>> [kind_of_file(f"000007-{rest}.parquet") for rest in ("0", "superseded", "refused",
    ...                                                      "merged-parts-0")]
    ['parts', 'superseded', 'quarantine', 'parts']
    """
    words = name.removesuffix(".parquet").split("-")
    if "superseded" in words:
        return "superseded"
    return "quarantine" if {"refused", "quarantine"} & {*words} else "parts"


def read_manifest(path: Path) -> Manifest:
    """The manifest of a lake; an empty one where there is none yet.

    It is read with every request, so the same file is parsed only once: callers share one value and
    must not change it.

    Raises:
        LakeDamagedError: the manifest is damaged, older than it was, or gone.
    """
    file = _manifest_file(path)
    found = file.current()
    problem = file.problem
    if problem is not None:
        raise LakeDamagedError(str(problem)) from problem
    return found


def last_good_manifest(path: Path) -> Manifest:
    """The manifest, or, while it is damaged, the one that this process read before.

    For readers that go on: the files that it lists are still there.

    Raises:
        LakeDamagedError: it is damaged, and this process has never read a good one.
    """
    return _manifest_file(path).current()


@lru_cache(maxsize=8)
def _manifest_file(path: Path) -> ReloadedFile[Manifest]:
    reader = _Reader()
    return ReloadedFile(
        path,
        reader.read,
        lambda: reader.absent(path),
        tolerated_errors=(LakeDamagedError,),
    )


class _Reader:
    """Reads one manifest again and again, and notices when it goes back."""

    def __init__(self) -> None:
        self._generation = 0

    def read(self, path: Path) -> Manifest:
        try:
            content = json.loads(path.read_bytes())
            newer = newer_format(
                content.pop("format", None),
                newest=FORMAT,
                what=f"The lake's {path.name} in {path.parent}",
            )
            if newer is not None:
                raise LakeError(newer)
            found = _from_json(content)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise LakeDamagedError(
                f"The lake's {path.name} in {path.parent} is damaged ({exc}). Restore it from a "
                f"copy, or remove the folder and ingest the sources again."
            ) from exc
        if found.generation < self._generation:
            raise LakeDamagedError(
                f"The lake's {path.name} in {path.parent} is an older one (generation "
                f"{found.generation:,}) than was read before ({self._generation:,}): the events "
                f"since then would be lost. Put the newer one back; where it is meant to be older, "
                f"start again."
            )
        self._generation = found.generation
        return found

    def absent(self, path: Path) -> Manifest:
        folder = Path(path.parent)
        there = [one.name for one in folder.glob("*.parquet") if one.name[0] != "."]
        if there or self._generation:
            raise LakeDamagedError(
                f"The lake's {path.name} in {path.parent} is gone, and {len(there):,} of the files "
                f"that it listed are there. Restore it from a copy, or remove the folder and "
                f"ingest the sources again."
            )
        return Manifest()


def manifest_json(manifest: Manifest) -> bytes:
    """The manifest as it is stored."""

    def shown(value: object) -> str:
        return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else repr(value)

    content = {
        **vars(manifest),
        "fingerprint": f"{manifest.fingerprint:032x}",
        "sources": {name: vars(state) for name, state in manifest.sources.items()},
    }
    content = json.loads(json.dumps(content, default=shown))
    return json.dumps({**content, CHECKSUM: _checksum(content)}, indent=1).encode()


def _checksum(content: Mapping[str, object]) -> str:
    """The digest of a manifest's content; no bit of it can change without changing this."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _from_json(content: dict[str, Any]) -> Manifest:
    def moments(name: str) -> dict[str, datetime]:
        return {kind: datetime.fromisoformat(text) for kind, text in content[name].items()}

    def state(body: dict[str, Any]) -> SourceState:
        times = {
            name: datetime.fromisoformat(value) if value else None
            for name, value in body.items()
            if name != "rows"
        }
        return SourceState(rows=body["rows"], **times)

    known = dict(content)
    stored = known.pop(CHECKSUM, None)
    if stored is not None and stored != _checksum(known):
        raise ValueError("its content was altered")
    known |= {
        **{name: tuple(content[name]) for name in ("parts", "quarantine", "superseded", "retired")},
        "fingerprint": int(str(content["fingerprint"]), 16),
        "first_recorded": moments("first_recorded"),
        "last_recorded": moments("last_recorded"),
        "sources": {name: state(body) for name, body in content["sources"].items()},
        "kinds": {name: tuple(kinds) for name, kinds in content.get("kinds", {}).items()},
    }
    return Manifest(**known)
