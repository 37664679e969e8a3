"""The command ``init``: look at a folder of exports and write a mapping that a person can edit."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.options import DEFAULT_WORKSPACE, AnyWorkspace, CommandError, out
from features.leaving import LeavingError
from features.workspace import SETTINGS_FILE, Workspace
from features.workspace_files import write_atomically

if TYPE_CHECKING:
    from features.setup.proposal import Proposal

MAPPING_FILE = "mapping.toml"
USE = ("feature.used", "user.session")


def init(
    exports: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="The folder with your exports; asked, if not given."
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--out", help="The mapping to write; mapping.toml in the folder, by default."),
    ] = None,
    zone: Annotated[
        str, typer.Option(help="The time zone of times that come without one.")
    ] = "UTC",
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is proposed.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--replace", help="Write over a mapping that is there.")
    ] = False,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Look at a folder of exports, and propose a mapping with the reason behind each line.

    It reads the files and writes the mapping: read it, correct it, and take the files in with
    `keepwell ingest`. It first asks whether customers sign contracts; what leaving means where they do
    not goes into workspace.toml. Exit code 3 where nothing can be proposed, with what is missing.
    """
    from features.setup.proposal import mapping_text, propose

    folder = exports or _asked_folder(yes)
    file = mapping or folder / MAPPING_FILE
    if file.exists() and not overwrite:
        raise CommandError(
            f"{file} is there already. Read it, write another with --out FILE, or replace it with --replace."
        )
    proposal = propose(folder, zone=zone)
    if proposal.tables:
        if yes:
            _take_leaving(proposal, Workspace(workspace))
        else:
            _ask_leaving(proposal, Workspace(workspace))
            _ask_yearly_churn(Workspace(workspace))
            proposal = _asked(proposal)
        write_atomically(file, mapping_text(proposal).encode())
    _show(proposal)
    if not proposal.tables:
        raise CommandError("No mapping was written, because no file can be mapped as it is.")
    _show_next(proposal, file, workspace)


def _asked_folder(yes: bool) -> Path:
    if yes:
        raise CommandError("Say where your exports are: keepwell init --from FOLDER --yes")
    return Path(typer.prompt("Which folder holds your exports?")).expanduser()


def _ask_leaving(proposal: Proposal, place: Workspace) -> None:
    """Ask whether customers sign contracts, and write what leaving means where that changes."""
    before = place.settings.leaving
    has_contracts = any(table.is_contract for table in proposal.tables)
    signs = typer.confirm(
        "Do customers sign contracts that can end? Without contracts they leave by ordering or using "
        "nothing any more",
        default=has_contracts and not before.is_no_use,
    )
    leaving = replace(before, means="contract_ends" if signs else "no_use")
    if not signs:
        kinds = _kinds_of(proposal)
        use = tuple(kind for kind in ("order.placed", *USE) if kind in kinds)
        leaving = replace(leaving, kinds=use or before.kinds)
        while True:
            days = typer.prompt(
                "Gone is a customer with nothing in how many days", default=before.days, type=int
            )
            within = typer.prompt(
                "Asked about are customers with something in the last how many days",
                default=before.used_within_days,
                type=int,
            )
            try:
                leaving = replace(leaving, days=days, used_within_days=within)
                break
            except LeavingError as problem:
                out.print(str(problem), highlight=False)
    if leaving != before:
        with place.lock():
            place.change_settings(leaving=leaving)
        out.print(f"What leaving means is in {place.root / SETTINGS_FILE}.", highlight=False)


def _take_leaving(proposal: Proposal, place: Workspace) -> None:
    """Where there are orders and no contracts, leaving is to order nothing; what was stated stays."""
    has_contracts = any(table.is_contract for table in proposal.tables)
    has_orders = any(table.is_order for table in proposal.tables)
    if has_contracts or not has_orders or place.settings.leaving.is_no_use:
        return
    leaving = replace(place.settings.leaving, means="no_use", kinds=("order.placed",))
    with place.lock():
        place.change_settings(leaving=leaving)
    out.print(
        f"There are orders and no contracts, so customers leave by ordering nothing in {leaving.days} days "
        f"([leaving] in {place.root / SETTINGS_FILE}; correct it there).",
        highlight=False,
        soft_wrap=True,
    )


def _kinds_of(proposal: Proposal) -> set[str]:
    return {
        entry.value.strip('"')
        for table in proposal.tables
        for entry in table.entries
        if entry.key == "kind"
    }


def _ask_yearly_churn(place: Workspace) -> None:
    """Ask how many customers leave in a year, for chances before anything was learned."""
    settings = place.settings
    if settings.leaving.is_no_use:
        return
    while True:
        answer = typer.prompt(
            "Of 100 customers, how many leave in a year? Often 5 to 15 where companies buy, 20 to 40 "
            "where small ones or people do; leave it empty if nobody knows",
            default="" if settings.yearly_churn is None else f"{100 * settings.yearly_churn:g}",
            show_default=settings.yearly_churn is not None,
        )
        if not answer.strip():
            return
        with suppress(ValueError):
            if 0 < float(answer) < 100:
                break
        out.print(f"{answer!r} is no number between 0 and 100.", highlight=False, markup=False)
    if float(answer) / 100 != settings.yearly_churn:
        with place.lock():
            place.change_settings(yearly_churn=float(answer) / 100)
        out.print(f"It is in {place.root / SETTINGS_FILE} (yearly_churn).", highlight=False)


def _asked(proposal: Proposal) -> Proposal:
    from features.setup.questions import QUESTIONS

    for question in QUESTIONS:
        while question.applies(proposal):
            answer = typer.prompt(question.text, default=question.proposed(proposal))
            try:
                proposal = question.answered(proposal, answer)
                break
            except ValueError as problem:
                out.print(str(problem), highlight=False)
    return proposal


def _show(proposal: Proposal) -> None:
    for finding in proposal.findings:
        for table in finding.tables:
            account = next((entry.value for entry in table.entries if entry.key == "account"), "")
            names = ", ".join(finding.export.patterns)
            out.print(
                f"{names}: {table.what} (an account is {account.strip(chr(34))})",
                highlight=False,
                soft_wrap=True,
            )
    for gap in proposal.gaps:
        out.print(f"Missing: {gap}.", highlight=False, soft_wrap=True)


def _show_next(proposal: Proposal, file: Path, workspace: Path) -> None:
    where = f"--workspace {shlex.quote(str(workspace))}"
    out.print(f"\nWrote {file}, with the reason behind each line. Read it and correct it, then:")
    out.print(
        f"  keepwell ingest {shlex.quote(str(proposal.folder))} --mapping {shlex.quote(str(file))} {where}",
        soft_wrap=True,
    )
    first, last = proposal.first_moment, proposal.complete_until
    if last is not None and (proposal.asks_for_window or (first is not None and first >= last)):
        out.print(f"  keepwell snapshot --as-of {last:%Y-%m-%d} {where}", soft_wrap=True)
    elif first is not None and last is not None:
        out.print(
            f"  keepwell snapshot --from {first:%Y-%m-%d} --to {last:%Y-%m-%d} --every month {where}",
            soft_wrap=True,
        )
    if any(table.is_contract or table.is_order for table in proposal.tables):
        out.print(f"  keepwell check {where}", soft_wrap=True)
