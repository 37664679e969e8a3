"""Write to Feast's own Redis store, with our rule for rows of the same moment.

Feast's store leaves out a row of the same moment as the stored one, so a snapshot that was made
again after a correction would not arrive. Here the moments are compared first, older rows are
left out, and the rest is written. A row of one account and view arrives whole or not at all;
reading is Feast's own.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

ROWS_AT_ONCE = 1000


def write_to_redis(config: RepoConfig, view: FeatureView, snapshot: pl.DataFrame) -> None:
    """Write a view's columns of one row an account, unless the store has a newer row."""
    store = RedisOnlineStore()
    config.online_store.skip_dedup = True  # of this configuration alone; what is older is left out
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


def _is_newer(stored: datetime | None, moment: datetime) -> bool:
    """Feast says 1970 of an account that Redis does not know."""
    return stored is not None and stored > moment


def _value(value: float | str | None) -> Value:
    if value is None:
        return Value()
    return Value(string_val=value) if isinstance(value, str) else Value(double_val=value)
