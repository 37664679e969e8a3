"""Sweep: one pass over the events of each account, for all cutoffs.

The kernel reads the events of one account in order and adds each to the cutoffs that see it
(``windows.py``). The backfill, one account after a new event, and a partition on a cluster use the same
function, so training and serving cannot differ. It takes and returns arrays.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from features.kernel.aggregations import CELL, OPERATIONS, Distinct, Span, compile_dispatch
from features.kernel.numba_cache import compiled, compiled_in_place, inlined
from features.kernel.windows import (
    DAY_IN_MICROSECONDS,
    FOREVER,
    end_visible,
    first_visible,
)

CUTOFFS_PER_BLOCK = 64  # one bit each in the mask of cutoffs that have seen a user, day or value

DISTINCT = get_args(Distinct)
NOTHING, USERS, USER_DAYS, DAYS, VALUES = range(len(DISTINCT))
COUNTS_DISTINCT = np.array([DISTINCT.index(operation.counts_distinct) for operation in OPERATIONS])

take, finish = compile_dispatch("take"), compile_dispatch("finish")

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make an array read-only: the compiler then gets one type, whatever made the array."""
    array.flags.writeable = False
    return array


NO_CODES = read_only(np.empty(0, dtype=np.int32))


@dataclass(frozen=True, kw_only=True)
class SweepEvents:
    """Events of whole accounts as columns, and the order in which they are swept.

    The events of account ``a`` are the rows ``order[account_starts[a]:account_starts[a + 1]]``, by
    ``occurred_at``, ``recorded_at`` and id; rows of no account are skipped. ``row_class`` numbers the
    distinct (kind, properties that a feature reads): which features an event counts for is decided
    once per class and not once per event. A column that no item reads may be empty;
    ``superseded`` may also be empty where nothing was corrected.
    """

    account_starts: Ints  # (n_accounts + 1,) offsets into order
    order: Codes
    occurred: Ints
    recorded: Ints
    superseded: Ints  # FOREVER where the row is still valid
    row_class: Codes
    event_count: Ints
    user_count: Ints
    quantity: Floats  # NaN: none
    user: Codes  # number of the user within its account; -1: unknown
    n_users: Ints  # (n_accounts,)


@dataclass(frozen=True, kw_only=True)
class SweepItems:
    """What to compute: one item per primitive feature, and which row classes count for it.

    An entry says that a class counts for an item. The entries of a class with the same window are a
    group, so that the cutoffs that see an event are found once a group. The groups of a class are
    sorted by how far back their windows reach (``ends_before`` and ``lookback`` together), the
    farthest first: an event that is too old for one group is too old for all later ones.
    """

    operation: Codes  # (n_items,) index into OPERATIONS
    when_empty: Floats  # NaN: unknown
    n_values: Ints  # (n_items,) number of distinct property values; 0 where not counted
    lookback: Ints  # (n_windows,) microseconds; FOREVER: all that is known
    ends_before: Ints  # (n_windows,)
    class_groups: Ints  # (n_classes + 1,) offsets into the next
    group_window: Codes
    group_entries: Ints  # (n_groups + 1,) offsets into the next three
    entry_item: Codes
    entry_value: Floats  # number read from a property
    entry_code: Codes  # code of the property value, -1 where there is none
    entry_quantity: npt.NDArray[np.bool_]  # whether the value is the event's quantity instead


def sweep(events: SweepEvents, items: SweepItems, cutoffs: Ints, *, threads: int = 1) -> Floats:
    """The value of every item for every account and cutoff.

    Args:
        events: events of whole accounts.
        items: what to compute.
        cutoffs: ascending moments, microseconds since 1970 UTC.
        threads: how many account ranges are computed at once; the result does not depend on it.

    Returns:
        (n_accounts, n_cutoffs, n_items); NaN is unknown.
    """
    n_accounts = len(events.account_starts) - 1
    # Item by item in memory, because each item becomes a column of a frame.
    out = np.empty((len(items.operation), n_accounts, len(cutoffs))).transpose(1, 2, 0)
    shares = _even_shares(events.account_starts, max(1, min(threads, n_accounts)))

    user_day, n_user_days = NO_CODES, np.zeros(n_accounts, dtype=np.int64)
    if (COUNTS_DISTINCT[items.operation] == USER_DAYS).any():
        user_day, n_user_days = _user_days(
            events.account_starts, events.order, events.occurred, events.user
        )
        user_day = read_only(user_day)
    room = _most_masks(
        events.account_starts,
        events.order,
        events.occurred,
        items.operation,
        items.n_values,
        events.n_users,
        n_user_days,
    )

    def work(share: tuple[int, int]) -> None:
        masks = np.empty(room, dtype=np.uint64)
        mask_start = np.zeros(len(items.operation) + 1, dtype=np.int64)
        cells = np.empty(len(items.operation) * min(len(cutoffs), CUTOFFS_PER_BLOCK), dtype=CELL)
        edges = np.empty((2, len(items.lookback)), dtype=np.int64)
        for block in range(0, len(cutoffs), CUTOFFS_PER_BLOCK):
            _sweep_accounts(
                share[0],
                share[1],
                events.account_starts,
                events.order,
                events.occurred,
                events.recorded,
                events.superseded,
                events.row_class,
                events.event_count,
                events.user_count,
                events.quantity,
                events.user,
                events.n_users,
                user_day,
                n_user_days,
                items.operation,
                items.when_empty,
                items.n_values,
                items.lookback,
                items.ends_before,
                items.class_groups,
                items.group_window,
                items.group_entries,
                items.entry_item,
                items.entry_value,
                items.entry_code,
                items.entry_quantity,
                cutoffs[block : block + CUTOFFS_PER_BLOCK],
                out[:, block : block + CUTOFFS_PER_BLOCK],
                cells,
                cells.view(np.uint8),
                masks,
                mask_start,
                edges,
            )

    if len(shares) == 1:
        work(shares[0])
    else:
        with ThreadPoolExecutor(len(shares)) as pool:
            list(pool.map(work, shares))
    return out


def _even_shares(account_starts: Ints, n_shares: int) -> list[tuple[int, int]]:
    """Account ranges with about the same number of events each."""
    targets = np.linspace(0, account_starts[-1], n_shares + 1)
    edges = np.searchsorted(account_starts, targets, side="left")
    edges[0], edges[-1] = 0, len(account_starts) - 1
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges) if b > a] or [(0, 0)]


@compiled_in_place
def _sweep_accounts(  # type: ignore[no-untyped-def]
    first_account,
    end_account,
    account_starts,
    order,
    occurred,
    recorded,
    superseded,
    row_class,
    event_count,
    user_count,
    quantity,
    user,
    n_users,
    user_day,
    n_user_days,
    operation,
    when_empty,
    n_values,
    lookback,
    ends_before,
    class_groups,
    group_window,
    group_entries,
    entry_item,
    entry_value,
    entry_code,
    entry_quantity,
    cutoffs,
    out,
    cells,
    cells_as_bytes,
    masks,
    mask_start,
    edges,
):
    n_items, n_cutoffs = len(operation), len(cutoffs)
    opened, closed = edges[0], edges[1]
    for account in range(first_account, end_account):
        rows = order[account_starts[account] : account_starts[account + 1]]
        first_day, n_days = _days(rows, occurred)
        for item in range(n_items):
            mask_start[item + 1] = mask_start[item] + _n_distinct(
                COUNTS_DISTINCT[operation[item]],
                n_users[account],
                n_user_days[account],
                n_days,
                n_values[item],
            )
        masks[: mask_start[n_items]] = 0
        cells_as_bytes[:] = 0
        opened[:] = 0
        closed[:] = 0

        for place in range(len(rows)):
            row = rows[place]
            happened = occurred[row]
            known = -1  # first cutoff after the row was recorded; found when first needed
            gone = n_cutoffs
            if len(superseded) > 0 and superseded[row] != FOREVER:
                gone = end_visible(cutoffs, superseded[row])
            count = event_count[row] if len(event_count) > 0 else np.int64(0)
            people = user_count[row] if len(user_count) > 0 else np.int64(0)
            who = np.int64(user[row]) if len(user) > 0 else np.int64(-1)
            who_when = np.int64(user_day[row]) if len(user_day) > 0 else np.int64(-1)
            day = happened // DAY_IN_MICROSECONDS - first_day
            row_in_class = row_class[row]
            for group in range(class_groups[row_in_class], class_groups[row_in_class + 1]):
                window = group_window[group]
                # Rows ascend in occurrence, so the edges of a window only move forward.
                opens = happened + ends_before[window]
                first = opened[window]
                while first < n_cutoffs and cutoffs[first] <= opens:
                    first += 1
                opened[window] = first
                end = gone
                if lookback[window] != FOREVER:
                    closes = opens + lookback[window]
                    close = closed[window]
                    while close < n_cutoffs and cutoffs[close] <= closes:
                        close += 1
                    closed[window] = close
                    if close == 0:
                        break  # too old for all cutoffs of this group and of the later ones
                    end = min(end, close)
                if first >= end:
                    continue
                if known < 0:
                    known = first_visible(cutoffs, recorded[row], first)
                first = max(first, known)
                if first >= end:
                    continue
                bits = _bits(first, end)
                for entry in range(group_entries[group], group_entries[group + 1]):
                    item = entry_item[entry]
                    span = Span(
                        np.uint64(item * n_cutoffs + first),
                        np.uint64(item * n_cutoffs + end),
                        bits,
                        first,
                        end == n_cutoffs,
                    )
                    value = quantity[row] if entry_quantity[entry] else entry_value[entry]
                    take(
                        operation[item],
                        cells,
                        masks,
                        mask_start[item],
                        span,
                        np.int32(place + 1),
                        opens,
                        value,
                        who,
                        who_when,
                        day,
                        np.int64(entry_code[entry]),
                        count,
                        people,
                        cutoffs,
                    )

        for item in range(n_items):
            finish(
                operation[item],
                cells[item * n_cutoffs : (item + 1) * n_cutoffs],
                cutoffs,
                occurred,
                rows,
                when_empty[item],
                out[account, :, item],
            )


@inlined
def _bits(first, end):  # type: ignore[no-untyped-def]
    """The bits from ``first`` to before ``end``; at least one and at most 64."""
    return (~np.uint64(0) >> np.uint64(64 - (end - first))) << np.uint64(first)


@inlined
def _days(rows, occurred):  # type: ignore[no-untyped-def]
    """The first UTC day of an account, and how many there are until its last."""
    first_day, n_days = np.int64(0), np.int64(0)
    if len(rows) > 0:
        first_day = occurred[rows[0]] // DAY_IN_MICROSECONDS
        n_days = occurred[rows[-1]] // DAY_IN_MICROSECONDS - first_day + 1
    return first_day, n_days


@inlined
def _n_distinct(tells, n_users, n_user_days, n_days, n_values):  # type: ignore[no-untyped-def]
    """How many masks an item needs for an account."""
    size = np.int64(0)
    if tells == USERS:
        size = n_users
    elif tells == USER_DAYS:
        size = n_user_days
    elif tells == DAYS:
        size = n_days
    elif tells == VALUES:
        size = n_values
    return size


@compiled
def _most_masks(  # type: ignore[no-untyped-def]
    account_starts,
    order,
    occurred,
    operation,
    n_values,
    n_users,
    n_user_days,
):
    """The largest number of masks that an account needs."""
    most = np.int64(0)
    for account in range(len(account_starts) - 1):
        _, n_days = _days(order[account_starts[account] : account_starts[account + 1]], occurred)
        masks = np.int64(0)
        for item in range(len(operation)):
            masks += _n_distinct(
                COUNTS_DISTINCT[operation[item]],
                n_users[account],
                n_user_days[account],
                n_days,
                n_values[item],
            )
        most = max(most, masks)
    return most


@compiled
def _user_days(account_starts, order, occurred, user):  # type: ignore[no-untyped-def]
    """Each row's number among the distinct (user, day) of its account, and how many there are."""
    codes = np.full(len(occurred), -1, dtype=np.int32)
    counts = np.zeros(len(account_starts) - 1, dtype=np.int64)
    for account in range(len(counts)):
        rows = order[account_starts[account] : account_starts[account + 1]]
        first_day, n_days = _days(rows, occurred)
        size = 64
        while size < 2 * len(rows):
            size *= 2
        keys = np.full(size, -1, dtype=np.int64)
        numbers = np.empty(size, dtype=np.int32)
        for row in rows:
            if user[row] < 0:
                continue
            key = user[row] * n_days + occurred[row] // DAY_IN_MICROSECONDS - first_day
            spot = ((key * np.int64(0x9E3779B97F4A7C1)) >> 20) & (size - 1)
            while keys[spot] >= 0 and keys[spot] != key:
                spot = (spot + 1) & (size - 1)
            if keys[spot] < 0:
                keys[spot] = key
                numbers[spot] = counts[account]
                counts[account] += 1
            codes[row] = numbers[spot]
    return codes, counts


class UndecidedOrderError(Exception):
    """The order of two events depends on their ids, and these are missing."""
