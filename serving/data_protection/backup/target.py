"""Where backups are: a local folder, or an object storage that fsspec reaches.

Both hold objects under names such as ``chunks/ab/ab12…``; an object is there as a whole or not at all.
A process that removes objects holds the target alone; several that add or read share it. In a folder
this is a lock, which the kernel releases when the process ends. An object storage has no locks: there it
is an object, a lease that lapses.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from serving.data_protection.backup.errors import BackupError, MissingObjectError

LEASE = timedelta(hours=12)
"""A process that was killed is waited for no longer than this."""

LOCK_FILE, LEASES = ".lock", "leases/"


class Target(Protocol):
    """Objects by name.

    Attributes:
        address: where it is, for a person, without a password.
    """

    address: str

    def read(self, name: str) -> bytes:
        """The content of an object, or MissingObjectError."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Store an object whole; one of that name is replaced."""
        ...

    def settle(self) -> None:
        """Return when everything that was written survives a loss of power."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """The objects whose names start with a folder, with their sizes in bytes."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def hold(self, *, alone: bool, now: datetime) -> contextlib.AbstractContextManager[None]:
        """Keep others from removing objects; with ``alone`` from adding any, too."""
        ...


def open_target(text: str) -> Target:
    """The target at a path or an address such as ``s3://bucket/folder``.

    Raises:
        BackupError: no such storage is known, or what reaches it is not installed.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        return FolderTarget(Path(text))
    if scheme in ("file", "local"):
        return FolderTarget(Path(rest))
    return ObjectTarget(text)


class FolderTarget:
    """A folder of this machine, or of a disk that is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.address = str(self.folder)
        self._unsettled: set[Path] = set()

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(self.address, name) from error

    def write(self, name: str, content: bytes) -> None:
        """Write beside the place and rename, for its owner only."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._unsettled |= {path.parent, path.parent.parent}

    def settle(self) -> None:
        """Sync the folders whose entries changed."""
        for folder in self._unsettled:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        self._unsettled.clear()

    def sizes(self, prefix: str) -> dict[str, int]:
        """Files below a folder; drafts of killed processes are none."""
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_size
            for path in (self.folder / prefix).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }

    def delete(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def hold(self, *, alone: bool, now: datetime) -> Iterator[None]:
        """Hold the folder's lock; whoever is alone also clears drafts of killed processes."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / LOCK_FILE).open("a+") as handle:
            kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _busy(self.address) from error
            if alone:
                for draft in self.folder.rglob(".*.tmp"):
                    draft.unlink(missing_ok=True)
            yield


class ObjectTarget:
    """A storage that fsspec reaches. What it raises leaves here as a ``BackupError``."""

    def __init__(self, address: str) -> None:
        import fsspec

        try:
            self._files, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise BackupError(
                f"{_scheme(address)} cannot be used as a target: {error}. Name a folder, or install "
                f"what fsspec asks for."
            ) from error
        self._root = str(root).rstrip("/")
        self.address = f"{_scheme(address)}{self._root.split('@')[-1].lstrip('/')}"

    def read(self, name: str) -> bytes:
        """The content of an object."""
        with _told(self.address):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError as error:
                raise _missing(self.address, name) from error

    def write(self, name: str, content: bytes) -> None:
        """Store an object; object storages show it when it is whole."""
        with _told(self.address):
            self._files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._path(name), content)

    def settle(self) -> None:
        """Nothing: an object is stored when it was accepted."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Objects below a folder."""
        with _told(self.address):
            self._files.invalidate_cache()
            try:
                found: dict[str, Any] = self._files.find(self._path(prefix), detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root) + 1
        return {
            str(path)[start:]: int(about["size"])
            for path, about in found.items()
            if about["type"] == "file"
        }

    def delete(self, name: str) -> None:
        """Remove an object."""
        with _told(self.address), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    @contextmanager
    def hold(self, *, alone: bool, now: datetime) -> Iterator[None]:
        """Leave a lease, and look whether another one is in the way."""
        own = f"{LEASES}{secrets.token_hex(8)}.json"
        self.write(own, json.dumps({"until": (now + LEASE).isoformat(), "alone": alone}).encode())
        try:
            for name in self.sizes(LEASES):
                if name == own:
                    continue
                with contextlib.suppress(MissingObjectError, ValueError, KeyError):
                    other = json.loads(self.read(name))
                    if datetime.fromisoformat(other["until"]) < now:
                        self.delete(name)
                    elif alone or other["alone"]:
                        raise _busy(self.address, until=other["until"])
            yield
        finally:
            self.delete(own)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Translate what a storage raises; what is missing is asked about by the caller."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BackupError(
            f"{address} cannot be reached or written: {error}. Nothing that was there was changed; "
            f"run the command again when it answers."
        ) from error


def _scheme(address: str) -> str:
    return f"{address.partition('://')[0]}://"


def _missing(address: str, name: str) -> MissingObjectError:
    return MissingObjectError(f"{address} holds no {name}.")


def _busy(address: str, until: str | None = None) -> BackupError:
    lapses = "" if until is None else f" If that process was killed, its lease lapses at {until}."
    return BackupError(
        f"Another process is working in {address}: backups are made there, or old ones removed. "
        f"Nothing was changed; wait for it to end and try again.{lapses}"
    )
