"""Take secrets that a restored workspace lacks from a folder, since a target without encryption holds none.

The folder is the former workspace, or one in which an operator keeps copies of its secrets under the
same paths. The key of the digests of the erased is compared with the erasures that are known, since
under another key nobody would be found.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from features.lake.erased_subjects import FOLDER, SECRET_FILE
from features.workspace import Workspace
from features.workspace_files import WorkspaceError
from serving.data_protection.pending_erasures import ErasureLine, name_of_key
from serving.data_protection.places import PLACES

KEY_OF_THE_ERASED = f"{FOLDER}/{SECRET_FILE}"
SECRETS = tuple(place.path for place in PLACES if place.kind == "secret")


class SecretsError(WorkspaceError):
    """A folder does not hold the secrets that a restored workspace lacks."""


def take_secrets(folder: Path, staged: Workspace, erasures: Iterable[ErasureLine]) -> None:
    """Copy every secret that a workspace lacks from a folder that holds it.

    Raises:
        SecretsError: the folder holds no secret, or its key of the erased is another one.
    """
    held = [name for name in SECRETS if (folder / name).is_file()]
    if not held:
        raise SecretsError(
            f"{folder} holds no secret of a workspace ({', '.join(SECRETS)}). Name the former workspace, "
            f"or the folder in which you keep copies of them. Nothing was changed."
        )
    keys = {line.key for line in erasures if line.key is not None}
    if KEY_OF_THE_ERASED in held and keys:
        own = name_of_key((folder / KEY_OF_THE_ERASED).read_bytes())
        if own not in keys:
            raise SecretsError(
                f"{folder / KEY_OF_THE_ERASED} is key {own}, and the erasures that came after this backup "
                f"need {' or '.join(sorted(keys))}. Give the file of the workspace that was backed up. "
                f"Nothing was changed."
            )
    for name in held:
        path = staged.root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as copy, (folder / name).open("rb") as secret:
                shutil.copyfileobj(secret, copy)
                copy.flush()
                os.fsync(copy.fileno())


def lacking_secrets(
    workspace: Workspace, left_out: Iterable[str], pending: Iterable[ErasureLine]
) -> tuple[str, ...]:
    """The secrets that a restored workspace lacks: left out of its backup, or needed for erasures."""
    wanted = {*left_out} & {*SECRETS}
    if any(line.key is not None for line in pending):
        wanted.add(KEY_OF_THE_ERASED)
    return tuple(sorted(name for name in wanted if not (workspace.root / name).exists()))
