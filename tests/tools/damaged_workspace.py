"""Damage one store of a workspace in a stated way, and put it right again.

Files are damaged as disks, people and programs do it: in place, so that a running service that has
the file open meets the damage too, but for ``replaced``, which is what ``mv`` of another workspace's
file does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.integrity.sealed_document import seal, seal_page
from serving.auth.api_keys import ApiKeys

BESIDE = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, the database itself first."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store of a workspace: the file that is damaged, and who waits where it is locked."""

    name: str
    file: Callable[[Path], Path]
    lock: Callable[[Path], Path] | None = None  # a file that is locked with flock; None: SQLite's
    can_be_locked: bool = True

    def files(self, root: Path) -> tuple[Path, ...]:
        """The file, and what belongs to it."""
        file = self.file(root)
        return tuple(file.with_name(f"{file.name}{end}") for end in BESIDE)


def _newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern))


def _part(root: Path) -> Path:
    return _newest(root / "events", "000001-*.parquet")


STORES: dict[str, Store] = {
    one.name: one
    for one in (
        Store(
            name="manifest",
            file=lambda root: root / "events" / "manifest.json",
            lock=lambda root: root / "events" / ".lock",
        ),
        Store(name="part", file=_part, lock=lambda root: root / "events" / ".lock"),
        Store(
            name="snapshot",
            file=lambda root: _newest(root / "snapshots", "as_of_*.parquet"),
            lock=lambda root: root / ".lock",
        ),
        Store(name="online store", file=lambda root: root / "online.db"),
        Store(name="ledger", file=lambda root: root / "ledger.db"),
        Store(name="tracking store", file=lambda root: root / "mlflow.db"),
        Store(
            name="bundle",
            file=lambda root: _newest(
                root / "artifacts", "keepwell-churn/*/artifacts/bundle/*.npz"
            ),
            can_be_locked=False,
        ),
        Store(
            name="report",
            file=lambda root: root / "reports" / "success-calls.json",
            can_be_locked=False,
        ),
        *(
            Store(name=name, file=lambda root, path=path: root.joinpath(path), can_be_locked=False)
            for name, path in {
                "page of a report": "reports/success-calls.html",
                "measured effects": "reports/effects.json",
                "plan": "plans/newest.json",
                "settings": "workspace.toml",
                "health formula": "health_formula.toml",
                "limits": "limits.toml",
                "draws": "chance.toml",
            }.items()
        ),
        Store(name="keys", file=lambda root: root / "keys.db"),
    )
}

DAMAGES = ("deleted", "truncated", "flipped", "replaced", "locked", "unreadable", "altered")


@contextmanager
def damaged(store: Store, damage: str, root: Path, *, other: Path) -> Iterator[None]:
    """A store of the workspace at ``root``, damaged while the block lasts.

    Args:
        store: which.
        damage: how, one of ``DAMAGES``.
        root: the workspace.
        other: another workspace, of which a file is put in this one's place.
    """
    if damage == "locked":
        with _locked(store, root):
            yield
        return
    aside = root.parent / f"{root.name}.aside"
    aside.mkdir()
    file, *_ = every = store.files(root)
    with _nothing_half_written(store, root):
        there = [one for one in every if one.exists()]
        for one in there:
            shutil.copy2(one, aside / one.name)
        _damage(file, damage, there, store.file(other))
    try:
        yield
    finally:
        with _nothing_half_written(store, root):
            for one in every:
                _remove(one)
            for one in there:
                (aside / one.name).replace(one)
        aside.rmdir()


@contextmanager
def _nothing_half_written(store: Store, root: Path) -> Iterator[None]:
    """Damage between two batches, not within one, which would write the file anew at its end."""
    if store.lock is None:
        yield
        return
    with store.lock(root).open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _damage(file: Path, damage: str, there: list[Path], another: Path) -> None:
    if damage == "deleted":
        for one in there:
            one.unlink()
    elif damage == "truncated":
        for one in there[1:]:
            one.unlink()
        with file.open("r+b") as handle:
            handle.truncate(file.stat().st_size // 2)
    elif damage == "flipped":
        for one in there[1:]:
            one.unlink()
        with file.open("r+b") as handle:
            content = bytearray(handle.read())
            for place in places_to_flip(len(content)):
                content[place] ^= 0x11
            handle.seek(0)
            handle.write(content)
    elif damage == "replaced":
        for one in there[1:]:
            one.unlink()
        beside = file.with_name(f".{file.name}.new")
        shutil.copyfile(another, beside)
        beside.replace(file)
    elif damage == "altered":
        file.write_bytes(with_another_digit(file.read_bytes()))
    elif damage == "unreadable":  # whoever is root reads any file, and nobody reads a folder
        for one in there:
            one.unlink()
        file.mkdir()
    else:
        raise ValueError(damage)


def with_another_digit(content: bytes) -> bytes:
    """A text in which the last digit of what it says, before its own digest, is another one."""
    said = re.split(rb'"content_digest"|<!-- digest', content)[0]
    *_, last = re.finditer(rb"[0-9]", said)
    digit = b"%d" % ((int(last[0]) + 1) % 10)
    return content[: last.start()] + digit + content[last.end() :]


def places_to_flip(size: int) -> range:
    """Every twentieth of a file, its first bytes left alone: what it is stays recognisable."""
    return range(size // 20, size, max(1, size // 20))


@contextmanager
def _locked(store: Store, root: Path) -> Iterator[None]:
    if store.lock is None and store.can_be_locked:
        file = store.file(root)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=5)) as link:
            link.execute("BEGIN EXCLUSIVE")
            yield
            link.execute("ROLLBACK")
        return
    file = store.file(root) if store.lock is None else store.lock(root)
    with file.open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def make_key(root: Path) -> str:
    """A key that may do everything in a workspace; requests need one from then on."""
    keys = ApiKeys(root)
    try:
        made = keys.create(name="all", owner="ann", role="admin", now=datetime.now(UTC))
    finally:
        keys.close()
    return made.secret


def write_report(root: Path, *, title: str) -> None:
    """A report as ``keepwell report`` leaves it, as small as can be."""
    folder = root / "reports"
    folder.mkdir(exist_ok=True)
    (folder / "success-calls.json").write_text(
        json.dumps(seal({"title": title, "headline": "None yet.", "low": 0.25}), indent=1)
    )
    (folder / "success-calls.html").write_text(
        seal_page("<!doctype html><html><main><h1>Success calls</h1></main></html>")
    )
