"""Commands that verify the ledger, accept its head, and replay its decisions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AnyWorkspace,
    CommandError,
    InWorkspace,
    out,
    plural,
    time_of,
)
from features.workspace import Workspace
from serving.cli.keys import who

if TYPE_CHECKING:
    from serving.ledger.database.noted_head import HeadNotes
    from serving.ledger.ledger import Ledger

ACCEPT = "`keepwell ledger accept-head` goes on with it, and says so"
RESTORE = (
    "Keep what is there to look at, and put the ledger back from a backup; if it is elsewhere, set "
    f"KEEPWELL_LEDGER_URL as the service has it. Where it is gone for good, {ACCEPT}."
)


def verify(
    head: Annotated[
        str | None,
        typer.Option(help="A head noted earlier, which the ledger must still hold."),
    ] = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look for the first altered, missing, added or moved record; ends with 1 if there is one."""
    from serving.ledger.database.noted_head import HeadNoteError

    place = Workspace(workspace)
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise CommandError(
            f"{head!r} is no head of a ledger, which has 64 characters of 0 to 9 "
            f"and a to f. Copy the one that `keepwell ledger verify` printed."
        )
    with open_ledger(place, must_exist=True, checks_head=False) as ledger:
        notes = _notes(place)
        try:
            noted = notes.all()
        except HeadNoteError as error:
            raise CommandError(
                f"{error} Whether this ledger is the newest one is not known; {ACCEPT}."
            ) from error
        heads = dict.fromkeys([None if head is None else head, *(one.link for one in noted)])
        checks = [ledger.verify(head=one) for one in heads]
    verified = next((one for one in checks if one.finding is not None), checks[0])
    if verified.finding is not None:
        out.print(verified.finding.words, markup=False)
        raise typer.Exit(FOUND)
    where = " and ".join(str(one) for one in notes.places if one.exists())
    out.print(
        f"{plural(verified.records, 'record')}, each as it was written"
        + (f", and the head that {where} holds is among them" if noted else "")
        + ". Note the head elsewhere: only against it are removed newest records found.",
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


def accept_head(
    reason: Annotated[
        str, typer.Option(help="Why this ledger is the right one now; it is written down.")
    ],
    by: Annotated[
        str | None,
        typer.Option(
            help="Your name: the owner of the key in KEEPWELL_KEY where that is set, or "
            "else the name of this login."
        ),
    ] = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Go on with the ledger that is there, where the one whose head was noted is gone for good.

    What was stored after it stays lost. Stop the service before, and start it afterwards.
    """
    from getpass import getuser

    from serving.ledger.database.noted_head import HeadNoteError, NotedHead
    from serving.ledger.database.url import address_without_password
    from serving.settings import service_settings

    place = Workspace(workspace)
    if not reason.strip():
        raise CommandError("The reason is empty. Say why, for those who ask what became of it.")
    who_says = who(place, by or getuser(), "administer", is_named=by is not None)
    notes = _notes(place)
    try:
        before = notes.read()
    except HeadNoteError:
        before = None
    with open_ledger(place, must_exist=False, checks_head=False) as ledger:
        verified = ledger.verify()
    if verified.finding is not None:
        raise CommandError(
            f"{verified.finding.words} Nothing was accepted: put the ledger back from a backup."
        )
    where = service_settings(os.environ).ledger_url or place.ledger_db
    head = NotedHead(
        place=verified.records, link=verified.head, ledger=address_without_password(where)
    )
    notes.replace(head, by=who_says, reason=reason, at=time_of(place))
    held = "no head" if before is None else f"a head at place {before.place:,}"
    out.print(
        f"The ledger in {head.ledger} goes on at place {head.place:,}; noted before was {held}. "
        f"Start the service again.",
        markup=False,
    )


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
def open_ledger(
    place: Workspace, *, must_exist: bool, checks_head: bool = True
) -> Iterator[Ledger]:
    """The ledger of a workspace, opened; what its database says is told with its place.

    Args:
        place: the workspace.
        must_exist: a ledger that is not there is an error.
        checks_head: so is one that does not hold the head that was noted.
    """
    from serving.ledger.database.database import database_errors
    from serving.ledger.database.noted_head import HeadNoteError
    from serving.ledger.database.url import address_without_password
    from serving.ledger.errors import (
        LedgerDamagedError,
        LedgerUnreachableError,
        UnreadableDatabaseError,
    )
    from serving.ledger.ledger import Ledger
    from serving.settings import service_settings

    settings = service_settings(os.environ)
    where = settings.ledger_url or place.ledger_db
    name = address_without_password(where)
    if must_exist and isinstance(where, Path) and not where.exists():
        try:
            noted = _notes(place).read()
        except HeadNoteError as error:
            raise CommandError(f"There is no ledger in {name}. {error} {RESTORE}") from error
        if noted is None:
            raise CommandError(
                f"There is no ledger in {name}: no decision was stored yet. If a "
                f"service keeps its decisions elsewhere, set KEEPWELL_LEDGER_URL as it "
                f"has it, or name its folder with --workspace."
            )
        raise CommandError(
            f"There is no ledger in {name}, and there was one: its head at place "
            f"{noted.place:,} was noted, of {noted.ledger}. {RESTORE}"
        )
    heads = settings.head_places(place) if checks_head else ()
    try:
        with (
            database_errors(),
            closing(
                Ledger(where, heads=heads, wait_seconds=settings.ledger_wait_seconds)
            ) as ledger,
        ):
            ledger.database.prepare()
            yield ledger
    except LedgerDamagedError as error:
        detail = error.detail if error.cause == error.detail else f"{error.detail} {error.cause}."
        raise CommandError(f"{name}: {detail} {RESTORE}") from error
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


def _notes(place: Workspace) -> HeadNotes:
    from serving.ledger.database.noted_head import HeadNotes
    from serving.settings import service_settings

    return HeadNotes(*service_settings(os.environ).head_places(place))
