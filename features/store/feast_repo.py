"""Write the Feast repository of a workspace: the two files that ``feast`` reads.

``feature_store.yaml`` says where the registry and the stores are. Keepwell reads it too, so ``feast``
commands and the service use the same stores. ``account_views.py`` names the objects. Paths are
relative, so a workspace can be moved. The online store is ``packed.py``, or Redis where the setting
``redis`` of the workspace says how to reach it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from feast import RepoConfig
from feast.repo_config import load_repo_config

from features.workspace import Workspace
from features.workspace_files import write_atomically

PROJECT = "keepwell"
CONFIGURATION_FILE = "feature_store.yaml"
DEFINITIONS_FILE = "account_views.py"

DEFINITIONS = '''\
"""Written by Keepwell: what plain ``feast`` commands find in this workspace."""

from pathlib import Path

from features.store.feast import WorkspaceFeatures, account

__all__ = ["account"]

_features = WorkspaceFeatures(Path(__file__).parents[1])
# Feast collects module attributes; the views are as many as the catalogue has themes.
globals().update({view.name: view for view in _features.views})
'''


class FeastRepoError(Exception):
    """The settings of the workspace do not allow to set up Feast."""


def configuration(workspace: Workspace) -> RepoConfig:
    """Write the repository and return Feast's configuration of this workspace.

    Raises:
        FeastRepoError: the setting ``redis`` names an environment variable that is not set.
    """
    redis = workspace.settings.redis or ""
    missing = sorted(
        {name for pair in VARIABLE.findall(redis) for name in pair if name} - set(os.environ)
    )
    if missing:
        raise FeastRepoError(
            f"The setting redis of the workspace {workspace.root} names {', '.join(missing)}, "
            f"which the environment does not have. Set it, or delete the setting to go back to "
            f"the store in the workspace."
        )
    write_repo(workspace)
    return load_repo_config(workspace.feast_dir, workspace.feast_dir / CONFIGURATION_FILE)


VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")


def write_repo(workspace: Workspace) -> None:
    """Write the files of the repository where they differ from the settings."""
    for name, text in (
        (CONFIGURATION_FILE, _configuration_text(workspace)),
        (DEFINITIONS_FILE, DEFINITIONS),
    ):
        path = workspace.feast_dir / name
        if not path.exists() or path.read_bytes() != text.encode():
            write_atomically(path, text.encode())


def _configuration_text(workspace: Workspace) -> str:
    settings = workspace.settings
    if settings.redis:
        store = ["type: redis", f"connection_string: {json.dumps(settings.redis)}"]
    else:
        store = [
            "type: features.store.packed.PackedOnlineStore",
            f"path: {json.dumps(_from_repo(workspace, workspace.online_db))}",
        ]
        if settings.clock is not None:
            store.append(f'now: "{settings.clock.isoformat()}"')
    return "\n".join(
        [
            "# Written by Keepwell from workspace.toml; `feast -c` of this folder uses it.",
            f"project: {PROJECT}",
            "provider: local",
            "registry: registry.db",
            "offline_store:",
            "  type: duckdb",
            "online_store:",
            *(f"  {line}" for line in store),
            *(
                []
                if settings.redis
                else ["batch_engine: features.store.packed_engine.PackedComputeEngine"]
            ),
            "entity_key_serialization_version: 3",
            "",
        ]
    )


def _from_repo(workspace: Workspace, path: Path) -> str:
    return os.path.relpath(path, workspace.feast_dir)
