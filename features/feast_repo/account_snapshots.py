"""This module is about Feast's repository: the objects that plain ``feast`` commands find."""

from __future__ import annotations

import os

from features.feast_store import WorkspaceFeatures, account
from features.workspace import Workspace

__all__ = ["account"]

_features = WorkspaceFeatures(Workspace(os.environ["KEEPWELL_WORKSPACE"]))
# Feast collects module attributes; the views are as many as the catalogue has themes.
globals().update({view.name: view for view in _features.views})
