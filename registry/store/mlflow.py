"""Store runs and models in MLflow: on SQLite in the workspace, or on a server.

The home of MLflow: nothing else imports it. It is imported when first needed, with its telemetry
switched off before, and its errors leave here as ``TrackingError`` in words. A reader of a
workspace does not need it (``_mlflow_sql``). ``champion_log`` decides which version is the
champion, also after a kill.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from registry.bundle.bundle import BundleError, ModelBundle
from registry.integrity.signing import SigningKey
from registry.promotion.promotion import EvidenceDocument
from registry.store._local_condition import LocalCondition, locked_by_another
from registry.store._mlflow_files import LocalPlace, UnusablePlaceError
from registry.store._mlflow_sql import MlflowTables, RegisteredModel, RegisteredVersion, RunSummary
from registry.store.champion_log import (
    ChampionRecord,
    chain,
    newest_request,
    next_record,
    read_records,
    request_tag,
)
from registry.store.pyfunc import write_mlmodel
from registry.store.store import (
    ChampionChange,
    ModelVersion,
    PromotionRequest,
    TrackingError,
    TrainingRun,
    check_unchanged,
    no_champion,
    rollback_target,
    unknown_run,
    unknown_version,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"

# MLflow reads its environment when it is imported and when it is called; what is set wins.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # Its own defaults ask a dead server eight times, which takes minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
PASSWORD = re.compile(r"//[^/@\s]*@")
METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100  # MLflow's limits of one log_batch


class MlflowModelStore:
    """The models of the database or server at ``tracking_uri``.

    On SQLite the artifacts are in ``artifacts_dir``, by default ``artifacts`` beside the database.
    With a ``key`` every bundle is signed, and one that the key did not sign is refused. Making the
    store reads and writes nothing; reading from a database that does not exist yet finds no models
    and does not create it.
    """

    def __init__(
        self, tracking_uri: str, artifacts_dir: Path | None = None, *,
        key: SigningKey | None = None,
    ) -> None:  # fmt: skip
        self._uri = tracking_uri
        self._key = key
        self._place = LocalPlace.of(tracking_uri, artifacts_dir)
        self._condition = None if self._place is None else LocalCondition(self._place)
        self._is_settled = False

    # ── runs ───────────────────────────────────────────────────────────────────────────────────

    def record_run(self, run: TrainingRun) -> str:
        """Store a training with everything it produced; its run id."""
        with self._asked("keep the run"):
            run_id = str(
                self._client.create_run(
                    self._experiment(run.label), start_time=_milliseconds(run.started_at),
                    run_name=run.name, tags=_tags(run),
                ).info.run_id
            )  # fmt: skip
            self._log_numbers(run_id, run)
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "run"
                _write_files(run, folder, self._key)
                write_mlmodel(folder / "bundle", run.bundle, run_id=run_id)
                self._client.log_artifacts(run_id, str(folder))
            # Only a finished run can be registered, so one that was killed stays out of the way.
            self._client.set_terminated(run_id, "FINISHED", end_time=_milliseconds(run.ended_at))
        return run_id

    def register(self, label: str, run_id: str) -> int:
        """Make a run's bundle the next version of the model, and its challenger."""
        from mlflow.exceptions import MlflowException

        with self._asked("register the model"):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as exc:
                if exc.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise unknown_run(label, run_id) from exc
                raise
            tags = run.data.tags
            if tags.get("keepwell.label") != label or run.info.status != "FINISHED":
                raise unknown_run(label, run_id)
            name = model_name(label)
            try:
                self._client.get_registered_model(name)
            except MlflowException as exc:
                if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._client.create_registered_model(name)
            made = self._client.create_model_version(
                name, f"{run.info.artifact_uri}/bundle", run_id=run_id,
                tags={"keepwell.fingerprint": tags["keepwell.fingerprint"]},
                description=tags.get("mlflow.note.content"),
            )  # fmt: skip
            version = int(made.version)
            self._client.set_registered_model_alias(name, CHALLENGER, str(version))
        return version

    # ── versions ───────────────────────────────────────────────────────────────────────────────

    def versions(self, label: str) -> tuple[ModelVersion, ...]:
        """Every version, oldest first; none is no error."""
        registered = self._registered(label)
        if not registered:
            return ()
        champion = self._champion_number(label)
        challenger = self._challenger_number(label)
        return tuple(
            self._described(label, each, number, champion, challenger)
            for number, each in registered.items()
        )

    def load(self, label: str, version: int) -> ModelBundle:
        """The bundle of one version."""
        registered = self._registered(label)
        if version not in registered:
            raise unknown_version(label, version)
        run_id = registered[version].run_id
        expected = registered[version].tags.get("keepwell.fingerprint")
        folder = self._bundle_folder(label, run_id)
        stamps = None if folder is None else LocalCondition.stamps_of(folder)
        if folder is not None:
            bundle = ModelBundle.load(folder, key=self._key)
        else:
            with self._asked("fetch the bundle"), tempfile.TemporaryDirectory() as scratch:
                fetched = self._client.download_artifacts(run_id, "bundle", scratch)
                bundle = ModelBundle.load(Path(fetched), key=self._key)
        if bundle.fingerprint != expected:
            raise BundleError(
                f"The bundle of {label!r} version {version} is whole, but it is not the one that "
                "was registered. Register its run again, or roll back (keepwell models rollback "
                f"{label})."
            )
        if self._condition is not None and folder is not None and stamps:
            self._condition.note_loaded(folder, stamps)
        return bundle

    def load_document(self, label: str, version: int, name: str) -> bytes | None:
        """A file that the training of a version stored beside its bundle; None: there is none."""
        registered = self._registered(label)
        if version not in registered:
            raise unknown_version(label, version)
        run_id = registered[version].run_id
        if self._place is not None:
            folder = self._place.run_folder(model_name(label), run_id).resolve()
            file = (folder / name).resolve()
            return file.read_bytes() if file.is_relative_to(folder) and file.is_file() else None
        with self._asked("fetch a document"), tempfile.TemporaryDirectory() as scratch:
            there = self._client.list_artifacts(run_id, name.rpartition("/")[0] or None)
            if name not in {each.path for each in there}:
                return None
            return Path(self._client.download_artifacts(run_id, name, scratch)).read_bytes()

    def champion_version(self, label: str) -> ModelVersion:
        """The version that serves, or NoChampionError."""
        champion = self._champion_number(label)
        registered = self._registered(label)
        if champion is None or champion not in registered:
            raise no_champion(label)
        challenger = self._challenger_number(label)
        return self._described(label, registered[champion], champion, champion, challenger)

    def check(self, labels: Sequence[str]) -> None:
        """See that the store can be read, and that the bundles of these champions are whole.

        What did not change since it was looked at is not read again. Of a server only whether it
        answers is asked.
        """
        if self._condition is None:
            self._registered(labels[0])
            return
        self._condition.check_database()
        for label in labels:
            champion, registered = self._champion_number(label), self._registered(label)
            if champion is None or champion not in registered:
                continue
            folder = self._bundle_folder(label, registered[champion].run_id)
            if folder is None or not self._condition.loads_as_before(folder):
                self.load(label, champion)

    def champion(self, label: str) -> ModelBundle:
        """The bundle that serves, or NoChampionError."""
        champion = self._champion_number(label)
        if champion is None:
            raise no_champion(label)
        return self.load(label, champion)

    def challenger(self, label: str) -> ModelBundle | None:
        """The newest version, if it was never promoted."""
        number = self._challenger_number(label)
        return None if number is None else self.load(label, number)

    # ── the champion's changes ─────────────────────────────────────────────────────────────────

    def promote(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime,
        approved_by: str | None = None, known_changes: int | None = None,
    ) -> ChampionChange:  # fmt: skip
        """Make a version the champion; the record is stored before the change is seen."""
        self.load(label, version)  # a bundle that cannot be used never serves
        with self._asked("change the champion"), self._alone:
            happened = self.history(label)
            if happened and version == self._champion_number(label):
                return happened[-1]
            check_unchanged(label, happened, known_changes)
            change = ChampionChange(version=version, how="promoted", by=by, at=at,
                                    evidence=evidence, approved_by=approved_by)  # fmt: skip
            self._change(label, change)
        return change

    def rollback(self, label: str, *, by: str, at: datetime) -> ChampionChange:
        """Make the champion before this one the champion again, or NothingToRollBackError."""
        with self._asked("change the champion"), self._alone:
            version = rollback_target(self.history(label), label)
            self.load(label, version)
            change = ChampionChange(version=version, how="rolled back", by=by, at=at, evidence={})
            self._change(label, change)
        return change

    def request_promotion(
        self, label: str, version: int, *, evidence: EvidenceDocument, by: str, at: datetime
    ) -> PromotionRequest:
        """Store a request for a promotion, until a second person approves it."""
        self.load(label, version)
        request = PromotionRequest(version=version, by=by, at=at, evidence=evidence,
                                   changes=len(self.history(label)))  # fmt: skip
        key, text = request_tag(self._tags_of(label), request)
        with self._asked("keep the request"):
            self._client.set_model_version_tag(model_name(label), str(version), key, text)
        return request

    def pending_request(self, label: str) -> PromotionRequest | None:
        """The newest request, unless the champion changed after it."""
        try:
            request = newest_request(self._tags_of(label))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._failed("say what waits for approval", exc) from exc
        return request if request and request.changes == len(self.history(label)) else None

    def history(self, label: str) -> tuple[ChampionChange, ...]:
        """Every change of the champion, oldest first."""
        happened = chain(self._records(label), self._champion_number(label))
        return tuple(record.change for record in happened)

    def _change(self, label: str, change: ChampionChange) -> None:
        name, version = model_name(label), str(change.version)
        record = next_record(self._records(label), self._champion_number(label), change)
        with self._asked("change the champion"):
            self._client.set_model_version_tag(name, version, record.key, record.text)
            # One transaction of the database: before it the old champion, after it the new one.
            self._client.set_registered_model_alias(name, CHAMPION, version)
            if self._challenger_number(label) is None:
                self._client.delete_registered_model_alias(name, CHALLENGER)
        if self._champion_number(label) != change.version:  # a server has no lock
            check_unchanged(label, self.history(label), -1)

    @property
    def _alone(self) -> AbstractContextManager[None]:
        """Keep other processes from changing a champion meanwhile; a server has no such lock."""
        return contextlib.nullcontext() if self._place is None else self._place.lock()

    # ── reading ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _client(self) -> MlflowClient:
        """MLflow, imported and opened at the first question."""
        os.environ.update({name: v for name, v in QUIET.items() if name not in os.environ})
        import mlflow  # noqa: F401 - its import sets the loggers that are turned down next

        for noisy in ("mlflow.store.db.utils", "alembic.runtime.migration", "urllib3"):
            # Messages on migrations and retries are not shown; errors are raised anyway.
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        # MLflow 3.17 loads its tables with a strategy that SQLAlchemy 2.1 deprecates: not shown
        # to whoever asks for a model; goes with MLflow 4
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
        from mlflow import MlflowClient

        if self._place is None:
            return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        try:
            uri = self._place.tracking_uri
            if self._is_empty:
                _create_database(self._place)
        except (sqlite3.DatabaseError, OSError, UnusablePlaceError) as exc:
            raise self._failed("be opened", exc) from exc
        self._settle(self._place)
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
        except SQLAlchemyError as exc:
            raise self._failed("be opened", exc) from exc

    @property
    def _is_empty(self) -> bool:
        if self._condition is not None:
            self._condition.check_there()
        return self._place is not None and not self._place.database.exists()

    def _bundle_folder(self, label: str, run_id: str) -> Path | None:
        """Where a bundle is on this machine; None: on a server."""
        place = self._place
        return None if place is None else place.run_folder(model_name(label), run_id) / "bundle"

    @property
    def _tables(self) -> MlflowTables | None:
        """The tables that can be read without MLflow; None: MLflow has to be asked."""
        if self._place is None:
            return None
        tables = MlflowTables(self._place.database)
        try:
            if not tables.are_known:
                return None
        except sqlite3.DatabaseError as exc:
            raise self._failed("be read", exc) from exc
        self._settle(self._place)
        return tables

    def _settle(self, place: LocalPlace) -> None:
        """Rewrite the addresses once, so that MLflow's own pages work after a move."""
        if not self._is_settled:
            try:
                place.settle()
            except (sqlite3.DatabaseError, OSError) as exc:
                raise self._failed("be opened", exc) from exc
            self._is_settled = True

    def _registered(self, label: str) -> Mapping[int, RegisteredVersion]:
        return self._model(label).versions

    def _model(self, label: str) -> RegisteredModel:
        """The versions and aliases of a model; empty where none was registered."""
        if self._is_empty:
            return RegisteredModel()
        name, tables = model_name(label), self._tables
        if tables is not None:
            try:
                return tables.model(name)
            except (sqlite3.DatabaseError, TypeError, ValueError) as exc:
                raise self._failed("list the versions", exc) from exc
        with self._asked("list the versions"):
            return RegisteredModel(versions=self._asked_versions(name),
                                   aliases=self._asked_aliases(name))  # fmt: skip

    def _asked_versions(self, name: str) -> Mapping[int, RegisteredVersion]:
        found: dict[int, RegisteredVersion] = {}
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name='{name}'", max_results=200, page_token=token
            )
            found.update((int(each.version), RegisteredVersion(run_id=str(each.run_id),
                                                               tags=dict(each.tags)))
                         for each in page)  # fmt: skip
            token = page.token
            if not token:
                return dict(sorted(found.items()))

    def _asked_aliases(self, name: str) -> Mapping[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            aliases = self._client.get_registered_model(name).aliases
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: int(version) for alias, version in aliases.items()}

    def _run(self, run_id: str) -> RunSummary:
        tables = self._tables
        if tables is not None:
            try:
                return tables.run(run_id)
            except (sqlite3.DatabaseError, TypeError, ValueError) as exc:
                raise self._failed("describe a version", exc) from exc
        with self._asked("describe a version"):
            run = self._client.get_run(run_id)
            return RunSummary(name=str(run.info.run_name), metrics=dict(run.data.metrics))

    def _champion_number(self, label: str) -> int | None:
        return self._model(label).aliases.get(CHAMPION)

    def _challenger_number(self, label: str) -> int | None:
        number = self._model(label).aliases.get(CHALLENGER)
        promoted = {change.version for change in self.history(label)}
        return None if number in promoted else number

    def _records(self, label: str) -> tuple[ChampionRecord, ...]:
        try:
            return read_records(self._tags_of(label))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._failed("say which model serves", exc) from exc

    def _tags_of(self, label: str) -> dict[int, Mapping[str, str]]:
        return {number: each.tags for number, each in self._registered(label).items()}

    def _described(
        self, label: str, each: RegisteredVersion, number: int, champion: int | None,
        challenger: int | None,
    ) -> ModelVersion:  # fmt: skip
        run = self._run(each.run_id)
        return ModelVersion(
            label=label, version=number, run_id=each.run_id, run_name=run.name,
            fingerprint=str(each.tags.get("keepwell.fingerprint")), metrics=run.metrics,
            is_champion=number == champion, is_challenger=number == challenger,
        )  # fmt: skip

    def _experiment(self, label: str) -> str:
        name = model_name(label)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._place is None else self._place.experiment_uri(name)
        return str(self._client.create_experiment(name, artifact_location=location))

    def _log_numbers(self, run_id: str, run: TrainingRun) -> None:
        from mlflow.entities import Metric, Param

        at = _milliseconds(run.ended_at)
        metrics = [Metric(name, float(value), at, 0) for name, value in run.metrics.items()]
        params = [Param(name, str(value)) for name, value in run.params.items()]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_AT_ONCE])

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """MLflow's errors, wherever they come from, as one paragraph."""
        client = self._client  # opened outside: its own error is already said in words
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        assert client is not None
        try:
            yield
        except (MlflowException, OSError, SQLAlchemyError) as exc:
            raise self._failed(what, exc) from exc

    def _failed(self, what: str, exc: Exception) -> TrackingError:
        said = PASSWORD.sub("//", str(exc).partition("\n")[0])[:300].rstrip(". ")
        address = PASSWORD.sub("//", self._uri)
        if self._place is not None and "database is locked" in str(exc):
            return locked_by_another(self._place.database)
        return TrackingError(
            f"The tracking store {address} could not {what}: {said}. Check that it is there and "
            "reachable, or name another one with KEEPWELL_TRACKING_URI."
        )


def model_name(label: str) -> str:
    """The name of a model and of its experiment in MLflow."""
    return f"keepwell-{label}"


def _create_database(place: LocalPlace) -> None:
    """An empty MLflow database, complete when it appears: its migrations take seconds.

    Hundreds of commits, none of which has to survive alone: the file is on the disk before it
    appears, and not after each of them.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event

    place.database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=place.database.parent) as scratch:
        draft = place.beside(scratch)

        def hurry(connection: object, _: object) -> None:
            if _is_of(connection, draft.database):
                connection.execute("PRAGMA synchronous = OFF")

        event.listen(Engine, "connect", hurry)  # the engine is MLflow's: there is no other way in
        try:
            made = SqlAlchemyStore(draft.tracking_uri, place.artifacts.as_uri())  # type: ignore[no-untyped-call]
        finally:
            event.remove(Engine, "connect", hurry)
        made.engine.dispose()
        with draft.database.open("rb") as whole:
            os.fsync(whole.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(draft.database, place.database)


def _is_of(connection: object, file: Path) -> TypeGuard[sqlite3.Connection]:
    return isinstance(connection, sqlite3.Connection) and (
        Path(connection.execute("PRAGMA database_list").fetchone()[2]) == file
    )


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _tags(run: TrainingRun) -> dict[str, Any]:
    metadata = run.bundle.metadata
    own = {
        "keepwell.label": run.label,
        "keepwell.fingerprint": run.bundle.fingerprint,
        "keepwell.feature_contract": run.bundle.contract.fingerprint,
        "keepwell.data": metadata.data_fingerprint,
        "keepwell.as_of": metadata.as_of.isoformat(),
        "keepwell.code_version": metadata.code_version,
    }
    return {**run.tags, **own}


def _write_files(run: TrainingRun, folder: Path, key: SigningKey | None) -> None:
    run.bundle.save(folder / "bundle", key=key)
    features = [{"name": f.name, "digest": f.digest} for f in run.bundle.contract.features]
    (folder / "feature_contract.json").write_text(json.dumps(features, indent=1) + "\n")
    for name, picture in run.plots.items():
        (folder / "plots").mkdir(exist_ok=True)
        (folder / "plots" / name).write_bytes(picture)
    for name, text in run.documents.items():
        (folder / name).write_text(text)
