"""The service tells a receiver what it decides, while it runs, and only where it was configured."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest
from real_server import running

from serving.api.app import create_app
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import FILE, Endpoint
from serving.settings import ServiceSettingError, ServiceSettings, service_settings
from serving.webhooks.secret_encryption import SecretEncryption
from serving.webhooks.signature import secret_text
from serving.webhooks.url import AllowedAddresses, allowed_addresses


@pytest.fixture
def told() -> Iterator[tuple[int, list[dict[str, object]]]]:
    """A receiver's port, and what it was told."""
    got: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1], got
    server.shutdown()
    thread.join()
    server.server_close()


def add(workspace, port: int) -> None:
    with closing(Outbox(workspace.root / FILE, SecretEncryption(workspace.root, None))) as outbox:
        outbox.add(
            Endpoint(name="crm", url=f"http://127.0.0.1:{port}/", kinds=(), place=0),
            secret_text(b"s" * 32),
        )


def test_a_decision_reaches_the_receiver_and_none_where_no_host_is_named(
    own_workspace,
    store,
    as_of,
    told,
) -> None:
    port, got = told
    add(own_workspace, port)
    for allowed in (AllowedAddresses(), allowed_addresses(f"127.0.0.1:{port}", "127.0.0.0/8")):
        app = create_app(
            own_workspace,
            store=store,
            now=lambda: as_of,
            settings=ServiceSettings(webhooks=allowed),
            wall_clock=lambda: datetime.now(UTC),
        )
        assert got == []  # once a host is named, what was decided before is told at the start
        with running(app) as address:
            answer = httpx.post(f"{address}/v1/next-actions", json={"limit": 2}, timeout=60).json()
            until = time.monotonic() + (120 if allowed.hosts else 1)
            while len(got) < 2 and time.monotonic() < until:
                time.sleep(0.02)
    decided = [each["decision_id"] for each in answer["items"]]
    made = [each for each in got if each["type"] == "decision.made"]
    assert [each["data"]["decision_id"] for each in made] == decided  # type: ignore[index]


def test_the_environment_names_the_hosts_and_networks() -> None:
    settings = service_settings(
        {"KEEPWELL_WEBHOOK_HOSTS": "hooks.example", "KEEPWELL_WEBHOOK_NETWORKS": "10.0.0.0/8"}
    )
    assert settings.webhooks == allowed_addresses("hooks.example", "10.0.0.0/8")
    assert service_settings({}).webhooks.hosts == ()
    with pytest.raises(ServiceSettingError, match="KEEPWELL_WEBHOOK_NETWORKS has 'home'"):
        service_settings({"KEEPWELL_WEBHOOK_NETWORKS": "home"})
