"""The command by which a person adopts a health formula."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    out,
    read_text_file,
    time_of,
)
from features.health.formula import FORMULAS, HealthFormula, HealthFormulaError, read_formulas
from features.health.formula_text import formula_text
from features.workspace import Workspace
from features.workspace_files import write_atomically
from serving.cli.keys import DecidedBy, who


def adopt(
    file: Annotated[Path, typer.Argument(help="A TOML file with one health formula.")],
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Use a health formula of your own in a workspace; who adopted it is written into its file.

    Snapshots hold the score, and models read it: make the snapshots again and train afterwards.
    `health_formula = "balanced"` in workspace.toml goes back.
    """
    place = Workspace(workspace)
    formula = _one_formula(file)
    by = who(place, by, "administer")
    remarks = (f"Adopted by {by} on {time_of(place):%Y-%m-%d}.", "")
    with place.lock():
        write_atomically(place.formula_file, formula_text(formula, remarks).encode())
        place.change_settings(health_formula=formula.id)
    out.print(
        f"{place.root.name} uses the health formula {formula.id!r} ({formula.version}) from now on. "
        f"Until its snapshots are made again (keepwell snapshot --from … --to … --every month) and "
        f"models are trained (keepwell train churn), models that read the health score do not answer.",
        highlight=False,
        markup=False,
    )


def _one_formula(file: Path) -> HealthFormula:
    try:
        found = read_formulas(read_text_file(file, "a TOML file with a health formula"), file.name)
    except (HealthFormulaError, ValueError) as exc:
        raise CommandError(f"{file} holds no health formula: {exc}") from exc
    if len(found) != 1:
        raise CommandError(f"{file} holds {len(found)} health formulas; one can be adopted.")
    [formula] = found.values()
    if formula.id in FORMULAS:
        raise CommandError(
            f"{formula.id!r} is a formula that Keepwell brings: choose it by health_formula in "
            f"workspace.toml, or give yours another id."
        )
    return formula
