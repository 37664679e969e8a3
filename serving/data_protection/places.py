"""List every place where a workspace stores data, in one literal tuple.

A backup copies the files that ``PLACES`` names, an erasure searches those that hold data about people or
accounts, and the page ``docs/reference/workspace.md`` is written from it. A test walks a used workspace
and fails where a file belongs to no place. A new store is a new line in ``stored_files``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from serving.data_protection.stored_files.data_files import DATA_FILES
from serving.data_protection.stored_files.decision_files import DECISION_FILES
from serving.data_protection.stored_files.declaration import Place
from serving.data_protection.stored_files.drafts import DRAFTS
from serving.data_protection.stored_files.model_files import MODEL_FILES
from serving.data_protection.stored_files.protection_files import PROTECTION_FILES
from serving.data_protection.stored_files.settings_files import SETTINGS_FILES

PLACES: tuple[Place, ...] = (
    *DRAFTS,
    *SETTINGS_FILES,
    *DATA_FILES,
    *DECISION_FILES,
    *MODEL_FILES,
    *PROTECTION_FILES,
)
"""The first place that covers a file is its place."""


def place_of(name: str) -> Place | None:
    """The place of a file of a workspace, by its path in it; None where no place covers it.

    >>> place_of("snapshots/as_of_20260101T000000Z.parquet").holds
    'features of accounts, with who looks after each'
    >>> place_of("notes.txt") is None
    True
    """
    return next((place for place in PLACES if place.covers(name)), None)


def files_of(root: Path) -> Iterator[tuple[str, Place | None]]:
    """Every file below a workspace by its path in it, in order, with its place.

    A link in one of its folders that leads out of the workspace has no place: what it leads to is
    not the workspace's. One at the top (a ledger on another disk) was put there by the owner.
    """
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            yield name, None if _leads_out(path, root) else place_of(name)


def _leads_out(path: Path, root: Path) -> bool:
    return (
        path.is_symlink()
        and path.parent != root
        and not path.resolve().is_relative_to(root.resolve())
    )
