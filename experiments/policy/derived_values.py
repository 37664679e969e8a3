"""Keep what is derived from values that never change: it is made once for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class DerivedValues(Generic[K, V]):
    """What ``make`` makes of a value, kept with the very same value: equal ones are not compared.

    To compare or to hash a playbook takes longer than to look something up in it, and every account
    asks. The oldest are let go beyond ``most``.

    >>> lengths = DerivedValues(len)
    >>> lengths.of("abc"), lengths.of("abc")
    (3, 3)
    """

    def __init__(self, make: Callable[[K], V], *, most: int = 64) -> None:
        self._make = make
        self._most = most
        self._made: dict[int, tuple[K, V]] = {}

    def of(self, value: K) -> V:
        """What is made of a value."""
        found = self._made.get(id(value))
        if found is None or found[0] is not value:
            found = value, self._make(value)
            self._made[id(value)] = found  # the value is kept too: its id stays its own
            if len(self._made) > self._most:
                self._made.pop(next(iter(self._made)), None)
        return found[1]
