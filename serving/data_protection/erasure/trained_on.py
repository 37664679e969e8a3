"""Find the models and the measured effects that an account is part of, until they are made again.

A model was fitted to the snapshots before its day, of every account that had one. It stores sums, weights
and splits, and no row but golden rows, which an erasure removes. What it learned from the account is gone
once it is trained again, since the snapshots hold the account no more. Measured effects are sums and
counts over logged actions, so they name nobody; those that were measured while the account was there are
said.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from experiments.effects.belief import MeasuredEffectsError
from experiments.effects.effects_file import read_effects
from features.compute.snapshot_store import SnapshotStore
from features.events.subject import Subject
from features.workspace import Workspace
from registry.outcomes import MODEL_NAMES, OUTCOME_OF_MODEL
from registry.store.store import ModelStore, ModelStoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A version of a model whose training rows held the account."""

    label: str
    version: int
    as_of: str
    moments: int  # at so many cutoffs at most
    serves: bool

    @property
    def words(self) -> str:
        """What to do about it, as a sentence."""
        state = "serves" if self.serves else "does not serve"
        return (
            f"{self.label} version {self.version} of {self.as_of[:10]} ({state}) learned from up to "
            f"{self.moments} rows of this account; a training from now on has none: keepwell train "
            f"{OUTCOME_OF_MODEL[self.label].name}"
        )


def models_trained_on(
    workspace: Workspace, store: ModelStore, subject: Subject
) -> tuple[TrainedModel, ...]:
    """The versions that learned from an account; of a person no model reads anything."""
    if subject.kind != "account":
        return ()
    moments = _moments_of(workspace, subject)
    found = []
    for label in MODEL_NAMES:
        try:
            versions = store.versions(label)
        except ModelStoreError:
            continue
        try:
            serving = store.champion_version(label).version
        except ModelStoreError:
            serving = None
        for version in versions:
            try:
                as_of = store.load(label, version.version).metadata.as_of
            except Exception as exc:  # noqa: BLE001 - a bundle that cannot be loaded serves nobody
                log.warning("%s version %s cannot be read: %s", label, version.version, exc)
                continue
            before = sum(moment < as_of for moment in moments)
            if before:
                found.append(
                    TrainedModel(
                        label=label,
                        version=version.version,
                        as_of=as_of.isoformat(),
                        moments=before,
                        serves=version.version == serving,
                    )
                )
    return tuple(found)


def effects_measured_with(workspace: Workspace, subject: Subject) -> tuple[str, ...]:
    """Which measured effects an account may be part of, in words, with what measures them again."""
    if subject.kind != "account":
        return ()
    try:
        effects = read_effects(workspace.reports_dir).effects
    except MeasuredEffectsError as exc:
        return (f"whether the measured effects hold this account cannot be said: {exc}",)
    moments = _moments_of(workspace, subject)
    held = [one for one in effects if any(moment <= one.measured_to for moment in moments)]
    if not held:
        return ()
    actions = sorted({one.action_id for one in held})
    newest = max(one.measured_to for one in held)
    return (
        f"the measured effects of {', '.join(actions)}, up to {newest:%Y-%m-%d}, "
        f"may count this account among {max(one.n for one in held):,} cases; measured anew they do not: "
        f"keepwell effects",
    )


def _moments_of(workspace: Workspace, subject: Subject) -> list[datetime]:
    """The moments whose snapshots hold the account."""
    snapshots = SnapshotStore(workspace.snapshots_dir)
    damaged = snapshots.damaged()
    return [
        moment
        for moment in snapshots.moments()
        if moment not in damaged
        and not pl.scan_parquet(snapshots.path(moment))
        .filter(pl.col("account_id") == subject.id)
        .select("account_id")
        .collect()
        .is_empty()
    ]
