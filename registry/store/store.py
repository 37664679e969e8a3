"""The model store: runs, versions, the champion, and how it changed.

A model name is the outcome it predicts, with ``-formula`` for the calibrated health formula. The
champion is the version that serves. Changing it is a promotion or a rollback, and each leaves a
record: which version, who, when, on what evidence. ``MemoryModelStore`` is the behaviour of every
store in plain Python; one test suite is run on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from registry.bundle.bundle import ModelBundle
from registry.outcomes import MODEL_NAMES, OUTCOME_OF_MODEL
from registry.promotion.promotion import EvidenceDocument


class ModelStoreError(Exception):
    """The store cannot do what was asked."""


class UnknownModelError(ModelStoreError):
    """There is no model, version or run of that name."""


class NoChampionError(ModelStoreError):
    """No version of the model has been promoted."""


class NothingToRollBackError(ModelStoreError):
    """There was no other champion before this one."""


class ChampionChangedError(ModelStoreError):
    """Somebody else changed the champion meanwhile."""


class TrackingError(ModelStoreError):
    """The tracking server does not answer, or answers with an error."""


class LockedTrackingError(TrackingError):
    """Another program has the tracking store locked; it was waited for."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training: what went in, what came out, and the pictures of it.

    ``metrics`` carry their interval as ``<name>_low`` and ``<name>_high``. ``plots`` are PNG bytes
    by file name, ``documents`` are texts (a model card) by file name.
    """

    label: str
    name: str
    bundle: ModelBundle
    started_at: datetime
    ended_at: datetime
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.label not in OUTCOME_OF_MODEL:
            raise UnknownModelError(
                f"There is no model {self.label!r}; there are {', '.join(MODEL_NAMES)}."
            )
        if self.bundle.label != OUTCOME_OF_MODEL[self.label].name:
            raise ModelStoreError(
                f"A bundle that predicts {self.bundle.label!r} cannot be a {self.label!r} model."
            )
        not_png = [name for name in self.plots if not name.endswith(".png")]
        if not_png:
            raise ModelStoreError(f"The plot {not_png[0]!r} needs a name that ends in .png.")


JUDGED_ON_OTHER_ACCOUNTS = "judged_on_other_accounts"
"""The metric of a version that had too few cutoffs to be judged on later months."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version of a model, without its numbers."""

    label: str
    version: int
    run_id: str
    run_name: str
    fingerprint: str
    metrics: Mapping[str, float]
    is_champion: bool = False
    is_challenger: bool = False

    @property
    def judged_on(self) -> str:
        """The rows that its metrics are of."""
        if JUDGED_ON_OTHER_ACCOUNTS in self.metrics:
            return "other accounts of the same months; nothing is known of later months"
        return "later months"


@dataclass(frozen=True, kw_only=True)
class ChampionChange:
    """One change of the champion: to which version, how, by whom, when, on what evidence.

    ``approved_by`` is the second person, where one was asked for.
    """

    version: int
    how: Literal["promoted", "rolled back"]
    by: str
    at: datetime
    evidence: EvidenceDocument
    approved_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class PromotionRequest:
    """A promotion that somebody asked for and that waits for a second person.

    ``changes`` is the number of changes of the champion before the request. It is void after
    another change, because its evidence is about the former champion.
    """

    version: int
    by: str
    at: datetime
    evidence: EvidenceDocument
    changes: int


class ModelStore(Protocol):
    """Runs, versions and champions of the models of one workspace."""

    def record_run(self, run: TrainingRun) -> str:
        """Store a training with everything it produced; its run id."""
        ...

    def register(self, label: str, run_id: str) -> int:
        """Make a run's bundle the next version of the model, and its challenger."""
        ...

    def versions(self, label: str) -> tuple[ModelVersion, ...]:
        """Every version, oldest first; none is no error."""
        ...

    def load(self, label: str, version: int) -> ModelBundle:
        """The bundle of one version."""
        ...

    def load_document(self, label: str, version: int, name: str) -> bytes | None:
        """A file that the training of a version stored beside its bundle; None: there is none.

        Documents by their name (``model_card.md``), plots as ``plots/`` and their name.
        """
        ...

    def champion_version(self, label: str) -> ModelVersion:
        """The version that serves, or NoChampionError."""
        ...

    def check(self, labels: Sequence[str]) -> None:
        """See that the store can be read, and that the bundles of these champions are whole.

        Raises:
            TrackingError: the store cannot be read.
            BundleError: the bundle of a champion is damaged.
        """
        ...

    def champion(self, label: str) -> ModelBundle:
        """The bundle that serves, or NoChampionError."""
        ...

    def challenger(self, label: str) -> ModelBundle | None:
        """The newest version that was not promoted, if it is newer than any that was."""
        ...

    def promote(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime,
        approved_by: str | None = None, known_changes: int | None = None,
    ) -> ChampionChange:  # fmt: skip
        """Make a version the champion; the record is stored before the change is seen.

        A bundle that cannot be used is never made champion. Promoting the champion again changes
        nothing and gives the record it has. ``known_changes`` is the number of changes when the
        evidence was gathered; another change since is a ChampionChangedError.
        """
        ...

    def request_promotion(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime
    ) -> PromotionRequest:
        """Store a request for a promotion, until a second person approves it."""
        ...

    def pending_request(self, label: str) -> PromotionRequest | None:
        """The newest request, unless the champion changed after it."""
        ...

    def rollback(self, label: str, *, by: str, at: datetime) -> ChampionChange:
        """Make the champion before this one the champion again, or NothingToRollBackError."""
        ...

    def history(self, label: str) -> tuple[ChampionChange, ...]:
        """Every change of the champion, oldest first."""
        ...


def rollback_target(history: tuple[ChampionChange, ...], label: str) -> int:
    """The version a rollback returns to: undoing one promotion at a time.

    >>> from datetime import UTC, datetime
    >>> def change(version, how): return ChampionChange(
    ...     version=version, how=how, by="ann", at=datetime(2026, 1, 1, tzinfo=UTC), evidence={})
    >>> rollback_target((change(1, "promoted"), change(2, "promoted")), "churn")
    1
    """
    versions = effective_promotions(history)
    if len(versions) < 2:
        raise NothingToRollBackError(
            f"No champion of {label!r} came before this one. Promote another version (keepwell "
            f"models list {label}; keepwell models promote {label} VERSION --by NAME)."
        )
    return versions[-2]


def effective_promotions(history: tuple[ChampionChange, ...]) -> tuple[int, ...]:
    """The promotions that were not undone, by version: the last one serves."""
    versions: list[int] = []
    for change in history:
        if change.how == "promoted":
            versions.append(change.version)
        else:
            versions.pop()
    return tuple(versions)


def no_champion(label: str) -> NoChampionError:
    """The error of a model that nobody promoted."""
    return NoChampionError(
        f"No version of {label!r} has been promoted, so the health formula answers. Train one "
        f"(keepwell train {label}) and promote it "
        f"(keepwell models promote {label} VERSION --by NAME)."
    )


def unknown_version(label: str, version: int) -> UnknownModelError:
    """The error of a version that does not exist."""
    return UnknownModelError(
        f"The model {label!r} has no version {version}. keepwell models list {label} shows those "
        "it has."
    )


def unknown_run(label: str, run_id: str) -> UnknownModelError:
    """The error of a run that is not there, is of another model, or did not finish."""
    return UnknownModelError(
        f"There is no finished run {run_id!r} of the model {label!r}. Train one (keepwell train)."
    )


def check_unchanged(
    label: str, history: tuple[ChampionChange, ...], known_changes: int | None
) -> None:
    """Raise ChampionChangedError, which names who changed the champion since."""
    if known_changes is not None and len(history) != known_changes:
        last = f"{history[-1].by} made version {history[-1].version} serve" if history else ""
        raise ChampionChangedError(
            f"The champion of {label!r} was changed meanwhile: {last or 'there is none now'}. "
            f"Nothing was changed by you. Look at it (keepwell models history {label}), and "
            "promote again if you still want to."
        )


class MemoryModelStore:
    """A store that lives as long as the process."""

    def __init__(self) -> None:
        self._runs: dict[str, TrainingRun] = {}
        self._versions: dict[str, list[ModelVersion]] = {}
        self._history: dict[str, list[ChampionChange]] = {}
        self._requests: dict[str, PromotionRequest] = {}

    def record_run(self, run: TrainingRun) -> str:
        """Store a training; its run id."""
        run_id = f"run-{len(self._runs) + 1}"
        self._runs[run_id] = run
        return run_id

    def register(self, label: str, run_id: str) -> int:
        """Make a run's bundle the next version of the model, and its challenger."""
        if run_id not in self._runs or self._runs[run_id].label != label:
            raise unknown_run(label, run_id)
        run = self._runs[run_id]
        versions = self._versions.setdefault(label, [])
        versions.append(
            ModelVersion(
                label=label, version=len(versions) + 1, run_id=run_id, run_name=run.name,
                fingerprint=run.bundle.fingerprint, metrics=dict(run.metrics),
            )
        )  # fmt: skip
        return versions[-1].version

    def versions(self, label: str) -> tuple[ModelVersion, ...]:
        """Every version, oldest first."""
        champion = self._champion_number(label)
        challenger = self._challenger_number(label)
        return tuple(
            replace(v, is_champion=v.version == champion, is_challenger=v.version == challenger)
            for v in self._versions.get(label, [])
        )

    def load(self, label: str, version: int) -> ModelBundle:
        """The bundle of one version."""
        if not 1 <= version <= len(self._versions.get(label, [])):
            raise unknown_version(label, version)
        return self._runs[self._versions[label][version - 1].run_id].bundle

    def load_document(self, label: str, version: int, name: str) -> bytes | None:
        """A file that the training of a version stored beside its bundle; None: there is none."""
        if not 1 <= version <= len(self._versions.get(label, [])):
            raise unknown_version(label, version)
        run = self._runs[self._versions[label][version - 1].run_id]
        if name in run.documents:
            return run.documents[name].encode()
        folder, _, file = name.rpartition("/")
        return run.plots.get(file) if folder == "plots" else None

    def champion_version(self, label: str) -> ModelVersion:
        """The version that serves, or NoChampionError."""
        for version in self.versions(label):
            if version.is_champion:
                return version
        raise no_champion(label)

    def check(self, labels: Sequence[str]) -> None:
        """There is nothing that could be damaged."""

    def champion(self, label: str) -> ModelBundle:
        """The bundle that serves, or NoChampionError."""
        return self.load(label, self.champion_version(label).version)

    def challenger(self, label: str) -> ModelBundle | None:
        """The newest version, if it was never promoted."""
        number = self._challenger_number(label)
        return None if number is None else self.load(label, number)

    def promote(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime,
        approved_by: str | None = None, known_changes: int | None = None,
    ) -> ChampionChange:  # fmt: skip
        """Make a version the champion."""
        self.load(label, version)
        if version == self._champion_number(label):
            return self._history[label][-1]
        check_unchanged(label, self.history(label), known_changes)
        change = ChampionChange(version=version, how="promoted", by=by, at=at, evidence=evidence,
                                approved_by=approved_by)  # fmt: skip
        self._history.setdefault(label, []).append(change)
        return change

    def request_promotion(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime
    ) -> PromotionRequest:
        """Store a request for a promotion."""
        self.load(label, version)
        request = PromotionRequest(version=version, by=by, at=at, evidence=evidence,
                                   changes=len(self.history(label)))  # fmt: skip
        self._requests[label] = request
        return request

    def pending_request(self, label: str) -> PromotionRequest | None:
        """The newest request, unless the champion changed after it."""
        request = self._requests.get(label)
        return request if request and request.changes == len(self.history(label)) else None

    def rollback(self, label: str, *, by: str, at: datetime) -> ChampionChange:
        """Make the champion before this one the champion again."""
        version = rollback_target(self.history(label), label)
        change = ChampionChange(version=version, how="rolled back", by=by, at=at, evidence={})
        self._history[label].append(change)
        return change

    def history(self, label: str) -> tuple[ChampionChange, ...]:
        """Every change of the champion, oldest first."""
        return tuple(self._history.get(label, []))

    def _champion_number(self, label: str) -> int | None:
        history = self._history.get(label)
        return history[-1].version if history else None

    def _challenger_number(self, label: str) -> int | None:
        newest = len(self._versions.get(label, []))
        promoted = {change.version for change in self._history.get(label, [])}
        return newest if newest and newest not in promoted else None
