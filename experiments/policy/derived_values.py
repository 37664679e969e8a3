"""Cache results that are derived from immutable values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class DerivedValues(Generic[K, V]):
    """The result of ``make`` for a value, cached by the identity of the value.

    Comparing or hashing a playbook takes longer than a lookup in it, and every account needs it.
    The oldest results are dropped beyond ``most``.

    >>> lengths = DerivedValues(len)
    >>> lengths.of("abc"), lengths.of("abc")
    (3, 3)
    """

    def __init__(self, make: Callable[[K], V], *, most: int = 64) -> None:
        self._make = make
        self._most = most
        self._made: dict[int, tuple[K, V]] = {}

    def of(self, value: K) -> V:
        """The result for a value."""
        found = self._made.get(id(value))
        if found is None or found[0] is not value:
            found = value, self._make(value)
            self._made[id(value)] = (
                found  # the value is cached too, so that its id is not used again
            )
            if len(self._made) > self._most:
                self._made.pop(next(iter(self._made)), None)
        return found[1]
