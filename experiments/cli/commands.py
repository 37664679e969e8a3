"""The commands `report` and `effects`, and what `whom-to-act-on` does with the file of a lottery."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    AsOf,
    CommandError,
    InWorkspace,
    moment_of,
    out,
    show_progress,
    time_of,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically

Followed = Annotated[
    int,
    typer.Option(
        "--horizon",
        min=7,
        max=365,
        help="For how many days accounts are followed after an action. The ranking counts 90; of "
        "fewer it counts what was prevented in them, at one grade less, and it reads none that "
        "were followed for longer.",
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
    from experiments.uplift.workspace import write_effects

    place = Workspace(workspace)
    with show_progress("Measuring effects"):
        path, found = write_effects(
            place,
            as_of=moment_of(place, as_of),
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
    out.print(str(path))


def decide_from_file(
    lottery: Path,
    asked: Path,
    *,
    currency: str,
    file: Path,
    cost: list[str] | None,
    no_action: str,
    stage: list[str] | None,
    leave_out: list[str] | None,
    as_json: bool,
    seed: int,
) -> None:
    """Decide for each account asked about from the file of a lottery; see ``keepwell whom-to-act-on``."""
    import numpy as np

    from experiments.table_file import read_table, table_bytes
    from experiments.targeting.decisions import decide_by_lottery, parse_costs
    from experiments.targeting.lottery_file import ASKED_ROWS, ITS_ROWS, read_accounts, read_lottery

    if file.suffix.lower() not in (".csv", ".parquet") or file.is_dir():
        raise CommandError(
            f"{file} is to hold a table. Name a file, not a folder, that ends in "
            f".csv or .parquet with --out."
        )
    if file.resolve() in (lottery.resolve(), asked.resolve()):
        raise CommandError(
            f"{file} would be written over what is read. Name another file with --out."
        )
    if not currency.strip():
        raise CommandError("Say what outcomes and costs are in: --currency USD.")
    drawn = read_lottery(
        read_table(lottery, ITS_ROWS),
        lottery.name,
        nothing=no_action,
        stages=stage or (),
        leave_out=leave_out or (),
    )
    costs = parse_costs(cost or (), drawn.actions)
    accounts = read_accounts(read_table(asked, ASKED_ROWS), asked.name, drawn.facts)
    with nullcontext() if as_json else show_progress("Learning from the lottery and deciding"):
        found = decide_by_lottery(
            drawn, accounts, cost=costs, currency=currency.strip(), rng=np.random.default_rng(seed)
        )
    write_atomically(file, table_bytes(found.frame(), file.suffix))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    **found.to_dict(
                        lottery_file=str(lottery),
                        asked_file=str(asked),
                        seed=seed,
                        made_at=datetime.now(UTC),
                    ),
                    "out": str(file),
                },
                indent=1,
                allow_nan=False,
            )
        )
        return
    shown = Table(
        "action",
        f"cost, {currency.strip()}",
        "trials in the lottery",
        "for everybody, less cost, beside none (95 %)",
        "accounts decided for",
    )
    for row in found.table():
        shown.add_row(*row)
    out.print(shown)
    for line in found.lines():
        out.print(line, highlight=False, markup=False)
    out.print(
        f"Decided {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {lottery.name}, seed {seed}; "
        f"in {file}.",
        highlight=False,
        markup=False,
    )


def report(
    horizon: Followed = 90, as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE
) -> None:
    """Write the causal report: which interventions work, for whom, worth how much."""
    from experiments.report.workspace import write_workspace_report

    place = Workspace(workspace)
    with show_progress("Estimating effects"):
        paths = write_workspace_report(
            place,
            as_of=moment_of(place, as_of),
            written_at=time_of(place),
            horizon_days=horizon,
        )
    for path in paths:
        out.print(str(path))
