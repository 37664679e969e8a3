"""The command asks before it writes, and says what it found."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from keepwell_command import run_keepwell

ROOT = Path(__file__).parents[2]


def conformance(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell("conformance", *words, cwd=cwd, KEEPWELL_API_KEY="the key of the test")


@pytest.fixture
def yes_man() -> Iterator[tuple[str, list[str]]]:
    """A server that grants everything to everybody, and the keys that it was shown."""
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            item = {"decision_id": "d", "autonomy": 4, "ranked": [{"action": "call"}]}
            asked = self.path == "/v1/next-actions"
            said = {"items": [item] * 20} if asked else {"claim_id": "c", "state": "claimed"}
            self.answer(200 if asked else 201, said)

        def do_GET(self) -> None:
            self.answer(200, {"state": "lapsed"})

        def answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", keys
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_that_grants_everything_breaks_its_promises(yes_man, tmp_path: Path) -> None:
    address, keys = yes_man
    done = conformance(address, "--writes", "--out", "found.json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    broken = {each["name"] for each in found if each["verdict"] == "broken"}
    assert broken >= {"stampede", "two engines", "repeats", "crash", "out of order", "refusals"}
    assert "claims granted to 12 engines at once: 1, then 12." in " ".join(done.stdout.split())
    assert set(keys) == {"Bearer the key of the test"}


def test_it_does_not_begin_unasked_or_where_nobody_answers(tmp_path: Path) -> None:
    for words, said in (
        (("http://127.0.0.1:1",), "say so with --writes"),
        (("http://127.0.0.1:1", "--writes"), "cannot be asked for /v1/next-actions"),
        (("keepwell", "--writes"), "is no address of a Keepwell"),
    ):
        done = conformance(*words, cwd=tmp_path)
        assert done.returncode == 3, (words, done.stdout, done.stderr)
        assert said in " ".join(done.stderr.split())
        assert "the key of the test" not in done.stdout + done.stderr
