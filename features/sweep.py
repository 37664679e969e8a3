"""This module is about the sweep: one pass over the events of each account, for all cutoffs.

The kernel reads the events of one account in order and adds each to the cutoffs it is seen from
(``windows``). The same function serves the backfill, one account after a new event, and a
partition on a cluster, so training and serving can not differ. Takes and returns arrays; knows
nothing of files.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from features.windows import DAY_IN_MICROSECONDS, FOREVER, cutoffs_until

OPERATIONS = ("count", "sum", "mean", "max", "min", "last", "users", "user_days", "peak_users",
              "values", "active_days", "days_since_last", "days_since_first", "days_until")
"""Every operation an aggregate may name; the kernel knows them by their place in this tuple."""

COUNT, SUM, MEAN, MAX, MIN, LAST, USERS, USER_DAYS, PEAK_USERS, VALUES, ACTIVE_DAYS, \
    SINCE_LAST, SINCE_FIRST, UNTIL = range(len(OPERATIONS))

CUTOFFS_PER_BLOCK = 64  # one bit each in the mask of cutoffs that have seen a user, day or value

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SweepEvents:
    """Events of whole accounts as columns, and the order in which they are swept.

    The events of account ``a`` are the rows ``order[account_starts[a]:account_starts[a + 1]]``, by
    occurrence, knowledge and id. ``row_class`` numbers the distinct (kind, properties that some
    feature reads); all per-feature choices are made once per class instead of once per event. A
    column that no item reads may be empty, ``superseded`` also where nothing was corrected.
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
    """What to compute: one item per primitive feature, and which row classes feed it.

    Entries say that a class feeds an item. Those of a class with the same window are a group, so
    that the cutoffs an event is seen from are found once a group.
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
    entry_value: Floats  # number read from a property; NaN: read the event's quantity
    entry_code: Codes  # code of the property value, -1 where there is none
    reads_property: npt.NDArray[np.bool_]  # (n_items,)


def sweep(events: SweepEvents, items: SweepItems, cutoffs: Ints, *, threads: int = 1) -> Floats:
    """The value of every item for every account and cutoff.

    Args:
        events: events of whole accounts.
        items: what to compute.
        cutoffs: ascending moments, microseconds since 1970 UTC.
        threads: account ranges worked on at once; the result does not depend on it.

    Returns:
        (n_accounts, n_cutoffs, n_items); NaN is unknown.
    """
    n_accounts = len(events.account_starts) - 1
    # Item by item in memory, as the columns of a frame want it.
    out = np.empty((len(items.operation), n_accounts, len(cutoffs))).transpose(1, 2, 0)
    shares = _even_shares(events.account_starts, max(1, min(threads, n_accounts)))

    def work(share: tuple[int, int]) -> None:
        for block in range(0, len(cutoffs), CUTOFFS_PER_BLOCK):
            _sweep_accounts(
                share[0], share[1], events.account_starts, events.order, events.occurred,
                events.recorded, events.superseded, events.row_class, events.event_count,
                events.user_count, events.quantity, events.user, events.n_users,
                items.operation, items.when_empty, items.n_values, items.lookback,
                items.ends_before, items.class_groups, items.group_window, items.group_entries,
                items.entry_item, items.entry_value, items.entry_code, items.reads_property,
                cutoffs[block:block + CUTOFFS_PER_BLOCK],
                out[:, block:block + CUTOFFS_PER_BLOCK],
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sweep_accounts(  # type: ignore[no-untyped-def]
    first_account, end_account, account_starts, order, occurred, recorded, superseded, row_class,
    event_count, user_count, quantity, user, n_users,
    operation, when_empty, n_values, lookback, ends_before, class_groups, group_window,
    group_entries, entry_item, entry_value, entry_code, reads_property, cutoffs, out,
):
    n_items, n_cutoffs, n_windows = len(operation), len(cutoffs), len(lookback)
    # One cell for each item and cutoff. Unsigned places spare the compiler negative ones.
    cells = n_items * n_cutoffs
    number = np.empty(cells)
    seen = np.empty(cells, dtype=np.int32)  # how many, or the row's place, from 1
    # What holds from a cutoff on to the last one is noted there once and carried on at the end.
    carried = np.empty(cells)
    carried_seen = np.empty(cells, dtype=np.int32)
    opened = np.empty(n_windows, dtype=np.int64)
    closed = np.empty(n_windows, dtype=np.int64)
    mask_start = np.zeros(n_items + 1, dtype=np.int64)
    masks = np.zeros(1, dtype=np.uint64)
    counts_user_days = False
    for item in range(n_items):
        counts_user_days |= operation[item] == USER_DAYS
    user_day = np.empty(0, dtype=np.int32)
    n_user_days = np.int64(0)
    for account in range(first_account, end_account):
        start, end_row = account_starts[account], account_starts[account + 1]
        first_day, n_days = np.int64(0), np.int64(0)
        if end_row > start:
            first_day = occurred[order[start]] // DAY_IN_MICROSECONDS
            n_days = occurred[order[end_row - 1]] // DAY_IN_MICROSECONDS - first_day + 1
        if counts_user_days:
            user_day, n_user_days = _user_days(order[start:end_row], occurred, user, first_day,
                                               n_days)
        for item in range(n_items):
            size = np.int64(0)
            kind = operation[item]
            if kind == USERS:
                size = n_users[account]
            elif kind == USER_DAYS:
                size = n_user_days
            elif kind == ACTIVE_DAYS:
                size = n_days
            elif kind == VALUES:
                size = n_values[item]
            mask_start[item + 1] = mask_start[item] + size
        if mask_start[n_items] > len(masks):
            masks = np.zeros(2 * mask_start[n_items], dtype=np.uint64)
        else:
            masks[:mask_start[n_items]] = 0
        number[:] = 0.0
        seen[:] = 0
        carried[:] = 0.0
        carried_seen[:] = 0
        opened[:] = 0
        closed[:] = 0

        for place in range(start, end_row):
            row = order[place]
            at = np.int32(place - start + 1)
            happened = occurred[row]
            known = -1  # first cutoff after the row was recorded; found when first needed
            gone = n_cutoffs
            if len(superseded) > 0 and superseded[row] != FOREVER:
                gone = cutoffs_until(cutoffs, superseded[row])
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
                    end = min(end, close)
                if first >= end:
                    continue
                if known < 0:
                    known = first
                    if known > 0 and cutoffs[known - 1] > recorded[row]:
                        known = 0
                    while known < n_cutoffs and cutoffs[known] <= recorded[row]:
                        known += 1
                first = max(first, known)
                if first >= end:
                    continue
                carries = end == n_cutoffs
                for entry in range(group_entries[group], group_entries[group + 1]):
                    item = entry_item[entry]
                    kind = operation[item]
                    begin = np.uint64(item * n_cutoffs + first)
                    stop = np.uint64(item * n_cutoffs + end)
                    if kind == COUNT:
                        if carries:
                            carried[begin] += event_count[row]
                            carried_seen[begin] = 1
                        else:
                            for cell in range(begin, stop):
                                number[cell] += event_count[row]
                                seen[cell] = 1
                    elif kind in (USERS, USER_DAYS, VALUES, ACTIVE_DAYS):
                        if kind == USERS:
                            code = np.int64(user[row])
                        elif kind == USER_DAYS:
                            code = np.int64(user_day[place - start])
                        elif kind == ACTIVE_DAYS:
                            code = happened // DAY_IN_MICROSECONDS - first_day
                        else:
                            code = np.int64(entry_code[entry])
                        if code < 0:
                            for cell in range(begin, stop):
                                seen[cell] = 1
                            continue
                        spot = np.uint64(mask_start[item] + code)
                        fresh = _bits(first, end) & ~masks[spot]
                        if fresh == 0:
                            continue
                        masks[spot] |= fresh
                        fresh >>= np.uint64(first)
                        for cell in range(begin, stop):
                            number[cell] += np.int64(fresh & np.uint64(1))
                            fresh >>= np.uint64(1)
                    elif kind in (SINCE_LAST, SINCE_FIRST):
                        if carries:
                            if kind == SINCE_LAST or carried_seen[begin] == 0:
                                carried_seen[begin] = at
                        else:
                            for cell in range(begin, stop):
                                if kind == SINCE_LAST or seen[cell] == 0:
                                    seen[cell] = at
                    elif kind == PEAK_USERS:
                        for cell in range(begin, stop):
                            number[cell] = max(number[cell], user_count[row])
                            seen[cell] = 1
                    else:
                        value = entry_value[entry] if reads_property[item] else quantity[row]
                        if np.isnan(value):
                            continue
                        if kind in (SUM, MEAN):
                            for cell in range(begin, stop):
                                number[cell] += value
                                seen[cell] += 1
                        elif kind in (MAX, MIN):
                            for cell in range(begin, stop):
                                if seen[cell] == 0 or (value > number[cell] if kind == MAX
                                                       else value < number[cell]):
                                    number[cell] = value
                                seen[cell] += 1
                        elif carries:  # LAST, UNTIL
                            carried[begin] = value
                            carried_seen[begin] = at
                        else:
                            for cell in range(begin, stop):
                                number[cell] = value
                                seen[cell] = at

        for item in range(n_items):
            kind = operation[item]
            held, held_seen = 0.0, np.int32(0)
            for c in range(n_cutoffs):
                cell = item * n_cutoffs + c
                value, found = number[cell], seen[cell]
                if kind == COUNT:
                    held += carried[cell]
                    held_seen |= carried_seen[cell]
                    value, found = value + held, found | held_seen
                elif kind in (LAST, UNTIL, SINCE_LAST):
                    if carried_seen[cell] > held_seen:
                        held, held_seen = carried[cell], carried_seen[cell]
                    if held_seen > found:
                        value, found = held, held_seen
                elif kind == SINCE_FIRST:
                    if carried_seen[cell] > 0 and (
                            held_seen == 0 or carried_seen[cell] < held_seen):
                        held_seen = carried_seen[cell]
                    if held_seen > 0 and (found == 0 or held_seen < found):
                        found = held_seen
                elif value == 0.0 and found > 0 and kind in (USERS, USER_DAYS):
                    value = np.nan  # somebody was there, nobody said who
                elif value > 0.0 and kind in (USERS, USER_DAYS, VALUES, ACTIVE_DAYS):
                    found = np.int32(1)
                if found == 0:
                    value = when_empty[item]
                elif kind == MEAN:
                    value /= found
                elif kind in (SINCE_LAST, SINCE_FIRST):
                    moment = occurred[order[start + found - 1]]
                    value = (cutoffs[c] - moment) / DAY_IN_MICROSECONDS
                elif kind == UNTIL:
                    value -= cutoffs[c] / DAY_IN_MICROSECONDS
                out[account, c, item] = value


@numba.njit(cache=True, nogil=True, inline="always")
def _bits(first, end):  # type: ignore[no-untyped-def]
    """The bits from first to end, end left out; at least one and at most 64."""
    return (~np.uint64(0) >> np.uint64(64 - (end - first))) << np.uint64(first)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _user_days(rows, occurred, user, first_day, n_days):  # type: ignore[no-untyped-def]
    """Each row's number among the distinct (user, day) of an account, and how many there are."""
    codes = np.full(len(rows), -1, dtype=np.int32)
    size = 64
    while size < 2 * len(rows):
        size *= 2
    keys = np.full(size, -1, dtype=np.int64)
    numbers = np.empty(size, dtype=np.int32)
    found = 0
    for at in range(len(rows)):
        if user[rows[at]] < 0:
            continue
        key = user[rows[at]] * n_days + occurred[rows[at]] // DAY_IN_MICROSECONDS - first_day
        spot = ((key * np.int64(0x9E3779B97F4A7C1)) >> 20) & (size - 1)
        while keys[spot] >= 0 and keys[spot] != key:
            spot = (spot + 1) & (size - 1)
        if keys[spot] < 0:
            keys[spot] = key
            numbers[spot] = found
            found += 1
        codes[at] = numbers[spot]
    return codes, found
