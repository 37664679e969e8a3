"""Whatever Schemathesis makes of our own OpenAPI document is answered as the document says.

Its four phases are examples, coverage (each bound of each field), fuzzing, and stateful: sequences in
which an answer's ids go into the next request. It reads only the document, so it finds where the
document and the service disagree.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mutated_requests import Sent, broken_promise
from real_server import running
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.openapi import LINKS

WHOLE = 30_000

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
)
"""All but those that ask for a 2xx wherever the document allows the values: an Idempotency-Key that came
before, a decision that ran out or an unknown id are refused for what was there before."""

REFUSALS = (
    "400",
    "401",
    "403",
    "404",
    "405",
    "409",
    "413",
    "414",
    "415",
    "422",
    "428",
    "429",
    "431",
)
"""What a request that breaks the document may be answered with."""

PROGRAM = Path(sys.executable).with_name("schemathesis")


class Watched:
    """An application whose answers are looked at: errors of one shape, of a kind that is declared."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.broken: list[str] = []
        self.answers = 0
        self.slowest = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: list[Message] = []

        async def send_on(message: Message) -> None:
            heard.append(message)
            await send(message)

        await self.app(scope, receive, send_on)
        if scope["type"] == "http":
            self._look_at(scope, heard)

    def _look_at(self, scope: Scope, heard: list[Message]) -> None:
        start = next(one for one in heard if one["type"] == "http.response.start")
        body = b"".join(
            one.get("body", b"") for one in heard if one["type"] == "http.response.body"
        )
        self.answers += 1
        sent = Sent(scope["method"], scope["path"], tuple(scope["headers"]), b"")
        problem = broken_promise(sent, start["status"], dict(start["headers"]), body)
        if problem is not None:
            self.broken.append(f"{problem} | {sent}")


def generated(app, tmp_path, *, examples, seconds, seed):
    """What Schemathesis says of the service, and what was seen of its answers meanwhile."""
    watched = Watched(app)
    report, settings = tmp_path / "report", tmp_path / "schemathesis.toml"
    settings.write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {list(REFUSALS)}\n")
    with running(watched) as address:
        done = subprocess.run(
            [
                str(PROGRAM), "--config-file", str(settings), "run", f"{address}/openapi.json",
                "--phases", "examples,coverage,fuzzing,stateful", "--checks", ",".join(CHECKS),
                "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure",
                "--request-timeout", "60", "--no-color", "--warnings", "off",
                "--max-time", str(seconds), "--report-dir", str(report),
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    cases = re.search(r"^\s*([\d,]+) generated", done.stdout, re.MULTILINE)
    assert cases is not None, done.stdout[-3000:] + done.stderr[-2000:]
    return done, watched, int(cases[1].replace(",", ""))


def test_a_sample_of_generated_requests_is_answered_as_documented(own_client, tmp_path):
    done, watched, cases = generated(own_client.app, tmp_path, examples=2, seconds=12, seed=1)
    assert watched.broken[:5] == []
    assert done.returncode == 0, done.stdout[-6000:]
    assert cases > 10  # it stops by the clock: so many even where the machine does much else
    assert watched.answers >= cases


@pytest.mark.slow
def test_thirty_thousand_generated_requests_are_answered_as_documented(own_client, tmp_path):
    total, seed = 0, 1
    while total < WHOLE:
        seed += 1
        done, watched, cases = generated(
            own_client.app, tmp_path, examples=200, seconds=300, seed=seed
        )
        assert watched.broken[:5] == []
        assert done.returncode == 0, done.stdout[-6000:]
        total += cases


def test_operations_are_linked_where_an_id_goes_on(own_client):
    """The stateful phase follows these: a recommendation is claimed, the claim is completed."""
    paths = own_client.get("/openapi.json").json()["paths"]
    claimed = paths["/v1/decisions/{decision_id}/claims"]["post"]
    by_id = {
        operation["operationId"]: (path, operation)
        for path, operations in paths.items()
        for operation in operations.values()
    }
    links = [
        (answer, link)
        for _, operation in by_id.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) == sum(len(link.to) for link in LINKS)
    for answer, link in links:
        path, operation = by_id[link["operationId"]]
        [(name, place)] = link["parameters"].items()
        assert "{%s}" % name in path  # noqa: UP031
        assert name in {one["name"] for one in operation["parameters"]}
        assert "application/json" in answer["content"]
        assert place.startswith("$response.body#/")
    completed = {link["operationId"] for link in claimed["responses"]["201"]["links"].values()}
    assert paths["/v1/claims/{claim_id}/complete"]["post"]["operationId"] in completed


@pytest.mark.parametrize(
    ("broken", "status", "kind", "body"),
    [
        (0, 200, b"application/json", b"{}"),
        (1, 500, b"application/problem+json", b"{}"),
        (1, 404, b"text/plain", b"Not found"),
    ],
)
def test_an_answer_of_another_shape_is_noticed(broken, status, kind, body):
    async def answers(scope, receive, send):
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def sent(message):
        pass

    watched = Watched(answers)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(watched(scope, sent, sent))
    assert len(watched.broken) == broken
