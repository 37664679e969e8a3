"""Show the metrics of a training in a few lines that fit any terminal.

`keepwell demo` shows them; as plain values first, so that a second run can show them again.
"""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

SHOWN = {"log_loss": "log loss", "auc": "AUC"}
"""Metric to its heading."""


def brief_table(results: list[dict[str, Any]]) -> Table:
    """One line a contender, best log loss first, narrow enough for any terminal."""
    table = Table(
        "on later months",
        *(f"{heading} (95 %)" for heading in SHOWN.values()),
        box=None,
        pad_edge=False,
    )
    for result in results:
        table.add_row(
            Text(f"{result['label']} within {result['horizon_days']} days", "bold"),
            Text(result["test"], "dim"),
            "",
        )
        ordered = sorted(result["contenders"].items(), key=lambda item: item[1]["log_loss"][0])
        for title, metrics in ordered:
            table.add_row(
                f"  {title}",
                *("{:.3f} ({:.3f} to {:.3f})".format(*metrics[name]) for name in SHOWN),
            )
    return table
