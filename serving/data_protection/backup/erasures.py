"""Keep the list of erasures beside the backups, which it outlives: one sealed object an erasure."""

from __future__ import annotations

from collections.abc import Iterable

from serving.data_protection.backup.encryption import Sealing
from serving.data_protection.backup.target import Target
from serving.data_protection.pending_erasures import ErasureLine, as_bytes, lines_of

FOLDER, SUFFIX = "erasures/", ".jsonl"


def send_erasures(target: Target, sealing: Sealing, lines: Iterable[ErasureLine]) -> int:
    """Store erasures that the target does not list yet; how many that were."""
    known = set(target.sizes(FOLDER))
    new = {name: line for line in lines if (name := _path(line)) not in known}
    for name, line in new.items():
        target.write(name, sealing.seal(as_bytes([line]), name))
    target.settle()
    return len(new)


def stored_erasures(target: Target, sealing: Sealing) -> tuple[ErasureLine, ...]:
    """The erasures that a target lists."""
    return tuple(
        line
        for name in sorted(target.sizes(FOLDER))
        for line in lines_of(sealing.open(target.read(name), name), f"{target.address}/{name}")
    )


def _path(line: ErasureLine) -> str:
    return f"{FOLDER}{line.erasure_id}{SUFFIX}"
