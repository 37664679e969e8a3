"""The same key is the same answer and one effect: repeated, at once, and after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from forked_programs import Program, run_program
from pydantic import BaseModel
from real_server import running
from small_company import AS_OF
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from starlette.exceptions import HTTPException

from serving.api.app import create_app
from serving.api.idempotency import fingerprint_of, json_response, read_body, stored_answer
from serving.cli.conformance.api_client import EngineCalls, Reply, calls_to
from serving.ledger.database.change import (
    REQUESTS,
    Change,
    OpenRequest,
    StoredAnswer,
    TakenKey,
)
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import VERSIONS
from serving.ledger.errors import (
    AnswerLostError,
    InFlightError,
    KeyReusedError,
    LedgerUnreachableError,
)
from serving.ledger.stores.holders import has_ended, new_holder
from serving.ledger.stores.idempotency import KEPT, LEASE, RequestKeys
from serving.problems import TooLargeError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + LEASE + timedelta(seconds=1)
ANSWER = StoredAnswer(status=201, media_type="application/json", body=b'{"done": true}')
CALLERS = 8


class Kept:
    """Keys in a ledger, and an effect to have: a row in a table of its own."""

    EFFECTS = sa.Table("effects", sa.MetaData(), sa.Column("name", sa.String, primary_key=True))

    def __init__(self, database: LedgerDatabase) -> None:
        self.database = database
        self.keys = RequestKeys(database)
        with database.writing() as connection:
            self.EFFECTS.create(connection, checkfirst=True)

    def begin(
        self,
        key: str = "k",
        *,
        caller: str = "ann",
        body: str = "a",
        now: datetime = NOW,
        may_repeat: bool = False,
        with_change: bool = False,
    ):
        return self.keys.begin(
            caller, key, body, may_repeat=may_repeat, now=now, with_change=with_change
        )

    def work_on(self, taken: TakenKey, *, is_sure: bool = True) -> OpenRequest:
        return self.keys.open_request(taken, is_sure=is_sure)

    def have_effect(
        self, name: str, work: OpenRequest | None = None, answer: StoredAnswer | None = None
    ) -> None:
        database = self.database if work is None else self.database.for_request(work)
        with database.transaction() as change:
            change.connection.execute(sa.insert(self.EFFECTS).values(name=name))
            if answer is not None:
                change.remember(answer)

    def effects(self) -> list[str]:
        with self.database.reading() as connection:
            return sorted(connection.scalars(sa.select(self.EFFECTS.c.name)))

    def rows(self) -> int:
        with self.database.reading() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(REQUESTS)).scalar_one()


@pytest.fixture
def kept(ledger_place: Path | str) -> Iterator[Kept]:
    database = LedgerDatabase(ledger_place)
    yield Kept(database)
    database.close()


@pytest.fixture
def noted(monkeypatch) -> list[Change]:
    """The changes that were noted with their request."""
    changes: list[Change] = []
    note = OpenRequest.note

    def listed(work: OpenRequest, change: Change) -> None:
        note(work, change)
        changes.append(change)

    monkeypatch.setattr(OpenRequest, "note", listed)
    return changes


def test_a_repeated_request_is_answered_as_the_first_time(kept):
    taken = kept.begin()
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    assert kept.begin() == ANSWER
    assert kept.begin(now=NOW + KEPT) == ANSWER


def test_another_request_under_the_key_is_refused_also_while_the_first_is_worked_on(kept):
    taken = kept.begin()
    with pytest.raises(KeyReusedError, match="came before with another request"):
        kept.begin(body="b")
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    with pytest.raises(KeyReusedError, match="came before with another request"):
        kept.begin(body="b")


def test_a_request_that_is_worked_on_is_in_flight(kept):
    kept.begin()
    with pytest.raises(InFlightError, match="is being worked on") as told:
        kept.begin()
    assert told.value.retry_after == 1


def test_a_key_belongs_to_its_caller(kept):
    first, other = kept.begin(caller="ann"), kept.begin(caller="bob", body="b")
    kept.keys.settle(first, ANSWER, ending="done", now=NOW)
    with pytest.raises(InFlightError, match="is being worked on"):
        kept.begin(caller="bob", body="b")
    assert other.holder != first.holder


def test_what_came_to_nothing_leaves_its_key_free(kept):
    kept.keys.let_go(kept.begin(), NOW)
    assert kept.rows() == 0
    assert kept.begin(body="mended").key == "k"


def test_a_process_that_ended_before_any_effect_is_taken_over_after_its_lease(kept):
    kept.begin()
    with pytest.raises(InFlightError, match="is being worked on"):
        kept.begin(now=NOW + LEASE - timedelta(seconds=1))
    second = kept.begin(now=LATER)
    kept.keys.settle(second, ANSWER, ending="done", now=NOW)
    assert kept.begin(now=LATER) == ANSWER


BEGINNING = """
import sys, time
from datetime import datetime
from pathlib import Path
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.stores.idempotency import RequestKeys

keys = RequestKeys(LedgerDatabase(Path(sys.argv[1])))
taken = keys.begin("ann", "k", "a", may_repeat=False, now=datetime.fromisoformat(sys.argv[2]))
print(taken.holder, flush=True)
time.sleep(600)
"""


def test_a_lease_ends_with_its_process_and_not_before(tmp_path):
    kept = Kept(LedgerDatabase(tmp_path / "ledger.db"))
    process = Program(BEGINNING, str(tmp_path / "ledger.db"), NOW.isoformat())
    holder = process.stdout.readline().strip()
    os.kill(process.pid, signal.SIGSTOP)  # it stands still, and may go on
    for _ in range(2):
        with pytest.raises(InFlightError):
            kept.begin()
    assert not has_ended(holder)
    os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while not has_ended(holder):
        assert time.monotonic() < until
        time.sleep(0.01)
    taken = kept.begin()
    assert isinstance(taken, TakenKey)
    assert taken.holder != holder
    process.wait()
    process.close()
    kept.database.close()


def test_a_process_of_which_nobody_here_knows_has_not_ended():
    own = new_holder()
    machine, number, began, _ = own.split(":")
    assert number == str(os.getpid())
    assert not has_ended(own)
    assert has_ended(f"{machine}:{number}:{int(began) - 1}:x")  # its number was given again
    for other in ("x", "a:b", "", f"other:{number}:1:x", f"{machine}:no number:1:x"):
        assert not has_ended(other)


def test_a_lease_of_a_clock_that_was_put_back_holds_nothing(kept):
    first = kept.begin()
    taken = kept.begin(now=NOW - timedelta(days=365))
    assert isinstance(taken, TakenKey)
    with pytest.raises(InFlightError):  # whoever was taken over has no effect any more
        kept.have_effect("one", kept.work_on(first))


def test_a_lease_that_is_renewed_is_not_over(kept):
    taken = kept.begin()
    kept.keys.renew(taken, NOW + LEASE)
    with pytest.raises(InFlightError, match="is being worked on"):
        kept.begin(now=LATER)


def test_an_effect_whose_answer_was_lost_is_not_had_again(kept):
    taken = kept.begin()
    kept.have_effect("first", kept.work_on(taken))
    with pytest.raises(AnswerLostError, match="carried out once"):
        kept.begin(now=LATER)
    assert kept.begin(now=LATER, may_repeat=True).key == "k"
    assert kept.effects() == ["first"]


def test_an_effect_that_is_rolled_back_is_none(kept):
    taken = kept.begin()
    kept.have_effect("first", kept.work_on(taken))
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    second = kept.begin("other")
    with pytest.raises(sa.exc.IntegrityError):
        kept.have_effect("first", kept.work_on(second))
    assert kept.begin("other", now=LATER).key == "other"


def test_who_was_taken_over_has_no_effect_any_more(kept):
    slow = kept.begin()
    fast = kept.begin(now=LATER)
    with pytest.raises(InFlightError, match="took the request over"):
        kept.have_effect("slow", kept.work_on(slow))
    kept.have_effect("fast", kept.work_on(fast))
    late = StoredAnswer(status=200, media_type=None, body=b"slow")
    kept.keys.settle(slow, late, ending="done", now=LATER)
    kept.keys.settle(fast, ANSWER, ending="done", now=NOW)
    assert kept.begin() == ANSWER
    assert kept.effects() == ["fast"]


def test_an_effect_after_the_answer_was_kept_is_refused(kept):
    taken = kept.begin()
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    with pytest.raises(InFlightError, match="took the request over"):
        kept.have_effect("late", kept.work_on(taken))
    assert kept.effects() == []


@pytest.mark.parametrize(
    ("ending", "may_repeat", "told"),
    [
        ("refused", False, "the refusal"),
        ("failed", False, "lost"),
        ("failed", True, "again"),
        ("done", False, "it"),
    ],
)
def test_an_answer_after_an_effect_is_kept_unless_nobody_knows_what_happened(
    kept, ending, may_repeat, told
):
    taken = kept.begin()
    kept.have_effect("first", kept.work_on(taken))
    answer = StoredAnswer(status=201, media_type="text/plain", body=b"said")
    kept.keys.settle(taken, answer, ending=ending, now=NOW)
    if told == "lost":
        with pytest.raises(AnswerLostError, match="carried out once"):
            kept.begin()
    elif told == "again":
        assert kept.begin(may_repeat=may_repeat).key == "k"
    else:
        assert kept.begin() == answer


@pytest.mark.parametrize("ending", ["refused", "failed"])
def test_a_refusal_without_an_effect_is_not_kept(kept, ending):
    answer = StoredAnswer(status=409, media_type=None, body=b"")
    kept.keys.settle(kept.begin(), answer, ending=ending, now=NOW)
    assert kept.rows() == 0


def test_a_failure_after_the_effect_does_not_free_the_key(kept):
    taken = kept.begin()
    kept.have_effect("first", kept.work_on(taken))
    kept.keys.let_go(taken, NOW)
    with pytest.raises(AnswerLostError, match="carried out once"):
        kept.begin(now=NOW + timedelta(seconds=1))


def test_keys_are_forgotten_after_a_day_and_not_before(kept):
    kept.keys.settle(kept.begin(), ANSWER, ending="done", now=NOW)
    kept.begin("newer", now=NOW + KEPT)
    assert kept.rows() == 2
    kept.begin("newest", now=NOW + KEPT + timedelta(hours=1, seconds=1))
    assert kept.rows() == 2
    assert kept.begin(now=NOW + KEPT + timedelta(hours=1, seconds=2)).key == "k"


def test_a_request_whose_key_could_not_be_noted_writes_nothing(kept):
    unsure = TakenKey(caller="ann", key="k", holder="me")
    with pytest.raises(LedgerUnreachableError, match="could not be noted in time"):
        kept.have_effect("first", kept.work_on(unsure, is_sure=False))
    kept.begin()
    with pytest.raises(LedgerUnreachableError, match="could not be noted in time"):
        kept.have_effect("first", kept.work_on(unsure, is_sure=False))
    assert kept.effects() == []


def test_a_key_that_was_taken_after_all_is_noted(kept):
    kept.keys.begin("ann", "k", "a", may_repeat=False, now=NOW, holder="me")
    work = kept.work_on(TakenKey(caller="ann", key="k", holder="me"), is_sure=False)
    kept.have_effect("first", work)
    assert work.is_noted
    with pytest.raises(AnswerLostError, match="carried out once"):
        kept.begin(now=LATER)


def test_a_key_that_is_taken_with_its_change_is_not_written_before(kept):
    work = kept.work_on(kept.begin(with_change=True))
    assert kept.rows() == 0
    kept.have_effect("first", work, ANSWER)
    assert (work.is_noted, work.answer, kept.effects()) == (True, ANSWER, ["first"])
    assert kept.begin(with_change=True) == kept.begin() == ANSWER
    with pytest.raises(KeyReusedError, match="came before with another request"):
        kept.begin(body="b", with_change=True)


def test_of_two_that_take_a_key_with_their_change_the_first_has_its_effect(kept):
    kept.begin("any")  # the table is there
    first, second = (kept.work_on(kept.begin(with_change=True)) for _ in range(2))
    kept.have_effect("first", first)
    with pytest.raises(InFlightError, match="took the request over"):
        kept.have_effect("second", second, ANSWER)
    assert (kept.effects(), second.was_late, second.is_noted) == (["first"], True, False)
    kept.have_effect("more", first, ANSWER)
    assert kept.effects() == ["first", "more"]
    assert kept.begin(with_change=True) == ANSWER


def test_what_took_no_key_with_a_change_leaves_it_free_or_is_answered_as_the_first(kept):
    one, other = kept.begin(with_change=True), kept.begin(with_change=True)
    said = StoredAnswer(status=200, media_type=None, body=b"of the other")
    for ending in ("refused", "failed"):
        kept.keys.settle(one, ANSWER, ending=ending, now=NOW)
        kept.keys.let_go(one, NOW)
        assert kept.rows() == 0
    assert kept.keys.settle(one, ANSWER, ending="done", now=NOW) == ANSWER
    assert kept.keys.settle(other, said, ending="done", now=NOW) == ANSWER
    assert kept.begin() == ANSWER


def test_a_key_that_a_process_left_behind_is_taken_over_before_a_change(kept):
    kept.begin()
    with pytest.raises(InFlightError, match="is being worked on"):
        kept.begin(with_change=True)
    work = kept.work_on(kept.begin(now=LATER, with_change=True))
    assert kept.rows() == 1
    kept.have_effect("second", work, ANSWER)
    assert kept.begin(with_change=True) == ANSWER


class Said(BaseModel):
    done: bool


def test_an_answer_is_kept_by_the_commit_of_its_effect(kept):
    work = kept.work_on(kept.begin())
    answer = stored_answer(json_response(Said(done=True), 201))
    assert work.answer is None
    kept.have_effect("first", work, answer)
    assert answer == StoredAnswer(status=201, media_type="application/json", body=b'{"done":true}')
    assert work.answer == answer == kept.begin()


def test_an_answer_whose_effect_is_rolled_back_is_not_kept(kept):
    kept.have_effect("first")
    taken = kept.begin()
    with pytest.raises(sa.exc.IntegrityError):
        kept.have_effect(
            "first", kept.work_on(taken), stored_answer(json_response(Said(done=True)))
        )
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    assert kept.begin() == ANSWER


def test_without_a_key_an_answer_is_only_sent(kept):
    kept.have_effect("first", None, ANSWER)
    assert (kept.effects(), kept.begin().key) == (["first"], "k")


def test_an_effect_waits_for_the_disk_also_after_a_key_was_taken(kept):
    def level(database: LedgerDatabase) -> str:
        with database.writing() as connection:
            if connection.dialect.name == "postgresql":
                return str(connection.scalar(sa.text("SHOW synchronous_commit")))
            return str(connection.scalar(sa.text("PRAGMA synchronous")))

    durable = {"sqlite": "2", "postgresql": "on"}[kept.database.engine.dialect.name]
    taken = kept.begin()
    assert level(kept.database.for_request(kept.work_on(taken))) == durable
    kept.keys.settle(taken, ANSWER, ending="done", now=NOW)
    assert level(kept.database) == durable


def test_reading_and_writing_outside_a_request_note_nothing(kept):
    taken = kept.begin()
    kept.have_effect("of somebody else")
    with kept.database.for_request(kept.work_on(taken)).reading() as connection:
        connection.execute(sa.select(VERSIONS)).all()
    assert kept.begin(now=LATER).key == "k"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}', True),
        (b'{"a": 1}', b'{"a": 2}', False),
        (b"no json", b"no json", True),
        (b"no json", b"no  json", False),
        (b"", b"{}", False),
        (b"[" * 5000, b"[" * 5000, True),
    ],
)
def test_a_request_is_the_same_by_what_it_says(one, other, is_same):
    scope = {"method": "POST", "path": "/v1/events", "query_string": b""}
    assert (fingerprint_of(scope, one) == fingerprint_of(scope, other)) is is_same
    for part, value in (("method", "PUT"), ("path", "/v1/x"), ("query_string", b"a=1")):
        assert fingerprint_of({**scope, part: value}, one) != fingerprint_of(scope, one)


def test_a_caller_who_goes_away_and_a_body_that_is_too_large_are_no_request():
    async def gone():
        return {"type": "http.disconnect"}

    async def large():
        raise HTTPException(413, "larger than 100 bytes")

    assert asyncio.run(read_body(gone)) is None
    with pytest.raises(TooLargeError, match="larger than 100 bytes"):
        asyncio.run(read_body(large))


class TestOverTheApi:
    def ask(self, client, key: str = "k", **more: object):
        return client.post(
            "/v1/next-actions",
            json={"account_ids": ["acct-01"], **more},
            headers={"Idempotency-Key": key},
        )

    def test_status_and_body_come_again_byte_by_byte(self, own_client):
        first, again = self.ask(own_client), self.ask(own_client)
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert first.headers["content-type"] == again.headers["content-type"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-content-type-options"] == "nosniff"
        assert own_client.app.state.service.ledger.counts() == (1, 0)

    def test_another_body_is_refused(self, own_client):
        self.ask(own_client)
        answer = self.ask(own_client, limit=7)
        assert (answer.status_code, answer.json()["type"]) == (
            422,
            "/problems#idempotency-key-reused",
        )

    def test_a_request_that_could_not_be_read_may_be_mended(self, own_client):
        assert self.ask(own_client, limit=0).status_code == 422
        assert self.ask(own_client).status_code == 200

    def test_a_refusal_without_an_effect_leaves_the_key_free(self, own_client):
        headers = {"Idempotency-Key": "k"}
        for kind in ("executed", "outcome"):
            answer = own_client.post(
                "/v1/decisions/none/outcomes",
                headers=headers,
                json={"kind": kind, "result": "renewed"},
            )
            assert answer.status_code == 404
            assert "idempotency-replayed" not in answer.headers
        assert self.ask(own_client).status_code == 200

    def test_while_the_ledger_is_away_what_needs_none_answers(
        self, own_workspace, store, make_client
    ):
        client = make_client(
            own_workspace, store, ledger_url="postgresql://ledger@127.0.0.1:1/nowhere"
        )
        headers = {"Idempotency-Key": "k"}
        answer = client.post(
            "/v1/decisions/none/outcomes", json={"kind": "executed"}, headers=headers
        )
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems#ledger-unreachable")
        assert answer.headers["retry-after"]
        event = {
            "event_id": "e-1",
            "account_id": "acct-01",
            "kind": "community.posted",
            "occurred_at": "2026-02-20T10:00:00Z",
        }
        for _ in range(2):
            answer = client.post("/v1/events", json={"events": [event]}, headers=headers)
            assert answer.status_code == 200
        assert answer.json()["duplicates"] == 1

    def test_a_ledger_that_is_busy_for_long_is_no_request_in_flight(
        self, own_workspace, store, make_client
    ):
        """Somebody writes until the policy is asked: too long for the key to be taken."""
        writing = sqlite3.connect(
            own_workspace.ledger_db, isolation_level=None, check_same_thread=False
        )

        def now() -> datetime:
            if writing.in_transaction:
                writing.execute("ROLLBACK")
            return AS_OF

        def soon(connection: DBAPIConnection, *_: object) -> None:
            connection.execute("PRAGMA busy_timeout=50")

        client = make_client(own_workspace, store, now=now, wall_clock=lambda: AS_OF)
        event.listen(client.app.state.service.ledger.database.engine, "checkout", soon)
        with closing(writing):
            for _ in range(2):
                writing.execute("BEGIN IMMEDIATE")
                answer = self.ask(client)
                assert (answer.status_code, answer.headers["retry-after"]) == (200, "1")
                assert answer.json()["items"][0]["decision_id"] is None
            assert client.app.state.service.ledger.counts() == (0, 0)
            decided = self.ask(client).json()["items"][0]["decision_id"]
            assert decided is not None
            assert self.ask(client).json()["items"][0]["decision_id"] == decided

    def test_a_write_that_did_not_commit_leaves_its_key_free(self, own_client, monkeypatch):
        note = OpenRequest.note

        def fail(work: OpenRequest, change: Change) -> None:
            note(work, change)
            raise sa.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk full"))

        with monkeypatch.context() as patched:
            patched.setattr(OpenRequest, "note", fail)
            answer = self.ask(own_client)
        assert (answer.status_code, answer.json()["items"][0]["decision_id"]) == (200, None)
        again = self.ask(own_client)
        assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
        assert self.ask(own_client, "other").json()["items"][0]["decision_id"] is not None

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/next-actions", {"account_ids": ["acct-01"]}),
            ("/v1/controls/stop", {"reason": "x"}),
            ("/v1/controls/resume", {"reason": "x"}),
            ("/v1/controls/levels", {"level": 1, "reason": "x"}),
            ("/v1/controls/capacities", {"most_a_week": 9, "reason": "x"}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_may_not_run_again_commits_its_answer_with_its_effect(
        self, own_workspace, own_client, noted, path, body
    ):
        if path.endswith("resume"):
            own_client.post("/v1/controls/stop", json=body, headers={"Idempotency-Key": "before"})
            noted.clear()
        statuses: list[int | None] = []

        def look(*_: object) -> None:
            if noted and not statuses:
                with closing(sqlite3.connect(own_workspace.ledger_db)) as other:
                    [found] = other.execute(
                        "SELECT status FROM idempotent_requests WHERE key = 'k'"
                    ).fetchone()
                statuses.append(found)

        event.listen(own_client.app.state.service.ledger.database.engine, "checkin", look)
        answer = own_client.post(path, json=body, headers={"Idempotency-Key": "k"})
        assert statuses == [answer.status_code]

    @pytest.mark.parametrize("key", ["", "k" * 201, "a\tb"])
    def test_a_key_that_is_none_is_told(self, own_client, key):
        answer = self.ask(own_client, key)
        assert (answer.status_code, answer.json()["type"]) == (
            400,
            "/problems#missing-idempotency-key",
        )

    def test_without_a_key_and_for_what_writes_nothing_it_changes_nothing(self, own_client):
        body = {"account_ids": ["acct-01"]}
        assert own_client.post("/v1/next-actions", json=body).status_code == 200
        for _ in range(2):
            answer = own_client.post("/v1/scores", json=body, headers={"Idempotency-Key": "k"})
            assert "idempotency-replayed" not in answer.headers
        assert self.ask(own_client).status_code == 200  # the key is still free

    def test_each_api_key_has_keys_of_its_own(self, own_client):
        keys = own_client.app.state.service.keys
        decided = self.ask(own_client).json()["items"][0]
        path = f"/v1/decisions/{decided['decision_id']}/outcomes"
        answers = []
        for owner in ("ann", "bob"):
            new = keys.create(name="laptop", owner=owner, role="engine", now=AS_OF)
            answers.append(
                own_client.post(
                    path,
                    json={"kind": "outcome", "result": f"seen by {owner}"},
                    headers={"Idempotency-Key": "k", "X-API-Key": new.secret},
                )
            )
        assert [a.status_code for a in answers] == [201, 201]
        assert [a.json()["by"] for a in answers] == ["ann", "bob"]
        assert answers[0].json()["outcome_id"] != answers[1].json()["outcome_id"]

    def test_a_body_that_hides_its_length_is_refused_while_it_is_read(
        self, shared_workspace, store, make_client
    ):
        small = make_client(shared_workspace, store, max_body_bytes=100)
        answer = small.post(
            "/v1/next-actions",
            content=(b"[" * 60 for _ in range(3)),
            headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
        )
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems#too-large")


@pytest.fixture
def app(own_workspace, store) -> FastAPI:
    return create_app(
        own_workspace,
        store=store,
        now=lambda: datetime.now(UTC) - OLD,
        wall_clock=lambda: datetime.now(UTC),
        refresh_seconds=60,
    )


@pytest.fixture
def address(app) -> Iterator[str]:
    with running(app) as address:
        yield address


OLD = datetime.now(UTC) - AS_OF
"""A clock that runs, at the moment of the sample: two decisions never have the same moment."""


def stampede(calls: EngineCalls, callers: ThreadPoolExecutor, key: str, number: int) -> list[Reply]:
    """So many requests at once with one key, each on a connection of its own."""

    def ask(_: int) -> Reply:
        return calls.post("/v1/next-actions", {"account_ids": ["acct-01"]}, idempotency_key=key)

    return list(callers.map(ask, range(number)))


@pytest.mark.parametrize(
    ("writes", "keys"),
    [
        pytest.param(12, 3, id="12 at once, 3 keys"),
        pytest.param(50, 1000, id="50 at once, 1000 keys", marks=pytest.mark.slow),
    ],
)
def test_writes_at_once_with_one_key_have_one_effect(app, address, writes, keys):
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(writes) as callers:
        for number in range(keys):
            answers = stampede(calls_to(address, None), callers, f"key {number}", writes)
            statuses.update(a.status for a in answers)
            assert len({json.dumps(a.content) for a in answers if a.status == 200}) == 1
    assert set(statuses) == {200}  # what was late is answered as the first
    assert app.state.service.ledger.counts()[0] == keys


DYING = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request
from serving.api.idempotency import IdempotencyMiddleware
from serving.ledger.stores.idempotency import RequestKeys
from serving.ledger.database.database import LedgerDatabase
from serving.auth.roles import EMBEDDED, Need

database = LedgerDatabase(Path(sys.argv[1]))
dies, may_repeat = sys.argv[2], sys.argv[3] == "may repeat"
effects = sa.Table("effects", sa.MetaData(), sa.Column("place", sa.Integer, primary_key=True))
with database.writing() as connection:
    effects.create(connection, checkfirst=True)
app = FastAPI()

@app.post("/write")
def write(request: Request) -> dict[str, int]:
    if dies == "before the effect":
        os.kill(os.getpid(), 9)
    with database.for_request(request.state.open_request).writing() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(effects))
        if not (may_repeat and count):  # what may repeat finds what it wrote
            connection.execute(sa.insert(effects))
    if dies == "after the effect":
        os.kill(os.getpid(), 9)
    return {"effects": 1}

class Known:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        scope.setdefault("state", {}).update(caller=EMBEDDED, need=Need(
            permission=None, of="product", writes=True, may_repeat=may_repeat))
        await self.app(scope, receive, send)

lease = timedelta(seconds=1)
app.add_middleware(IdempotencyMiddleware, keys=RequestKeys(database, lease=lease),
                   clock=lambda: datetime.now(UTC), lease=lease)
app.add_middleware(Known)
config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
server = uvicorn.Server(config)
import asyncio
async def main():
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
asyncio.run(main())
"""


def serve(folder: Path, dies: str, repeats: str) -> tuple[Program, str]:
    process = Program(DYING, str(folder / "ledger.db"), dies, repeats)
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}/write"


@pytest.mark.parametrize(
    ("dies", "repeats", "status"),
    [
        ("before the effect", "may not", 200),
        ("after the effect", "may not", 409),
        ("after the effect", "may repeat", 200),
    ],
)
def test_a_kill_between_effect_and_answer_leads_to_one_effect(tmp_path, dies, repeats, status):
    headers = {"Idempotency-Key": "k"}
    process, address = serve(tmp_path, dies, repeats)
    with pytest.raises(httpx.TransportError):
        httpx.post(address, headers=headers, timeout=120)
    assert process.wait() == -signal.SIGKILL
    process.close()
    process, address = serve(tmp_path, "never", repeats)
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            answer = httpx.post(address, headers=headers, timeout=120)
            if answer.headers.get("retry-after") is None:
                break
            assert answer.json()["type"] == "/problems#idempotency-key-in-flight"
            time.sleep(0.2)
        again = httpx.post(address, headers=headers, timeout=120)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=120)
    assert answer.status_code == again.status_code == status
    assert answer.json() == again.json()
    if status == 409:
        assert answer.json()["type"] == "/problems#answer-lost"
    database = LedgerDatabase(tmp_path / "ledger.db")
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM effects")) == 1
    database.close()


KILLED = """
import os, sys
from fastapi.testclient import TestClient
from small_company import AS_OF, make_store
from sqlalchemy import event
from features.workspace import Workspace
from serving.api.app import create_app
from serving.ledger.database.change import OpenRequest
from serving.settings import ServiceSettings

folder, url, path, body = sys.argv[1:]
workspace = Workspace(folder)
app = create_app(workspace, store=make_store(workspace), now=lambda: AS_OF,
                 settings=ServiceSettings(ledger_url=url or None))

noted, note = [], OpenRequest.note

def listed(work, change):
    note(work, change)
    noted.append(change)

OpenRequest.note = listed

def die(*_):
    if noted:
        os.kill(os.getpid(), 9)  # committed, and nothing more

event.listen(app.state.service.ledger.database.engine, "checkin", die)
client = TestClient(app, base_url="http://127.0.0.1:8000")
client.post(path, content=body, headers={"Idempotency-Key": "k",
                                         "Content-Type": "application/json"})
"""


@pytest.mark.parametrize("where", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_who_was_killed_after_the_effect_gives_the_answer_of_then(
    own_workspace, store, make_client, request, where
):
    path, body = "/v1/next-actions", '{"account_ids": ["acct-01"]}'
    url = "" if where == "sqlite" else request.getfixturevalue("postgres").database()
    process = run_program(KILLED, str(own_workspace.root), url, path, body)
    assert process.returncode == -signal.SIGKILL
    client = make_client(
        own_workspace, store, now=lambda: AS_OF + timedelta(minutes=1), ledger_url=url or None
    )
    ledger = client.app.state.service.ledger
    before = ledger.verify()
    answer = client.post(path, json=json.loads(body), headers={"Idempotency-Key": "k"})
    assert answer.status_code in (200, 201)
    assert answer.headers["idempotency-replayed"] == "true"
    assert (ledger.verify().records, ledger.verify().finding) == (before.records, None)
    [item] = answer.json()["items"]
    assert ledger.decision(item["decision_id"]).action == item["action"]
    assert ledger.counts() == (1, 0)
