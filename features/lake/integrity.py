"""Notice files of a lake that are missing, cut short or altered.

The manifest holds a digest of each file. A file is compared with it when it is first read, and again
when it has another inode, size or time. A file of an older version has no digest: of it only those
faults are noticed that make it unreadable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from features.lake.deduplication.key_index import keys_path
from features.lake.manifest import LakeDamagedError, Manifest, MissingPartError
from features.reloaded_file import Stamp, stamp_of

WHAT_TO_DO = (
    "Restore the file from a copy, or remove the folder of events and ingest the sources again."
)

MOST_STAMPS = 20_000

_checked: dict[Path, tuple[Stamp, str]] = {}
"""The stamps of the files that were as their digests say, in this process."""


def digest_of(path: Path) -> str:
    """The digest of a file, as the manifest holds it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def with_digests(new: Manifest, old: Manifest, *, folder: Path, quarantine: Path) -> Manifest:
    """A manifest with the digests of all files that it lists and ``old`` did not: each is read once.

    A file that both list keeps its digest, or has none where it had none.
    """
    before = _listed(old, folder, quarantine)
    digests = {}
    for name, path in _listed(new, folder, quarantine).items():
        if name not in before:
            digests[name] = digest_of(path)
        elif name in old.digests:
            digests[name] = old.digests[name]
    return replace(new, digests=digests)


def _listed(manifest: Manifest, folder: Path, quarantine: Path) -> dict[str, Path]:
    """The files of a manifest and the key indexes of its parts."""
    indexes = (keys_path(Path(name)).name for name in manifest.parts)
    names = (*manifest.parts, *indexes, *manifest.superseded)
    return {
        **{name: folder / name for name in names},
        **{name: quarantine / name for name in manifest.quarantine},
    }


def check_files(folder: Path, names: Iterable[str], digests: Mapping[str, str]) -> None:
    """See that these files are there, and that each is the one that was written.

    Raises:
        MissingPartError: one is not there.
        LakeDamagedError: one cannot be read, or was altered.
    """
    for name in names:
        path = folder / name
        try:
            stamp = stamp_of(path)
            if stamp is None:
                raise MissingPartError(f"{name} of {folder} is gone. {WHAT_TO_DO}")
            expected = digests.get(name)
            if expected is None or _checked.get(path) == (stamp, expected):
                continue
            found = digest_of(path)
        except FileNotFoundError as exc:
            raise MissingPartError(f"{name} of {folder} is gone. {WHAT_TO_DO}") from exc
        except OSError as exc:
            raise LakeDamagedError(
                f"{name} of {folder} cannot be read ({exc.strerror}). {WHAT_TO_DO}"
            ) from exc
        if found != expected:
            raise LakeDamagedError(
                f"{name} of {folder} is not the file that was written: cut short or altered. "
                f"{WHAT_TO_DO}"
            )
        if len(_checked) >= MOST_STAMPS:
            _checked.clear()
        _checked[path] = (stamp, expected)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say of files of this lake that they cannot be read, where that is so.

    Raises:
        MissingPartError: a file is not there.
        LakeDamagedError: a file cannot be read.
    """
    try:
        yield
    except LakeDamagedError:
        raise
    except FileNotFoundError as exc:
        raise MissingPartError(f"A file of {folder} is gone ({exc}). {WHAT_TO_DO}") from exc
    except (pl.exceptions.PolarsError, OSError) as exc:
        said = str(exc).partition("\n")[0]
        raise LakeDamagedError(f"A file of {folder} cannot be read ({said}). {WHAT_TO_DO}") from exc
