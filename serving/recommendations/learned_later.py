"""What an answer of an earlier day uses that was learned after it.

An answer as of a past day reads only events of before that day, but models and measured effects are those
of today. Somebody who compares such an answer with what happened then would be misled.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from features.workspace import Workspace
from registry.bundle.bundle import BundleError
from registry.outcomes import CHURN, EXPANSION
from registry.store.store import ModelStore, ModelStoreError, NoChampionError
from serving.decisions.live_effects import evidence_in


def learned_later(
    workspace: Workspace, store: ModelStore, as_of: datetime, *, with_effects: bool = True
) -> Iterator[str]:
    """A sentence for each thing that an answer as of a moment uses and that was learned later.

    Args:
        workspace: whose measured effects are read.
        store: of its models.
        as_of: the moment of the answer.
        with_effects: whether the answer ranks actions.
    """
    for label in (CHURN.name, EXPANSION.name):
        try:
            known = store.champion(label).metadata.as_of
        except (NoChampionError, BundleError, ModelStoreError):
            continue  # the answer itself says that there is no model
        if known > as_of:
            yield (
                f"The {label} model knows what happened up to {known:%Y-%m-%d}, which is after "
                f"{as_of:%Y-%m-%d}: that it fits this day says nothing of how well it would have told it "
                f"then (keepwell backtest does)."
            )
    if with_effects:
        later = [
            one for one in evidence_in(workspace.reports_dir).over_all if one.measured_to > as_of
        ]
        if later:
            yield (
                f"The effects of {', '.join(sorted({one.action_id for one in later}))} were measured up "
                f"to {max(one.measured_to for one in later):%Y-%m-%d}, after this day."
            )
