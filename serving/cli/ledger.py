"""Commands that verify the ledger and replay its decisions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.options import DEFAULT_WORKSPACE, FOUND, AnyWorkspace, CommandError, out, plural
from features.workspace import Workspace

if TYPE_CHECKING:
    from serving.ledger.ledger import Ledger


def verify(
    head: Annotated[
        str | None,
        typer.Option(help="A head noted earlier, which the ledger must still hold."),
    ] = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look for the first altered, missing, added or moved record; ends with 1 if there is one."""
    place = Workspace(workspace)
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise CommandError(
            f"{head!r} is no head of a ledger, which has 64 characters of 0 to 9 "
            f"and a to f. Copy the one that `keepwell ledger verify` printed."
        )
    with open_ledger(place, must_exist=True) as ledger:
        verified = ledger.verify(head=head)
    if verified.finding is not None:
        out.print(verified.finding.words, markup=False)
        raise typer.Exit(FOUND)
    out.print(
        f"{plural(verified.records, 'record')}, each as it was written. Note the head "
        f"elsewhere: only against it are removed newest records found.",
        markup=False,
    )
    for one in verified.redactions:
        out.print(
            f"{one.at[:10]}: {plural(one.gone, 'record')} erased and {one.changed} without a name, "
            f"of one {one.about}, by {one.by}: {one.reason}",
            markup=False,
            highlight=False,
        )
    out.print(f"head {verified.head}", markup=False, soft_wrap=True)


def replay(
    decision: Annotated[str, typer.Argument(help="The id of the decision.")],
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Ask a stored decision again, and compare every number; ends with 1 if one differs."""
    from serving.ledger.errors import UnknownDecisionError
    from serving.ledger.replay.replay import replay, shared_digest

    with open_ledger(Workspace(workspace), must_exist=True) as ledger:
        try:
            stored = ledger.decision(decision)
        except UnknownDecisionError as error:
            if erased := ledger.erased_on(decision):
                out.print(
                    f"Decision {decision} cannot be asked again: its inputs were erased on "
                    f"{erased}. The chain holds its place: keepwell ledger verify.",
                    markup=False,
                    highlight=False,
                )
                return
            raise CommandError(
                f"There is no decision {decision!r:.80} in this ledger. An id is "
                f"the decision_id that POST /v1/next-actions answered; if it was "
                f"answered elsewhere, name that workspace."
            ) from error
        found = replay(stored, ledger.shared_input(shared_digest(stored)))
    out.print(found.words, markup=False, highlight=False)
    if found.difference is not None:
        raise typer.Exit(FOUND)


@contextmanager
def open_ledger(place: Workspace, *, must_exist: bool) -> Iterator[Ledger]:
    """The ledger of a workspace, opened; what its database says is told with its place."""
    from serving.ledger.database.database import database_errors
    from serving.ledger.database.url import address_without_password
    from serving.ledger.errors import LedgerUnreachableError, UnreadableDatabaseError
    from serving.ledger.ledger import Ledger
    from serving.settings import service_settings

    where = service_settings(os.environ).ledger_url or place.ledger_db
    name = address_without_password(where)
    if must_exist and isinstance(where, Path) and not where.exists():
        raise CommandError(
            f"There is no ledger in {name}: no decision was stored yet. If a "
            f"service keeps its decisions elsewhere, set KEEPWELL_LEDGER_URL as it "
            f"has it, or name its folder with --workspace."
        )
    try:
        with database_errors(), closing(Ledger(where)) as ledger:
            yield ledger
    except LedgerUnreachableError as error:  # another process writes for long, or the disk fails
        raise CommandError(
            f"{name} cannot be opened now: {error.cause}. Try again, or look at "
            f"the database and its disk."
        ) from error
    except UnreadableDatabaseError as error:
        raise CommandError(
            f"{name} cannot be read as a ledger: {error}. Put it back from a "
            f"backup, and keep this one to look at."
        ) from error
