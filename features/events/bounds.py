"""How large, how long and how far away what an event says may be.

Each kind declares the largest quantity that it can have (``schema.py``). A tenant may say otherwise in
``[bounds]`` of ``workspace.toml``, up to what Keepwell can add up: the largest sum of as many events
as anybody has is far from infinity. Pure: ``features/workspace.py`` reads the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from features.events.schema import (
    EARLIEST_DATE,
    KINDS,
    LARGEST_COUNT,
    LARGEST_QUANTITY,
    LARGEST_READ,
    LATEST_DATE,
    LONGEST_PROPERTIES,
    is_kind,
)

LARGEST_OF_KIND: Mapping[str, float] = {kind.name: kind.largest for kind in KINDS}

PROBABILITIES = tuple(kind.name for kind in KINDS if kind.largest == 1.0)
"""Kinds whose quantity is a probability; no setting makes a larger one plausible."""


class BoundsError(ValueError):
    """A bound that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds of one tenant.

    ``quantities`` is the largest quantity by kind, in either direction, where it is not the one that
    the kind declares. ``count`` is how many events or users one row may stand for, ``text`` how many
    characters one property may have. Dates (``renewal_on``, ``due_on``) lie from ``from_date`` to
    ``until_date``. Events that say they belong into another ``region`` are refused; it is the
    workspace's, and None takes all.

    Raises:
        BoundsError: a bound is beyond what Keepwell can compute with, or of a kind that is not known.
    """

    quantities: Mapping[str, float] = field(default_factory=dict)
    count: int = LARGEST_COUNT
    text: int = LONGEST_PROPERTIES
    from_date: date = EARLIEST_DATE
    until_date: date = LATEST_DATE
    region: str | None = None

    def __post_init__(self) -> None:
        for kind, largest in self.quantities.items():
            if not is_kind(kind):
                raise BoundsError(
                    f"quantities names the kind {kind!r}, which is none. The kinds are in "
                    f"docs/reference/events.md; your own begin with custom."
                )
            most = 1.0 if kind in PROBABILITIES else LARGEST_READ
            if not 0 < largest <= most:
                raise BoundsError(
                    f"quantities says {largest:g} of {kind}; it can be above 0 and up to {most:,.0f}."
                )
        for name, most_of_it in (("count", LARGEST_COUNT), ("text", LONGEST_PROPERTIES)):
            if not 1 <= getattr(self, name) <= most_of_it:
                raise BoundsError(
                    f"{name} is {getattr(self, name):,}; it can be from 1 to {most_of_it:,}."
                )
        if not EARLIEST_DATE <= self.from_date <= self.until_date <= LATEST_DATE:
            raise BoundsError(
                f"from_date {self.from_date} and until_date {self.until_date} have to lie in this "
                f"order from {EARLIEST_DATE} to {LATEST_DATE}."
            )

    def quantity(self, kind: str) -> float:
        """The largest quantity of a kind.

        >>> Bounds(quantities={"contract.changed": 5e13}).quantity("contract.changed")
        50000000000000.0
        >>> Bounds().quantity("custom.pallets")
        1000000000000.0
        """
        return self.quantities.get(kind, LARGEST_OF_KIND.get(kind, LARGEST_QUANTITY))

    def kinds_by_largest(self, kinds: Iterable[str]) -> Mapping[float, tuple[str, ...]]:
        """The largest quantity to the kinds that have it, the largest first."""
        found: dict[float, list[str]] = {}
        for kind in kinds:
            found.setdefault(self.quantity(kind), []).append(kind)
        return {largest: tuple(found[largest]) for largest in sorted(found, reverse=True)}
