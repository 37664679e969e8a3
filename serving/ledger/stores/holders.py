"""Who works on a request: a name of a process, by which others know for certain that it has ended.

A process that was killed would hold its keys until their lease ends. On the same machine nobody has to
wait for that: the operating system says whether there is still a process of this number and start.
Where it does not say, as of another machine or container, the lease decides.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from functools import cache
from pathlib import Path

PROC = Path("/proc")
ENDED = frozenset("ZXx")
"""States of a process that runs no more, and that its parent has not looked at yet."""


def new_holder() -> str:
    """A name for who works on a request now."""
    return f"{_process(os.getpid())}{secrets.token_hex(8)}"


def has_ended(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended; False where nobody knows."""
    parts = holder.split(":")
    if len(parts) != 4:
        return False
    machine, number, began, _ = parts
    try:
        if machine != _machine():
            return False
        os.kill(int(number), 0)  # only asks whether there is one
        return _began(int(number)) != began
    except ProcessLookupError:
        return True
    except (OSError, ValueError):  # of another user, or hidden, or no number
        return False


@cache
def _process(number: int) -> str:
    """What the names of a process begin with; nothing where the system does not tell processes."""
    try:
        return f"{_machine()}:{number}:{_began(number)}:"
    except OSError:
        return ""


@cache
def _machine() -> str:
    """What tells this start of this machine, and the processes seen in it, from others."""
    start = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    seen = (PROC / "self/ns/pid").readlink()
    return hashlib.blake2b(f"{start} {seen}".encode(), digest_size=6).hexdigest()


def _began(number: int) -> str:
    """When a process began, in the words of the system; nothing where it runs no more."""
    text = (PROC / str(number) / "stat").read_text(encoding="utf-8", errors="replace")
    state, *more = text.rpartition(")")[2].split()  # the name before it may hold anything
    return "" if state in ENDED else more[18]
