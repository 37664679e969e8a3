"""How time and memory grow with events and with features."""

from __future__ import annotations

import pytest
from interleaved import EVENTS, ROUNDS, in_turn, median, shown, write_section

pytestmark = pytest.mark.bench


def test_time_is_linear_and_memory_flat() -> None:
    sizes = [EVENTS // 4, EVENTS, 4 * EVENTS]
    took = in_turn(
        [*(("keepwell", size) for size in sizes), ("keepwell, half the features", EVENTS)],
        min(ROUNDS, 3),
    )
    lines = [
        "| events | features | cpu seconds | nanoseconds an event | peak MB |",
        "|---|---|---|---|---|",
    ]
    for (name, size), runs in took.items():
        n_features = 31 if "half" in name else 61
        lines.append(
            f"| {size:,} | {n_features} | {shown(runs, 'cpu')} | "
            f"{median(runs, 'cpu') / size * 1e9:,.0f} | {shown(runs, 'peak_mb', 0)} |"
        )
    write_section(
        "Growth",
        "\n".join(
            ["The same 20,000 accounts and 24 moments; the answers alone are 234 MB.", "", *lines]
        ),
    )
