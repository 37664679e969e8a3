"""What happens when a store of a workspace is damaged: one table, which is tested and which is a page.

A cell is a store, a damage and a moment. ``OUTCOMES`` says what then happens; cells of one mechanism
share one outcome. ``tests/serving/damage`` does each damage to a workspace that the real service
serves, and ``generate.py`` writes the page. A store that is not here yet is a ``StoreRow`` more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Damage = Literal["deleted", "truncated", "flipped", "replaced", "locked", "unreadable"]
When = Literal["while serving", "at start"]

DAMAGES: Mapping[Damage, str] = {
    "deleted": "the file is gone",
    "truncated": "the second half of the file is gone",
    "flipped": "a bit in each twentieth of the file is another one",
    "replaced": "the file of another workspace is in its place",
    "locked": "another process holds its lock",
    "unreadable": "the operating system does not let the service read it",
}
WHENS: tuple[When, ...] = ("while serving", "at start")

REQUESTS: Mapping[str, str] = {
    "score": "`GET /v1/accounts/{id}/score`",
    "page": "the portfolio page",
    "account page": "the page of an account",
    "next-actions": "`POST /v1/next-actions`",
    "timeline": "`GET /v1/accounts/{id}/timeline`",
    "events": "`POST /v1/events`",
    "models": "`GET /v1/models`",
    "report": "`GET /v1/reports/{name}`",
    "healthz": "`GET /healthz`",
    "readyz": "`GET /readyz`",
}
"""The kinds of request that are made in each cell."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happens: the requests that are answered otherwise than 200, and what ``/readyz`` says."""

    happens: str
    do: str
    refused: Mapping[str, int] = field(default_factory=dict)  # request to its status
    degraded: str | None = None  # the store that /readyz names; None: "ok"
    says: str = ""  # words that are in the reason
    starts: bool = True  # False: the command ends, and says these words
    comes_back: bool = True  # once the file is back; a new start otherwise


OUTCOMES: Mapping[str, Outcome] = {
    "unharmed": Outcome(happens="nothing is missing", do="nothing"),
    "no events taken": Outcome(
        happens="scores, pages, timelines and next actions go on with the manifest that was read "
        "before; events are refused, and none is lost",
        do="put `events/manifest.json` back from a backup",
        refused={"events": 503},
        degraded="events",
        says="manifest.json",
    ),
    "no timelines": Outcome(
        happens="scores and the portfolio are served; what reads timelines is refused",
        do="put the file that `/readyz` names back from a backup, or remove `events/` and ingest the "
        "sources again",
        refused={"account page": 503, "next-actions": 503, "timeline": 503, "events": 503},
        degraded="events",
        says="Restore",
    ),
    "timelines in memory": Outcome(
        happens="scores, the portfolio and next actions go on with what is in memory; timelines and "
        "the pages of accounts are refused, and so are events",
        do="put the file that `/readyz` names back from a backup, or remove `events/` and ingest the "
        "sources again",
        refused={"account page": 503, "timeline": 503, "events": 503},
        degraded="events",
        says="Restore",
    ),
    "the snapshot before": Outcome(
        happens="everything is answered; which accounts there are, and their figures where the online "
        "store has none, come from the snapshot before",
        do="make the snapshot again: `keepwell snapshot --as-of DATE`, with the day in the file's name",
        degraded="snapshots",
        says="Make it again with: keepwell snapshot --as-of",
    ),
    "unnoticed": Outcome(
        happens="everything is answered; the accounts are those of that snapshot, and nothing says so",
        do="make the snapshot again: `keepwell snapshot` finds those that are of other events",
    ),
    "scores in memory": Outcome(
        happens="scores go on from memory; those of new events follow after the next start",
        do="start the service again; it makes the store anew",
    ),
    "made again": Outcome(
        happens="the service puts the file aside and publishes the newest snapshot to a new one; what "
        "events changed since then follows with the next snapshot",
        do="nothing; `keepwell snapshot` brings the features of events since the newest snapshot",
    ),
    "events wait": Outcome(
        happens="events wait five seconds for the lock and are then refused with `Retry-After`",
        do="wait for the other process, or end it",
        refused={"events": 503},
    ),
}


SNAPSHOT: Mapping[Damage, str] = {
    "deleted": "unharmed",
    "locked": "unharmed",
    "replaced": "unnoticed",
}


@dataclass(frozen=True, kw_only=True)
class StoreRow:
    """A store, its file, and what happens by moment and damage; ``rest`` where no other is named."""

    store: str
    file: str
    while_serving: Mapping[Damage, str]
    at_start: Mapping[Damage, str]
    note: str = ""

    def outcome(self, damage: Damage, when: When) -> str:
        """The name of what happens."""
        return (self.while_serving if when == "while serving" else self.at_start)[damage]


STORES: tuple[StoreRow, ...] = (
    StoreRow(
        store="manifest",
        file="events/manifest.json",
        while_serving={
            **dict.fromkeys(DAMAGES, "no events taken"),
            "locked": "events wait",
        },
        at_start={**dict.fromkeys(DAMAGES, "no timelines"), "locked": "events wait"},
        note="The manifest holds a checksum of itself, and a digest of each file that it lists. One "
        "that is missing beside its files, or is older than they are, is damaged too: no event is "
        "taken on top of it, because that would remove the files that it does not list.",
    ),
    StoreRow(
        store="part",
        file="events/*.parquet",
        while_serving={**dict.fromkeys(DAMAGES, "timelines in memory"), "locked": "events wait"},
        at_start={**dict.fromkeys(DAMAGES, "no timelines"), "locked": "events wait"},
        note="A part is compared with its digest when it is first read, and when its time, size or "
        "inode is another one. A part that an older version wrote has none: of it only those faults "
        "are noticed that make it unreadable.",
    ),
    StoreRow(
        store="snapshot",
        file="snapshots/as_of_*.parquet",
        while_serving={**dict.fromkeys(DAMAGES, "the snapshot before"), **SNAPSHOT},
        at_start={**dict.fromkeys(DAMAGES, "the snapshot before"), **SNAPSHOT},
        note="The newest snapshot is damaged here. Each holds a digest of its own file, but for those "
        "that an older version wrote; a whole snapshot of another workspace has the right one.",
    ),
    StoreRow(
        store="online store",
        file="online.db",
        while_serving={**dict.fromkeys(DAMAGES, "scores in memory"), "locked": "unharmed"},
        at_start={
            **dict.fromkeys(DAMAGES, "made again"),
            "locked": "unharmed",
            "replaced": "unnoticed",
        },
        note="A row of another workspace is not noticed, nor a bit of a number that stays a number.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the table."""

    store: str
    damage: Damage
    when: When
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.store}, {self.damage} {self.when}"


def cells() -> Iterator[Cell]:
    """Every cell."""
    for row in STORES:
        for when in WHENS:
            for damage in DAMAGES:
                yield Cell(
                    store=row.store,
                    damage=damage,
                    when=when,
                    outcome=OUTCOMES[row.outcome(damage, when)],
                )


AFTER = (
    "## Not in the table",
    "",
    "`workspace.toml` that cannot be read while the service runs: the settings of before hold, and "
    "`/readyz` names `settings`; at the start the command ends with a sentence. One that is deleted "
    "means the usual settings at once.",
    "",
    "A disk that is full, or may only be read, while the service runs: `/readyz` names `disk`, and "
    "events are refused with 503; scores go on.",
    "",
    "The ledger, the tracking store, bundles and reports have no cells yet.",
    "",
)
"""What an operator should know of stores that have no row."""


def page() -> str:
    """The page for whoever runs Keepwell."""
    lines = [
        "# What happens when a store is damaged",
        "",
        "A store that is damaged degrades what needs it, and the rest goes on. `GET /readyz` then says "
        "`degraded`, and under `stores` which store it is, since when, why, and what is missing; "
        "every page has a line on top, and the gauge `keepwell_store_degraded` is 1. What needs "
        "the store is refused with 503, [store-unusable](problems.md), and `Retry-After`. `GET /healthz` "
        "reads no store. The stores are looked at every five seconds: once the file is back, the "
        "service goes on by itself, without a start.",
        "",
        "A damaged ledger is more than that: `/readyz` is 503 and says `failing`. What to do then, [step by "
        "step](../how-to/verify-and-replay-the-ledger.md#when-the-ledger-was-deleted-put-back-from-an-"
        "older-copy-or-damaged).",
        "",
        "To put one file back from a backup, restore to another folder (`keepwell restore TARGET "
        "--workspace copy`) and copy the file from there while the service is stopped. "
        "`events/manifest.json` fits only the parts of its own backup: where events came in since, put "
        "the whole folder `events/` back. To remove `events/` and ingest the sources again loses the "
        "events that programs sent to `POST /v1/events`.",
        "",
        "Each cell below is a test with a running service (`tests/serving/damage`); all of them run "
        "in `make soak`.",
        "",
        "| damage | means |",
        "|---|---|",
        *(f"| {name} | {means} |" for name, means in DAMAGES.items()),
        "",
    ]
    for row in STORES:
        lines += [f"## The {row.store}: `{row.file}`", ""]
        if row.note:
            lines += [row.note, ""]
        lines += ["| damage | when | what happens | answered otherwise than 200 | what to do |"]
        lines += ["|---|---|---|---|---|"]
        for when in WHENS:
            by_outcome: dict[str, list[str]] = {}
            for damage in DAMAGES:
                by_outcome.setdefault(row.outcome(damage, when), []).append(damage)
            for name, damages in by_outcome.items():
                found = OUTCOMES[name]
                lines.append(
                    f"| {', '.join(damages)} | {when} | {found.happens} | {_refused(found)} | "
                    f"{found.do} |"
                )
        lines.append("")
    return "\n".join([*lines, *AFTER])


def _refused(outcome: Outcome) -> str:
    if not outcome.starts:
        return "the command ends with a sentence and exit code 3"
    return (
        ", ".join(f"{REQUESTS[kind]}: {status}" for kind, status in outcome.refused.items())
        or "none"
    )
