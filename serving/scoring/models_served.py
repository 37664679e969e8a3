"""Which models serve: the champions of the store, or why there is none.

A model that cannot be used is never an error here: it is a sentence. The champion before it goes
on where that one can be used; else the health formula answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from features.workspace import Workspace
from registry.bundle.bundle import BundleError
from registry.bundle.segment_gate import EVERYONE, SWITCH_FILE, SegmentSwitchError, read_switch
from registry.outcomes import CHURN, EXPANSION, MODEL_NAMES, OUTCOME_OF_MODEL, SERVED
from registry.store.store import (
    ChampionChange,
    ModelStore,
    ModelStoreError,
    NoChampionError,
    effective_promotions,
)
from serving.scoring.score import OTHER_OUTCOMES, Models, ServedModel

log = logging.getLogger("keepwell.serving")

FOLDERS = re.compile(r"(?:\b(?:file|sqlite):/+|(?<![\w.:/])/(?=[^\s/'\"]+/))(?:[^\s/'\"]+/)*")
"""The folders before a file's name, in an address or an absolute path."""

SERVED_LABELS = tuple(name for name in MODEL_NAMES if OUTCOME_OF_MODEL[name].is_served)
"""The models whose champions answer."""

SWITCHED = tuple(outcome.name for outcome in SERVED if outcome.can_be_withheld)
"""The models that monitoring can withhold from a segment."""

UNREADABLE = (
    f"the file that says whom the model may answer for ({SWITCH_FILE}) cannot be read; "
    f"whoever runs Keepwell puts back a copy of it, or deletes it"
)


def champions(store: ModelStore) -> Models:
    """The champion of every label, and a sentence for each whose champion cannot be used."""
    served: dict[str, ServedModel] = {}
    refusals: dict[str, str] = {}
    for label in SERVED_LABELS:
        try:
            # loaded by its number: the champion may change between two questions
            served[label] = _loaded(store, label, store.champion_version(label).version)
        except NoChampionError:
            refusals[label] = f"no {label.replace('_', ' ')} model has been promoted"
        except (BundleError, ModelStoreError) as error:
            refusals[label] = f"the {label} model could not be used: {without_paths(str(error))}"
            before = _before(store, label)
            if before is not None:
                served[label] = before
                log.warning("%s %s goes on.", refusals[label], before.version)
    return Models(
        churn=served.get(CHURN.name),
        churn_formula=served.get(str(CHURN.formula_model)),
        expansion=served.get(EXPANSION.name),
        refusals=refusals,
        others={label: served[label] for label in OTHER_OUTCOMES if label in served},
    )


def models_of(workspace: Workspace, store: ModelStore) -> Models:
    """The champions, and the segments of this workspace for which each is withheld.

    Where that cannot be read, no model answers: it may be withheld from anybody.
    """
    models = champions(store)
    named = {CHURN.name: models.churn, EXPANSION.name: models.expansion, **models.others}
    served = {label: named.get(label) for label in SWITCHED}
    try:
        switch = read_switch(workspace.monitoring_dir / SWITCH_FILE)
    except SegmentSwitchError as error:
        log.error("%s The formula answers for every account.", error)
        return replace(models, withheld={label: {EVERYONE: UNREADABLE} for label in served})
    return replace(
        models,
        withheld={
            label: switch.withheld(one.fingerprint)
            for label, one in served.items()
            if one is not None
        },
    )


@dataclass(frozen=True, kw_only=True)
class WithheldSegment:
    """Accounts for which a serving model does not answer, since when, and why in a sentence."""

    fingerprint: str  # of the model
    segment: str
    since: datetime | None  # None: the switch cannot be read
    why: str


def withheld_segments(
    workspace: Workspace, rows: Sequence[ModelRow]
) -> tuple[WithheldSegment, ...]:
    """From whom the switch withholds each model that serves, as ``models_of`` applies it."""
    served = [row.fingerprint for row in rows if row.serving and row.label in SWITCHED]
    try:
        switch = read_switch(workspace.monitoring_dir / SWITCH_FILE)
    except SegmentSwitchError:
        return tuple(
            WithheldSegment(fingerprint=one, segment=EVERYONE, since=None, why=UNREADABLE)
            for one in served
        )
    return tuple(
        WithheldSegment(fingerprint=one, segment=key, since=switch.of(one)[key].since, why=why)
        for one in served
        for key, why in switch.withheld(one).items()
    )


def _loaded(store: ModelStore, label: str, version: int) -> ServedModel:
    bundle = store.load(label, version)
    return ServedModel(
        model=bundle, version=f"{label} version {version}", fingerprint=bundle.fingerprint
    )


def _before(store: ModelStore, label: str) -> ServedModel | None:
    """The newest champion before this one that can be used."""
    try:
        history = store.history(label)
    except ModelStoreError:
        return None
    for version in reversed(effective_promotions(history)[:-1]):
        try:
            return _loaded(store, label, version)
        except (BundleError, ModelStoreError):
            continue
    return None


def without_paths(text: str) -> str:
    """A reason that names files without saying where on this machine they lie.

    >>> without_paths("The store sqlite:////srv/a/mlflow.db does not answer; see /v1 and /a/b.")
    'The store mlflow.db does not answer; see /v1 and b.'
    """
    return FOLDERS.sub("", text)


def champion_stamp(store: ModelStore) -> tuple[str, ...]:
    """Which versions serve, as text that changes when they do. Loads no model."""
    stamp = []
    for label in SERVED_LABELS:
        try:
            version = store.champion_version(label)
            stamp.append(f"{label}:{version.version}:{version.fingerprint}")
        except ModelStoreError as error:
            stamp.append(f"{label}:{type(error).__name__}")
    return tuple(stamp)


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One version of a model for a list."""

    label: str
    version: int
    run_name: str
    fingerprint: str
    serving: bool
    challenger: bool
    metrics: Mapping[str, float]
    changed: ChampionChange | None


def model_rows(store: ModelStore) -> tuple[tuple[ModelRow, ...], Mapping[str, str]]:
    """Every version, newest first, and a sentence for each label without a serving one."""
    rows: list[ModelRow] = []
    refusals: dict[str, str] = {}
    for label in SERVED_LABELS:
        try:
            versions, history = store.versions(label), store.history(label)
        except ModelStoreError as error:
            refusals[label] = without_paths(str(error))
            continue
        if not versions and label in OTHER_OUTCOMES:
            continue  # nobody asked for one
        if not any(version.is_champion for version in versions):
            refusals[label] = f"No {label} model has been promoted."
        rows += [
            ModelRow(
                label=label,
                version=v.version,
                run_name=v.run_name,
                fingerprint=v.fingerprint,
                serving=v.is_champion,
                challenger=v.is_challenger,
                metrics=v.metrics,
                changed=next(
                    (change for change in reversed(history) if change.version == v.version), None
                ),
            )
            for v in reversed(versions)
        ]
    return tuple(rows), refusals
