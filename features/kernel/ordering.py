"""Order events by account and time, and number users within accounts.

The sweep needs events in the order of account, ``occurred_at``, ``recorded_at`` and id. Files of the
lake are nearly in that order. So a counting sort finds the rows of each account, and these are merged
only where they are not in order already. Compiled; takes and returns arrays.
"""

from __future__ import annotations

import numpy as np

from features.kernel.numba_cache import compiled, compiled_in_place, inlined
from features.kernel.strings import less


@compiled
def order_events(  # type: ignore[no-untyped-def]
    account,
    n_accounts,
    occurred,
    recorded,
    id_words,
    id_addresses,
):
    """The rows in the order of the sweep.

    Returns:
        account_starts, order, known_since of each account, and the number of neighbours whose order
        is not decided because ids are missing.
    """
    starts = np.zeros(n_accounts + 1, dtype=np.int64)
    known_since = np.full(n_accounts, np.iinfo(np.int64).max, dtype=np.int64)
    for row in range(len(account)):
        starts[account[row] + 1] += 1
        known_since[account[row]] = min(known_since[account[row]], recorded[row])
    for number in range(n_accounts):
        starts[number + 1] += starts[number]
    place = starts[:-1].copy()
    order = np.empty(len(account), dtype=np.int32)
    for row in range(len(account)):
        order[place[account[row]]] = row
        place[account[row]] += 1
    has_ids = len(id_words) > 0
    spare = np.empty(0, dtype=np.int32)
    undecided = 0
    for number in range(n_accounts):
        rows = order[starts[number] : starts[number + 1]]
        if not _insert(rows, occurred, recorded, has_ids, id_words, id_addresses):
            if len(spare) < len(rows):
                spare = np.empty(2 * len(rows), dtype=np.int32)
            _merge(rows, spare, occurred, recorded, has_ids, id_words, id_addresses)
        if not has_ids:
            for at in range(1, len(rows)):
                undecided += (
                    occurred[rows[at - 1]] == occurred[rows[at]]
                    and recorded[rows[at - 1]] == recorded[rows[at]]
                )
    return starts, order, known_since, undecided


@inlined
def _before(one, other, occurred, recorded, has_ids, id_words, id_addresses):  # type: ignore[no-untyped-def]
    if occurred[one] != occurred[other]:
        return occurred[one] < occurred[other]
    if recorded[one] != recorded[other]:
        return recorded[one] < recorded[other]
    return has_ids and less(id_words, id_addresses, one, other)


@compiled_in_place
def _insert(rows, occurred, recorded, has_ids, id_words, id_addresses):  # type: ignore[no-untyped-def]
    """Sort rows that are nearly in order; stops early, without losing a row, where they are not."""
    moves = 8 * len(rows) + 64
    for at in range(1, len(rows)):
        row = rows[at]
        to = at
        while to > 0 and _before(
            row, rows[to - 1], occurred, recorded, has_ids, id_words, id_addresses
        ):
            rows[to] = rows[to - 1]
            to -= 1
        rows[to] = row
        moves -= at - to
        if moves < 0:
            return False
    return True


@compiled_in_place
def _merge(rows, spare, occurred, recorded, has_ids, id_words, id_addresses):  # type: ignore[no-untyped-def]
    """Sort rows by merging longer and longer runs; equal rows keep their order."""
    n = len(rows)
    width = 1
    while width < n:
        for low in range(0, n - width, 2 * width):
            middle, high = low + width, min(low + 2 * width, n)
            if not _before(
                rows[middle], rows[middle - 1], occurred, recorded, has_ids, id_words, id_addresses
            ):
                continue
            for at in range(low, middle):
                spare[at] = rows[at]
            left, right = low, middle
            for to in range(low, high):
                if left == middle:
                    break
                if right < high and _before(
                    rows[right], spare[left], occurred, recorded, has_ids, id_words, id_addresses
                ):
                    rows[to] = rows[right]
                    right += 1
                else:
                    rows[to] = spare[left]
                    left += 1
        width *= 2


@compiled
def number_users(account, n_accounts, low, high):  # type: ignore[no-untyped-def]
    """Each row's number of its user within the account (-1: unknown), and how many there are.

    Users are identified by the two words of ``strings.string_keys``. One hash table holds the users of
    all accounts, so that rows are read in the order of memory.
    """
    users = np.full(len(account), -1, dtype=np.int32)
    counts = np.zeros(n_accounts, dtype=np.int64)
    table = np.zeros((1024, 3), dtype=np.uint64)  # low, high, account and number
    found = 0
    for row in range(len(account)):
        one, other = low[row], high[row]
        if one == 0 and other == 0:
            continue
        whose = np.uint64(account[row]) << np.uint64(32)
        spot = _spot(one, other, whose) & (len(table) - 1)
        while (
            table[spot, 0] != one
            or table[spot, 1] != other
            or (table[spot, 2] ^ whose) >> np.uint64(32) != 0
        ):
            if table[spot, 0] == 0 and table[spot, 1] == 0:
                table[spot, 0], table[spot, 1] = one, other
                table[spot, 2] = whose | np.uint64(counts[account[row]])
                counts[account[row]] += 1
                found += 1
                break
            spot = (spot + 1) & (len(table) - 1)
        users[row] = table[spot, 2] & np.uint64(0xFFFFFFFF)
        if 2 * found > len(table):
            old = table
            table = np.zeros((4 * len(old), 3), dtype=np.uint64)
            for before in range(len(old)):
                if old[before, 0] == 0 and old[before, 1] == 0:
                    continue
                whose = (old[before, 2] >> np.uint64(32)) << np.uint64(32)
                spot = _spot(old[before, 0], old[before, 1], whose) & (len(table) - 1)
                while table[spot, 0] != 0 or table[spot, 1] != 0:
                    spot = (spot + 1) & (len(table) - 1)
                table[spot] = old[before]
    return users, counts


@inlined
def _spot(low, high, whose):  # type: ignore[no-untyped-def]
    mixed = (
        low ^ (high * np.uint64(0x9E3779B97F4A7C15)) ^ (whose * np.uint64(0xC2B2AE3D27D4EB4F))
    ) * np.uint64(0xD6E8FEB86659FD93)
    return np.int64(mixed >> np.uint64(33))


@compiled
def number_triples(one, two, three):  # type: ignore[no-untyped-def]
    """Each row's number among the distinct triples, and the first row of each."""
    codes = np.empty(len(one), dtype=np.int32)
    rows = np.empty(16, dtype=np.int64)
    table = np.full(64, -1, dtype=np.int32)
    found = 0
    for row in range(len(one)):
        spot = _mixed(one[row], two[row], three[row]) & (len(table) - 1)
        while table[spot] >= 0:
            there = rows[table[spot]]
            if one[there] == one[row] and two[there] == two[row] and three[there] == three[row]:
                break
            spot = (spot + 1) & (len(table) - 1)
        if table[spot] < 0:
            if found == len(rows):
                more = np.empty(2 * found, dtype=np.int64)
                more[:found] = rows
                rows = more
            table[spot] = found
            rows[found] = row
            found += 1
        codes[row] = table[spot]
        if 2 * found > len(table):
            table = np.full(4 * len(table), -1, dtype=np.int32)
            for number in range(found):
                there = rows[number]
                spot = _mixed(one[there], two[there], three[there]) & (len(table) - 1)
                while table[spot] >= 0:
                    spot = (spot + 1) & (len(table) - 1)
                table[spot] = number
    return codes, rows[:found].copy()


@inlined
def _mixed(one, two, three):  # type: ignore[no-untyped-def]
    mixed = (
        (np.int64(one) * np.int64(0x1E3779B97F4A7C15))
        ^ (np.int64(two) * np.int64(0x56E8FEB86659FD93))
        ^ (three * np.int64(0x2545F4914F6CDD1D))
    )
    mixed ^= mixed >> 32
    mixed *= np.int64(0x56E8FEB86659FD93)
    return (mixed ^ (mixed >> 29)) & np.int64(0x7FFFFFFFFFFFFFFF)
