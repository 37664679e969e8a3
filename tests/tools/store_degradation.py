"""See which stores a running service calls degraded, and wait until it does."""

from __future__ import annotations

import time
from collections.abc import Mapping

from served_workspace import Served

SECONDS_TO_NOTICE = 120.0
SECONDS_TO_ANSWER = 60.0


def ready(service: Served) -> Mapping[str, object]:
    answer: Mapping[str, object] = service.ask("readyz").json()
    return answer


def degraded(service: Served) -> dict[str, str]:
    stores = ready(service)["stores"]
    assert isinstance(stores, list)
    return {one["store"]: one["reason"] for one in stores}


def wait_until_degraded(service: Served, expected: str | None) -> None:
    until = time.monotonic() + SECONDS_TO_NOTICE
    while set(degraded(service)) != ({expected} if expected else set()):
        assert time.monotonic() < until, (ready(service), expected, service.log.read_text()[-2000:])
        time.sleep(0.1)


def check_recovered(service: Served) -> None:
    """See that all is well again, without a start."""
    wait_until_degraded(service, None)
    assert set(service.statuses(seconds=SECONDS_TO_ANSWER).values()) == {200}
    assert ready(service)["status"] == "ok"
