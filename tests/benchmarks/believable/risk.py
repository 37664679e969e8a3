"""Count over all running accounts whose risk contradicts their contract.

A contract that ends after a horizon cannot end within it, but for a small early rate; and whoever
leaves at the renewal has left by every horizon that holds it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from serving.cli.models import store_of
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.outlooks import renewal_outlook

A_YEAR = 365
TINY = 0.001
"""Fewer than that nobody has seen accounts enough to tell."""

EARLY = 0.01
"""More than this within a horizon that holds no end of a term is not the early rate."""


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted and the figure in words, of the newest snapshot of a finished workspace."""
    place = Workspace(workspace)
    store = store_of(place)
    as_of = SnapshotStore(place.snapshots_dir).moments()[-1]
    running = [
        score
        for score in scores_as_of(place, store, as_of)
        if score.source == "model" and not score.has_left
    ]
    lines = [("running accounts that a model scores", f"{len(running):,}")]
    for horizon in (30, 60, 90):
        beyond = [
            score.churn_at(horizon).probability
            for score in running
            if (score.features.get("days_to_renewal") or 0) >= horizon
        ]
        risky = [p for p in beyond if p > EARLY]
        most = f", at most {max(beyond):.1%}" if beyond else ""
        lines.append(
            (
                f"over {EARLY:.0%} within {horizon} days, though the contract ends later",
                f"{len(risky)} of {len(beyond)}{most}",
            )
        )
    for told, of in (("leaving", "churn"), ("growing", "expansion")):
        chances = [
            p
            for score in running
            if (at := score.churn_at(90) if of == "churn" else score.expansion)
            and (p := at.probability) is not None
        ]
        lines.append(
            (
                f"under {TINY:.1%} chance of {told} within 90 days",
                f"{sum(p < TINY for p in chances)} of {len(chances)}",
            )
        )
    falls = against = known = dated = 0
    for score in running:
        curve = [at.probability for at in score.churn if at.probability is not None]
        falls += bool((np.diff(curve) < 0).any())
        to_renewal = score.features.get("days_to_renewal")
        dated += to_renewal is not None and 0 <= to_renewal < A_YEAR
        at = renewal_outlook(score).at
        if at is None or at.probability is None:
            continue
        known += 1
        days = score.features["days_to_renewal"]
        holding = [h.probability for h in score.churn if h.horizon_days > days and h.probability]
        against += any(p < at.probability - 1e-9 for p in holding)
    lines.append(("chance to leave at a renewal within a year is known", f"{known} of {dated}"))
    lines.append(("a longer horizon has a smaller chance", f"{falls} of {len(running)}"))
    lines.append(
        ("more at the renewal than within a horizon that holds it", f"{against} of {known}")
    )
    return lines
