"""Read and publish features through Feast.

The views of Feast are generated from the catalogue, one for each theme. The offline store is DuckDB on
the snapshot files; the online store is ``packed.py``, unless the settings name Redis. Training reads
with ``historical``, serving with ``online``.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import features.store._feast_import  # noqa: F401  # isort: skip  # before Feast is imported below

import polars as pl
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, String
from google.protobuf.message import DecodeError

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.store._packed_identity import note_of, replaced
from features.store.feast_repo import configuration
from features.store.packed import PackedOnlineStore
from features.workspace import Workspace
from features.workspace_files import UnusableStoreError

ATTRIBUTES_VIEW = "account_attributes"

account = Entity(
    name="account",
    join_keys=["account_id"],
    value_type=ValueType.STRING,
    description="A customer company: the unit of prediction.",
)


class FeatureStoreError(Exception):
    """Feast cannot read the features."""


def feature_views(workspace: Workspace, features: Catalogue) -> tuple[FeatureView, ...]:
    """One view for each theme of the catalogue, and one for the attributes, on the snapshot files."""
    source = FileSource(
        name="account_snapshots",
        path=str(workspace.snapshots_dir / "as_of_*.parquet"),
        timestamp_field="as_of",
        file_format=ParquetFormat(),
    )
    fields: dict[str, list[Field]] = {
        ATTRIBUTES_VIEW: [
            *(
                Field(name=a.name, dtype=String, description=a.description)
                for a in features.attributes
            ),
            Field(
                name=CONTRACT_STATUS,
                dtype=String,
                description="State of the contract, else of the trial.",
            ),
        ]
    }
    for feature in features.features:
        fields.setdefault(f"account_{feature.theme}", []).append(
            Field(
                name=feature.name,
                dtype=Float64,
                description=feature.description,
                tags={"unit": feature.unit, "role": feature.role},
            )
        )
    fields.setdefault("account_health", []).append(
        Field(
            name=HEALTH_SCORE,
            dtype=Float64,
            description="Score of the default formula.",
            tags={"unit": "points of 100", "role": "context"},
        )
    )
    age = timedelta(days=workspace.settings.max_feature_age_days)
    return tuple(
        FeatureView(
            name=name, entities=[account], ttl=age, schema=schema, source=source, online=True
        )
        for name, schema in fields.items()
    )


class OnlineStoreError(FeatureStoreError, UnusableStoreError):
    """The online store cannot be read."""


class WorkspaceFeatures:
    """The feature store of one workspace; it is opened once."""

    def __init__(self, workspace: Workspace | Path) -> None:
        workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
        self.workspace = workspace
        self.catalogue = workspace.settings.catalogue
        self.views = feature_views(workspace, self.catalogue)
        self._store: FeatureStore | None = None
        self._applied: tuple[FeatureView, ...] = ()

    @property
    def store(self) -> FeatureStore:
        """Feast's own object, with the views applied."""
        if self._store is None:
            with _quiet():
                # Feast looks for a relative registry in repo_path, by default the current folder
                store = FeatureStore(
                    repo_path=str(self.workspace.feast_dir), config=configuration(self.workspace)
                )
                there = {view.name: view for view in store.list_feature_views()}
                for view in self.views:
                    if view.name in there:  # Feast fills these in as it applies a view
                        view.entity_columns = there[view.name].entity_columns
                if any(there.get(view.name) != view for view in self.views):
                    store.apply([account, *self.views])
            self._store = store
        return self._store

    @property
    def references(self) -> list[str]:
        """``view:field`` of every feature and attribute."""
        return [f"{view.name}:{field.name}" for view in self.views for field in view.features]

    def add_service(
        self, name: str, features: Sequence[str], *, about: str, tags: Mapping[str, str]
    ) -> None:
        """Give Feast a FeatureService, by whose name a notebook reads what one model version reads.

        A service of the name is replaced.

        Raises:
            FeatureStoreError: the catalogue lacks one of the features.
        """
        self._references_of(features)  # an unknown one is refused
        wanted = set(features)
        with _quiet():
            store = self.store
            views = [store.get_feature_view(view.name) for view in self.views]
            chosen = {
                view.name: [field.name for field in view.features if field.name in wanted]
                for view in views
            }
            store.apply(
                FeatureService(
                    name=name,
                    features=[view[chosen[view.name]] for view in views if chosen[view.name]],
                    description=about,
                    tags=dict(tags),
                )
            )

    def historical(self, rows: pl.DataFrame, names: Sequence[str] | None = None) -> pl.DataFrame:
        """Features as they were known at each row's moment, through Feast's point-in-time join.

        Args:
            rows: ``account_id`` and ``as_of``, one row each.
            names: features and attributes to read; all by default.

        Returns:
            The rows in their order, with these features and attributes. Null is unknown.

        Raises:
            FeatureStoreError: there are no snapshots, or some are older than the declaration of a
                feature in ``names``.
        """
        self._check_snapshots()
        wanted = self.references if names is None else self._references_of(names)
        columns = [reference.split(":")[1] for reference in wanted]
        entities = (
            rows.select("account_id", pl.col("as_of").alias("event_timestamp"))
            .with_row_index("row_number")
            .to_pandas()
        )
        with _quiet():
            store, view = self.store, self._all_in_one_view()
            table = DuckDBOfflineStore.get_historical_features(
                config=store.config,
                feature_views=[view],
                entity_df=entities,
                feature_refs=[f"{view.name}:{name}" for name in columns],
                registry=store.registry,
                project=store.project,
            ).to_arrow()
        answer = (
            pl.DataFrame(pl.from_arrow(table))
            .sort("row_number")
            .rename({"event_timestamp": "as_of"})
        )
        numbers = set(self.catalogue.names) | {HEALTH_SCORE}
        return answer.select(
            "account_id",
            pl.col("as_of").cast(pl.Datetime("us", "UTC")),
            *(pl.col(c).cast(pl.Float64 if c in numbers else pl.String) for c in columns),
        )

    def _all_in_one_view(self) -> FeatureView:
        """One view of all features and attributes, because all views read the same files.

        Feast makes one join for each view, each as wide as the files, which takes seconds.
        """
        key = Field(name=account.join_key, dtype=String)
        one = self.views[0]
        return FeatureView(
            name="account_all",
            entities=[account],
            ttl=one.ttl,
            source=one.source,
            schema=[key, *(field for view in self.views for field in view.features)],
        )

    def _check_snapshots(self) -> None:
        """Refuse to read where there are no snapshot files, or one lacks a column of a view.

        Feast reads all files of the folder as one table, so one old file would fail in Feast.
        """
        files = sorted(self.workspace.snapshots_dir.glob("as_of_*.parquet"))
        if not files:
            raise FeatureStoreError(
                f"There are no snapshots in {self.workspace.snapshots_dir}. Make some with: "
                f"keepwell snapshot --from DATE --to DATE --every month"
            )
        declared = {field.name for view in self.views for field in view.features}
        lacking = {file: declared.difference(pl.read_parquet_schema(file)) for file in files}
        older = {file: names for file, names in lacking.items() if names}
        if older:
            names = sorted(set().union(*older.values()))
            raise FeatureStoreError(
                f"{len(older)} of {len(files)} snapshots ({next(iter(older)).name} first) were "
                f"made before {len(names)} of today's features were declared "
                f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}). Make them again with: "
                f"keepwell snapshot --from DATE --to DATE --every month"
            )

    def publish(self, snapshot: pl.DataFrame) -> int:
        """Write the newest snapshot of each account to the online store.

        Returns:
            The number of accounts. An older row never replaces a newer one; a new snapshot of the
            same moment replaces the stored one.
        """
        store = self.store
        newest = snapshot.sort("as_of").unique("account_id", keep="last", maintain_order=True)
        if not self._applied:  # only once, from the registry
            self._applied = tuple(store.get_feature_view(view.name) for view in self.views)
        views = self._applied
        if self.workspace.settings.redis:
            from features.store.redis import write_to_redis  # Redis is an extra

            for view in views:
                write_to_redis(configuration(self.workspace), view, newest)
        else:
            online = PackedOnlineStore()
            try:
                online.online_write_table(store.config, views, newest)
            finally:
                online.close_file()
        return newest.height

    def forget(self, account_ids: Sequence[str]) -> None:
        """Remove these accounts from the online store, and what was replaced from its file."""
        config = self.store.config
        if self.workspace.settings.redis:
            from features.store.redis import delete_from_redis  # Redis is an extra

            delete_from_redis(configuration(self.workspace), account_ids)
            return
        online = PackedOnlineStore()
        try:
            online.delete_entities(config, [_entity_key(one) for one in account_ids])
        finally:
            online.close_file()

    def online_problem(self) -> str | None:
        """Why the file of the online store is not the one that was written last; None: it is."""
        if self.workspace.settings.redis:
            return None
        why = replaced(self.workspace.online_db)
        return why and f"The online store {self.workspace.online_db.name} is damaged ({why})."

    def rebuild_online(self, snapshot: pl.DataFrame) -> None:
        """Put a damaged file of the online store aside, and publish a snapshot to a new one."""
        file = self.workspace.online_db
        PackedOnlineStore().close_file()
        self._store = None
        self._applied = ()
        for name in (file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))):
            aside = name.with_name(f".{name.name}.damaged.tmp")
            if name.is_dir() and aside.exists():
                aside = aside.with_name(f".{name.name}.{secrets.token_hex(4)}.damaged.tmp")
            elif aside.is_dir():
                shutil.rmtree(aside)
            with suppress(FileNotFoundError):
                name.replace(aside)
        note_of(file).unlink(missing_ok=True)
        try:
            self.publish(snapshot)
        except DecodeError as exc:
            raise OnlineStoreError(
                f"Feast's registry in {self.workspace.feast_dir.name}/ cannot be read ({exc}). Remove "
                f"registry.db there; it is made again."
            ) from exc

    def online(self, account_ids: Sequence[str]) -> pl.DataFrame:
        """The newest features of these accounts, through Feast's online store.

        Returns:
            One row for each account in the store, with the columns of a snapshot; ``as_of`` is the
            moment of the account's snapshot.
        """
        if not account_ids:
            return pl.DataFrame()
        try:
            answer = self.store.get_online_features(
                features=self.references,
                entity_rows=[{"account_id": account_id} for account_id in account_ids],
            )
        except (sqlite3.DatabaseError, DecodeError, LookupError, TypeError, ValueError) as exc:
            raise OnlineStoreError(
                f"The online store {self.workspace.online_db.name} cannot be read ({exc}). The "
                f"service makes it again from the newest snapshot; so does keepwell snapshot, once "
                f"the file is removed."
            ) from exc
        moments = _event_moments(answer)
        values = answer.to_dict()
        numbers = set(self.catalogue.names) | {HEALTH_SCORE}
        columns = [
            pl.Series("account_id", values.pop("account_id"), pl.String),
            pl.Series("as_of", moments, pl.Datetime("us", "UTC")),
        ]
        columns += [
            pl.Series(name, column, pl.Float64 if name in numbers else pl.String)
            for name, column in values.items()
        ]
        return pl.DataFrame(columns).filter(pl.col("as_of").is_not_null())

    def _references_of(self, names: Sequence[str]) -> list[str]:
        by_name = {reference.split(":")[1]: reference for reference in self.references}
        missing = [name for name in names if name not in by_name]
        if missing:
            raise FeatureStoreError(
                f"The catalogue has no {', '.join(missing)}; "
                f"`keepwell features` lists what there is."
            )
        return [by_name[name] for name in names]


def _entity_key(account_id: str) -> EntityKey:
    return EntityKey(join_keys=[account.join_key], entity_values=[Value(string_val=account_id)])


def _event_moments(answer: Any) -> list[datetime | None]:
    """Moment of the first feature of each entity row; None where the store has no row."""
    proto = answer.proto
    # results[0] is the join key; every view of an account is written in one transaction
    return [
        moment.ToDatetime(tzinfo=UTC) if moment.seconds > 0 else None
        for moment in proto.results[1].event_timestamps
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide deprecation warnings and log lines of Feast."""
    log = logging.getLogger("feast")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
