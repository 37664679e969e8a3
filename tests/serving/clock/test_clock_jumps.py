"""A clock that jumps, while the service runs or between two runs, loses, doubles and unlocks nothing.

The service is the real one, as a process of its own; libfaketime turns the clock that it sees.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from faked_clock import FakedClock
from fastapi.testclient import TestClient
from keepwell_command import run_keepwell

from features.workspace import Workspace
from serving.auth.api_keys import ApiKeys
from serving.ledger.database.tables import BY_THE_CLOCK

pytestmark = pytest.mark.faketime

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RIGHT = timedelta(0)
JUMPS = {"+1 h": HOUR, "-1 h": -HOUR, "+1 year": 365 * DAY, "-1 year": -365 * DAY}
LEASE_SECONDS = 1_200
UNTIL_SEEN = 120.0

numbers = itertools.count()


class Company:
    """A company with decisions, claims and keys that a wrong clock could free, lose or do twice."""

    def __init__(self, workspace: Workspace, over: str) -> None:
        self.workspace = workspace
        self.url = ""
        self.client = httpx.Client(timeout=60)
        self.over = over  # a decision of more than a week ago
        now, keys = datetime.now(UTC), ApiKeys(workspace.root)
        begins = {"over": now - HOUR}
        ends = {"over": now - HOUR / 2, "soon over": now + HOUR / 2}
        self.keys = {
            name: keys.create(
                name=name,
                owner=name,
                role="admin",
                now=begins.get(name, now),
                expires_at=ends.get(name),
            ).secret
            for name in ("ann", "bob", "soon over", "over")
        }
        keys.close()

    def ask(self, method: str, path: str, *, by: str = "ann", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[by]}", **more.pop("headers", {})}
        return self.client.request(method, f"{self.url}{path}", headers=headers, **more)

    def post(self, path: str, body: object, *, by: str = "ann", key: str = "") -> httpx.Response:
        headers = {"idempotency-key": key or f"key {next(numbers)}"}
        return self.ask("POST", path, by=by, json=body, headers=headers)

    def claim(self, decision: str, *, by: str = "ann", key: str = "") -> httpx.Response:
        body = {"lease_seconds": LEASE_SECONDS}
        return self.post(f"/v1/decisions/{decision}/claims", body, by=by, key=key)

    def report(self, result: str, *, key: str = "") -> httpx.Response:
        body = {"kind": "outcome", "result": result}
        return self.post(f"/v1/decisions/{self.decision}/outcomes", body, key=key)

    def begin(self) -> None:
        """Do what has to outlast a jump."""
        trusted = {"level": 4, "reason": "a test"}
        assert self.post("/v1/controls/levels", trusted).status_code == 201
        accounts = [f"acct-{number:02d}" for number in range(1, 13)]
        items = self.post("/v1/next-actions", {"account_ids": accounts}).json()["items"]
        action = items[0]["action"]
        of_action = [one["decision_id"] for one in items if one["action"] == action]
        self.decision, snoozed, more, *_ = of_action
        put_off = {
            "verdict": "snooze",
            "reason": "on leave",
            "snooze_until": (datetime.now(UTC) + HOUR / 2).isoformat(),
        }
        assert self.post(f"/v1/decisions/{snoozed}/feedback", put_off).status_code == 201
        self.once: dict[str, Callable[[], httpx.Response]] = {
            "claimed": lambda: self.claim(self.decision, key="claimed once"),
            "reported": lambda: self.report("once", key="reported once"),
            "decided": lambda: self.post("/v1/next-actions", {"limit": 3}, key="decided once"),
        }
        self.answers = {name: send() for name, send in self.once.items()}
        assert {one.status_code for one in self.answers.values()} <= {200, 201}
        self.results = ["once"]
        capacity = {"action": action, "most_a_week": 1, "reason": "a test"}
        assert self.post("/v1/controls/capacities", capacity).status_code == 201
        self.refused = {
            self.decision: "This decision is claimed until",
            more: "1 a week may be claimed",
            snoozed: "put .* off for this account until",
            self.over: "This decision is valid until",
        }

    def check(self, jump: str) -> None:
        """See that nothing is lost, done twice or free, and go on working."""
        for decision, words in self.refused.items():
            answer = self.claim(decision, by="bob")
            assert answer.status_code in (409, 429), (jump, words, answer.text)
            assert re.search(words, answer.json()["detail"]), (jump, answer.text)
        for name, send in self.once.items():
            again, first = send(), self.answers[name]
            assert (again.status_code, again.text) == (first.status_code, first.text), (jump, name)
        live = {name: self.ask("GET", "/v1/actions", by=name).status_code for name in self.keys}
        assert live == {"ann": 200, "bob": 200, "soon over": 200, "over": 401}, jump
        assert self.report(jump).status_code == 201
        self.results.append(jump)
        body = {"lease_seconds": LEASE_SECONDS}
        told = self.post(f"{self.claim_path}/heartbeat", body).json()
        until = datetime.fromisoformat(told["lease_until"]) - timedelta(seconds=LEASE_SECONDS)
        assert abs(until - datetime.now(UTC)) < 2 * HOUR / 60, jump
        assert self.claim_state() == "claimed", jump

    @property
    def claim_path(self) -> str:
        return f"/v1/claims/{self.answers['claimed'].json()['claim_id']}"

    def claim_state(self) -> str:
        return str(self.ask("GET", self.claim_path).json()["state"])

    def wait_until(self, status: str) -> dict[str, Any]:
        """What the service says of its clock once it has seen that it was turned."""
        until = time.monotonic() + UNTIL_SEEN
        while time.monotonic() < until:
            found = self.ask("GET", "/readyz").json()
            if found["status"] == status:
                return {one["store"]: one["reason"] for one in found["stores"]}
            time.sleep(0.1)
        raise AssertionError(f"it never became {status}")

    def check_ledger(self) -> None:
        """See that the ledger is whole, in order of time, and holds each outcome once."""
        root = self.workspace.root
        checked = run_keepwell("ledger", "verify", "--workspace", str(root), cwd=root)
        assert checked.returncode == 0, checked.stderr
        with closing(sqlite3.connect(root / "ledger.db")) as link:
            told = link.execute("SELECT result FROM outcomes WHERE result IS NOT NULL").fetchall()
            assert sorted(one for (one,) in told) == sorted(self.results)
            for column in BY_THE_CLOCK:
                key = next(iter(column.table.primary_key)).name
                moments = link.execute(
                    f'SELECT r."{column.name}" FROM "{column.table.name}" r JOIN chain c ON '
                    f'c."table" = ? AND c.record_id = r."{key}" ORDER BY c.place',
                    (column.table.name,),
                ).fetchall()
                known = [moment for (moment,) in moments if moment is not None]
                assert known == sorted(known), column
                assert not known or known[-1] < (datetime.now(UTC) + HOUR / 30).isoformat()


@pytest.fixture
def clock(tmp_path: Any) -> FakedClock:
    return FakedClock(tmp_path)


@pytest.fixture
def company(
    own_workspace: Workspace, store: Any, make_client: Callable[..., TestClient]
) -> Iterator[Company]:
    then = datetime.now(UTC) - 8 * DAY
    client = make_client(own_workspace, store, wall_clock=lambda: then)
    asked = client.post("/v1/next-actions", json={"account_ids": ["acct-20"]}).json()
    client.app.state.service.close()  # type: ignore[attr-defined]
    made = Company(own_workspace, asked["items"][0]["decision_id"])
    yield made
    made.client.close()


def jump_while_it_serves(company: Company, clock: FakedClock, name: str) -> None:
    jump = JUMPS[name]
    clock.turn(jump)
    side = "ahead of" if jump > RIGHT else "behind"
    assert f"{side} the steady time" in company.wait_until("degraded")["clock"]
    company.check(name)
    figures = company.ask("GET", "/metrics").text
    [ahead] = re.findall(r"^keepwell_clock_ahead_seconds (\S+)", figures, re.MULTILINE)
    assert abs(float(ahead) - jump.total_seconds()) < 60
    clock.turn(RIGHT)
    company.wait_until("ok")


def test_a_jump_changes_nothing_until_a_person_accepts_the_clock(
    company: Company, clock: FakedClock
) -> None:
    root = company.workspace.root
    with clock.served(root) as company.url:
        company.begin()
        company.check("before")
        for name in JUMPS:
            jump_while_it_serves(company, clock, name)
        company.check("after")
    clock.turn(JUMPS["+1 year"])
    with clock.served(root) as company.url:
        company.wait_until("degraded")
        company.check("between two runs")
        beside = clock.run(root, "stop", "--reason", "a command beside the service")
        assert beside.returncode == 0, beside.stderr
        assert "365 days 0 h ahead of the steady time" in beside.stderr
        company.check_ledger()
        assert clock.run(root, "clock", "--accept").returncode == 0
        company.wait_until("ok")
        assert company.claim_state() == "lapsed"


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_between_two_runs_changes_nothing(
    company: Company, clock: FakedClock, name: str
) -> None:
    root = company.workspace.root
    with clock.served(root) as company.url:
        company.begin()
    clock.turn(JUMPS[name])
    with clock.served(root) as company.url:
        assert "clock" in company.wait_until("degraded")
        company.check(name)
        assert clock.run(root, "clock").returncode == 1
        clock.turn(RIGHT)
        company.wait_until("ok")
        company.check("after")
    company.check_ledger()


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_workers_go_by_one_time_also_one_that_starts_after_a_jump(
    company: Company, clock: FakedClock, name: str
) -> None:
    with clock.served(company.workspace.root, "--workers", "2") as company.url:
        company.begin()
        clock.turn(JUMPS[name])
        company.wait_until("degraded")
        killed, *_ = clock.processes_below()
        killed.kill()
        until = time.monotonic() + UNTIL_SEEN
        while len(clock.processes_below()) < 2 or killed in clock.processes_below():
            assert time.monotonic() < until
            time.sleep(0.1)
        for number in range(10):
            company.check(f"{name} {number}")
    company.check_ledger()
