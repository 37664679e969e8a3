"""Propose a mapping for a folder of exports, as TOML with a reason behind each line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from features.ingest.mapped_tables import CURRENCY_NAMES
from features.setup.contract_tables import PAYS
from features.setup.lines import Entry, TableProposal, listed, quoted
from features.setup.look import look_at
from features.setup.tables import Finding, find_tables

WIDTH = 44
"""The column at which the reasons begin."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What ``keepwell init`` proposes, before and after its questions."""

    folder: Path
    name: str
    zone: str
    complete_until: datetime | None
    currency: str | None
    findings: tuple[Finding, ...]
    left: tuple[str, ...]  # a sentence for each file that is no export
    pays: float | None = None  # a month, where no column holds money
    window_days: int = 30  # within so many days those left of whom no column says when

    @property
    def tables(self) -> list[TableProposal]:
        """The tables of the mapping, each under a name of its own."""
        return [table for finding in self.findings for table in finding.tables]

    @property
    def asks_for_money(self) -> bool:
        """Whether contracts have no column that says what a customer pays."""
        return any(_has_no_money(table) for table in self.tables)

    @property
    def asks_for_window(self) -> bool:
        """Whether a table says who left, and not on which day."""
        return any(table.left_where is not None for table in self.tables)

    @property
    def gaps(self) -> list[str]:
        """What is missing, a sentence each."""
        found = [finding.gap for finding in self.findings if finding.gap is not None]
        if not any(table.is_contract for table in self.tables):
            if any(table.is_order for table in self.tables):
                pass  # they leave by ordering nothing
            elif any(table.is_use for table in self.tables):
                found.append(
                    "No table says when customers started and left, so leaving is not known from "
                    "contracts. Add a table of customers with the day each started and left, or of paid "
                    "invoices; a company without contracts says what leaving means in workspace.toml "
                    "([leaving], docs/how-to/a-company-without-contracts.md)"
                )
            elif not found:
                found.append(
                    "No table says when customers started and left, and none says what they did"
                )
        return [*found, *self.left]

    @property
    def first_moment(self) -> datetime | None:
        """The first month that snapshots are worth: with use, the first of which use is known."""
        tables = [table for table in self.tables if table.is_use] or self.tables
        days = [
            low.replace(tzinfo=None)
            for table in tables
            for entry in table.entries
            if entry.key in ("start", "paid_on", "occurred_at", "month")
            for one in table.export.columns
            if quoted(one.name) == entry.value and one.times is not None
            if isinstance(low := one.times.min(), datetime)
        ]
        if not days:
            return None
        first = min(days)
        return datetime(first.year + first.month // 12, first.month % 12 + 1, 1)  # noqa: DTZ001


def propose(folder: Path, *, zone: str = "UTC") -> Proposal:
    """Look at the exports of a folder and propose a mapping.

    Raises:
        NoExportsError: there is no folder, or nothing in it that can be read.
    """
    exports, left = look_at(folder)
    findings = [
        find_tables(export, [one for one in exports if one is not export], zone)
        for export in exports
    ]
    taken: set[str] = set()
    for table in (table for finding in findings for table in finding.tables):
        while table.name in taken:
            table.name += "_2"
        taken.add(table.name)
    newest = [
        table.latest for finding in findings for table in finding.tables if table.latest is not None
    ]
    return Proposal(
        folder=folder,
        name=folder.resolve().name or "company",
        zone=zone,
        complete_until=_next_day(max(newest)) if newest else None,
        currency=_currency(findings),
        findings=tuple(findings),
        left=tuple(left),
    )


def with_answer(proposal: Proposal, **changes: object) -> Proposal:
    """The proposal with what a person answered."""
    return replace(proposal, **changes)  # type: ignore[arg-type]


def mapping_text(proposal: Proposal) -> str:
    """The mapping as TOML. What was not proposed is said in comments."""
    until = proposal.complete_until
    lines = [
        f"# Proposed by `keepwell init` from the files in {proposal.folder.name}.",
        "# Read the reasons and correct what is wrong. An unknown key is an error that lists the known ones.",
        "",
        _line(Entry(key="name", value=quoted(proposal.name), why="what you call this source")),
        _line(
            Entry(
                key="zone",
                value=quoted(proposal.zone),
                why="of times that come without one: check it",
            )
        ),
    ]
    if until is not None:
        stated = Entry(
            key="complete_until",
            value=f"{until:%Y-%m-%dT%H:%M:%S}",
            why="after the newest row; up to when the exports are whole: check it",
        )
        lines.append(_line(stated))
    if proposal.currency is not None:
        lines.append(
            _line(Entry(key="currency", value=quoted(proposal.currency), why="the only one found"))
        )
    used = tuple(dict.fromkeys(name for table in proposal.tables for name in table.used))
    if used:
        stated = Entry(
            key="use_names",
            value=listed(used),
            why="counted one by one as well; leave out what says little",
        )
        lines.append(_line(stated))
    for finding in proposal.findings:
        for table in finding.tables:
            window = _window(proposal, table)
            lines += ["", f"# {table.what}", f"[tables.{table.name}]"]
            lines += [_line(entry) for entry in (*table.entries, *window[:1])]
            for name in ("properties", "computed", "constants"):
                made = [*_money(proposal, table), *window[1:]] if name == "computed" else []
                entries = [*getattr(table, name), *made]
                if entries:
                    lines += [f"[tables.{table.name}.{name}]", *map(_line, entries)]
    if proposal.gaps:
        lines += ["", "# What is missing:"]
        lines += [f"# - {gap}." for gap in proposal.gaps]
    return "\n".join(lines) + "\n"


def _has_no_money(table: TableProposal) -> bool:
    return any(one.key == "mrr" and one.value == quoted(PAYS) for one in table.entries)


def _money(proposal: Proposal, table: TableProposal) -> list[Entry]:
    """What each customer pays a month, where no column says it."""
    if not _has_no_money(table):
        return []
    why = "what each customer pays a month, as you said"
    if proposal.pays is None:
        why = "no column holds money: each customer counts as 1; write what one pays a month"
    return [Entry(key=PAYS, value=quoted(f"{proposal.pays or 1:g}"), why=why)]


def _window(proposal: Proposal, table: TableProposal) -> list[Entry]:
    """Up to when it is known who left, and the day that stands for theirs: the middle one."""
    until = proposal.complete_until
    if table.left_where is None or until is None:
        return []
    ends = until + timedelta(days=proposal.window_days)
    middle = until + timedelta(days=proposal.window_days // 2)
    return [
        Entry(
            key="complete_until",
            value=f"{ends:%Y-%m-%dT%H:%M:%S}",
            why=f"taken: who left is known for {proposal.window_days} days after the other tables: check",
        ),
        Entry(
            key="left_on",
            value=quoted(f"if({table.left_where}, '{middle:%Y-%m-%d}', '')"),
            why="the middle of those days stands for the day they left",
        ),
    ]


def _line(entry: Entry) -> str:
    said = f"{entry.key} = {entry.value}"
    why = " ".join(entry.why.split())
    return f"{said:<{WIDTH}} # {why}" if why else said


def _next_day(moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == moment and moment.day == 1 else day + timedelta(days=1)


def _currency(findings: list[Finding]) -> str | None:
    found = {
        value.strip().upper()
        for finding in findings
        for one in finding.export.columns
        if one.name.strip().lower() in CURRENCY_NAMES
        for value in one.filled.unique().to_list()
    }
    return found.pop() if len(found) == 1 and all(len(one) == 3 for one in found) else None
