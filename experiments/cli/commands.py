"""The commands `report` and `effects`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    AsOf,
    InWorkspace,
    moment_of,
    out,
    show_progress,
    time_of,
)
from features.workspace import Workspace

Followed = Annotated[
    int,
    typer.Option(
        "--horizon",
        min=7,
        max=365,
        metavar="DAYS",
        help="For how many days accounts are followed after an action. The ranking counts 90: of "
        "fewer it counts what was prevented in them, and more it does not read.",
    ),
]


def effects(
    segment_by: Annotated[
        str, typer.Option(help="The attribute whose values are segments.")
    ] = "segment",
    seed: Annotated[int, typer.Option(min=0, help="Same log and seed, same numbers.")] = 1,
    horizon: Followed = 90,
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Measure what logged actions cause, with interval and grade, for the ranking to read.

    Lotteries by their odds; what people chose by weekly trials. Written to effects.json beside the
    reports. Only grades A to C move a belief; the file says why an effect has no such grade. An
    effect is on what is good, so that more is better: 5 more stay is the 5 fewer that leave of a
    report.
    """
    from experiments.uplift.workspace import replaced_horizons, write_effects

    place = Workspace(workspace)
    before = replaced_horizons(place, horizon)
    with show_progress("Measuring effects"):
        path, found = write_effects(
            place,
            as_of=_followed_to(place, as_of),
            seed=seed,
            segment_by=segment_by,
            horizon_days=horizon,
        )
    shown = Table("action", "of 100", "points", "95 % interval", "accounts' worth", "grade")
    for one in found.effects:
        if one.segment is None:
            shown.add_row(
                one.action_id,
                "more stay" if one.outcome == "retention" else "more grow",
                f"{100 * one.estimate:+.1f}",
                f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
                f"{one.effective_n:,.0f}",
                one.grade,
            )
    out.print(shown)
    for line in (*found.notes, *(f"{action}: {why}" for action, why in found.unanswered.items())):
        out.print(line, highlight=False, markup=False)
    if before:
        listed = " and ".join(str(days) for days in before)
        out.print(f"These effects over {horizon} days take the place of those over {listed} days.")
    out.print(str(path))


def _followed_to(place: Workspace, as_of: datetime | None) -> datetime:
    """The day that was asked about; else as far as contracts are known, which may be after the use is."""
    from training.dataset.data_span import known_until
    from training.dataset.labels import label_in

    if as_of is not None:
        return moment_of(place, as_of)
    return known_until(place, label_in(place.settings, "churn"), None)


def report(
    horizon: Followed = 90, as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE
) -> None:
    """Write the causal report: which interventions work, for whom, worth how much."""
    from experiments.report.workspace import write_workspace_report

    place = Workspace(workspace)
    with show_progress("Estimating effects"):
        paths = write_workspace_report(
            place,
            as_of=_followed_to(place, as_of),
            written_at=time_of(place),
            horizon_days=horizon,
        )
    for path in paths:
        out.print(str(path))
