"""The command ``check``: what the data of a workspace can answer, before anything is trained."""

from __future__ import annotations

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AsOf,
    InWorkspace,
    out,
    show_progress,
    start_of_day,
)
from features.workspace import Workspace


def check(as_of: AsOf = None, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Say what the data can answer and what not: cutoffs, outcomes, empty features, likely leaks.

    Reads the events alone, trains nothing and writes nothing. Ends with 1 where leaving cannot be
    trained, or a feature is likely to know the future, and with 0 where not.
    """
    place = Workspace(workspace)
    place.now()  # says what to do where nothing states a moment

    from training.audit.readiness import examine
    from training.audit.readiness_report import lines_of

    with show_progress("Looking at the data"):
        found = examine(place, as_of=None if as_of is None else start_of_day(as_of))
    for line in lines_of(found):
        out.print(line, highlight=False, soft_wrap=True)
    if found.leaks or not found.can_train:
        raise typer.Exit(FOUND)
