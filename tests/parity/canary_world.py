"""Forty texts that are nowhere else, planted in every place of a workspace, and a search for their bytes.

What is compressed is looked at as well.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from fastapi.testclient import TestClient
from small_company import AS_OF, BEFORE, day

from features.compute.backfill import backfill
from features.events.schema import Event, events_frame, properties_text
from features.events.subject import Subject
from features.ingest.run import ingest_rows
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.integrity.signing import SigningKey
from registry.store.store import MemoryModelStore
from serving.auth.api_keys import ApiKeys
from serving.data_protection.erasure.erase import (
    begin_erasure,
    finish_erasure,
)
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.ledger.approvals import Approvals
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.ledger import Ledger, NewOutcome
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import FILE, Endpoint, Message
from serving.webhooks.secret_encryption import SecretEncryption

CANARY = "zqcanary{:02d}end"
ACCOUNT, PERSON = CANARY.format(0), CANARY.format(1)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def canary(number: int) -> str:
    return CANARY.format(number)


def account_events() -> list[Event]:
    """Events of one account with canaries in every text of an event."""
    texts: list[tuple[str, float, str | None, dict[str, object]]] = [
        ("account.updated", 300, None, {"name": canary(2), "csm": PERSON, "segment": "mid"}),
        ("account.updated", 299, None, {"industry": canary(3), "parent": canary(4)}),
        ("contract.started", 300, None, {"price_plan": canary(5), "renewal_on": "2026-05-01"}),
        ("feature.used", 3, canary(6), {"name": canary(7), "use_case": canary(8)}),
        ("ticket.created", 4, canary(9), {"topic": canary(10), "ticket_id": canary(11)}),
        ("cancellation.intended", 5, None, {"reason": canary(12)}),
        ("contact.changed", 6, canary(13), {"role": "sponsor", "state": "joined"}),
        ("custom.letter", 7, None, {"body": canary(14), canary(15): "a key"}),
    ]
    return [
        Event(
            event_id=f"{canary(16)}-{number}",
            account_id=ACCOUNT,
            user_id=user,
            kind=kind,
            occurred_at=day(ago),
            recorded_at=day(ago),
            quantity=900.0 if kind == "contract.started" else None,
            properties=properties_text(properties),  # type: ignore[arg-type]
        )
        for number, (kind, ago, user, properties) in enumerate(texts)
    ]


def person_events() -> list[Event]:
    """What one person did in accounts that stay."""
    return [
        Event(
            event_id=f"{PERSON}-{number}",
            account_id="acct-05",
            user_id=PERSON,
            kind=kind,
            occurred_at=day(3 + number),
            recorded_at=day(3 + number),
            properties=properties_text(properties),  # type: ignore[arg-type]
        )
        for number, (kind, properties) in enumerate(
            [
                ("feature.used", {"name": "search", "note": canary(32)}),
                ("ticket.created", {"topic": "export", "body": canary(33)}),
                ("cancellation.intended", {"reason": canary(34)}),
                ("custom.letter", {"body": canary(35)}),
            ]
        )
    ] + [
        Event(
            event_id=f"csm-{ago}",
            account_id="acct-06",
            kind=kind,
            occurred_at=day(ago),
            recorded_at=day(ago),
            properties=properties_text(properties),  # type: ignore[arg-type]
        )
        for ago, kind, properties in (
            (40, "account.updated", {"csm": PERSON}),
            (41, "action.declined", {"action": "success_call", "by": PERSON, "reason": canary(36)}),
        )
    ]


@dataclass
class World:
    """A workspace that is served, with canaries in it."""

    workspace: Workspace
    client: TestClient

    def at(self, subject: Subject, key: SigningKey | None = None) -> SubjectRequest:
        return SubjectRequest(
            workspace=self.workspace,
            subject=subject,
            by="data protection",
            at=NOW,
            reason="asked by letter",
            database=self.workspace.ledger_db,
            outbox=self.workspace.root / FILE,
            key=key,
        )

    def erase(self, subject: Subject, key: SigningKey | None = None) -> None:
        at = self.at(subject, key)
        receipt = finish_erasure(at, begin_erasure(at), clock=lambda: NOW)
        assert receipt.left == {}

    def canaries(self) -> set[str]:
        held = everything(self.workspace.root)
        return {canary(n) for n in range(48) if canary(n).encode() in held}


def everything(root: Path) -> bytes:
    """The bytes of every file, names included, and what is compressed in them."""
    held = io.BytesIO()
    for path in sorted(root.rglob("*")):
        if path.name.endswith("-shm"):
            continue  # SQLite's index of the log beside it: no content, and whoever reads makes it
        held.write(str(path.relative_to(root)).encode())
        if not path.is_file():
            continue
        held.write(path.read_bytes())
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as packed:
                for name in packed.namelist():
                    held.write(packed.read(name))
        if path.suffix == ".parquet":
            held.write(repr(pl.read_parquet(path).rows()).encode())
        if path.name == "ledger.db":
            held.write(kept_answers(path))
    return held.getvalue()


def kept_answers(ledger: Path) -> bytes:
    """The answers that a ledger keeps, unpacked; read from a copy, since a reader makes and removes files."""
    with tempfile.TemporaryDirectory() as folder:
        for file in (ledger, ledger.with_name(ledger.name + "-wal")):
            if file.exists():
                shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / ledger.name)) as connection:
            bodies = connection.execute("SELECT body FROM idempotent_requests").fetchall()
    return b"".join(zlib.decompress(body) for (body,) in bodies if body)


def plant_in_ledger(workspace: Workspace, decision_id: str, *, by: str, first: int) -> None:
    """What people say about a decision."""
    with closing(Ledger(workspace.ledger_db)) as ledger:
        Approvals(ledger.database).record(
            decision_id, "approved", by=by, reason=canary(first), key=canary(first + 1), now=NOW
        )
        FeedbackRecords(ledger.database).record(
            decision_id,
            NewFeedback(verdict="disagree", reason=canary(first + 2)),
            by=by,
            key=canary(first + 3),
            now=NOW,
        )
        ledger.append_outcome(
            decision_id,
            NewOutcome(kind="declined", reason=canary(first + 4), by=by),
            key=canary(first + 5),
            received_at=NOW,
        )


def plant_in_files(workspace: Workspace) -> str:
    """In all other places; a key of an admin."""
    root = workspace.root
    outbox = Outbox(root / FILE, SecretEncryption(root, None))
    outbox.add(Endpoint(name="hook", url="https://example.org", kinds=(), place=0), "s" * 40)
    messages = [
        Message(
            place=1,
            message_id="m1",
            account_id=ACCOUNT,
            kind="feedback",
            body=json.dumps({"data": {"account_id": ACCOUNT, "reason": canary(24)}}),
        ),
        Message(
            place=2,
            message_id="m2",
            account_id="acct-05",
            kind="feedback",
            body=json.dumps({"data": {"by": PERSON, "reason": canary(37)}}),
        ),
    ]
    outbox.put("hook", messages, after=0, up_to=2, now=0.0)
    outbox.mark_failed("hook", messages[0], problem=canary(25), due_at=None, now=1.0)
    outbox.close()
    keys = ApiKeys(root)
    keys.create(name=canary(38), owner=PERSON, role="csm", territories=(PERSON,), now=NOW)
    admin = keys.create(name="admin", owner="somebody else", role="admin", now=NOW)
    keys.close()
    for folder in ("plans", "reports", "shadow/churn"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    plan = {"items": [{"account_id": ACCOUNT, "why": canary(26)}], "csm": "somebody"}
    (root / "plans" / "newest.json").write_text(json.dumps(plan))
    (root / "reports" / "report.html").write_text(f"<p>{ACCOUNT} of {PERSON}</p>")
    (root / "limits.toml").write_text(f'# agreed with {PERSON} for "{ACCOUNT}"\n')
    pl.DataFrame({"account_id": [ACCOUNT, "acct-05"], "tier": [canary(27), "low"]}).write_parquet(
        root / "shadow" / "churn" / "as_of_20260301T000000Z_1_2.parquet"
    )
    draft = root / "plans" / ".newest.json.4711.tmp"
    draft.write_text(canary(28))
    os.utime(draft, (0, 0))
    return admin.secret


OF_ACCOUNT = {0, *range(2, 17), *range(18, 31)}
OF_PERSON = {1, *range(32, 40), 41, 43}  # the keys that a request chose are not the person's text


def planted(
    own_workspace: Workspace, store: MemoryModelStore, make_client: Callable[..., TestClient]
) -> Iterator[World]:
    """The small company, served, with canaries everywhere."""
    lake = Lake(own_workspace.events_dir, own_workspace.quarantine_dir)
    events = [*account_events(), *person_events()]
    lake.append(events_frame(events), source="hand", file="planted", now=AS_OF)
    refused = {"account_id": ACCOUNT, "kind": "no.kind", "properties": {"x": canary(29)}}
    ingest_rows(lake, [refused], now=AS_OF, source="api")
    snapshots = backfill(own_workspace, [BEFORE, AS_OF])
    WorkspaceFeatures(own_workspace).publish(snapshots.filter(pl.col("as_of") == AS_OF))
    client = make_client(own_workspace, store, wall_clock=lambda: NOW)
    with client:
        answers = client.post(
            "/v1/next-actions",
            json={"account_ids": [ACCOUNT, "acct-05"]},
            headers={"Idempotency-Key": canary(30)},
        )
        assert answers.status_code == 200, answers.text
        decisions = {one["account_id"]: one["decision_id"] for one in answers.json()["items"]}
        plant_in_ledger(own_workspace, decisions[ACCOUNT], by="somebody else", first=18)
        plant_in_ledger(own_workspace, decisions["acct-05"], by=PERSON, first=39)
        client.headers["X-API-Key"] = plant_in_files(own_workspace)
        yield World(own_workspace, client)
