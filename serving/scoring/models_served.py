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

from features.leaving import Leaving
from features.workspace import Workspace
from registry.bundle.bundle import BundleError
from registry.bundle.segment_gate import EVERYONE, SWITCH_FILE, SegmentSwitchError, read_switch
from registry.outcomes import CHURN, EXPANSION, MODEL_NAMES, OUTCOME_OF_MODEL, SERVED
from registry.store.store import (
    ChampionChange,
    LockedTrackingError,
    ModelStore,
    ModelStoreError,
    NoChampionError,
    TrackingError,
    effective_promotions,
)
from serving.scoring.first_day.prior import first_day_model, said_of_prior
from serving.scoring.score import OTHER_OUTCOMES, Models, ServedModel
from serving.scoring.without_contracts import other_meaning

log = logging.getLogger("keepwell.serving")

FOLDERS = re.compile(r"(?:\b(?:file|sqlite):/+|(?<![\w.:/])/(?=[^\s/'\"]+/))(?:[^\s/'\"]+/)*")
"""The folders before a file's name, in an address or an absolute path."""

SERVED_LABELS = tuple(name for name in MODEL_NAMES if OUTCOME_OF_MODEL[name].is_served)
"""The models whose champions answer."""

SWITCHED = tuple(outcome.name for outcome in SERVED if outcome.can_be_withheld)
"""The models that monitoring can withhold from a segment."""

FORMULA_MODEL = str(CHURN.formula_model)

UNREADABLE = (
    f"the file that says whom the model may answer for ({SWITCH_FILE}) cannot be read; "
    f"whoever runs Keepwell puts back a copy of it, or deletes it"
)


def champions(store: ModelStore, held: Mapping[str, ServedModel] | None = None) -> Models:
    """The champion of every label, and a sentence for each whose champion cannot be used.

    Args:
        store: of the models.
        held: what serves by label. One that is still the champion is not loaded again, and goes on
            while the store cannot be read.
    """
    held = held or {}
    served: dict[str, ServedModel] = {}
    refusals: dict[str, str] = {}
    locked: LockedTrackingError | None = None
    for label in SERVED_LABELS:
        try:
            if locked is not None:
                raise locked  # asked again, it would be waited for again
            # loaded by its number: the champion may change between two questions
            champion = store.champion_version(label)
            known = held.get(label)
            is_held = known is not None and known.fingerprint == champion.fingerprint
            served[label] = (
                replace(known, version=_words(label, champion.version))
                if known is not None and is_held
                else _loaded(store, label, champion.version)
            )
        except NoChampionError:
            refusals[label] = never_promoted(label)
        except (BundleError, ModelStoreError) as error:
            said = f"the {label} model could not be used: {without_paths(str(error))}"
            locked = error if isinstance(error, LockedTrackingError) else None
            is_unreadable = isinstance(error, TrackingError)
            before = held.get(label) if is_unreadable else _before(store, label)
            if before is not None:
                served[label] = before
                log.warning("%s %s goes on.", said, before.version)
            if before is None or not is_unreadable:
                refusals[label] = said
    return Models(
        churn=served.get(CHURN.name),
        churn_formula=served.get(str(CHURN.formula_model)),
        expansion=served.get(EXPANSION.name),
        refusals=refusals,
        others={label: served[label] for label in OTHER_OUTCOMES if label in served},
    )


def models_of(workspace: Workspace, store: ModelStore, before: Models | None = None) -> Models:
    """The champions, and the segments of this workspace for which each is withheld.

    Where that cannot be read, no model answers: it may be withheld from anybody. ``before`` is what
    serves already.
    """
    models = _of_this_meaning(
        champions(store, None if before is None else _by_label(before)), workspace.settings.leaving
    )
    models = _with_prior(models, workspace)
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


def never_promoted(label: str) -> str:
    """Why a model is missing of which there was never a champion."""
    return f"no {label.replace('_', ' ')} model has been promoted"


def _with_prior(models: Models, workspace: Workspace) -> Models:
    """The prior of the company in the place of a fitted formula, where neither was ever promoted.

    One that was, and cannot be used, has learned something: then the prior's words would be false.
    """
    why = models.refusals.get(CHURN.name, "")
    of_formula = models.refusals.get(FORMULA_MODEL, "")
    if why != never_promoted(CHURN.name) or of_formula != never_promoted(FORMULA_MODEL):
        return models
    prior = first_day_model(workspace)
    if prior is None:
        return models
    said = said_of_prior(workspace)
    return replace(
        models,
        churn_formula=prior,
        refusals={**models.refusals, CHURN.name: f"{why}; {said}"},
    )


def _of_this_meaning(models: Models, leaving: Leaving) -> Models:
    """Without the models of churn that learned another meaning of leaving, and why."""
    wrong = {
        label: why
        for label, served in ((CHURN.name, models.churn), (FORMULA_MODEL, models.churn_formula))
        if served is not None and (why := other_meaning(served, leaving)) is not None
    }
    return replace(
        models,
        churn=None if CHURN.name in wrong else models.churn,
        churn_formula=None if FORMULA_MODEL in wrong else models.churn_formula,
        refusals={**models.refusals, **wrong},
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


def models_problem(workspace: Workspace, store: ModelStore) -> str | None:
    """What is wrong with the store of the models, with a champion, or with the file that says for
    whom they answer; None where all is well."""
    try:
        store.check(SERVED_LABELS)
        read_switch(workspace.monitoring_dir / SWITCH_FILE)
    except (BundleError, ModelStoreError, SegmentSwitchError) as error:
        return without_paths(str(error))
    return None


def _by_label(models: Models) -> Mapping[str, ServedModel]:
    named = {
        CHURN.name: models.churn,
        str(CHURN.formula_model): models.churn_formula,
        EXPANSION.name: models.expansion,
        **models.others,
    }
    return {label: one for label, one in named.items() if one is not None}


def _words(label: str, version: int) -> str:
    return f"{label} version {version}"


def _loaded(store: ModelStore, label: str, version: int) -> ServedModel:
    bundle = store.load(label, version)
    return ServedModel(model=bundle, version=_words(label, version), fingerprint=bundle.fingerprint)


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
        except LockedTrackingError as error:
            return (*stamp, type(error).__name__)  # asked again, it would be waited for again
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
    judged_on: str
    changed: ChampionChange | None


def model_rows(store: ModelStore) -> tuple[tuple[ModelRow, ...], Mapping[str, str]]:
    """Every version, newest first, and a sentence for each label without a serving one."""
    rows: list[ModelRow] = []
    refusals: dict[str, str] = {}
    locked: LockedTrackingError | None = None
    for label in SERVED_LABELS:
        try:
            if locked is not None:
                raise locked  # asked again, it would be waited for again
            versions, history = store.versions(label), store.history(label)
        except ModelStoreError as error:
            locked = error if isinstance(error, LockedTrackingError) else None
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
                judged_on=v.judged_on,
                changed=next(
                    (change for change in reversed(history) if change.version == v.version), None
                ),
            )
            for v in reversed(versions)
        ]
    return tuple(rows), refusals
