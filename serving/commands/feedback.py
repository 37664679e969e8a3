"""This module is about the command that judges what people said to recommendations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from features.command_line import DEFAULT_WORKSPACE, AsOf, InWorkspace, moment_of, out
from features.workspace import Workspace, write_atomically
from serving.commands.ledger import opened_ledger


def feedback(
    by_action: Annotated[bool, typer.Option(
        "--by-action", help="Each action on its own.")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Judge what people said to recommendations: who left of those they disagreed about?

    Counts the newest thing that was said to each decision, each account once in 90 days, and sets
    those who left within 90 days beside those whom the model expected to leave. It is what
    followed, not what was caused.
    """
    from serving.judged_feedback import judged, said_in

    place = Workspace(workspace)
    moment = moment_of(place, as_of)
    with opened_ledger(place, must_exist=True) as ledger:
        found = judged(said_in(ledger.database, place, as_of=moment), by_action=by_action)
    if file is not None:
        write_atomically(file, json.dumps(
            {"as_of": moment.isoformat(), "follow_up_days": 90,
             "judged": [one.to_dict() for one in found]}, indent=1, allow_nan=False).encode())
    if not found:
        out.print(f"Nobody has said anything to a recommendation up to {moment:%Y-%m-%d}. On an "
                  f"account's page, or by POST /v1/decisions/ID/feedback, people agree, disagree "
                  f"or say not now.", markup=False)
        return
    shown = Table("said", *(["action"] if by_action else []), "accounts", "carried out",
                  "what followed", f"left within 90 days, as of {moment:%Y-%m-%d}")
    for one in found:
        followed = ", ".join(f"{name.replace('_', ' ')} {count:,}"
                             for name, count in one.results.items()) or "nothing known"
        shown.add_row(one.verdict, *([str(one.action)] if by_action else []), f"{one.said:,}",
                      f"{one.carried_out:,}", followed, one.words)
    out.print(shown)
