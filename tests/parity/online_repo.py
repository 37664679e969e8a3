"""A small feature repository of every shape that Feast knows, for any online store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

SQLITE = "Feast's SQLite"
PACKED = "packed"
PACKED_ENGINE = "packed by its engine"
START = datetime(2024, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=30)

account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
seat = Entity(name="seat", join_keys=["seat_number"], value_type=ValueType.INT64)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def online_store(kind: str, folder: Path, now: datetime | None) -> dict[str, Any]:
    if kind == SQLITE:
        return {"type": "sqlite", "path": str(folder / "online.db")}
    return {
        "type": "features.store.packed.PackedOnlineStore",
        "path": str(folder / "online.db"),
        "now": now,
    }


class OnlineRepo:
    """Feast on one online store, with tables that a test fills and views that read them.

    ``usage`` has numbers and words, ``terms`` is fed by push, ``kinds`` has a field of every
    type, ``seats`` has two keys.
    """

    def __init__(self, folder: Path, kind: str, now: datetime | None = None) -> None:
        self.folder = folder
        self.kind = kind
        self.store = FeatureStore(
            config=RepoConfig(
                project="exam",
                provider="local",
                registry=str(folder / "registry.db"),
                batch_engine=(
                    "features.store.packed_engine.PackedComputeEngine"
                    if kind == PACKED_ENGINE
                    else "local"
                ),
                offline_store={"type": "duckdb"},
                online_store=online_store(kind, folder, now),
                entity_key_serialization_version=3,
            )
        )
        self.rows("usage", [("acme", 0, 0, 1.5, "a")])
        self.rows("terms", [("acme", 0, 0, 1.0)])
        self.rows("seats", [("acme", 1, 0, 1.0)])
        self.usage = self.view("usage", [account], uses=Float64, plan=String)
        self.terms = self.view("terms", [account], pushed=True, mrr=Float64)
        self.seats = self.view("seats", [account, seat], logins=Float64)
        self.store.apply([account, seat, self.usage, self.terms, self.seats])

    COLUMNS = {  # noqa: RUF012  # a constant
        "usage": ("account_id", "at", "created", "uses", "plan"),
        "terms": ("account_id", "at", "created", "mrr"),
        "seats": ("account_id", "seat_number", "at", "logins"),
    }

    def frame(self, name: str, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
        """A table whose days and ages are moments."""
        frame = pd.DataFrame(rows, columns=list(self.COLUMNS[name]))
        for column in {"at", "created"} & set(frame):
            moments = pd.to_datetime([day(number) for number in frame[column]], utc=True)
            frame[column] = moments.as_unit("us")
        return frame

    def rows(self, name: str, rows: list[tuple[Any, ...]]) -> None:
        """What the offline table of a view holds from now on."""
        self.frame(name, rows).to_parquet(self.folder / f"{name}.parquet")

    def view(
        self,
        name: str,
        entities: list[Entity],
        *,
        pushed: bool = False,
        ttl: timedelta = LIFE,
        **fields: Any,
    ) -> FeatureView:
        created = "created" if "created" in self.COLUMNS.get(name, ()) else ""
        source: Any = FileSource(
            name=f"{name}_file",
            path=str(self.folder / f"{name}.parquet"),
            timestamp_field="at",
            created_timestamp_column=created,
        )
        if pushed:
            source = PushSource(name=f"{name}_push", batch_source=source)
        return FeatureView(
            name=name,
            entities=entities,
            ttl=ttl,
            online=True,
            source=source,
            schema=[Field(name=n, dtype=dtype) for n, dtype in fields.items()],
        )

    def materialize(self, first: float, last: float, **options: Any) -> None:
        # Feast writes the moment of the call as the row's own unless it is told not to
        self.store.materialize(day(first), day(last), disable_event_timestamp=False, **options)

    def ask(
        self, features: list[str] | FeatureService, *entities: str | dict[str, Any], **options: Any
    ) -> dict[str, list[tuple[Any, str, datetime | None]]]:
        """By feature: value, status and moment of each entity."""
        rows = [{"account_id": e} if isinstance(e, str) else e for e in entities]
        answer = self.store.get_online_features(features=features, entity_rows=rows, **options)
        values = answer.to_dict()
        found: dict[str, list[tuple[Any, str, datetime | None]]] = {}
        names = answer.proto.metadata.feature_names.val
        for name, vector in zip(names, answer.proto.results, strict=True):
            if name in rows[0]:
                continue
            found[name] = [
                (
                    value,
                    FieldStatus.Name(status),
                    moment.ToDatetime(tzinfo=UTC) if moment.seconds else None,
                )
                for value, status, moment in zip(
                    values[name], vector.statuses, vector.event_timestamps, strict=True
                )
            ]
        return found


EVERY_TYPE: dict[str, tuple[Any, Any]] = {
    "number": (Float64, 0.1),
    "short_number": (Float32, 0.5),
    "count": (Int64, 2**60),
    "small_count": (Int32, -7),
    "flag": (Bool, False),
    "word": (String, "Größe 🦊"),
    "blob": (Bytes, b"\x00\xff"),
    "moment": (UnixTimestamp, datetime(2024, 5, 1, tzinfo=UTC)),
    "numbers": (Array(Float64), [1.0, -0.0]),
    "words": (Array(String), ["", "a"]),
}
