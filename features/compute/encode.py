"""Encode the events of whole accounts as the arrays that the sweep reads.

Strings are read once per distinct (kind, properties), not once per event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import Attribute, Feature
from features.events.schema import EARLIEST_DATE, LARGEST_READ, LATEST_DATE
from features.kernel.aggregations import BY_NAME, OPERATIONS
from features.kernel.ordering import number_triples, number_users, order_events
from features.kernel.strings import StringViews, number_strings, string_keys
from features.kernel.sweep import NO_CODES, SweepEvents, SweepItems, UndecidedOrderError, read_only
from features.kernel.windows import FOREVER, MICROSECOND

NO_MOMENTS = read_only(np.empty(0, dtype=np.int64))

Entry = tuple[int, int, float, int]  # window, item, number read from a property, code of a value


@dataclass(frozen=True, kw_only=True)
class EncodedTimelines:
    """The events of accounts and the items to compute, as arrays."""

    account_ids: tuple[str, ...]
    known_since: npt.NDArray[np.int64]  # first moment at which an event of the account was known
    events: SweepEvents
    items: SweepItems
    words: dict[str, tuple[str, ...]]  # attribute name to its words by code


def columns_read(catalogue: Catalogue) -> tuple[str, ...]:
    """The columns of an event frame that features and attributes need, without the id."""
    columns = {
        column
        for f in catalogue.primitives
        for column in BY_NAME[f.aggregate.operation].reads
        if column != "quantity" or f.aggregate.of is None
    }
    if any(f.quantities for f in catalogue.primitives):
        columns.add("quantity")
    if kinds_with_properties(catalogue):
        columns.add("properties")
    return (
        "account_id",
        "kind",
        "occurred_at",
        "recorded_at",
        *(
            name
            for name in ("user_id", "event_count", "user_count", "quantity", "properties")
            if name in columns
        ),
    )


def kinds_with_properties(catalogue: Catalogue) -> frozenset[str]:
    """The kinds of which a feature or attribute reads a property."""
    kinds = {kind for f in catalogue.primitives if f.where or f.aggregate.of for kind in f.reads}
    return frozenset(kinds | {kind for a in catalogue.attributes if a.of for kind in a.reads})


def kinds_with_quantity(catalogue: Catalogue) -> frozenset[str]:
    """The kinds of which a feature selects events by their quantity."""
    return frozenset(kind for f in catalogue.primitives if f.quantities for kind in f.reads)


def properties_read(catalogue: Catalogue) -> tuple[str, ...]:
    """The properties that a feature or attribute reads."""
    read = {
        key
        for f in catalogue.primitives
        for key in (*f.where, *f.aggregate.state, f.aggregate.of)
        if key is not None
    }
    return tuple(sorted(read | {a.of for a in catalogue.attributes if a.of}))


def encode_timelines(frame: pl.DataFrame, catalogue: Catalogue) -> EncodedTimelines:
    """Order and encode the events of whole accounts; kinds that nothing reads are left out.

    Args:
        frame: the columns of ``EVENT_SCHEMA``, or those of ``columns_read`` and ``event_id``; and,
            where corrections are known, ``superseded_at``. Without ``event_id``, two events of an
            account may not have the same ``occurred_at`` and ``recorded_at``.
        catalogue: what will be computed.

    Raises:
        UndecidedOrderError: two events have, and there are no ids to order them.
    """
    kinds, kind_rows = number_strings(StringViews.of(frame["kind"]))
    names = frame["kind"].gather(kind_rows)
    is_read = names.is_in(list(catalogue.kinds_read)).to_numpy()
    if not is_read.all():
        frame = frame.filter(pl.Series(is_read[kinds], dtype=pl.Boolean))
        kinds, kind_rows = number_strings(StringViews.of(frame["kind"]))
    account_ids, account = _accounts(frame["account_id"])
    occurred, recorded = _moments(frame["occurred_at"]), _moments(frame["recorded_at"])
    ids = (
        StringViews.none() if "event_id" not in frame.columns else StringViews.of(frame["event_id"])
    )
    starts, order, known_since, undecided = order_events(
        account, len(account_ids), occurred, recorded, ids.words, ids.addresses
    )
    if undecided:
        raise UndecidedOrderError(
            f"{undecided} events of an account happened and became known at the same moments as "
            f"another. Read the events with their event_id, which decides the order."
        )
    row_class, classes = _classes(frame, kinds, kind_rows, catalogue)
    user, n_users = NO_CODES, np.zeros(len(account_ids), dtype=np.int64)
    if "user_id" in frame.columns:
        user, n_users = number_users(
            account, len(account_ids), *string_keys(StringViews.of(frame["user_id"]))
        )
    superseded = NO_MOMENTS
    if "superseded_at" in frame.columns and frame["superseded_at"].null_count() < frame.height:
        superseded = _fixed(frame["superseded_at"].dt.epoch("us").fill_null(FOREVER), np.int64)
    items, words = _items(classes, catalogue)
    return EncodedTimelines(
        account_ids=account_ids,
        known_since=known_since,
        items=items,
        words=words,
        events=SweepEvents(
            account_starts=starts,
            order=read_only(order),
            occurred=occurred,
            recorded=recorded,
            superseded=superseded,
            row_class=read_only(row_class),
            event_count=_column(frame, "event_count", np.int64),
            user_count=_column(frame, "user_count", np.int64),
            quantity=_quantities(frame),
            user=read_only(user),
            n_users=n_users,
        ),
    )


def _accounts(column: pl.Series) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """The accounts in order, and the index of each row's account."""
    codes, rows = number_strings(StringViews.of(column))
    names = column.gather(rows)
    order = names.arg_sort().to_numpy()
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return tuple(names.gather(order)), rank[codes]


def _moments(column: pl.Series) -> npt.NDArray[np.int64]:
    return _fixed(column.to_physical(), np.int64)


def _column(frame: pl.DataFrame, name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    if name not in frame.columns:
        return read_only(np.empty(0, dtype=kind))
    column = frame[name]
    return _fixed(column.fill_null(math.nan) if column.null_count() else column, kind)


def _quantities(frame: pl.DataFrame) -> npt.NDArray[Any]:
    """The quantities; one that is absurd, which older workspaces may hold, is unknown (NaN)."""
    numbers = _column(frame, "quantity", np.float64)
    absurd = np.abs(numbers) > LARGEST_READ
    return read_only(np.where(absurd, math.nan, numbers)) if absurd.any() else numbers


def _fixed(column: pl.Series, kind: type[np.generic]) -> npt.NDArray[Any]:
    return read_only(np.ascontiguousarray(column.to_numpy(), dtype=kind))


def _classes(
    frame: pl.DataFrame,
    kinds: npt.NDArray[np.int32],
    kind_rows: npt.NDArray[np.int64],
    catalogue: Catalogue,
) -> tuple[npt.NDArray[np.int32], pl.DataFrame]:
    """Each row's class, and for each class its kind, its quantity and the properties that are read.

    Properties and quantities are read once per distinct value, and only of kinds of which a feature
    reads them.
    """
    names = frame["kind"].gather(kind_rows)
    with_properties = names.is_in(list(kinds_with_properties(catalogue))).to_numpy()
    with_quantity = names.is_in(list(kinds_with_quantity(catalogue))).to_numpy()
    properties = np.zeros(frame.height, dtype=np.int32)
    bits = np.zeros(frame.height, dtype=np.int64)
    if with_properties.any():
        codes, _ = number_strings(StringViews.of(frame["properties"]))
        properties = np.where(with_properties[kinds], codes, np.int32(-1))
    if with_quantity.any():
        numbers = np.ascontiguousarray(frame["quantity"].fill_null(math.nan).to_numpy())
        bits = np.where(with_quantity[kinds], numbers.view(np.int64), 0)
    codes, rows = kinds, kind_rows
    if with_properties.any() or with_quantity.any():
        codes, rows = number_triples(kinds, properties, bits)
    read = properties_read(catalogue)
    kind_of = kinds[rows]
    nothing = pl.lit(None, pl.String)
    distinct = pl.DataFrame(
        {
            "kind": names.gather(kind_of),
            "properties": frame["properties"].gather(rows)
            if "properties" in frame.columns
            else pl.Series([None] * len(rows), dtype=pl.String),
            "quantity": frame["quantity"].gather(rows)
            if "quantity" in frame.columns
            else pl.Series([None] * len(rows), dtype=pl.Float64),
            "with_properties": with_properties[kind_of],
            "with_quantity": with_quantity[kind_of],
        }
    ).select(
        "kind",
        pl.when("with_quantity").then("quantity").alias("quantity"),
        *(
            pl.when("with_properties")
            .then(pl.col("properties").str.json_path_match(f"$.{key}"))
            .otherwise(nothing)
            .alias(f"property:{key}")
            for key in read
        ),
    )
    table = distinct.unique().sort(distinct.columns, nulls_last=False).with_row_index("row_class")
    row_class = (
        distinct.join(
            table, on=distinct.columns, how="left", nulls_equal=True, maintain_order="left"
        )["row_class"]
        .to_numpy()
        .astype(np.int32)
    )
    return row_class[codes], table


def _items(
    table: pl.DataFrame,
    catalogue: Catalogue,
) -> tuple[SweepItems, dict[str, tuple[str, ...]]]:
    kinds = table["kind"].to_list()
    quantities = table["quantity"].to_list()
    columns = {
        name.removeprefix("property:"): table[name].to_list()
        for name in table.columns
        if name.startswith("property:")
    }
    primitives, attributes = catalogue.primitives, catalogue.attributes
    spans = [(_span(f.lookback), f.ends_before // MICROSECOND) for f in primitives]
    ripe = [
        (lookback, ends_before + f.aggregate.after // MICROSECOND)
        for f, (lookback, ends_before) in zip(primitives, spans, strict=True)
    ]
    spans += [(FOREVER, 0)] * len(attributes)
    windows = sorted(
        {*spans, *ripe}, key=_reach_and_span, reverse=True
    )  # the order that the kernel needs
    entries: list[list[Entry]] = [[] for _ in kinds]
    # Row by row of a kind, because ids in properties can make as many classes as there are events.
    rows_of: dict[str, list[int]] = {}
    for row, kind in enumerate(kinds):
        rows_of.setdefault(kind, []).append(row)
    n_values: list[int] = []
    for number, feature in enumerate(primitives):
        codes: dict[str, int] = {}
        window, ripe_window = windows.index(spans[number]), windows.index(ripe[number])
        for row in (row for kind in feature.reads for row in rows_of.get(kind, ())):
            picked = not feature.quantities or quantities[row] in feature.quantities
            if picked and _passes(feature.where, columns, row):
                said, code = _value_and_code(feature, columns, row, codes)
                # `after` delays the events that enter the state, not those that leave it.
                chosen = ripe_window if said > 0 and feature.aggregate.after else window
                entries[row].append((chosen, number, said, code))
        n_values.append(len(codes))
    words: dict[str, tuple[str, ...]] = {}
    for number, attribute in enumerate(attributes, start=len(primitives)):
        found: dict[str, int] = {}
        window = windows.index(spans[number])
        for kind in attribute.reads:
            for row in rows_of.get(kind, ()):
                word = _word(attribute, columns, kind, row)
                if word is not None:
                    place = float(found.setdefault(word, len(found)))
                    entries[row].append((window, number, place, -1))
        words[attribute.name] = tuple(found)
    operations = [f.aggregate.operation for f in primitives] + ["last"] * len(attributes)
    number_of = {operation.name: number for number, operation in enumerate(OPERATIONS)}
    quantity_read = [
        f.aggregate.of is None and "quantity" in BY_NAME[f.aggregate.operation].reads
        for f in primitives
    ] + [False] * len(attributes)
    groups = [
        [
            (window, list(same))
            for window, same in groupby(
                sorted(of_class, key=lambda entry: (entry[0], operations[entry[1]], entry[1])),
                key=lambda entry: entry[0],
            )
        ]
        for of_class in entries
    ]
    flat_groups = [group for of_class in groups for group in of_class]
    flat = [entry for _, same in flat_groups for entry in same]
    items = SweepItems(
        operation=np.array([number_of[name] for name in operations], dtype=np.int32),
        when_empty=np.array(
            [math.nan if f.when_empty is None else f.when_empty for f in primitives]
            + [math.nan] * len(attributes)
        ),
        n_values=np.array(n_values + [0] * len(attributes), dtype=np.int64),
        lookback=np.array([lookback for lookback, _ in windows], dtype=np.int64),
        ends_before=np.array([ends_before for _, ends_before in windows], dtype=np.int64),
        class_groups=_offsets([len(of_class) for of_class in groups]),
        group_window=np.array([window for window, _ in flat_groups], dtype=np.int32),
        group_entries=_offsets([len(same) for _, same in flat_groups]),
        entry_item=np.array([entry[1] for entry in flat], dtype=np.int32),
        entry_value=np.array([entry[2] for entry in flat], dtype=np.float64),
        entry_code=np.array([entry[3] for entry in flat], dtype=np.int32),
        entry_quantity=np.array([quantity_read[entry[1]] for entry in flat], dtype=np.bool_),
    )
    return items, words


def _span(lookback: timedelta | None) -> int:
    return FOREVER if lookback is None else lookback // MICROSECOND


def _reach_and_span(window: tuple[int, int]) -> tuple[int, int, int]:
    """How long before a cutoff an event may have happened; then the window itself, for ties."""
    lookback, ends_before = window
    return FOREVER if lookback == FOREVER else ends_before + lookback, lookback, ends_before


def _offsets(lengths: list[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _passes(
    where: Mapping[str, str | tuple[str, ...]], columns: dict[str, list[str | None]], row: int
) -> bool:
    for key, wanted in where.items():
        allowed = (wanted,) if isinstance(wanted, str) else wanted
        if columns[key][row] not in allowed:
            return False
    return True


def _value_and_code(
    feature: Feature,
    columns: dict[str, list[str | None]],
    row: int,
    codes: dict[str, int],
) -> tuple[float, int]:
    aggregate = feature.aggregate
    operation = BY_NAME[aggregate.operation]
    text = None if aggregate.of is None else columns[aggregate.of][row]
    if text is None:
        return math.nan, -1
    code, value = -1, math.nan
    if operation.counts_distinct == "values":
        code = codes.setdefault(text, len(codes))
    if operation.property_as == "state":
        value = float(_passes(aggregate.state, columns, row))
    elif operation.property_as == "date":
        value = _days_since_epoch(text)
    else:
        value = aggregate.words.get(text, math.nan) if aggregate.words else _number(text)
    return value, code


def _word(
    attribute: Attribute,
    columns: dict[str, list[str | None]],
    kind: str,
    row: int,
) -> str | None:
    return attribute.words.get(kind) if attribute.of is None else columns[attribute.of][row]


def _days_since_epoch(text: str) -> float:
    """Whole days since 1970 of an ISO date, NaN where the text is no date or an absurd one."""
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        return math.nan
    return float((day - date(1970, 1, 1)).days) if EARLIEST_DATE <= day <= LATEST_DATE else math.nan


def _number(text: str) -> float:
    """The text as a number of a plausible size, NaN where it is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST_READ else math.nan
