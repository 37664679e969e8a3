"""Count what a reader would not believe, over all running accounts of finished workspaces.

``KEEPWELL_WORLDS`` names the workspaces, separated by ``:`` (``keepwell demo --workspace X --world
crm`` makes one). The counts are printed and written to ``RESULTS.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from believable import actions, level, one_truth, reasons, risk, signs, wording
from interleaved import write_section

Counts = Callable[[Path], list[tuple[str, str]]]

PARTS: tuple[tuple[str, Counts], ...] = (
    ("risk", risk.counts),
    ("level", level.counts),
    ("reasons", reasons.counts),
    ("actions", actions.counts),
    ("warning signs", signs.counts),
    ("wording", wording.counts),
    ("one truth", one_truth.counts),
)
"""The parts, each a module of ``believable/``."""

pytestmark = pytest.mark.bench


def test_counts() -> None:
    """Every part's counts, a column for each workspace."""
    worlds = [Path(one) for one in os.environ.get("KEEPWELL_WORLDS", "").split(":") if one]
    assert worlds, "set KEEPWELL_WORLDS to the folders of finished workspaces, separated by :"
    lines = [f"| | {' | '.join(one.name for one in worlds)} |", f"|---|{'---|' * len(worlds)}"]
    for part, count in PARTS:
        by_world = [dict(count(world)) for world in worlds]
        lines += [
            f"| {part}: {what} | {' | '.join(found.get(what, '') for found in by_world)} |"
            for what in dict.fromkeys(what for found in by_world for what in found)
        ]
    write_section("Believable", "\n".join(lines))
    print("\n".join(lines))
