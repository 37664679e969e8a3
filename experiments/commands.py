"""This module is about the commands of this package: what logged actions cause, and reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from features.command_line import DEFAULT_WORKSPACE, AsOf, InWorkspace, moment_of, out, step
from features.workspace import Workspace


def effects(
    segment_by: Annotated[str, typer.Option(
        help="The attribute whose values are segments.")] = "segment",
    seed: Annotated[int, typer.Option(help="Same log and seed, same numbers.")] = 1,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Measure what logged actions cause, with interval and grade, for the ranking to read.

    Lotteries by their odds; what people chose by weekly trials. Written to effects.json beside the
    reports. Only grades A to C move a belief; the file says why an effect has no such grade.
    """
    from experiments.uplift.workspace_effects import write_effects

    place = Workspace(workspace)
    with step("Measuring effects"):
        path, found = write_effects(place, as_of=moment_of(place, as_of), seed=seed,
                                    segment_by=segment_by)
    shown = Table("action", "on", "points", "95 % interval", "accounts' worth", "grade")
    for one in found.effects:
        if one.segment is None:
            shown.add_row(one.action_id, one.outcome, f"{100 * one.estimate:+.1f}",
                          f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
                          f"{one.effective_n:,.0f}", one.grade)
    out.print(shown)
    for line in (*found.notes, *(f"{action}: {why}" for action, why in found.unanswered.items())):
        out.print(line, highlight=False, markup=False)
    out.print(str(path))


def report(as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Write the causal report: which interventions work, for whom, worth how much."""
    from experiments.workspace_report import report_on

    place = Workspace(workspace)
    with step("Estimating effects"):
        paths = report_on(place, as_of=moment_of(place, as_of), written_at=datetime.now(UTC))
    for path in paths:
        out.print(str(path))
