"""The condition of each store of a workspace: whether it can be used, since when not, and why.

A store that is damaged degrades what needs it, and the rest goes on. What is degraded is looked at
again and again, so that a file that comes back is noticed without a start. ``/readyz``, the line on
top of each page and the gauge ``keepwell_store_degraded`` show the same conditions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

log = logging.getLogger("keepwell.serving")

Look = Callable[[], str | None]
"""Says what is wrong with a store and what to do, or None."""


@dataclass(frozen=True, kw_only=True)
class WatchedStore:
    """A store, what its readers miss while it is degraded, and how to look at it."""

    name: str
    missing: str
    look: Look


@dataclass(frozen=True, kw_only=True)
class StoreCondition:
    """The condition of one store; ``reason`` is None where all is well."""

    store: str
    reason: str | None = None
    missing: str | None = None
    since: datetime | None = None


class StoreConditions:
    """The conditions of the watched stores, as they were when they were looked at last.

    Args:
        stores: what is looked at.
        clock: the real time.
    """

    def __init__(self, stores: tuple[WatchedStore, ...], clock: Callable[[], datetime]) -> None:
        self._stores = stores
        self._clock = clock
        self._found: Mapping[str, StoreCondition] = {
            one.name: StoreCondition(store=one.name) for one in stores
        }
        self._looking = threading.Lock()

    def look(self) -> tuple[StoreCondition, ...]:
        """Look at every store now; what changed is in the log."""
        with self._looking:
            found = {one.name: self._look_at(one) for one in self._stores}
            self._found = found
        return tuple(found.values())

    def all(self) -> tuple[StoreCondition, ...]:
        """What was found last."""
        return tuple(self._found.values())

    def degraded(self) -> tuple[StoreCondition, ...]:
        """The stores that could not be used when they were looked at last."""
        return tuple(one for one in self.all() if one.reason is not None)

    def _look_at(self, store: WatchedStore) -> StoreCondition:
        before = self._found[store.name]
        reason = store.look()
        if reason is None:
            if before.reason is not None:
                log.info("%s: as they should be again", store.name)
            return StoreCondition(store=store.name)
        if reason == before.reason:
            return before
        log.warning("%s: %s", store.name, reason)
        return StoreCondition(
            store=store.name,
            reason=reason,
            missing=store.missing,
            since=before.since or self._clock(),
        )
