"""Talk to a Keepwell as a playbook engine does: over HTTP, by its API.

Follows no redirect, so that a key goes nowhere else.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

SECONDS = 60.0

ATTEMPTS = 20
LONGEST_PAUSE = 5
"""Seconds between two attempts, whatever the service advises."""


class EngineCallError(Exception):
    """A Keepwell cannot be asked at all."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What was answered; ``content`` is empty where the body is no JSON object."""

    path: str
    status: int
    content: Mapping[str, object]
    headers: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Which problem it is; empty for an answer."""
        return str(self.content.get("type", "")).rpartition("#")[2]

    @property
    def words(self) -> str:
        """The answer as a person reads it."""
        detail = self.content.get("detail")
        return f"{self.path} answered {self.status}" + (f": {detail}" if detail else "")


@dataclass(kw_only=True)
class EngineCalls:
    """Calls to one address, and what went wrong inside it meanwhile."""

    url: SplitResult
    key: str | None = field(default=None, repr=False)
    failures: list[Reply] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str) -> Reply:
        """Read."""
        return self._call("GET", path, None, {})

    def post(self, path: str, body: object, *, idempotency_key: str | None = None) -> Reply:
        """Write."""
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return self._call("POST", path, json.dumps(body).encode(), headers)

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        """The answer; what is refused because too much is worked on is sent again when it may be."""
        for _ in range(ATTEMPTS - 1):
            reply = self._call_once(method, path, body, headers)
            if reply.kind != "too-many-at-once":
                return reply
            time.sleep(min(int(reply.headers.get("retry-after", "1")), LONGEST_PAUSE))
        return self._call_once(method, path, body, headers)

    def _call_once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Reply:
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        host, port = self.url.hostname or "", self.url.port
        connection: http.client.HTTPConnection
        if self.url.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=SECONDS, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
        try:
            connection.request(method, self.url.path.rstrip("/") + path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineCallError(
                f"{self.url.netloc} cannot be asked for {path}: {type(error).__name__} {error}. "
                f"See whether it runs."
            ) from error
        finally:
            connection.close()
        reply = Reply(
            path=path,
            status=answer.status,
            content=_content(text),
            headers={name.lower(): value for name, value in answer.getheaders()},
        )
        if reply.status >= 500 and reply.status != 503:
            with self._lock:
                self.failures.append(reply)
        return reply


def calls_to(url: str, key: str | None) -> EngineCalls:
    """The calls to an address such as ``http://127.0.0.1:8000``.

    Raises:
        EngineCallError: it is no such address.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise EngineCallError(f"{url!r:.100} is no address. {EXAMPLE}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise EngineCallError(f"{url!r:.100} is no address of a Keepwell. {EXAMPLE}")
    return EngineCalls(url=parts, key=key)


EXAMPLE = "Write it as http://127.0.0.1:8000; the key comes from KEEPWELL_API_KEY."


def _content(text: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
