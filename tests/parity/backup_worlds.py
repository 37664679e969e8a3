"""What the tests of backups share: a workspace that is written to, and what two of them have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from small_company import AS_OF

from features.events.provenance import OwnRecord, is_own, own_event_id
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.database.tables import CHAIN, DECISIONS, DELIVERIES
from serving.ledger.ledger import Ledger
from serving.ledger.replay.replay import replay, shared_digest
from serving.ledger.stores.ledger_copy import ledger_facts

KEY = "a key of tests, kept elsewhere"


def decide(client: httpx.Client, number: int) -> list[dict[str, Any]]:
    """Ask for the next actions of three accounts, and agree with the first that is one.

    The same number is the same request; another one is about other accounts."""
    answer = client.post(
        "/v1/next-actions",
        json={"account_ids": [f"acct-{(3 * number + one) % 45:02d}" for one in range(3)]},
        headers={"idempotency-key": f"decide-{number}"},
    )
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    wanted = [one for one in items if one["action"] != "do_nothing"]
    for one in wanted[:1]:
        client.post(
            f"/v1/decisions/{one['decision_id']}/feedback",
            json={"verdict": "agree", "by": "cyd"},
            headers={"idempotency-key": f"agree-{number}"},
        ).raise_for_status()
    return items


def send_event(client: httpx.Client, number: int, text: str = "billing") -> None:
    """Take in one event of an account."""
    client.post(
        "/v1/events",
        json={
            "events": [
                {
                    "event_id": f"sent-{number}",
                    "account_id": f"acct-{number % 40:02d}",
                    "kind": "ticket.created",
                    "occurred_at": AS_OF.isoformat(),
                    "properties": {"ticket_id": f"sent-{number}", "topic": text},
                }
            ]
        },
        headers={"idempotency-key": f"send-{number}"},
    ).raise_for_status()


@dataclass
class Writer:
    """A thread that decides and sends events until it is told to stop."""

    address: str
    written: int = 0
    failed: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Write until it is over."""
        try:
            with httpx.Client(base_url=self.address, timeout=60) as client:
                while not self._over.is_set():
                    decide(client, self.written)
                    if self.written % 4 == 0:
                        send_event(client, self.written)
                    self.written += 1
        except BaseException as error:
            self.failed.append(error)
            raise

    def wait_for(self, number: int) -> None:
        """Wait until so much was written."""
        until = time.monotonic() + 60
        while self.written < number:
            assert not self.failed, self.failed
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        """Let it end."""
        self._over.set()


@contextmanager
def writing_to(address: str) -> Iterator[Writer]:
    """A service that is written to meanwhile."""
    writer = Writer(address)
    thread = threading.Thread(target=writer.work)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join()
    assert writer.failed == []


@dataclass(frozen=True, kw_only=True)
class WorkspaceFigures:
    """What two workspaces have to have in common to be the same."""

    head: str
    counts: Mapping[str, int]
    events: str
    replays: Mapping[str, str | None]


def figures_of(
    workspace: Workspace, *, ledger: Path | str | None = None, replays_too: bool = True
) -> WorkspaceFigures:
    """Head, counts, events and replays of a workspace."""
    where = ledger or workspace.ledger_db
    facts = ledger_facts(where)
    assert facts.finding is None, facts.finding
    return WorkspaceFigures(
        head=facts.head,
        counts=facts.counts,
        events=Lake(workspace.events_dir, workspace.quarantine_dir).manifest.digest,
        replays=replays(where) if replays_too else {},
    )


def replays(where: Path | str) -> dict[str, str | None]:
    """Each decision with how its replay differs."""
    with closing(Ledger(where)) as ledger:
        with ledger.database.reading() as connection:
            ids = connection.scalars(sa.select(DECISIONS.c.decision_id)).all()
        return {
            one: replay(stored, ledger.shared_input(shared_digest(stored))).difference
            for one in ids
            for stored in [ledger.decision(one)]
        }


def check_timeline(workspace: Workspace) -> None:
    """What the ledger says was told is on the timeline, and what was told is in the ledger."""
    events = Lake(workspace.events_dir, workspace.quarantine_dir).scan().collect()
    told = set(events["event_id"])
    kinds: dict[str, OwnRecord] = {
        "decisions": "decision",
        "outcomes": "outcome",
        "feedback": "feedback",
        "plan_draws": "draw",
    }
    with (
        closing(Ledger(workspace.ledger_db)) as ledger,
        ledger.database.reading() as connection,
    ):
        delivered = set(connection.scalars(sa.select(DELIVERIES.c.record_id)))
        links = connection.execute(sa.select(CHAIN.c.table, CHAIN.c.record_id)).all()
    known = {own_event_id(kinds[row.table], row.record_id) for row in links if row.table in kinds}
    lacking = {
        row.record_id
        for row in links
        if row.record_id in delivered and own_event_id(kinds[row.table], row.record_id) not in told
    }
    assert lacking == set()
    assert {name for name in told if is_own(name)} - known == set()


def scores_of(client: httpx.Client) -> list[Any]:
    """The scores of all accounts, as the API states them."""
    answer = client.get("/v1/accounts", params={"limit": 200})
    answer.raise_for_status()
    items: list[Any] = answer.json()["items"]
    return items
