"""Bounds of a connection: how much, how long, how many."""

from __future__ import annotations

import resource
from dataclasses import dataclass

SPARE_FILES = 128
"""Descriptors that stay for files and databases when every connection is taken."""

WANTED_FILES = 16_384


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be.

    A body has ``body_seconds``, and a second more for each ``body_bytes_per_second`` that came; an
    answer that its reader has not taken any of for ``answer_seconds`` is given up.
    """

    connections: int = 8_192
    head_bytes: int = 65_536
    address_bytes: int = 8_192
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    body_bytes_per_second: int = 65_536
    answer_seconds: float = 30.0
    idle_seconds: int = 10


def limits_of_this_process() -> ConnectionLimits:
    """The bounds, with as many connections as this process may have files.

    Raises the soft limit of open files towards the hard one first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else soft
    return ConnectionLimits(
        connections=max(16, min(ConnectionLimits.connections, files - SPARE_FILES))
    )
