"""Which features of a past moment can no longer be computed, since retention removed what they read.

Retention takes from old events whoever caused them, and of kinds that nothing reads the rows. A feature
that distinguishes users, or reads a property that went, is lost as of moments whose window reaches back
beyond the horizon. A snapshot that is made again keeps the values of the stored one there; where none is
stored they are unknown. So a training or a report as of a past moment reads what it read before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.catalogue.feature import Expression, Feature
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotStore
from features.health.formula import HealthFormula
from features.kernel.aggregations import BY_NAME
from features.lake.admission.horizons import Horizon

WHO = "user_id"
ROW = "row of the snapshots"


def longest_look_at_users(features: Catalogue, kind: str) -> timedelta | None:
    """How far back a feature looks for who caused events of a kind; None: to the first one.

    Zero where no feature distinguishes users of this kind.
    """
    reaches = [
        None if one.lookback is None else one.lookback + one.ends_before
        for one in _computed(features)
        if kind in one.reads and _reads_users(one)
    ]
    return None if None in reaches else max(filter(None, reaches), default=timedelta())


def properties_read(features: Catalogue, kind: str) -> frozenset[str]:
    """The properties of a kind that features or attributes read."""
    found = {
        name for one in features.primitives if kind in one.reads for name in _properties_of(one)
    }
    return frozenset(found | {a.of for a in features.attributes if kind in a.reads and a.of})


def lost_columns(
    features: Catalogue,
    formula: HealthFormula,
    horizons: Mapping[str, Horizon],
    as_of: datetime,
) -> frozenset[str]:
    """The columns of a snapshot that the lake no longer gives as of a moment."""
    lost = {
        one.name
        for one in _computed(features)
        if any(_is_lost(one, horizons[kind], as_of) for kind in one.reads if kind in horizons)
    }
    if not lost:
        return frozenset()
    for derived in features.derived_in_order():
        if lost.intersection(derived.inputs):
            lost.add(derived.name)
    inputs = {
        name
        for component in formula.components
        for measure in component.measures
        for name in measure.inputs
    }
    return frozenset(lost | ({HEALTH_SCORE} if inputs & lost else set()))


def keep_stored_values(
    snapshots: pl.DataFrame,
    store: SnapshotStore,
    features: Catalogue,
    formula: HealthFormula,
    horizons: Mapping[str, Horizon],
) -> pl.DataFrame:
    """Snapshots in which lost columns hold what the stored snapshots hold, or nothing."""
    if not horizons:
        return snapshots
    there, frames = set(store.moments()), []
    schema = snapshots.schema
    numbered = snapshots.with_row_index(ROW)
    for (moment,), rows in numbered.partition_by("as_of", as_dict=True).items():
        assert isinstance(moment, datetime)
        gone = lost_columns(features, formula, horizons, moment)
        lost = [name for name in rows.columns if name in gone]
        stored = _stored(store, moment, rows) if lost and moment in there else rows.clear()
        kept = [name for name in lost if name in stored.columns]
        left = rows.drop(lost).join(
            stored.select("account_id", *kept), on="account_id", how="left", maintain_order="left"
        )
        unknown = [pl.lit(None, schema[name]).alias(name) for name in lost if name not in kept]
        frames.append(left.with_columns(unknown).select(rows.columns))
    return pl.concat(frames).sort(ROW).drop(ROW) if frames else snapshots


def _stored(store: SnapshotStore, moment: datetime, rows: pl.DataFrame) -> pl.DataFrame:
    """The stored snapshot of a moment; no rows where it is damaged, and its values are lost."""
    try:
        return store.read(moment)
    except DamagedSnapshotError:
        return rows.clear()


def _computed(features: Catalogue) -> tuple[Feature | Expression, ...]:
    """The features that are computed from events."""
    return (*features.primitives, *features.expressions)


def _is_lost(one: Feature | Expression, horizon: Horizon, as_of: datetime) -> bool:
    if one.lookback is not None and as_of - one.ends_before - one.lookback >= horizon.before:
        return False
    if not horizon.rows_stay or _reads_users(one):
        return True
    return isinstance(one, Feature) and not _properties_of(one) <= horizon.properties


def _reads_users(one: Feature | Expression) -> bool:
    if isinstance(one, Feature):
        return WHO in BY_NAME[one.aggregate.operation].reads
    return WHO in one.formula().meta.root_names()


def _properties_of(one: Feature) -> frozenset[str]:
    of = () if one.aggregate.of is None else (one.aggregate.of,)
    return frozenset((*one.where, *one.aggregate.state, *of))
