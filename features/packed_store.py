"""This module is about the packed online store: Feast's online store with one row per account.

Feast's own SQLite store writes a row per feature. This one packs the features of an entity into
one blob: eight bytes a number, then the words as JSON. A row names its layout, so a view whose
fields change never reads old bytes under new names. Holds numbers (Float64) and words (String).
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.types import Float64, String
from feast.utils import to_naive_utc

from features.windows import EPOCH, MICROSECOND

EntityRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class PackedStoreError(Exception):
    """The packed store can not hold or read what it was asked to."""


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """Settings in ``feature_store.yaml``: ``path`` of the SQLite file."""

    type: Literal["features.packed_store.PackedOnlineStore"] = (
        "features.packed_store.PackedOnlineStore"
    )
    path: str = "online.db"


class Layout:
    """The order of a view's fields in a packed row.

    >>> layout = Layout(numbers=("mrr",), words=("plan",))
    >>> layout.unpack(layout.pack({"mrr": 12.5, "plan": None}))
    {'mrr': 12.5, 'plan': None}
    """

    def __init__(self, *, numbers: Sequence[str], words: Sequence[str]) -> None:
        self.numbers = tuple(numbers)
        self.words = tuple(words)
        self.text = json.dumps([self.numbers, self.words])
        self._pack = struct.Struct(f"<{len(self.numbers)}d")

    @classmethod
    def of_view(cls, view: FeatureView) -> Layout:
        """The layout of a view's fields, in their order.

        Raises:
            PackedStoreError: a field is neither Float64 nor String.
        """
        for field in view.features:
            if field.dtype not in (Float64, String):
                raise PackedStoreError(
                    f"The packed store holds Float64 and String; {view.name}.{field.name} is "
                    f"{field.dtype}. Change the field, or choose another online store."
                )
        return cls(numbers=[f.name for f in view.features if f.dtype == Float64],
                   words=[f.name for f in view.features if f.dtype == String])

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """The layout that was stored with a row."""
        numbers, words = json.loads(text)
        return cls(numbers=numbers, words=words)

    def pack(self, values: dict[str, Any]) -> bytes:
        """Values by name as bytes; a number that is missing or None is kept as NaN: unknown."""
        numbers = (values.get(name) for name in self.numbers)
        packed = self._pack.pack(*(math.nan if n is None else n for n in numbers))
        return packed + json.dumps([values.get(name) for name in self.words]).encode()

    def unpack(self, packed: bytes) -> dict[str, float | str | None]:
        """The values by name; None is unknown."""
        numbers = self._pack.unpack_from(packed)
        values: dict[str, float | str | None] = {
            name: None if math.isnan(number) else number
            for name, number in zip(self.numbers, numbers, strict=True)
        }
        values.update(zip(self.words, json.loads(packed[self._pack.size:]), strict=True))
        return values


def connect(path: Path | str) -> sqlite3.Connection:
    """The store's database, made if it is not there; readers never wait for a writer."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS packed ("
        " view TEXT NOT NULL, entity_key BLOB NOT NULL, layout TEXT NOT NULL,"
        " event_at INTEGER NOT NULL, written_at INTEGER, packed BLOB NOT NULL,"
        " PRIMARY KEY (view, entity_key)) WITHOUT ROWID"
    )
    return connection


PUT = (
    "INSERT INTO packed (view, entity_key, layout, event_at, written_at, packed)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (view, entity_key) DO UPDATE SET"
    " layout = excluded.layout, event_at = excluded.event_at,"
    " written_at = excluded.written_at, packed = excluded.packed"
    " WHERE excluded.event_at >= packed.event_at"
)
"""An older row never replaces a newer one."""


class PackedOnlineStore(OnlineStore):
    """One packed row per entity and feature view, in one SQLite file."""

    _connection: sqlite3.Connection | None = None

    def _connected(self, config: RepoConfig) -> sqlite3.Connection:
        if self._connection is None:
            path = Path(config.online_store.path)
            if config.repo_path and not path.is_absolute():
                path = config.repo_path / path
            self._connection = connect(path)
        return self._connection

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[EntityRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows that Feast has already turned into protobuf values."""
        layout = Layout.of_view(table)
        name = view_key(config.project, table.name)
        rows = [
            (name, key_bytes(key, config), layout.text, _to_integer(event_at),
             None if written_at is None else _to_integer(written_at),
             layout.pack({field: _from_proto(value) for field, value in values.items()}))
            for key, values, event_at, written_at in data
        ]
        connection = self._connected(config)
        with connection:
            connection.executemany(PUT, rows)
        if progress is not None:
            progress(len(rows))

    def online_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """The newest row of each entity, in the order asked; ``(None, None)`` where none is."""
        keys = [key_bytes(key, config) for key in entity_keys]
        found = {
            key: (event_at, Layout.from_text(layout).unpack(packed))
            for key, layout, event_at, packed in _select(
                self._connected(config), view_key(config.project, table.name), keys)
        }
        wanted = requested_features or [field.name for field in table.features]
        answer: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for key in keys:
            if key not in found:
                answer.append((None, None))
                continue
            event_at, values = found[key]
            answer.append((EPOCH + event_at * MICROSECOND,
                           {name: _to_proto(values.get(name)) for name in wanted}))
        return answer

    def update(
        self, config: RepoConfig, tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView], entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity], partial: bool,
    ) -> None:
        """Make the file, and drop the rows of views that are gone."""
        connection = self._connected(config)
        with connection:
            connection.executemany(
                "DELETE FROM packed WHERE view = ?",
                [(view_key(config.project, table.name),) for table in tables_to_delete])

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity],
    ) -> None:
        """Drop the rows of these views."""
        self.update(config, tables, [], entities, [], partial=False)


def view_key(project: str, view: str) -> str:
    """Name of a view's rows in the file."""
    return f"{project}.{view}"


def key_bytes(key: EntityKey, config: RepoConfig) -> bytes:
    """Feast's own bytes of an entity key."""
    version = config.entity_key_serialization_version
    return bytes(serialize_entity_key(key, entity_key_serialization_version=version))


def _select(
    connection: sqlite3.Connection, view: str, keys: Sequence[bytes],
) -> Iterable[tuple[bytes, str, int, bytes]]:
    at_once = 500  # well under SQLite's bound on parameters
    for start in range(0, len(keys), at_once):
        part = keys[start:start + at_once]
        marks = ",".join("?" * len(part))
        yield from connection.execute(
            f"SELECT entity_key, layout, event_at, packed FROM packed"
            f" WHERE view = ? AND entity_key IN ({marks})", [view, *part])


def _to_integer(moment: datetime) -> int:
    return int((to_naive_utc(moment).replace(tzinfo=UTC) - EPOCH) // MICROSECOND)


def _from_proto(value: Value) -> float | str | None:
    which = value.WhichOneof("val")
    return None if which is None else getattr(value, which)


def _to_proto(value: float | str | None) -> Value:
    if value is None:
        return Value()
    return Value(string_val=value) if isinstance(value, str) else Value(double_val=value)
