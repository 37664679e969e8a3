"""Score accounts with new events at once, between full refreshes.

A full refresh scores every account when a snapshot, a champion or a setting changes. In between,
the accounts that were touched are recomputed, published and scored, and take their places in the
portfolio in one step.
"""

from __future__ import annotations

from features.streaming.refresh import AccountRefresh
from serving.state.service_state import ServiceState


class FreshScores:
    """Keeps the portfolio of a service up with the events that come in.

    To be made before the first refresh, so that nothing falls in between.
    """

    def __init__(self, service: ServiceState) -> None:
        self._service = service
        self._touched = AccountRefresh(service.workspace)
        self._number = self._touched.newest_number()

    def close(self) -> None:
        """Let go of the database of touched accounts."""
        self._touched.close()

    def start_over(self) -> None:
        """Score again what events have changed since the newest snapshot."""
        self._touched.start_over()

    def catch_up(self) -> int:
        """Score all that was touched since the last time, here or by another process; how many."""
        scored = 0
        while (some := self.step()) is not None:
            scored += some
        return scored

    def step(self) -> int | None:
        """Score some of what was touched; how many, None where nothing is left to do."""
        service = self._service
        own = self._touched.step(moment=service.now(), publish=service.features.publish)
        if (
            own is not None and not own.frame.is_empty() and own.number == self._number + 1
        ):  # nobody else has published in between
            frame, number = own.frame, own.number
        else:
            accounts, number = self._touched.published_since(self._number)
            if own is None and not accounts:
                return None
            frame = service.features.online(accounts)
        if not frame.is_empty():
            service.live.exchange(lambda portfolio: service.rescored(portfolio, frame))
        self._number = number
        return frame.height
