"""The line on top of every page while a store of the workspace cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from serving.pages.frame import Notice


class Degraded(Protocol):
    """What is shown of the condition of a store."""

    @property
    def store(self) -> str:
        """Its name."""

    @property
    def missing(self) -> str | None:
        """What readers miss meanwhile."""

    @property
    def since(self) -> datetime | None:
        """When that was noticed."""


def degraded_notices(stores: Iterable[Degraded]) -> tuple[Notice, ...]:
    """A sentence for each store that cannot be used; why is told to whoever runs Keepwell.

    >>> from types import SimpleNamespace
    >>> events = SimpleNamespace(store="events", missing="timelines are missing", since=None)
    >>> [one.text for one in degraded_notices([events])]
    ['Meanwhile timelines are missing. Whoever runs Keepwell finds the reason at /readyz.']
    """
    return tuple(
        Notice(
            title=f"Something is wrong with the {one.store} of this workspace{_since(one.since)}",
            text=f"Meanwhile {one.missing}. Whoever runs Keepwell finds the reason at /readyz.",
        )
        for one in stores
    )


def _since(moment: datetime | None) -> str:
    return "" if moment is None else f" since {moment:%Y-%m-%d %H:%M} UTC"
