"""Draw accounts for an action by chance, so that anyone can redo the draw.

A draw orders accounts by a hash of (design id, draw, account id): stable, whatever the order in
which the accounts arrive, and reproducible without a random state. A lottery draws k of n, so
every account's propensity is exactly k/n.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

Arm = Literal["treated", "control"]


class LotteryError(ValueError):
    """A lottery that cannot be drawn."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The arm that chance gave an account, with its probability of treatment."""

    design_id: str
    draw: str
    account_id: str
    arm: Arm
    propensity: float


def hash_position(design_id: str, account_id: str, *, draw: str = "") -> float:
    """A number in [0, 1), the same for the same names everywhere.

    >>> round(hash_position("calls-2026", "acme"), 6)
    0.878036
    """
    name = "\x1f".join((design_id, draw, account_id)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=7).digest(), "big") / 2**56


def draw_names(
    names: Collection[str], k: int, position: Callable[[str], float], *, what: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in order, and those with the k lowest positions, lowest first.

    Raises:
        LotteryError: k is not between 1 and n - 1, or a name is there twice.
    """
    ordered = tuple(sorted(names))
    if len(set(ordered)) != len(ordered):
        raise LotteryError(f"{what} has a name twice. Give each once.")
    if not 0 < k < len(ordered):
        raise LotteryError(
            f"{what} cannot draw {k} of {len(ordered)}: somebody has to be drawn and somebody "
            f"left out."
        )
    return ordered, tuple(sorted(ordered, key=lambda name: (position(name), name))[:k])


def draw_assignments(
    design_id: str,
    account_ids: Collection[str],
    *,
    k: int,
    draw: str,
) -> tuple[Assignment, ...]:
    """Draw k of these accounts; sorted by account.

    Raises:
        LotteryError: k is not between 1 and n - 1, or an account is named twice.
    """
    names, drawn = draw_names(
        account_ids,
        k,
        lambda name: hash_position(design_id, name, draw=draw),
        what=f"Draw {draw!r} of {design_id!r}",
    )
    return tuple(
        Assignment(
            design_id=design_id,
            draw=draw,
            account_id=name,
            arm="treated" if name in drawn else "control",
            propensity=k / len(names),
        )
        for name in names
    )
