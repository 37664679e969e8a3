"""This module is about timelines: events of whole accounts, ordered and coded for the sweep.

Turns an event frame and a catalogue into the arrays that ``sweep`` reads. Strings are looked at
once per distinct (kind, properties), never once per event. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import Catalogue
from features.feature import Attribute, Feature
from features.sweep import OPERATIONS, SweepEvents, SweepItems
from features.windows import DAY_IN_MICROSECONDS, FOREVER, MICROSECOND

SOURCE = ("kind", "properties", "quantity_text")
"""What an event's class is looked up by."""

ORDER = ("account_id", "occurred_at", "recorded_at", "event_id")
"""Events are swept in this order; ties in time are broken by the id, so input order is nothing."""


@dataclass(frozen=True, kw_only=True)
class Timelines:
    """Accounts with their events and what to compute, coded."""

    account_ids: tuple[str, ...]
    known_since: npt.NDArray[np.int64]  # first moment at which anything of the account was known
    events: SweepEvents
    items: SweepItems
    words: dict[str, tuple[str, ...]]  # attribute name to its words by code


def prepare(frame: pl.DataFrame, catalogue: Catalogue) -> Timelines:
    """Order and code the events of whole accounts; kinds that nothing reads are left out.

    Args:
        frame: columns of ``EVENT_SCHEMA`` and, where corrections are known, ``superseded_at``.
        catalogue: what will be computed.
    """
    if "superseded_at" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("superseded_at"))
    ordered = frame.filter(pl.col("kind").is_in(list(catalogue.kinds_read))).sort(ORDER)
    accounts = ordered.group_by("account_id").agg(
        pl.col("recorded_at").min().dt.epoch("us").alias("known_since")).sort("account_id")
    classes = _classes(ordered, catalogue)
    coded = _with_quantity_text(ordered, catalogue).join(
        classes.select(*SOURCE, "row_class"), on=list(SOURCE), how="left", nulls_equal=True,
        maintain_order="left",
    )
    lengths = accounts.join(coded.group_by("account_id").len(), on="account_id", how="left",
                            maintain_order="left")["len"].fill_null(0).to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items, words = _items(classes, catalogue)
    return Timelines(
        account_ids=tuple(accounts["account_id"]),
        known_since=accounts["known_since"].to_numpy().astype(np.int64),
        events=_events(coded, starts), items=items, words=words,
    )


def _events(coded: pl.DataFrame, starts: npt.NDArray[np.int64]) -> SweepEvents:
    occurred = coded["occurred_at"].dt.epoch("us").to_numpy().astype(np.int64)
    lengths = np.diff(starts)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    day = np.floor_divide(occurred, DAY_IN_MICROSECONDS)
    user = _dense_within(coded["user_id"], owner)
    day_of_account, n_days = _from_smallest(day, starts)
    n_users = _counts(user, starts)
    user_day = np.where(user >= 0, user * n_days[owner] + day_of_account, -1)
    return SweepEvents(
        account_starts=starts, occurred=occurred,
        recorded=coded["recorded_at"].dt.epoch("us").to_numpy().astype(np.int64),
        superseded=coded["superseded_at"].dt.epoch("us").fill_null(FOREVER).to_numpy()
        .astype(np.int64),
        row_class=coded["row_class"].to_numpy().astype(np.int64),
        event_count=coded["event_count"].cast(pl.Float64).to_numpy(),
        user_count=coded["user_count"].cast(pl.Float64).to_numpy(),
        quantity=coded["quantity"].fill_null(math.nan).to_numpy(),
        user=user, user_day=user_day, day=day_of_account,
        space_sizes=np.stack([n_users, n_users * n_days, n_days], axis=1).astype(np.int64),
    )


def _dense_within(users: pl.Series, owner: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Code of each user within its account, -1 where the user is unknown."""
    if users.null_count() == len(users):
        return np.full(len(users), -1, dtype=np.int64)
    # Codes of this frame, not of a process-wide cache, so that nothing grows from call to call.
    frame = pl.DataFrame({"owner": owner, "user": users}).with_row_index("row")
    known = frame.filter(pl.col("user").is_not_null())
    pairs = known.select("owner", "user").unique().sort("owner", "user")
    pairs = pairs.with_columns(pl.int_range(pl.len()).over("owner").cast(pl.Int64).alias("code"))
    coded = known.join(pairs, on=["owner", "user"], how="left")
    codes = np.full(len(users), -1, dtype=np.int64)
    codes[coded["row"].to_numpy()] = coded["code"].to_numpy()
    return codes


def _from_smallest(
    day: npt.NDArray[np.int64], starts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Days counted from the account's first, and how many there are up to its last."""
    lengths = np.diff(starts)
    filled = lengths > 0
    first = np.zeros(len(lengths), dtype=np.int64)
    last = np.zeros(len(lengths), dtype=np.int64)
    # rows ascend in time, so the first and last row of an account hold its first and last day
    first[filled], last[filled] = day[starts[:-1][filled]], day[starts[1:][filled] - 1]
    return day - np.repeat(first, lengths), last - first + 1


def _counts(
    codes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(starts) - 1, dtype=np.int64)
    filled = np.diff(starts) > 0
    if filled.any():
        counts[filled] = np.maximum.reduceat(codes, starts[:-1][filled]) + 1
    return counts


def _classes(ordered: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Distinct (kind, properties), with the properties that are read and a class number."""
    distinct = _with_quantity_text(ordered, catalogue).select(SOURCE).unique()
    keys = sorted(
        {key for f in catalogue.primitives for key in f.where}
        | {f.aggregate.of for f in catalogue.primitives if f.aggregate.of}
        | {a.of for a in catalogue.attributes if a.of}
    )
    parsed = distinct.with_columns(
        pl.col("properties").str.json_path_match(f"$.{key}").alias(f"property:{key}")
        for key in keys
    )
    read = ["kind", "quantity_text", *(f"property:{key}" for key in keys)]
    numbered = parsed.select(read).unique().sort(read).with_row_index("row_class")
    return parsed.join(numbered, on=read, how="left", nulls_equal=True)


def _with_quantity_text(ordered: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The quantity as a word for the kinds that some feature picks by it, else null."""
    picked = sorted({kind for f in catalogue.primitives if f.quantities for kind in f.reads})
    return ordered.with_columns(pl.when(pl.col("kind").is_in(picked))
                                .then(pl.col("quantity").cast(pl.String))
                                .alias("quantity_text"))


def _items(
    classes: pl.DataFrame, catalogue: Catalogue,
) -> tuple[SweepItems, dict[str, tuple[str, ...]]]:
    table = classes.unique("row_class").sort("row_class")
    kinds = table["kind"].to_list()
    quantities = table["quantity_text"].cast(pl.Float64).to_list()
    columns = {name.removeprefix("property:"): table[name].to_list()
               for name in table.columns if name.startswith("property:")}
    entries: list[list[tuple[int, float, int]]] = [[] for _ in kinds]
    n_values: list[int] = []
    for number, feature in enumerate(catalogue.primitives):
        codes: dict[str, int] = {}
        for row, kind in enumerate(kinds):
            picked = not feature.quantities or quantities[row] in feature.quantities
            if kind in feature.reads and picked and _passes(feature, columns, row):
                entries[row].append((number, *_value_and_code(feature, columns, row, codes)))
        n_values.append(len(codes))
    words: dict[str, tuple[str, ...]] = {}
    for number, attribute in enumerate(catalogue.attributes, start=len(n_values)):
        found: dict[str, int] = {}
        for row, kind in enumerate(kinds):
            word = _word(attribute, columns, kind, row) if kind in attribute.reads else None
            if word is not None:
                entries[row].append((number, float(found.setdefault(word, len(found))), -1))
        words[attribute.name] = tuple(found)
    flat = [entry for row_entries in entries for entry in row_entries]
    n_attributes = len(catalogue.attributes)
    primitives = catalogue.primitives
    items = SweepItems(
        operation=np.array([OPERATIONS.index(f.aggregate.operation) for f in primitives]
                           + [OPERATIONS.index("last")] * n_attributes, dtype=np.int64),
        lookback=np.array([FOREVER if f.lookback is None else f.lookback // MICROSECOND
                           for f in primitives] + [FOREVER] * n_attributes, dtype=np.int64),
        ends_before=np.array([f.ends_before // MICROSECOND for f in primitives]
                             + [0] * n_attributes, dtype=np.int64),
        when_empty=np.array([math.nan if f.when_empty is None else f.when_empty
                             for f in primitives] + [math.nan] * n_attributes),
        n_values=np.array(n_values + [0] * n_attributes, dtype=np.int64),
        class_starts=np.concatenate([[0], np.cumsum([len(e) for e in entries])]).astype(np.int64),
        class_item=np.array([entry[0] for entry in flat], dtype=np.int64),
        class_value=np.array([entry[1] for entry in flat], dtype=np.float64),
        class_code=np.array([entry[2] for entry in flat], dtype=np.int64),
        reads_property=np.array([f.aggregate.of is not None for f in primitives]
                                + [True] * n_attributes, dtype=np.bool_),
    )
    return items, words


def _passes(feature: Feature, columns: dict[str, list[str | None]], row: int) -> bool:
    for key, wanted in feature.where.items():
        allowed = (wanted,) if isinstance(wanted, str) else wanted
        if columns[key][row] not in allowed:
            return False
    return True


def _value_and_code(
    feature: Feature, columns: dict[str, list[str | None]], row: int, codes: dict[str, int],
) -> tuple[float, int]:
    of = feature.aggregate.of
    text = None if of is None else columns[of][row]
    if text is None:
        return math.nan, -1
    if feature.aggregate.operation == "values":
        return math.nan, codes.setdefault(text, len(codes))
    if feature.aggregate.operation == "days_until":
        return _days_since_epoch(text), -1
    return _number(text), -1


def _word(
    attribute: Attribute, columns: dict[str, list[str | None]], kind: str, row: int,
) -> str | None:
    return attribute.words.get(kind) if attribute.of is None else columns[attribute.of][row]


def _days_since_epoch(text: str) -> float:
    """Whole days since 1970 of an ISO date, NaN where the text is none."""
    try:
        return float((date.fromisoformat(text[:10]) - date(1970, 1, 1)).days)
    except ValueError:
        return math.nan


def _number(text: str) -> float:
    """The text as a finite number, NaN where it is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
