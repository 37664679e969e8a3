"""No secret that Keepwell is given is in what it prints, logs or stores as it is.

Each secret is a canary. A real service and real commands are driven into every kind of error that
was thought of, and then every byte they printed, answered and stored is searched for each canary.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from forked_programs import ROOT
from keepwell_command import run_keepwell
from small_company import make_workspace

SECRETS: Mapping[str, str] = {
    "KEEPWELL_API_KEY": "canary-api-key-0123456789",
    "KEEPWELL_KEY_PEPPER": "canary-pepper-0123456789",
    "KEEPWELL_WEBHOOK_KEY": "canary-webhook-key-0123456789",
    "KEEPWELL_LOTTERY_KEY": "ca9a57" * 12,
    "KEEPWELL_BUNDLE_KEY": "canary-signing-key-0123456789",
}
PASSWORD = "canary-password-0123456789"
IN_REQUESTS = "canary-of-a-request-0123456789"
CANARIES = (*SECRETS.values(), PASSWORD, IN_REQUESTS)

ADDRESSES = {
    "an unreachable PostgreSQL": f"postgresql://ledger:{PASSWORD}@127.0.0.1:1/keepwell",
    "another scheme": f"mysql://ledger:{PASSWORD}@127.0.0.1/keepwell",
    "no address at all": f"//{PASSWORD}@",
    "a port that is none": f"postgresql://ledger:{PASSWORD}@127.0.0.1:port/keepwell",
    "signs in the password": f"postgresql://ledger:a@b:{PASSWORD}@127.0.0.1:1/keepwell",
    "no database": f"postgresql://ledger:{PASSWORD}@127.0.0.1:1",
}


def forms_of(secret: str) -> set[bytes]:
    """A secret as it is, and as it would be in a header of a browser."""
    return {
        secret.encode(),
        base64.b64encode(secret.encode()).rstrip(b"="),
        base64.b64encode(f"ann:{secret}".encode()).rstrip(b"="),
        secret.encode().hex().encode(),
    }


def found_in(text: bytes) -> list[str]:
    return [one for one in CANARIES if any(form in text for form in forms_of(one))]


def stored_in(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("canaries") / "w").root


@contextmanager
def serving(folder: Path, log: Path, **environment: str) -> Iterator[str]:
    """The command as it is, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "keepwell", "serve", "--port", str(port), "-w", str(folder)],
            cwd=ROOT,
            env={**os.environ, **SECRETS, **environment},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            until = time.monotonic() + 90
            while time.monotonic() < until and process.poll() is None:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2)
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_a_service_in_trouble_tells_no_secret(workspace: Path, tmp_path: Path) -> None:
    log, told = tmp_path / "log", b""
    url = ADDRESSES["an unreachable PostgreSQL"]
    own = {"X-API-Key": SECRETS["KEEPWELL_API_KEY"], "Idempotency-Key": "one"}
    with serving(workspace, log, KEEPWELL_LEDGER_URL=url) as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            for headers in (
                {"X-API-Key": IN_REQUESTS},
                {"Authorization": f"Bearer {IN_REQUESTS}"},
                {
                    "Authorization": f"Basic {base64.b64encode(f'ann:{IN_REQUESTS}'.encode()).decode()}"
                },
                {"Authorization": f"Digest {IN_REQUESTS}"},
                {"Cookie": f"session={IN_REQUESTS}"},
            ):
                told += client.get("/v1/accounts", headers=headers).content
            until = time.monotonic() + 120
            while (answer := client.get("/v1/accounts", headers=own)).status_code == 503:
                assert time.monotonic() < until, answer.text  # the accounts are scored first
                time.sleep(0.2)
            assert answer.status_code == 200
            for path in ("/", "/approvals", "/readyz", "/metrics", "/v1/controls", "/openapi.json"):
                answer = client.get(path, headers={**own, "Accept": "text/html"})
                told += answer.content + str(answer.headers).encode()
            asked = {"account_ids": ["acct-00"]}
            told += client.post("/v1/next-actions", json=asked, headers=own).content
            told += client.post(
                "/v1/decisions/none/outcomes", json={"kind": "executed"}, headers=own
            ).content
            told += client.post("/v1/events", content=b"{", headers=own).content
            (workspace / "workspace.toml").write_text("broken = [", encoding="utf-8")
            time.sleep(6)  # it is read again every 5 s
            told += client.get("/", headers=own).content
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as raw:
            raw.sendall(f"GET / HTTP/9\r\nX-API-Key: {IN_REQUESTS}\r\n\r\n".encode())
            raw.settimeout(10)
            told += raw.recv(10_000)
    printed = log.read_bytes()
    assert b"cannot be reached" in printed  # the errors were provoked
    assert found_in(told) == []
    assert found_in(printed) == []
    assert found_in(stored_in(workspace)) == []


@pytest.mark.parametrize("case", ADDRESSES)
def test_a_command_that_can_not_reach_the_ledger_tells_no_password(
    tmp_path: Path, case: str
) -> None:
    (tmp_path / "w").mkdir()
    for words in (("ledger", "verify", "--traceback"), ("webhooks", "list")):
        ran = run_keepwell(
            *words, "-w", "w", cwd=tmp_path, KEEPWELL_LEDGER_URL=ADDRESSES[case], **SECRETS
        )
        assert ran.returncode == 3, ran.stderr
        assert found_in((ran.stdout + ran.stderr).encode()) == []


@pytest.mark.parametrize(
    "variable", ["KEEPWELL_API_KEY", "KEEPWELL_KEY_PEPPER", "KEEPWELL_WEBHOOK_KEY"]
)
def test_a_secret_that_is_too_short_is_not_repeated(tmp_path: Path, variable: str) -> None:
    (tmp_path / "w").mkdir()
    ran = run_keepwell("keys", "list", "-w", "w", cwd=tmp_path, **{variable: "canary-short"})
    assert ran.returncode == 3
    assert variable in ran.stderr
    assert "canary-short" not in ran.stdout + ran.stderr


def test_a_new_key_and_a_wrong_one_are_nowhere_but_in_their_own_answer(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    words = ("create", "x", "--owner", "ann", "--role", "reader", "-w", "w")
    made = run_keepwell("keys", *words, cwd=tmp_path, **SECRETS)
    [secret] = re.findall(r"kw_[\w-]{43}", made.stdout)
    wrong = run_keepwell(
        "stop", "--reason", "x", "-w", "w", "--traceback",
        cwd=tmp_path, KEEPWELL_KEY=IN_REQUESTS, **SECRETS,
    )  # fmt: skip
    listed = run_keepwell("keys", "list", "-w", "w", cwd=tmp_path, **SECRETS)
    assert wrong.returncode != 0
    told = (made.stderr + wrong.stdout + wrong.stderr + listed.stdout + listed.stderr).encode()
    assert found_in(told) == []
    assert secret.encode() not in told + stored_in(tmp_path / "w")
    assert found_in(stored_in(tmp_path / "w")) == []
