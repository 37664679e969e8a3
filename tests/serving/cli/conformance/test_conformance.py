"""The kit finds that this Keepwell keeps its promises, and that ones built to break them do not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from real_server import running
from small_company import AS_OF
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.app import create_app
from serving.cli.conformance.api_client import EngineCallError, Reply, calls_to
from serving.cli.conformance.conformance import (
    PROMISES,
    BrokenPromiseError,
    Finding,
    NotTestableError,
    Stage,
    expect,
    granted,
    play,
    same,
)

SECONDS_A_LOOK = 4.0
"""By how much the clock goes on at each look at a claim, so that a lease ends while the kit waits for
that, and never while it is busy."""


@pytest.fixture
def make_app(own_workspace, store) -> Callable[..., ASGIApp]:
    """A service whose clock goes on when somebody looks at a claim; or stands still.

    Its data stand still years ago.
    """
    looks = itertools.count()

    def make(*, stands_still: bool = False) -> ASGIApp:
        passed = 0.0

        def clock():
            return AS_OF + timedelta(days=1_500, seconds=passed)

        app = create_app(own_workspace, store=store, now=lambda: AS_OF, wall_clock=clock)

        async def looked_at(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal passed
            if (
                scope["type"] == "http"
                and scope["method"] == "GET"
                and scope["path"].startswith("/v1/claims/")
                and not stands_still
            ):
                passed = SECONDS_A_LOOK * next(looks)
            await app(scope, receive, send)

        return looked_at

    return make


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {each.name: each for each in findings}


def test_this_keepwell_keeps_every_promise(make_app) -> None:
    with running(make_app()) as address:
        found = play(calls_to(address, None))
    assert [each.name for each in found] == [each.name for each in PROMISES]
    assert [(each.name, each.seen) for each in found if each.verdict != "kept"] == []


def test_a_keepwell_whose_leases_never_end_is_found_out(make_app, monkeypatch) -> None:
    monkeypatch.setattr("serving.cli.conformance.conformance.SHORTEST_LEASE", 10)
    monkeypatch.setattr("serving.cli.conformance.conformance.PATIENCE", -9.5)
    monkeypatch.setattr(
        "serving.cli.conformance.conformance.PROMISES",
        [each for each in PROMISES if each.name == "crash"],
    )
    with running(make_app(stands_still=True)) as address:
        (found,) = play(calls_to(address, None))
    assert found.verdict == "broken"
    assert "the clock of this service stands still" in found.seen


class Tampered:
    """A Keepwell that breaks promises: ``change`` may alter what a request says."""

    def __init__(
        self,
        app: ASGIApp,
        change: Callable[[Scope], None],
        answer: Callable[[Scope], bytes | None] = lambda scope: None,
    ) -> None:
        self.app, self.change, self.answer = app, change, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.change(scope)
            body = self.answer(scope)
            if body is not None:
                await send({"type": "http.response.start", "status": 500, "headers": []})
                await send({"type": "http.response.body", "body": body})
                return
        await self.app(scope, receive, send)


def forget_keys() -> Callable[[Scope], None]:
    numbers = itertools.count()

    def change(scope: Scope) -> None:
        scope["headers"] = [
            (name, b"%d" % next(numbers) if name == b"idempotency-key" else value)
            for name, value in scope["headers"]
        ]

    return change


def test_a_keepwell_that_forgets_keys_is_found_out(make_app) -> None:
    with running(Tampered(make_app(), forget_keys())) as address:
        found = by_name(play(calls_to(address, None)))
    assert {name for name, each in found.items() if each.verdict == "broken"} >= {
        "repeats",
        "other body",
    }
    assert found["stampede"].verdict == "kept"
    assert "and not 200 or 201" in found["repeats"].seen


def test_a_keepwell_that_lets_anybody_end_a_claim_is_found_out(make_app) -> None:
    """Whoever acts is taken for the first engine."""

    class OneEngine:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def changed() -> Message:
                message = await receive()
                if message["type"] == "http.request" and b"conformance engine" in message["body"]:
                    body = json.loads(message["body"])
                    body["by"] = "conformance engine 1".ljust(len(body["by"]))
                    message = {**message, "body": json.dumps(body).encode()}
                return message

            await self.app(scope, changed if scope["type"] == "http" else receive, send)

    with running(OneEngine(make_app())) as address:
        found = by_name(play(calls_to(address, None)))
    assert found["two engines"].verdict == "broken"
    assert "and not 403 or 409" in found["two engines"].seen


def test_a_fault_inside_is_a_broken_promise(make_app) -> None:
    numbers = itertools.count()

    def sometimes(scope: Scope) -> bytes | None:
        return b"oops" if "/heartbeat" in scope["path"] and next(numbers) == 0 else None

    with running(Tampered(make_app(), lambda scope: None, sometimes)) as address:
        found = by_name(play(calls_to(address, None)))
    assert found["two engines"].verdict == "broken"
    assert found["two engines"].seen.endswith("answered 500: a fault inside.")


def test_where_nothing_may_be_claimed_nothing_is_tested_and_it_says_why(make_app) -> None:
    with running(make_app()) as address:
        calls = calls_to(address, None)
        calls.post("/v1/controls/stop", {"reason": "a test", "by": "ann"}, idempotency_key="stop-1")
        found = by_name(play(calls))
    assert {each.verdict for each in found.values()} == {"not tested"}
    assert "is for people only, or stopped" in found["repeats"].seen
    with pytest.raises(NotTestableError, match="No decision may be claimed: /x answered 409"):
        granted(Reply(path="/x", status=409, content={"type": "/problems#stopped"}, headers={}))


def test_whoever_may_not_approve_is_told_that_nothing_may_be_claimed(make_app) -> None:
    def refuse(scope: Scope) -> None:
        scope["path"] = scope["path"].replace("/approvals", "/none")

    with running(Tampered(make_app(), refuse)) as address:
        found = by_name(play(calls_to(address, None)))
    assert found["repeats"].verdict == "not tested"
    assert "No decision may be claimed: /v1/decisions/" in found["repeats"].seen


def test_what_was_not_promised_is_said_with_what_came() -> None:
    reply = Reply(path="/v1/x", status=200, content={}, headers={})
    with pytest.raises(BrokenPromiseError, match="/v1/x answered 200, and not 409"):
        expect(reply, 409)
    with pytest.raises(BrokenPromiseError, match="claims: 1, then 2"):
        same("claims", 1, 2)


def test_without_decisions_there_is_nothing_to_play_with() -> None:
    class Nothing(Stage):
        def _claimable(self) -> Iterator[str]:
            return iter(())

    with pytest.raises(NotTestableError, match="No decision recommends an action"):
        Nothing(calls_to("http://127.0.0.1:1", None)).decision()


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://a", "http://", "http://a:b@c/", "http://[::1", "http://a:99999999"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(EngineCallError, match=r"Write it as http://127\.0\.0\.1:8000"):
        calls_to(url, None)


def test_a_service_that_does_not_run_is_said() -> None:
    with pytest.raises(EngineCallError, match="cannot be asked for /v1/next-actions: Connection"):
        play(calls_to("http://127.0.0.1:1", "k" * 20))
