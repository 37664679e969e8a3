"""Write to Feast's own Redis store, with our rule for rows of the same moment.

Feast's store skips a row of the same moment as the stored one, so a new snapshot after a correction
would not be stored. Here the moments are compared first, and only older rows are skipped. A row of one
account and view is stored whole or not at all. Rows are read by Feast's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.redis import (  # type: ignore[attr-defined]
    RedisOnlineStore,
    _redis_key,
)
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

ROWS_AT_ONCE = 1000


def write_to_redis(config: RepoConfig, view: FeatureView, snapshot: pl.DataFrame) -> None:
    """Write the columns of a view, one row for each account, unless the store has a newer row."""
    store = RedisOnlineStore()
    config.online_store.skip_dedup = True  # only in this configuration; older rows are skipped here
    names = [field.name for field in view.features]
    for part in snapshot.iter_slices(ROWS_AT_ONCE):
        keys = [
            EntityKey(join_keys=["account_id"], entity_values=[Value(string_val=account_id)])
            for account_id in part["account_id"]
        ]
        there = [moment for moment, _ in store.online_read(config, view, keys, names[:1])]
        rows = part.select(names).iter_rows(named=True)
        store.online_write_batch(
            config,
            view,
            [
                (key, {name: _value(value) for name, value in row.items()}, moment, None)
                for key, row, moment, stored in zip(keys, rows, part["as_of"], there, strict=True)
                if not _is_newer(stored, moment)
            ],
            None,
        )


def delete_from_redis(config: RepoConfig, account_ids: Sequence[str]) -> None:
    """Delete the rows of these accounts in every view."""
    store = RedisOnlineStore()
    client = store._get_client(config.online_store)
    for account_id in account_ids:
        key = EntityKey(join_keys=["account_id"], entity_values=[Value(string_val=account_id)])
        client.delete(_redis_key(config.project, key, config.entity_key_serialization_version))


def _is_newer(stored: datetime | None, moment: datetime) -> bool:
    """Whether the stored row is newer; for an account that Redis does not know, Feast returns 1970."""
    return stored is not None and stored > moment


def _value(value: float | str | None) -> Value:
    if value is None:
        return Value()
    return Value(string_val=value) if isinstance(value, str) else Value(double_val=value)
