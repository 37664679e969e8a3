"""An online store for Feast with one packed row for each entity.

Feast's own SQLite store writes a row for each feature. This one writes a row for each entity and view
(``_packed_rows.py``). A row names its fields, so a view whose fields change never reads old bytes under
new names. Two differences are intended: an older row never replaces a newer one, and a row that is
older than its view's time to live is OUTSIDE_MAX_AGE, with its value, and not PRESENT.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.types import Float64, Int32, Int64, String
from pydantic import AwareDatetime

from features.garbage_collection import collection_off
from features.kernel.windows import EPOCH, MICROSECOND, microseconds
from features.store._packed_file import PackedFile
from features.store._packed_rows import pack_keys, pack_table, pack_values, unpack_values

EntityRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Answer = tuple[datetime | None, dict[str, Value] | None]


class PackedStoreError(Exception):
    """The packed store cannot store a value of this type."""


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """Settings in ``feature_store.yaml``: the file, and the moment at which ages are measured.

    A relative ``path`` begins at the folder of ``feature_store.yaml``. ``now`` is for samples, whose
    clock stands still; by default the age of a row is measured when it is read.
    """

    type: Literal["features.store.packed.PackedOnlineStore"] = (
        "features.store.packed.PackedOnlineStore"
    )
    path: str = "online.db"
    now: AwareDatetime | None = None


class PackedOnlineStore(OnlineStore):
    """One packed row per entity and feature view, in one SQLite file."""

    def __init__(self) -> None:
        self._own = (
            threading.local()
        )  # one connection for each thread, so that transactions never mix

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[EntityRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of protobuf values, all or none.

        A row that lacks fields of the view leaves these as they are.
        """
        fields = {field.name for field in table.features}
        keyed = sorted(((key_bytes(row[0], config), row) for row in data), key=lambda one: one[0])
        file = self._open(config)
        with file.transaction():
            view = file.new_view(_view_name(config, table))
            file.put(
                view,
                (
                    (
                        key,
                        file.layout(tuple(values)),
                        _integer(event_at),
                        None if created_at is None else _integer(created_at),
                        pack_values(values.values()),
                    )
                    for key, (_, given, event_at, created_at) in keyed
                    for values in [
                        given if given.keys() >= fields else {**_stored(file, view, key), **given}
                    ]
                ),
            )
        if progress is not None:
            progress(len(data))

    def online_write_table(
        self,
        config: RepoConfig,
        views: Sequence[FeatureView],
        table: pl.DataFrame,
    ) -> None:
        """Write the columns of these views from one table, all or none, without protobuf objects.

        The entities and sources of the views say which columns hold keys and times.

        Raises:
            PackedStoreError: a field is neither Float64 nor String.
        """
        by_entity: dict[tuple[tuple[str, Any], ...], _KeyedTable] = {}
        file = self._open(config)
        with file.transaction():
            for view in views:
                fields = _arrow_fields(view)
                entity = tuple((key.name, key.dtype) for key in view.entity_columns)
                if entity not in by_entity:
                    by_entity[entity] = _KeyedTable(table, dict(entity))
                keyed = by_entity[entity]
                number = file.new_view(_view_name(config, view))
                layout = file.layout(tuple(fields))
                source: Any = view.batch_source
                moments = keyed.moments(source.timestamp_field)
                created: Iterable[int | None] = (
                    keyed.moments(source.created_timestamp_column)
                    if source.created_timestamp_column
                    else [None] * len(keyed.keys)
                )
                rows = pack_table(
                    keyed.table.select(pl.col(name).cast(dtype) for name, dtype in fields.items())
                )
                file.put(
                    number,
                    (
                        (key, layout, moment, created_at, row)
                        for key, moment, created_at, row in zip(
                            keyed.keys, moments, created, rows, strict=True
                        )
                    ),
                )

    def holds_table(self, view: FeatureView) -> bool:
        """Whether a view can be written from a table."""
        return all(field.dtype in TYPES for field in view.features) and all(
            key.dtype in KEY_TYPES for key in view.entity_columns
        )

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Answer]:
        """The newest row of each entity, in the order of the keys; ``(None, None)`` where there is none."""
        file = self._open(config)
        view = file.view(_view_name(config, table))
        if view is None:
            return [(None, None)] * len(entity_keys)
        keys = [key_bytes(key, config) for key in entity_keys]
        wanted = requested_features or [field.name for field in table.features]
        by_layout: dict[int, list[tuple[bytes, int, bytes]]] = {}
        for key, layout, event_at, packed in file.rows(view, keys):
            by_layout.setdefault(layout, []).append((key, event_at, packed))
        answers: dict[bytes, Answer] = {}
        for layout, rows in by_layout.items():
            answers.update(_answers(rows, file.fields(layout), wanted))
        return [answers.get(key, (None, None)) for key in keys]

    def delete_entities(self, config: RepoConfig, entities: Sequence[EntityKey]) -> None:
        """Delete the rows of these entities in every view, and write the file anew without them."""
        file = self._open(config)
        with file.transaction():
            file.delete(key_bytes(entity, config) for entity in entities)
        file.rewrite()

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make the file, and drop the rows of deleted views."""
        file = self._open(config)
        with file.transaction():
            file.drop(_view_name(config, table) for table in tables_to_delete)

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],
    ) -> None:
        """Drop the rows of these views."""
        self.update(config, tables, [], entities, [], partial=False)
        self.close_file()

    def close_file(self) -> None:
        """Close this thread's connection; the next read opens it again."""
        file: PackedFile | None = self._own.__dict__.pop("file", None)
        if file is not None:
            file.close()

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: Any,
        entity_name_to_join_key_map: Any,
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Read as Feast does, one view at a time, and then check the age of rows, which Feast does not."""
        now = config.online_store.now or datetime.now(UTC)
        for group in grouped_refs:
            before = len(online_features_response.results)
            super()._read_features_per_fv(
                config,
                [group],
                join_key_values,
                entity_name_to_join_key_map,
                online_features_response,
                full_feature_names,
                include_feature_view_version_metadata,
            )
            _mark_expired(online_features_response.results[before:], group[0].ttl, now)

    def _open(self, config: RepoConfig) -> PackedFile:
        place = (config.repo_path, config.online_store.path)
        opened: PackedFile | None = getattr(self._own, "file", None)
        if getattr(self._own, "place", None) != place or (opened and opened.is_replaced):
            self.close_file()
        if not hasattr(self._own, "file"):
            self._own.file, self._own.place = PackedFile(Path(place[0] or "", place[1])), place
        file: PackedFile = self._own.file
        return file


def key_bytes(key: EntityKey, config: RepoConfig) -> bytes:
    """The bytes of an entity key in Feast's serialisation."""
    version = config.entity_key_serialization_version
    return bytes(serialize_entity_key(key, entity_key_serialization_version=version))


def _view_name(config: RepoConfig, view: FeatureView) -> str:
    return f"{config.project}.{view.name}"


def _answers(
    rows: Sequence[tuple[bytes, int, bytes]],
    fields: list[str],
    wanted: list[str],
) -> Iterator[tuple[bytes, Answer]]:
    """The wanted fields of rows of one layout; a field that the layout lacks is left out."""
    width = len(fields)
    values = unpack_values([packed for _, _, packed in rows])
    if 2 * len(wanted) > width:
        with collection_off():
            values = list(values)  # faster than item by item
    place_of = {name: place for place, name in enumerate(fields)} if wanted != fields else {}
    places = [(name, place_of[name]) for name in wanted if name in place_of]
    for start, (key, event_at, _) in zip(range(0, len(rows) * width, width), rows, strict=True):
        named = (
            dict(zip(fields, values[start : start + width], strict=True))
            if wanted == fields
            else {name: values[start + place] for name, place in places}
        )
        yield key, (EPOCH + event_at * MICROSECOND, named)


def _stored(file: PackedFile, view: int, key: bytes) -> dict[str, Value]:
    """The stored values of an entity."""
    for _, layout, _, packed in file.rows(view, [key]):
        return dict(zip(file.fields(layout), unpack_values([packed]), strict=True))
    return {}


TYPES: dict[Any, pl.DataType] = {Float64: pl.Float64(), String: pl.String()}
KEY_TYPES: dict[Any, pl.DataType] = {String: pl.String(), Int64: pl.Int64(), Int32: pl.Int32()}


def _arrow_fields(view: FeatureView) -> dict[str, pl.DataType]:
    """Fields and their types in a table, numbers first."""
    for field in view.features:
        if field.dtype not in TYPES:
            raise PackedStoreError(
                f"A table holds Float64 and String; {view.name}.{field.name} is {field.dtype}. "
                f"Write it through Feast (materialize or push), or change the field."
            )
    fields = {field.name: TYPES[field.dtype] for field in view.features}
    return dict(sorted(fields.items(), key=lambda item: item[1] == pl.String))


class _KeyedTable:
    """A table in the order of an entity's keys; what several views read is computed once.

    SQLite appends sorted rows; equal keys stay in their order.
    """

    def __init__(self, table: pl.DataFrame, entity: dict[str, Any]) -> None:
        keys = pack_keys(
            table.select(
                pl.col(name).cast(KEY_TYPES.get(dtype, table.schema[name]))
                for name, dtype in entity.items()
            )
        )
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.table, self.keys = table[order], [keys[place] for place in order]
        self._moments: dict[str, list[int]] = {}

    def moments(self, column: str) -> list[int]:
        """Whole microseconds; moments without a zone are UTC."""
        if column not in self._moments:
            zone = getattr(self.table.schema[column], "time_zone", None)
            self._moments[column] = (
                self.table[column].cast(pl.Datetime("us", zone)).to_physical().to_list()
            )
        return self._moments[column]


def _integer(moment: datetime) -> int:
    """Whole microseconds; Feast's moments without a zone are UTC."""
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _mark_expired(vectors: Sequence[Any], ttl: timedelta | None, now: datetime) -> None:
    """Mark values whose row is older than its time to live."""
    if not ttl:
        return
    # a million values when a service starts: look constants up before the loop
    present, outside = FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE
    seconds, rest = divmod(microseconds(now) - ttl // MICROSECOND, 1_000_000)
    nanos = rest * 1_000
    for vector in vectors:
        for place, (status, moment) in enumerate(
            zip(vector.statuses, vector.event_timestamps, strict=True)
        ):
            if status == present and (
                moment.seconds < seconds or (moment.seconds == seconds and moment.nanos < nanos)
            ):
                vector.statuses[place] = outside
