"""What happens when a store of a workspace is damaged: one table, which is tested and which is a page.

A cell is a store, a damage and a moment. ``OUTCOMES`` says what then happens; cells of one mechanism
share one outcome. ``tests/serving/damage`` does each damage to a workspace that the real service
serves, and ``generate.py`` writes the page. A store that is not here yet is a ``StoreRow`` more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

Damage = Literal["deleted", "truncated", "flipped", "replaced", "locked", "unreadable", "altered"]
When = Literal["while serving", "at start"]

DAMAGES: Mapping[Damage, str] = {
    "deleted": "the file is gone",
    "truncated": "the second half of the file is gone",
    "flipped": "a bit in each twentieth of the file is another one",
    "replaced": "the file of another workspace is in its place",
    "locked": "another process holds its lock",
    "unreadable": "the operating system does not let the service read it",
}
ALTERED: Mapping[Damage, str] = {
    "altered": "one digit is another one, and the file still has the right form",
}
"""A damage that is done to texts beside those of all stores."""

WHENS: tuple[When, ...] = ("while serving", "at start")

REQUESTS: Mapping[str, str] = {
    "score": "`GET /v1/accounts/{id}/score`",
    "page": "the portfolio page",
    "account page": "the page of an account",
    "next-actions": "`POST /v1/next-actions`",
    "timeline": "`GET /v1/accounts/{id}/timeline`",
    "events": "`POST /v1/events`",
    "stop": "`POST /v1/controls/stop`",
    "models": "`GET /v1/models`",
    "models page": "the page of models",
    "report": "`GET /v1/reports/{name}`",
    "report page": "the page of a report",
    "reports page": "the page of reports",
    "healthz": "`GET /healthz`",
    "readyz": "`GET /readyz`",
}
"""The kinds of request that are made in each cell."""

NEED_A_KEY = tuple(kind for kind in REQUESTS if kind not in ("healthz", "readyz"))
"""Where keys were made."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happens: the requests that are answered otherwise than 200, and what ``/readyz`` says."""

    happens: str
    do: str
    refused: Mapping[str, int] = field(default_factory=dict)  # request to its status
    scored_by: Literal["model", "health_formula"] = "model"
    degraded: str | None = None  # the store that /readyz names; None: "ok"
    says: str = ""  # words that are in the reason
    starts: bool = True  # False: the command ends, and says these words
    heals: bool = False  # the service mends the store itself
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
    "made again from the events": Outcome(
        happens="the service makes the snapshot again from the events, and `/readyz` says so meanwhile. "
        "Everything is answered; which accounts there are, and their figures where the online "
        "store has none, come from the snapshot before until then",
        do="nothing. Where it could not be made again, `/readyz` says why, and `keepwell snapshot --as-of "
        "DATE`, with the day in the file's name, does it once that is mended",
        heals=True,
    ),
    "scores in memory": Outcome(
        happens="scores go on from memory; those of new events follow after the next start",
        do="start the service again; it makes the store anew",
    ),
    "made again": Outcome(
        happens="the service puts the file aside and publishes the newest snapshot to a new one; what "
        "events changed since then follows within seconds. `/readyz` says so meanwhile",
        do="nothing",
        heals=True,
    ),
    "nothing is stored": Outcome(
        happens="scores, pages and next actions go on; no decision is stored, and what writes to the ledger "
        "is refused. `/readyz` is `failing`",
        do="stop the service, `keepwell restore --replace`, which notes the head, and start it again; "
        "`keepwell ledger accept-head` where there is no newer one",
        refused={"stop": 503, "readyz": 503},
        degraded="ledger",
        comes_back=False,
    ),
    "nothing is stored from the start": Outcome(
        happens="scores, pages and next actions are served; no decision is stored, and what reads or writes "
        "the ledger is refused. `/readyz` is `failing`",
        do="stop the service, `keepwell restore --replace`, which notes the head; `keepwell ledger "
        "accept-head` where there is no newer one",
        refused={"stop": 503, "readyz": 503},
        degraded="ledger",
    ),
    "nothing is stored yet": Outcome(
        happens="scores, pages and next actions are served; what needs the ledger waits five seconds for the "
        "lock and is then refused. `/readyz` is `failing`",
        do="wait for the other program, or end it",
        refused={"stop": 503, "readyz": 503},
        degraded="ledger",
    ),
    "writes wait": Outcome(
        happens="writes wait five seconds for the lock and are then refused with `Retry-After`; next "
        "actions are answered and not stored",
        do="wait for the other program, or end it",
        refused={"stop": 503},
    ),
    "events wait": Outcome(
        happens="events wait five seconds for the lock and are then refused with `Retry-After`",
        do="wait for the other process, or end it",
        refused={"events": 503},
    ),
    "models in memory": Outcome(
        happens="scores go on by the models in memory; the lists of models say what is wrong",
        do="put the file that `/readyz` names back from a backup, or train again",
        degraded="models",
    ),
    "the formula": Outcome(
        happens="the champion before answers where its bundle is whole, else the health formula, and "
        "each score says why",
        do="put the file that `/readyz` names back from a backup, or train again",
        degraded="models",
        scored_by="health_formula",
    ),
    "models wait": Outcome(
        happens="scores go on by the models in memory; the lists of models wait five seconds for the "
        "lock, and say so",
        do="wait for the other program, or end it",
        degraded="models",
        says="locked by another program",
    ),
    "models wait at start": Outcome(
        happens="the service waits some seconds for the lock and starts without models; the health "
        "formula answers until the lock is free",
        do="wait for the other program, or end it",
        degraded="models",
        says="locked by another program",
        scored_by="health_formula",
    ),
    "no report": Outcome(
        happens="the report is not known; nothing says that there was one",
        do="put it back from a backup, or write it again: `keepwell report`",
        refused={"report": 404, "report page": 404},
    ),
    "a damaged report": Outcome(
        happens="the report is refused, and left out of the list of reports",
        do="put it back from a backup, or write it again: `keepwell report`",
        refused={"report": 503, "report page": 503},
        degraded="reports",
        says="The report success-calls.json is damaged",
    ),
    "no page of the report": Outcome(
        happens="the report is there as JSON only",
        do="put it back from a backup, or write it again: `keepwell report`",
        refused={"report page": 404},
    ),
    "a damaged page of the report": Outcome(
        happens="the page is refused; the JSON is served",
        do="put it back from a backup, or write it again: `keepwell report`",
        refused={"report page": 503},
        degraded="reports",
        says="The report success-calls.html is damaged",
    ),
    "priors alone": Outcome(
        happens="actions are ranked by the effects that the playbook states, and every answer says why",
        do="put it back from a backup, or measure again: `keepwell effects`",
        degraded="reports",
        says="Until then the playbook stands alone",
    ),
    "no measured effects": Outcome(
        happens="actions are ranked by the effects that the playbook states, as if nothing had been "
        "measured",
        do="put it back from a backup, or measure again: `keepwell effects`",
    ),
    "no plan": Outcome(
        happens="the page of reports says that the plan cannot be read; all else goes on",
        do="make one again: `keepwell plan`",
        degraded="reports",
        says="The newest plan cannot be read",
    ),
    "taken as it is": Outcome(
        happens="the file is read as if it had been meant, and nothing says so",
        do="put the right file back",
    ),
    "settings of before": Outcome(
        happens="everything is answered by the settings that were read before",
        do="mend the file, or put it back from a backup",
        degraded="settings",
    ),
    "draws of the start": Outcome(
        happens="draws are made as at the start of the service",
        do="mend the file, or put it back from a backup, before the next start",
    ),
    "nothing is limited or drawn": Outcome(
        happens="the file is one that may be missing: the usual limits hold, no prices are known, and "
        "nothing is drawn",
        do="put it back from a backup",
    ),
    "no key is taken": Outcome(
        happens="requests with a key are refused, and those without one as ever",
        do="put `keys.db` back from a backup, and start the service again",
        refused=dict.fromkeys(NEED_A_KEY, 503),
        degraded="keys",
        comes_back=False,
    ),
    "keys in memory": Outcome(
        happens="the keys in memory go on until the file is written to, and are then refused",
        do="put `keys.db` back from a backup, and start the service again",
        comes_back=False,
    ),
    "bits of nothing": Outcome(
        happens="nothing is missing: most of the file is empty. Bits of the structure, or of what says which "
        "model serves, are noticed as if the file were cut short",
        do="put `mlflow.db` back from a backup",
    ),
    "does not start": Outcome(
        happens="the service does not start",
        do="mend the file that the sentence names, or put it back from a backup",
        starts=False,
    ),
}


class _Both(TypedDict):
    while_serving: Mapping[Damage, str]
    at_start: Mapping[Damage, str]


@dataclass(frozen=True, kw_only=True)
class StoreRow:
    """A store, its file, and what happens by moment and damage; ``rest`` where no other is named."""

    store: str
    file: str
    while_serving: Mapping[Damage, str]
    at_start: Mapping[Damage, str]
    note: str = ""

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What is done to it."""
        return tuple(one for one in (*DAMAGES, *ALTERED) if one in self.at_start)

    def outcome(self, damage: Damage, when: When) -> str:
        """The name of what happens."""
        return (self.while_serving if when == "while serving" else self.at_start)[damage]


WRITTEN_BY_HAND: Mapping[Damage, str] = {"replaced": "taken as it is", "locked": "unharmed"}
"""Nobody but the operator knows what should be in them, and nobody locks them."""


def _both(outcomes: Mapping[Damage, str]) -> _Both:
    """The same while it serves and at the start."""
    return {"while_serving": outcomes, "at_start": outcomes}


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
        **_both({**dict.fromkeys(DAMAGES, "made again from the events"), "locked": "unharmed"}),
        note="The newest snapshot is damaged here; with an older one nothing is compared until it is made "
        "again. Each holds a digest of its own file, but for those that an older version wrote, and "
        "`snapshots/written.json` lists which files were written with which digest. Where that list is "
        "missing, what is there is taken as it is. A snapshot that you no longer want comes back, unless "
        "you remove its line of the list too.",
    ),
    StoreRow(
        store="online store",
        file="online.db",
        while_serving={
            **dict.fromkeys(DAMAGES, "made again"),
            "flipped": "scores in memory",
            "locked": "unharmed",
        },
        at_start={**dict.fromkeys(DAMAGES, "made again"), "locked": "unharmed"},
        note="The file has an id and counts its transactions, and `online.head` notes both: another file in "
        "its place, or an older one, is noticed. Where the note is missing, the file is taken as it is. "
        "A bit of a number that stays a number is not noticed.",
    ),
    StoreRow(
        store="ledger",
        file="ledger.db",
        while_serving={**dict.fromkeys(DAMAGES, "nothing is stored"), "locked": "writes wait"},
        at_start={
            **dict.fromkeys(DAMAGES, "nothing is stored from the start"),
            "flipped": "nothing is stored",
            "locked": "nothing is stored yet",
        },
        note="What was acknowledged is compared with the newest head, which is noted in `ledger.head`. An "
        "older copy is damaged too. `test_damaged_ledger.py` beside the tests of this table asks more of "
        "each cell, and damages the note. After the start every record is looked at once, in the "
        "background.",
    ),
    StoreRow(
        store="tracking store",
        file="mlflow.db",
        while_serving={
            **dict.fromkeys(DAMAGES, "models in memory"),
            "flipped": "bits of nothing",
            "locked": "models wait",
        },
        at_start={
            **dict.fromkeys(DAMAGES, "the formula"),
            "flipped": "bits of nothing",
            "locked": "models wait at start",
        },
        note="What SQLite finds wrong with the structure is noticed, and a champion whose bundle is "
        "not the one that was registered. A tracking server is asked whether it answers.",
    ),
    StoreRow(
        store="bundle",
        file="artifacts/*/*/artifacts/bundle/*",
        while_serving={**dict.fromkeys(DAMAGES, "models in memory"), "locked": "unharmed"},
        at_start={**dict.fromkeys(DAMAGES, "the formula"), "locked": "unharmed"},
        note="A manifest holds the digest of each file. No damaged bundle is ever served.",
    ),
    StoreRow(
        store="report",
        file="reports/*.json",
        **_both(
            {
                **dict.fromkeys((*DAMAGES, *ALTERED), "a damaged report"),
                "deleted": "no report",
                "replaced": "taken as it is",
                "locked": "unharmed",
            }
        ),
        note="A damaged report is never shown in parts. Reports, their pages, measured effects and the plan "
        "hold a digest of themselves, which is compared whenever they are read. Of one that an older "
        "version wrote, only those faults are noticed that make it unreadable. The digest is against "
        "accidents: whoever may write the file can write another digest.",
    ),
    StoreRow(
        store="page of a report",
        file="reports/*.html",
        **_both(
            {
                **dict.fromkeys((*DAMAGES, *ALTERED), "a damaged page of the report"),
                "deleted": "no page of the report",
                "replaced": "taken as it is",
                "locked": "unharmed",
            }
        ),
        note="A page that is not text, lacks its end, or is another one than its digest says, is damaged.",
    ),
    StoreRow(
        store="measured effects",
        file="reports/effects.json",
        **_both(
            {
                **dict.fromkeys((*DAMAGES, *ALTERED), "priors alone"),
                "deleted": "no measured effects",
                "replaced": "taken as it is",
                "locked": "unharmed",
            }
        ),
    ),
    StoreRow(
        store="plan",
        file="plans/newest.json",
        **_both(
            {
                **dict.fromkeys((*DAMAGES, *ALTERED), "no plan"),
                "deleted": "unharmed",
                "replaced": "taken as it is",
                "locked": "unharmed",
            }
        ),
        note="The plan is one that leadership reads; it can be made again at any time.",
    ),
    StoreRow(
        store="settings",
        file="workspace.toml",
        while_serving={**dict.fromkeys(DAMAGES, "settings of before"), **WRITTEN_BY_HAND},
        at_start={**dict.fromkeys(DAMAGES, "does not start"), **WRITTEN_BY_HAND},
        note="A file that was cut short after a whole line is TOML, and is taken as it is. One that is "
        "missing counts as damaged where `workspace.format` says that there were settings.",
    ),
    StoreRow(
        store="health formula",
        file="health_formula.toml",
        while_serving={**dict.fromkeys(DAMAGES, "settings of before"), **WRITTEN_BY_HAND},
        at_start={**dict.fromkeys(DAMAGES, "does not start"), **WRITTEN_BY_HAND},
        note="Only where the settings name it.",
    ),
    StoreRow(
        store="limits",
        file="limits.toml",
        while_serving={
            **dict.fromkeys(DAMAGES, "settings of before"),
            **WRITTEN_BY_HAND,
        },
        at_start={
            **dict.fromkeys(DAMAGES, "does not start"),
            **WRITTEN_BY_HAND,
            "deleted": "nothing is limited or drawn",
        },
        note="`prices.toml` and `rules.toml` are read in the same way. To go back to the usual "
        "limits while the service runs, empty the file.",
    ),
    StoreRow(
        store="draws",
        file="chance.toml",
        while_serving={
            **dict.fromkeys(DAMAGES, "settings of before"),
            **WRITTEN_BY_HAND,
            "replaced": "draws of the start",
            "deleted": "draws of the start",
        },
        at_start={
            **dict.fromkeys(DAMAGES, "does not start"),
            **WRITTEN_BY_HAND,
            "deleted": "nothing is limited or drawn",
        },
        note="The file is used at the start only, and looked at while the service runs.",
    ),
    StoreRow(
        store="keys",
        file="keys.db",
        while_serving={
            **dict.fromkeys(DAMAGES, "no key is taken"),
            "flipped": "keys in memory",
            "locked": "unharmed",
        },
        at_start=dict.fromkeys(DAMAGES, "does not start"),
        note="A file of keys that is missing beside `keys.secret` never means that everybody may "
        "come in.",
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
            for damage in row.damages:
                yield Cell(
                    store=row.store,
                    damage=damage,
                    when=when,
                    outcome=OUTCOMES[row.outcome(damage, when)],
                )


AFTER = (
    "## Not in the table",
    "",
    "A disk that is full, or may only be read, while the service runs: `/readyz` names `disk`, and "
    "events are refused with 503; scores go on. A decision that is stored already is answered, a new one "
    "is a suggestion without an id. A full disk recovers by itself once there is room; a file system that "
    "the kernel made read-only is looked at and mounted again, and the service is started: all that was "
    "acknowledged is there.",
    "",
    "`touched.db`, the list of accounts with new events: a damaged or missing one is made again from the "
    "events, without a word in `/readyz`; while another process holds its lock, features of one account are "
    "refreshed later.",
    "",
    "A ledger that is removed together with its note of the head (`ledger.head`), both at once while "
    "nothing is served: nothing in the workspace can miss it. Set `KEEPWELL_LEDGER_HEAD` to a file at "
    "another place, and it is missed ([how](../how-to/verify-and-replay-the-ledger.md)).",
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
        *(f"| {name} | {means} |" for name, means in {**DAMAGES, **ALTERED}.items()),
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
            for damage in row.damages:
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
