"""Decide about an event whose id exists already: duplicate, correction or refused.

An identical event is a duplicate. An event with the same id and other content is a correction if it
was recorded later than the newest version. Otherwise it is refused, because nobody could say which of
the two was valid when. For most events the keys are enough; where contents differ, the events are
compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events.schema import UTC_INSTANT
from features.lake.deduplication.ids import CONTENT
from features.lake.deduplication.key_index import OTHER, SAME
from features.lake.deduplication.spool import EventKeys

NOT_LATER = "has the id of another event and was not recorded later"

SUPERSEDED_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "recorded_at": UTC_INSTANT,
    "superseded_at": UTC_INSTANT,
}
"""The versions that corrections superseded, and when."""

VERDICTS = LANDED, DUPLICATE, CORRECTED, REFUSED = "landed", "duplicate", "corrected", "refused"


@dataclass(frozen=True, kw_only=True)
class KeyVerdicts:
    """What the keys alone decide, in the order of the keys."""

    repeats: npt.NDArray[np.bool_]  # the same id and content exist already
    ordinals: npt.NDArray[np.int64]  # of events without an id, among equal ones
    contested: npt.NDArray[np.bool_]  # contents differ: the events have to be compared


@dataclass(frozen=True, kw_only=True)
class ResolvedVersions:
    """The verdict on each incoming row, in its order, and the versions that were superseded."""

    verdicts: pl.Series
    superseded: pl.DataFrame


def classify_by_keys(keys: EventKeys, states: npt.NDArray[np.uint8]) -> KeyVerdicts:
    """Classify the events of one file by their keys and the ``states`` of these in the lake."""
    repeats, contested = states == SAME, states == OTHER
    ordinals = np.zeros(len(keys.ids), dtype=np.int64)
    follows = keys.ids[1:] == keys.ids[:-1]
    if follows.any():
        shared = np.zeros(len(keys.ids), dtype=np.bool_)
        shared[1:] |= follows
        shared[:-1] |= follows
        places = np.flatnonzero(shared)
        together = (
            pl.DataFrame(
                {
                    "place": places,
                    "id": keys.ids[places],
                    "content": keys.contents[places],
                    "recorded": keys.recorded[places],
                    "row": keys.rows[places],
                    "own": keys.own[places],
                    "contested": contested[places],
                }
            )
            .sort("id", "recorded", "row")
            .with_columns(
                ((pl.col("content").n_unique() > 1) | pl.col("contested").any())
                .over("id")
                .alias("contested"),
                pl.col("own").any().over("id").alias("own"),
                (pl.col("id") == pl.col("id").shift(1)).fill_null(value=False).alias("again"),
                (pl.col("row").rank("ordinal").over("id") - 1).cast(pl.Int64).alias("ordinal"),
            )
        )
        at = together["place"].to_numpy()
        contested[at] = together["contested"].to_numpy()
        repeats[at] |= together.select(pl.col("own") & pl.col("again")).to_series().to_numpy()
        ordinals[at] = (
            together.select(
                pl.when(~pl.col("own") & ~pl.col("contested")).then("ordinal").otherwise(0)
            )
            .to_series()
            .to_numpy()
        )
    return KeyVerdicts(repeats=repeats & ~contested, ordinals=ordinals, contested=contested)


def resolve_versions(incoming: pl.DataFrame, existing: pl.DataFrame) -> ResolvedVersions:
    """Compare incoming rows of the same id with each other and with the existing versions.

    Both frames hold ``event_id``, ``recorded_at`` and the content. The order of the incoming rows
    decides only between rows that were recorded at the same moment.
    """
    nothing = pl.DataFrame(schema=SUPERSEDED_SCHEMA)
    verdicts = pl.repeat(LANDED, incoming.height, dtype=pl.String, eager=True)
    repeated = incoming["event_id"].is_duplicated()
    if existing.is_empty() and not repeated.any():
        return ResolvedVersions(verdicts=verdicts, superseded=nothing)
    both = pl.concat(
        [
            _keyed(existing).with_columns(pl.lit(-1, pl.Int64).alias("row")),
            _keyed(incoming).with_columns(pl.int_range(pl.len()).alias("row")),
        ]
    )
    both = both.with_columns(
        (pl.col("content").n_unique().over("event_id") > 1).alias("differs"),
        (pl.col("row") == -1).any().over("event_id").alias("is_known"),
        pl.len().over("event_id").alias("versions"),
    )
    plain = both.filter(~pl.col("differs") & (pl.col("row") >= 0)).sort("recorded_at", "row")
    again = plain.filter(pl.col("is_known") | ~pl.col("event_id").is_first_distinct())
    verdicts = verdicts.scatter(again["row"], DUPLICATE)
    is_pair = pl.col("differs") & (pl.col("versions") == 2)
    pairs = both.filter(is_pair).sort("event_id", pl.col("row") >= 0, "recorded_at", "row")
    second = pairs.with_columns(pl.col("recorded_at").shift(1).alias("held")).filter(
        pl.col("event_id") == pl.col("event_id").shift(1)
    )
    later = second.filter(pl.col("recorded_at") > pl.col("held"))
    verdicts = verdicts.scatter(second["row"], REFUSED).scatter(later["row"], CORRECTED)
    superseded: list[tuple[str, object, object]] = []
    contested = both.filter(pl.col("differs") & ~is_pair).sort("event_id", "recorded_at", "row")
    for (event_id,), rows in contested.group_by("event_id", maintain_order=True):
        _resolve_one_id(str(event_id), rows, verdicts, superseded)
    return ResolvedVersions(
        verdicts=verdicts,
        superseded=pl.concat(
            [
                later.select(
                    "event_id",
                    pl.col("held").alias("recorded_at"),
                    pl.col("recorded_at").alias("superseded_at"),
                ),
                pl.DataFrame(superseded, schema=SUPERSEDED_SCHEMA, orient="row"),
            ]
        ),
    )


def _resolve_one_id(
    event_id: str,
    rows: pl.DataFrame,
    verdicts: pl.Series,
    superseded: list[tuple[str, object, object]],
) -> None:
    held = [
        (row["recorded_at"], row["content"])
        for row in rows.filter(pl.col("row") == -1).iter_rows(named=True)
    ]
    for row in rows.filter(pl.col("row") >= 0).iter_rows(named=True):
        version = (row["recorded_at"], row["content"])
        if not held:
            held.append(version)
        elif version in held or version[1] == held[-1][1]:
            verdicts[row["row"]] = DUPLICATE
        elif version[0] > held[-1][0]:
            verdicts[row["row"]] = CORRECTED
            superseded.append((event_id, held[-1][0], version[0]))
            held.append(version)
        else:
            verdicts[row["row"]] = REFUSED


def _keyed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("event_id", "recorded_at", pl.struct(CONTENT).hash(7).alias("content"))
