"""Hold accounts out where there are too few cutoffs to hold months out.

::

    two thirds of the accounts   ── fitted and calibrated, at every cutoff ──┤
    one third of the accounts    ── judged, at the same cutoffs ─────────────┤ known_until

An account is on one side only, and so are its parent and every other account of its family, because
one contract for all of them would tell the answer. The draw is by a hash of the ids, so it does not
change with the order of rows or with a seed. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 1 / 3
"""Share of the families that judges."""

LEAST_ACCOUNTS = 30
"""So many accounts with the outcome, and without, are needed: a third of them, ten, judges."""


def families_of(accounts: Sequence[str], parents: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
    """The number of each account's family: it, its parents, and all that share one.

    >>> families_of(["a", "b", "c", "d"], [("a", "holding"), ("c", "holding")]).tolist()
    [0, 1, 0, 2]
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.get(name, name) != name:
            above[name] = above.get(above[name], above[name])
            name = above[name]
        return name

    for child, parent in parents:
        above[top(child)] = top(parent)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(top(name), len(numbers)) for name in accounts], np.int64)


def hold_out(
    accounts: Sequence[str], families: NDArray[np.int64], had_outcome: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which accounts judge: a third of the families with the outcome, and of those without.

    Args:
        accounts: the ids.
        families: the number of each account's family.
        had_outcome: whether each account had the outcome at some cutoff.
    """
    names: dict[int, str] = {}
    for name, family in zip(accounts, families.tolist(), strict=True):
        names[family] = min(name, names.get(family, name))
    had = np.bincount(families, had_outcome) > 0
    drawn = sorted(names, key=lambda family: hashlib.blake2b(names[family].encode()).digest())
    judges = np.zeros(len(had), dtype=np.bool_)
    for side in (True, False):
        among = [family for family in drawn if had[family] == side]
        judges[among[: round(HELD_OUT_SHARE * len(among))]] = True
    return np.asarray(judges[families])
