"""Commands that forget an account or a person, hold somebody, and finish what was begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    out,
    show_progress,
    time_of,
)
from features.events.subject import SUBJECT_KINDS, Subject, SubjectKind
from features.workspace import Workspace
from serving.cli.data_protection.run_erasure import (
    begin,
    finish,
    finish_interrupted,
    list_in_targets,
    show_counts,
    subject_request,
    trained_on_words,
)
from serving.cli.keys import DecidedBy, who

if TYPE_CHECKING:
    pass

SubjectId = Annotated[str, typer.Argument(help="The id, as it is in the data.")]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        help="A further name (an e-mail address, a written name); may be given several times.",
    ),
]
Reason = Annotated[
    str,
    typer.Option(
        help="Why, for the ledger and the receipt, which both name nobody: neither should this."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count, place by place.")]
WhichKind = Annotated[str, typer.Argument(help="account or person.")]


def erase_account(
    account_id: SubjectId,
    reason: Reason,
    also: Also = None,
    by: DecidedBy = None,
    dry_run: DryRun = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Forget an account: everything about it goes, in every place of the workspace.

    With `second_person = true` in workspace.toml it waits until another person approves it.
    """
    _erase("account", account_id, also, reason, by, dry_run, Workspace(workspace))


def erase_person(
    person_id: SubjectId,
    reason: Reason,
    also: Also = None,
    by: DecidedBy = None,
    dry_run: DryRun = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Forget a user, a contact or a colleague: a pseudonym takes the place of the name everywhere.

    What the person wrote goes; that somebody used the product, or decided, stays. With
    `second_person = true` in workspace.toml it waits until another person approves it.
    """
    _erase("person", person_id, also, reason, by, dry_run, Workspace(workspace))


def approve(
    request: Annotated[str, typer.Argument(help="The id that the request printed.")],
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Approve what another person asked to erase, and erase it."""
    from serving.data_protection.erasure.erase import drop_request, take_request

    place = Workspace(workspace)
    by = who(place, by, "administer")
    asked = take_request(place, request, by=by)
    subject = Subject(kind=asked["kind"], id=asked["id"], names=tuple(asked["names"]))
    at = subject_request(place, subject, by=asked["by"], reason=asked["reason"])
    journal = begin(at, approved_by=by)
    drop_request(place, request)
    finish(at, journal)


def resume(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Finish an erasure that was interrupted."""
    place = Workspace(workspace)
    if not finish_interrupted(place):
        out.print("No erasure is under way.")


def hold(
    kind: WhichKind,
    subject_id: SubjectId,
    reason: Annotated[str, typer.Option(help="Why it must not be erased.")],
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Put a legal hold on an account or a person: nobody can erase it before the hold ends."""
    from serving.data_protection.erasure.holds import Holds

    place = Workspace(workspace)
    by = who(place, by, "administer")
    now = time_of(place)
    Holds(place).add(_kind(kind), subject_id, by=by, at=now, reason=_worded(reason))
    out.print(f"This {kind} is held. End it with: keepwell erase release {kind} ID", markup=False)


def holds(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """List the legal holds: of what kind, since when, by whom and why. The list names nobody."""
    from serving.data_protection.erasure.holds import Holds

    table = Table("kind", "since", "by", "reason", "digest")
    for one in Holds(Workspace(workspace)).all():
        table.add_row(one.kind, one.at[:10], one.by, one.reason, one.digest[:12])
    out.print(table)


def release(
    kind: WhichKind,
    subject_id: SubjectId,
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """End a legal hold."""
    from serving.data_protection.erasure.holds import Holds

    place = Workspace(workspace)
    who(place, by, "administer")
    if not Holds(place).end(_kind(kind), subject_id):
        raise CommandError(
            f"There is no legal hold on this {kind}. List them: keepwell erase holds"
        )
    out.print("The hold has ended.")


def allow(
    kind: WhichKind,
    subject_id: SubjectId,
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Let rows of an erased subject in again: it is a customer, or a user, once more."""
    from features.lake.erased_subjects import ErasedSubjects
    from serving.data_protection.pending_erasures import note_allowed

    place = Workspace(workspace)
    who(place, by, "administer")
    erased, which = ErasedSubjects(place.root), _kind(kind)
    entries = erased.among(which, [subject_id]) if erased.entries else {}
    note_allowed(place, (one.erasure for one in entries.values()), at=time_of(place))
    if not erased.allow(which, subject_id):
        raise CommandError(f"No {kind} of this id was erased from {place.root}.")
    out.print("Its rows are taken in again from the next ingestion on.")
    list_in_targets(place)


def _erase(
    kind: SubjectKind,
    subject_id: str,
    also: list[str] | None,
    reason: str,
    by: str | None,
    dry_run: bool,
    place: Workspace,
) -> None:
    from serving.data_protection.erasure.erase import count_places, request_erasure, under_way
    from serving.data_protection.erasure.holds import Holds

    subject = Subject(kind=kind, id=subject_id, names=tuple(also or ()))
    if dry_run:
        with show_progress("Looking for it everywhere"):
            found = count_places(subject_request(place, subject, by="", reason=""))
        show_counts(found)
        for words in trained_on_words(place, subject):
            out.print(words, markup=False, highlight=False)
        return
    by = who(place, by, "administer")
    at = subject_request(place, subject, by=by, reason=_worded(reason))
    if subject.is_in(reason):
        raise CommandError(
            "The reason names the subject, and the ledger keeps it for good. Leave the name out."
        )
    if under_way(place) is not None:
        finish_interrupted(place)
    Holds(place).check(subject)
    if place.settings.second_person:
        request = request_erasure(at)
        out.print(
            f"Asked for by {by}. It is erased as soon as another person approves: keepwell erase "
            f"approve {request} --by NAME",
            markup=False,
            highlight=False,
        )
        return
    finish(at, begin(at))


def _kind(text: str) -> SubjectKind:
    for kind in SUBJECT_KINDS:
        if kind == text:
            return kind
    raise CommandError(f"{text!r:.40} is neither of {', '.join(SUBJECT_KINDS)}.")


def _worded(reason: str) -> str:
    if not reason.strip():
        raise CommandError("--reason is empty. Say why, in words that name nobody.")
    return reason.strip()
