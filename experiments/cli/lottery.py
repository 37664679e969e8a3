"""What `keepwell whom-to-act-on` does with the file of a lottery."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.table import Table

from features.cli.options import CommandError, out, show_progress
from features.workspace_files import write_atomically


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
