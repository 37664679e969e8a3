"""Open the model store of a workspace for a command or a service that starts.

What is saved is signed, and what is loaded has to be, where the environment states a key. MLflow is
imported only when its store is opened, since that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.integrity.signing import signing_key

if TYPE_CHECKING:
    from registry.store.mlflow import MlflowModelStore
    from registry.store.pending_uploads import PendingUploads


def store_at(address: str, environment: Mapping[str, str]) -> MlflowModelStore:
    """The models at an address of MLflow.

    Raises:
        SigningKeyError: the environment's key is too short.
    """
    from registry.store.mlflow import MlflowModelStore

    return MlflowModelStore(address, key=signing_key(environment))


def pending_uploads_in(folder: Path, environment: Mapping[str, str]) -> PendingUploads:
    """The runs that wait in a folder until the tracking server is back.

    Raises:
        SigningKeyError: the environment's key is too short.
    """
    from registry.store.pending_uploads import PendingUploads

    return PendingUploads(folder=folder, key=signing_key(environment))
