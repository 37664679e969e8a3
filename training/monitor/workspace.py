"""Monitor the champions of a workspace, and save what was found.

The switch is written first, in one step, because it protects readers. Pictures and documents
follow, a document after its pictures. A process that is killed in between leaves the old switch or
the new one, and looking again as of the same moment completes the rest and counts no look twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.feature_contract import FeatureContractError
from registry.bundle.segment_gate import SWITCH_FILE, read_switch
from registry.promotion.promotion import Json
from registry.store.store import ModelStore, NoChampionError
from training.dataset.labels import ROW, label_in
from training.monitor.plots import monitor_plots
from training.monitor.report import document, lines
from training.monitor.run import SEGMENT, Monitoring, monitor
from training.progress import Progress


@dataclass(frozen=True, kw_only=True)
class MonitoredModel:
    """One look at one champion, and its files; without a champion only the line that says so."""

    label: str
    lines: tuple[str, ...]
    needs_person: bool
    seen: Monitoring | None = None
    files: tuple[Path, ...] = ()


def monitor_workspace(
    workspace: Workspace,
    labels: Sequence[str],
    *,
    store: ModelStore,
    as_of: datetime,
    seed: int = 1,
    progress: Progress | None = None,
) -> tuple[MonitoredModel, ...]:
    """Look at the champions of these labels as of a moment; the workspace's lock is held.

    Raises:
        LabelError: a label that is not declared.
        SegmentSwitchError: the segments that are withheld cannot be read.
        MonitorError: a champion is younger than the moment, or there are no accounts.
    """
    switch_file = workspace.monitoring_dir / SWITCH_FILE
    found = []
    for number, label in enumerate(labels):
        if progress is not None:
            progress(label, number, len(labels))
        switch = read_switch(switch_file)
        try:
            version = store.champion_version(label).version
            champion = store.load(label, version)
            seen = monitor_model(workspace, label, champion, store=store, as_of=as_of, seed=seed)
        except NoChampionError:
            found.append(
                MonitoredModel(
                    label=label,
                    needs_person=False,
                    lines=(f"{label}: no version was promoted, so there is nothing to look at.",),
                )
            )
            continue
        except (BundleError, FeatureContractError) as error:
            found.append(
                MonitoredModel(
                    label=label,
                    needs_person=True,
                    lines=(
                        f"{label}: the champion cannot be looked at, and does not score either: "
                        f"{error}",
                    ),
                )
            )
            continue
        switch = switch.looked(champion.fingerprint, seen.looks, at=as_of)
        write_atomically(switch_file, switch.text().encode())
        states = switch.of(champion.fingerprint)
        model = f"{label} version {version}"
        files = _keep(
            folder_of(workspace, as_of),
            label,
            monitor_plots(seen),
            document(seen, states, model=model, fingerprint=champion.fingerprint),
        )
        withheld = any(state.withheld for state in states.values())
        found.append(
            MonitoredModel(
                label=label,
                seen=seen,
                lines=lines(seen, states, model=model),
                files=files,
                needs_person=bool(seen.alarms) or withheld,
            )
        )
    return tuple(found)


def monitor_model(
    workspace: Workspace,
    label: str,
    champion: ModelBundle,
    *,
    store: ModelStore,
    as_of: datetime,
    seed: int = 1,
) -> Monitoring:
    """One look at one champion; writes nothing."""
    declared = label_in(workspace.settings, label)
    settings = workspace.settings
    digests = {
        **settings.catalogue.digests,
        HEALTH_SCORE: settings.formula.version,
    }
    champion.contract.check(digests)
    formula = _formula_of_then(store, declared.formula_model, champion)
    names = {*champion.contract.names, *(formula.contract.names if formula is not None else ())}
    features = WorkspaceFeatures(workspace)
    known_until = min(as_of, settings.complete_until or as_of)
    events = (
        Lake(workspace.events_dir, workspace.quarantine_dir)
        .versions_before(known_until)
        .filter(pl.col("kind").is_in(list(declared.reads)))
        .collect()
    )
    wanted = (*sorted(names & set(digests)), SEGMENT)
    return monitor(
        declared,
        champion,
        formula=formula,
        events=events,
        reader=lambda rows: features.historical(rows.select(ROW), wanted),
        digests=digests,
        cutoffs=SnapshotStore(workspace.snapshots_dir).moments(),
        as_of=known_until,
        seed=seed,
    )


def folder_of(workspace: Workspace, as_of: datetime) -> Path:
    """The folder of the looks as of a moment."""
    return workspace.monitoring_dir / f"as_of_{as_of.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _formula_of_then(
    store: ModelStore, name: str | None, champion: ModelBundle
) -> ModelBundle | None:
    """The newest calibration of the formula that knows no more than the champion did.

    A later one has seen the outcomes that the two are compared on.
    """
    if name is None:
        return None
    for version in reversed(store.versions(name)):
        try:
            formula = store.load(name, version.version)
        except BundleError:
            continue
        if formula.metadata.as_of <= champion.metadata.as_of:
            return formula
    return None


def _keep(
    folder: Path, label: str, plots: Mapping[str, bytes], told: Mapping[str, Json]
) -> tuple[Path, ...]:
    files = []
    for name, png in plots.items():
        files.append(folder / f"{label}_{name}")
        write_atomically(files[-1], png)
    files.append(folder / f"{label}.json")
    write_atomically(files[-1], json.dumps(told, indent=1).encode())
    return tuple(files)
