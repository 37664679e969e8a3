"""The command that proposes a health formula."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    AsOf,
    InWorkspace,
    moment_of,
    out,
    show_progress,
)
from features.workspace import Workspace
from features.workspace_files import write_atomically


def propose(
    file: Annotated[Path, typer.Option("--out", help="The TOML file to write.")] = Path(
        "health_formula.toml"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Same data and seed, same numbers.")] = 1,
    as_of: AsOf = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Propose a health formula from your own churn, judged on later months beside the written one.

    Parts are the measures of the written formulas, each in the direction that they declare; steps,
    weights and bands come from the data. The file is read like the formulas that Keepwell brings.
    Nothing uses it before a person adopts it: `keepwell health adopt FILE`.
    """
    from features.health.formula_text import formula_text
    from training.health.workspace import propose_for_workspace

    place = Workspace(workspace)
    moment = moment_of(place, as_of)
    with show_progress("Fitting a health formula"):
        found = propose_for_workspace(place, as_of=moment, seed=seed)
    remarks = (
        "A health formula proposed by `keepwell health propose`. Nothing uses it before a person",
        f"adopts it: keepwell health adopt {file.name} --by NAME",
        "",
        *found.lines(),
        "",
    )
    write_atomically(file, formula_text(found.formula, remarks).encode())
    for line in found.lines():
        out.print(line, highlight=False, markup=False)
    out.print(f"Written to {file}.", highlight=False, markup=False)
