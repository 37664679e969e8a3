"""The command that judges another policy on logged decisions."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AnyWorkspace,
    AsOf,
    CommandError,
    moment_of,
    out,
    read_text_file,
    show_progress,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.ledger import open_ledger


def evaluate_policy(
    log: Annotated[
        Path | None,
        typer.Argument(
            help="A CSV or Parquet file of logged choices with action, propensity, reward and what the "
            "candidate would do; the workspace's own decisions, by default."
        ),
    ] = None,
    candidate: Annotated[
        Path | None,
        typer.Option(
            help="For the workspace's decisions: a file of decision_id and what the candidate would "
            "do. Without it the candidate is the policy without chance."
        ),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            help="For the workspace's decisions: the candidate is another actions.toml, asked what was "
            "asked then, without chance."
        ),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(help="The candidate has other limits: a TOML file such as `caution = 1.0`."),
    ] = None,
    days: Annotated[
        int,
        typer.Option(
            min=1,
            max=3650,
            help="For the workspace's decisions: the follow-up whose revenue is the reward.",
        ),
    ] = 90,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--write-log",
            help="A CSV or Parquet file to write the workspace's decisions to, as they were read.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Seed of the random draws; the same log and seed give the same numbers."
        ),
    ] = 1,
    as_of: AsOf = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge another policy on logged decisions: what would it have earned?

    Values by IPS, SNIPS, DR and DR with shrinkage; the candidate passes where the one-sided 95 %
    bound of the paired difference is above 0. Ends with 1 where it does not pass, so that a
    pipeline stops, and with 0 where it does. Of decisions with propensity 1 nothing can be learned.
    """
    if log is not None and (candidate or log_file or catalogue or limits):
        raise CommandError(
            "--candidate, --catalogue, --limits and --write-log go with the "
            "decisions of a workspace. In a file of logged choices the candidate is "
            "a column of its own."
        )
    if candidate is not None and (catalogue or limits):
        raise CommandError(
            "Give --candidate FILE for choices that are known, or --catalogue and "
            "--limits for a policy that is asked."
        )
    from experiments.table_file import read_table, table_bytes
    from serving.recommendations.candidate_policy import candidate_policy, choose_by_candidate

    policy = (
        None
        if catalogue is None and limits is None
        else candidate_policy(
            actions=None
            if catalogue is None
            else read_text_file(catalogue, "the candidate's actions.toml"),
            limits=None if limits is None else read_text_file(limits, "a TOML file of limits"),
        )
    )
    place, unit = Workspace(workspace), "units of reward"
    if log is not None:
        table = read_table(log, "logged decisions")
    else:
        from serving.recommendations.logged_decisions import (
            load_logged_decisions,
            with_candidate,
            without_chance,
        )

        with open_ledger(place, must_exist=True) as ledger:
            table = load_logged_decisions(
                ledger.database,
                place,
                as_of=moment_of(place, as_of),
                follow_up=timedelta(days=days),
            )
            if policy is not None:
                table = with_candidate(table, choose_by_candidate(ledger.database, table, policy))
            elif candidate is None:
                table = without_chance(ledger.database, table)
        unit = f"{place.settings.currency} over {days} days"
        if candidate is not None:
            table = with_candidate(table, read_table(candidate, "logged decisions"))
        if log_file is not None:
            write_atomically(log_file, table_bytes(table, log_file.suffix))
    import numpy as np

    from experiments.off_policy.evaluate import evaluate_choices  # takes more than a second
    from experiments.off_policy.log import build_logged_choices

    with show_progress("Judging the candidate"):
        found = evaluate_choices(
            build_logged_choices(table), unit=unit, rng=np.random.default_rng(seed)
        )
    if file is not None:
        write_atomically(file, json.dumps(found.to_dict(), indent=1, allow_nan=False).encode())
    if found.values is not None:
        shown = Table("estimator", f"value, {unit} a decision", "95 % interval")
        for row in found.table():
            shown.add_row(*row)
        out.print(shown)
    for line in found.lines():
        out.print(line, highlight=False, markup=False)
    if not found.passes:
        raise typer.Exit(FOUND)
