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

from features.windows import DAY_IN_MICROSECONDS, FOREVER, end_cutoff, first_cutoff

OPERATIONS = ("count", "sum", "mean", "max", "min", "last", "users", "user_days", "peak_users",
              "values", "active_days", "days_since_last", "days_since_first", "days_until")
"""Every operation an aggregate may name; the kernel knows them by their place in this tuple."""

COUNT, SUM, MEAN, MAX, MIN, LAST, USERS, USER_DAYS, PEAK_USERS, VALUES, ACTIVE_DAYS, \
    SINCE_LAST, SINCE_FIRST, UNTIL = range(len(OPERATIONS))

CUTOFFS_PER_BLOCK = 64  # one bit each in the mask of cutoffs that have seen a user, day or value

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SweepEvents:
    """Events of whole accounts as arrays, ordered by account, occurrence, knowledge and id.

    ``row_class`` numbers the distinct (kind, properties that some feature reads); all per-feature
    choices are made once per class instead of once per event. Codes are dense within an account.
    """

    account_starts: Ints  # (n_accounts + 1,) row offsets
    occurred: Ints
    recorded: Ints
    superseded: Ints  # FOREVER where the row is still valid
    row_class: Ints
    event_count: Floats
    user_count: Floats
    quantity: Floats  # NaN: none
    user: Ints  # -1: unknown
    user_day: Ints  # -1: unknown
    day: Ints
    space_sizes: Ints  # (n_accounts, 3) number of users, user-days and days of each account


@dataclass(frozen=True, kw_only=True)
class SweepItems:
    """What to compute: one item per primitive feature, and which row classes feed it."""

    operation: Ints  # (n_items,) index into OPERATIONS
    lookback: Ints  # microseconds; FOREVER: all that is known
    ends_before: Ints
    when_empty: Floats  # NaN: unknown
    n_values: Ints  # (n_items,) number of distinct property values; 0 where not counted
    class_starts: Ints  # (n_classes + 1,) offsets into the next three
    class_item: Ints
    class_value: Floats  # number read from a property; NaN: read the event's quantity
    class_code: Ints  # code of the property value, -1 where there is none
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
    out = np.empty((n_accounts, len(cutoffs), len(items.operation)))
    shares = _even_shares(events.account_starts, max(1, min(threads, n_accounts)))

    def work(share: tuple[int, int]) -> None:
        for block in range(0, len(cutoffs), CUTOFFS_PER_BLOCK):
            _sweep_accounts(
                share[0], share[1], events.account_starts, events.occurred, events.recorded,
                events.superseded, events.row_class, events.event_count, events.user_count,
                events.quantity, events.user, events.user_day, events.day, events.space_sizes,
                items.operation, items.lookback, items.ends_before, items.when_empty,
                items.n_values, items.class_starts, items.class_item, items.class_value,
                items.class_code, items.reads_property,
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


@numba.njit(cache=True, nogil=True)
def _sweep_accounts(  # type: ignore[no-untyped-def]
    first_account, end_account, account_starts, occurred, recorded, superseded, row_class,
    event_count, user_count, quantity, user, user_day, day, space_sizes,
    operation, lookback, ends_before, when_empty, n_values,
    class_starts, class_item, class_value, class_code, reads_property, cutoffs, out,
):
    n_items = len(operation)
    n_cutoffs = len(cutoffs)
    number = np.empty((n_items, n_cutoffs))
    seen_events = np.empty((n_items, n_cutoffs), dtype=np.int64)
    seen_known = np.empty((n_items, n_cutoffs), dtype=np.int64)
    moment = np.empty((n_items, n_cutoffs), dtype=np.int64)
    mask_start = np.zeros(n_items + 1, dtype=np.int64)
    masks = np.zeros(1, dtype=np.uint64)
    for account in range(first_account, end_account):
        for item in range(n_items):
            size = 0
            kind = operation[item]
            if kind == USERS:
                size = space_sizes[account, 0]
            elif kind == USER_DAYS:
                size = space_sizes[account, 1]
            elif kind == ACTIVE_DAYS:
                size = space_sizes[account, 2]
            elif kind == VALUES:
                size = n_values[item]
            mask_start[item + 1] = mask_start[item] + size
        if mask_start[n_items] > len(masks):
            masks = np.zeros(2 * mask_start[n_items], dtype=np.uint64)
        else:
            masks[:mask_start[n_items]] = 0
        number[:] = 0.0
        seen_events[:] = 0
        seen_known[:] = 0
        moment[:] = 0

        for row in range(account_starts[account], account_starts[account + 1]):
            known_class = row_class[row]
            for entry in range(class_starts[known_class], class_starts[known_class + 1]):
                item = class_item[entry]
                opens = occurred[row] + ends_before[item]
                closes = FOREVER
                if lookback[item] != FOREVER:
                    closes = opens + lookback[item]
                first = first_cutoff(cutoffs, recorded[row], opens)
                end = end_cutoff(cutoffs, superseded[row], closes)
                if first >= end:
                    continue
                kind = operation[item]
                if kind == COUNT:
                    for c in range(first, end):
                        seen_events[item, c] += 1
                        number[item, c] += event_count[row]
                    continue
                if kind in (USERS, USER_DAYS, VALUES, ACTIVE_DAYS):
                    code = class_code[entry]
                    if kind == USERS:
                        code = user[row]
                    elif kind == USER_DAYS:
                        code = user_day[row]
                    elif kind == ACTIVE_DAYS:
                        code = day[row]
                    for c in range(first, end):
                        seen_events[item, c] += 1
                    if code < 0:
                        continue
                    place = mask_start[item] + code
                    already = masks[place]
                    for c in range(first, end):
                        bit = np.uint64(1) << np.uint64(c)
                        seen_known[item, c] += 1
                        if not already & bit:
                            already |= bit
                            number[item, c] += 1.0
                    masks[place] = already
                    continue
                if kind == PEAK_USERS:
                    for c in range(first, end):
                        seen_events[item, c] += 1
                        number[item, c] = max(number[item, c], user_count[row])
                    continue
                if kind in (SINCE_LAST, SINCE_FIRST):
                    for c in range(first, end):
                        # rows ascend in occurrence: the first stays, the last overwrites
                        if kind == SINCE_LAST or seen_events[item, c] == 0:
                            moment[item, c] = occurred[row]
                        seen_events[item, c] += 1
                    continue
                value = class_value[entry] if reads_property[item] else quantity[row]
                if np.isnan(value):
                    continue
                for c in range(first, end):
                    if kind in (SUM, MEAN):
                        number[item, c] += value
                    elif kind == MAX:
                        if seen_events[item, c] == 0 or value > number[item, c]:
                            number[item, c] = value
                    elif kind == MIN:
                        if seen_events[item, c] == 0 or value < number[item, c]:
                            number[item, c] = value
                    else:  # LAST, UNTIL
                        number[item, c] = value
                    seen_events[item, c] += 1

        for item in range(n_items):
            kind = operation[item]
            for c in range(n_cutoffs):
                if seen_events[item, c] == 0:
                    out[account, c, item] = when_empty[item]
                elif kind == MEAN:
                    out[account, c, item] = number[item, c] / seen_events[item, c]
                elif kind in (SINCE_LAST, SINCE_FIRST):
                    out[account, c, item] = (
                        (cutoffs[c] - moment[item, c]) / DAY_IN_MICROSECONDS
                    )
                elif kind == UNTIL:
                    out[account, c, item] = (
                        number[item, c] - cutoffs[c] / DAY_IN_MICROSECONDS
                    )
                elif (kind in (USERS, USER_DAYS)) and seen_known[item, c] == 0:
                    out[account, c, item] = np.nan  # somebody was there, nobody said who
                else:
                    out[account, c, item] = number[item, c]
