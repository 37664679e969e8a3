"""Requests as an attacker or a broken client sends them: a good request with some of it replaced.

Good requests come from the examples of the service's own OpenAPI document and from its forms. They
are handed to the application as a server does after it has read them, so that a header or an address
may be any bytes; nothing is started and nothing waits, which makes thousands a minute.

``pytest -m slow tests/serving/api/test_mutated_requests.py`` asks a million of a small company.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlencode

from checked_client import undeclared_problem
from fastapi import FastAPI

LONGEST, LONGEST_WAIT = 2.0, 25.0
"""Seconds after which a request counts as hanging: of the processor, and by the clock. The clock alone
would also tell how busy the machine is."""

NUMBERS = (
    "NaN",
    "1e999",
    "-1e308",
    "9" * 400,
    "-1",
    "0",
    "1e-400",
    "4294967296",
    "0x10",
    "1.5",
    "-0",
    "1" + "0" * 5000,
    "9223372036854775808",
    "1e15",
    "00",
)
WORDS = (
    "", " ", "\x00", "a\x00b", "\ud800", "x" * 3000, "\u202e", "../../etc/passwd", "..%2f..%2f",
    "%", "%ff", "<script>", "' or 1=1 --", "{0}", "null", "true", "[]", "é" * 300, "\r\nx: y",
    "eyJhY2NvdW50X2lkIjogInh4In0", "AAAA", "=" * 40, "\x1b[2J", "\u2028", "a" * 201, "\ufeff",
    "1970-01-01T00:00:00Z", "2100-12-31T23:59:59.999999Z", "-1-01-01", "2026-03-01T24:00:00Z",
    "2026-03-29T02:30:00+01:00", "decision-2c5ea4c0-4067-5e19-8bad-9b1deb4d3b7d",
    "0001-01-01", "9999-12-31T23:59:59-12:00", "2026-02-30", "2026-03-01T00:00:00", "+1e400",
)  # fmt: skip
KEYS = ("", " ", "k", "k" * 5000, "\x7f", "é", '"k"', "k,k", "\x00", "a b", "-")
HEADERS = (
    (b"content-type", b""), (b"content-type", b"text/plain"),
    (b"content-type", b"application/json; charset=utf-16"),
    (b"content-type", b"multipart/form-data"), (b"content-encoding", b"gzip"),
    (b"content-length", b"-1"), (b"content-length", b"99999999999999999999"),
    (b"content-length", b"1e3"), (b"accept", b"text/html"), (b"accept", b"\xff" * 100),
    (b"authorization", b"Bearer "), (b"authorization", b"Bearer \xff\x00"),
    (b"authorization", b"Basic " + b"=" * 9000), (b"origin", b"null"), (b"origin", b"http://["),
    (b"host", b""), (b"host", b"[::1"), (b"host", b"127.0.0.1:99999999"), (b"host", b"\xff"),
    (b"if-none-match", b'"' * 500), (b"cookie", b"\xff;=;a"), (b"range", b"bytes=9-1"),
    (b"accept-encoding", b"gzip;q=x"), (b"x", b"y" * 60_000), (b"last-event-id", b"-1"),
    (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip, chunked"), (b"expect", b"x"),
    (b"content-encoding", b"br"), (b"content-encoding", b"deflate, gzip"), (b"cookie", b"a" * 60_000),
    (b"content-type", b"application/json;" * 999), (b"if-modified-since", b"never"),
    (b"x-forwarded-for", b"'"), (b"x-forwarded-host", b"evil.example"), (b"forwarded", b"host=evil"),
    (b"x-http-method-override", b"DELETE"), (b"connection", b"upgrade"), (b"upgrade", b"websocket"),
    (b"traceparent", b"zz"), (b"sec-fetch-site", b"cross-site"),
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "get", "")

FORMS: Mapping[str, Sequence[tuple[str, str]]] = {
    "/accounts/{account_id}/feedback": (
        ("verdict", "snooze"),
        ("reason", "later"),
        ("action", "x"),
    ),
    "/decisions/{decision_id}/approvals": (("verdict", "approve"), ("reason", "ok"), ("by", "me")),
}


@dataclass(frozen=True)
class Sent:
    """One request, as bytes: what a server hands to an application."""

    method: str
    address: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    pieces: int = 1

    def __str__(self) -> str:
        return f"{self.method} {self.address[:200]} {self.headers[:8]!r:.600} {self.body[:400]!r}"


@dataclass
class Found:
    """What was counted: answers by status, and requests that broke a promise with how."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[tuple[str, Sent]] = field(default_factory=list)
    slowest: float = 0.0


def good_requests(app: FastAPI, names: Mapping[str, Sequence[str]]) -> tuple[Sent, ...]:
    """A request of each route, which it understands; ``names`` are ids by parameter of a path."""
    document = app.openapi()
    made = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            queries = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
            body = b""
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                body = json.dumps(example_of(schema, document)).encode()
            headers = (*JSON, (b"idempotency-key", b"key")) if body else BASE
            for address in addresses(path, names):
                query = urlencode([(one["name"], query_value(one)) for one in queries])
                made.append(Sent(method.upper(), address, headers, body))
                if query:
                    made.append(Sent(method.upper(), f"{address}?{query}", headers, body))
    for path, form in FORMS.items():
        made += [
            Sent("POST", address, FORM, urlencode(form).encode())
            for address in addresses(path, names)
        ]
    pages = ("/", "/models", "/reports", "/approvals", "/help", "/problems", "/docs", "/assets/x")
    made += [Sent("GET", page, (*BASE, (b"accept", b"text/html")), b"") for page in pages]
    made += [
        Sent("GET", f"/accounts/{name}", (*BASE, (b"accept", b"text/html")), b"")
        for name in names["account_id"]
    ]
    return tuple(made)


BASE = ((b"host", b"127.0.0.1:8000"),)
JSON = (*BASE, (b"content-type", b"application/json"))
FORM = (*BASE, (b"content-type", b"application/x-www-form-urlencoded"))


def addresses(path: str, names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The path with each of the ids of its parameter."""
    if "{" not in path:
        yield path
        return
    parameter = path.partition("{")[2].partition("}")[0]
    for name in names.get(parameter, ("nobody",)):
        yield path.replace("{%s}" % parameter, quote(name))  # noqa: UP031


def query_value(parameter: Mapping[str, object]) -> str:
    """A plausible value."""
    name = str(parameter["name"])
    return {"limit": "2", "since": "2026-02-01T00:00:00Z", "horizon_days": "90"}.get(name, "a")


def example_of(schema: Mapping[str, object], document: Mapping[str, object]) -> object:
    """The first example of a schema, else a value that is built from its parts."""
    while "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = document["components"]["schemas"][name]  # type: ignore[index]
    if schema.get("examples"):
        return schema["examples"][0]  # type: ignore[index]
    for word in ("const", "default", "example"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]  # type: ignore[index]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return example_of(schema[word][0], document)  # type: ignore[index]
    kind = schema.get("type")
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: example_of(part, document) for name, part in parts.items()}  # type: ignore[attr-defined]
    if kind == "array":
        return [example_of(schema["items"], document)]  # type: ignore[arg-type]
    return {"integer": 1, "number": 1.0, "boolean": True, "null": None}.get(str(kind), "a")


def mutated(good: Sequence[Sent], rng: random.Random) -> Sent:
    """A good request with one to three of its parts replaced."""
    sent = rng.choice(good)
    for _ in range(rng.choice((1, 1, 2, 3))):
        sent = rng.choice(CHANGES)(sent, rng)
    return sent


def _change_body(sent: Sent, rng: random.Random) -> Sent:
    """One value, key or field of the body, as its form is."""
    if not sent.body:
        return _replace(
            sent,
            body=rng.choice(
                (b"{}", b"\x00", b"a=b", b"[" * 5000, b'{"a":' * 90_000, b"1" * 90_000)
            ),
        )
    if sent.body[:1] not in b"{[":
        return _change_form(sent, rng)
    try:
        content = json.loads(sent.body)
    except (ValueError, RecursionError):
        return _change_bytes(sent, rng)
    places = list(_places(content))
    mark = "@@here@@"
    if places:
        holder, key = rng.choice(places)
        if isinstance(holder, dict) and rng.random() < 0.15:
            del holder[key]
        elif isinstance(holder, dict) and rng.random() < 0.15:
            holder[rng.choice(WORDS)] = holder[key]
        else:
            holder[key] = mark
    value = rng.choice(
        (
            rng.choice(NUMBERS), json.dumps(rng.choice(WORDS)), json.dumps(rng.choice(NUMBERS)),
            "null", "true", "[]", "{}", "[" * 900 + "]" * 900, '{"a":1,"a":2}', "[[1]]",
            '"' + "\\ud800" + '"', json.dumps(["a"] * 3000), '{"a":' * 900 + "1" + "}" * 900,
            '"' + "\\u0000" + '"', json.dumps({str(number): number for number in range(3000)}),
        )
    )  # fmt: skip
    return _replace(sent, body=json.dumps(content).replace(f'"{mark}"', value).encode())


def _change_form(sent: Sent, rng: random.Random) -> Sent:
    """Other values of the fields of a form, also doubled, before it or in its place."""
    before = sent.body.decode("latin-1")
    names = [*dict.fromkeys(one.partition("=")[0][:200] for one in before.split("&"))]
    text = "&".join(
        f"{rng.choice(names)}={quote(rng.choice(WORDS + NUMBERS), errors='surrogatepass')}"
        for _ in range(rng.choice((1, 3, 12, 2000)))
    )
    body = rng.choice((text, f"{text}&{before}"))
    return _replace(sent, body=body.encode("latin-1", "replace"))


def _places(content: object) -> Iterator[tuple[dict | list, object]]:
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield content, key
        yield from _places(value)


def _change_bytes(sent: Sent, rng: random.Random) -> Sent:
    """The body cut off, flipped, doubled, packed or in another encoding."""
    body = bytearray(sent.body or b"x")
    way = rng.randrange(6)
    if way == 0:
        body = body[: rng.randrange(len(body) + 1)]
    elif way == 1:
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    elif way == 2:
        body = body * 2
    elif way == 3:
        body = bytearray(gzip.compress(bytes(body)))
    elif way == 4:
        body = bytearray(
            bytes(body).decode("latin-1").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
        )
    else:
        body = bytearray(rng.randbytes(rng.randrange(1, 2000)))
    return _replace(sent, body=bytes(body), pieces=rng.choice((1, 1, 7)))


def _change_header(sent: Sent, rng: random.Random) -> Sent:
    """A header replaced, doubled or left out."""
    way = rng.random()
    if way < 0.15:
        return _replace(sent, headers=tuple(one for one in sent.headers if rng.random() < 0.5))
    if way < 0.4:
        key = rng.choice(KEYS + WORDS).encode("utf-8", "surrogatepass").replace(b"\r\n", b"")
        kept = tuple(one for one in sent.headers if one[0] != b"idempotency-key" or way < 0.2)
        return _replace(sent, headers=(*kept, (b"idempotency-key", key)))
    name, value = rng.choice(HEADERS)
    kept = tuple(one for one in sent.headers if one[0] != name or way < 0.5)
    return _replace(sent, headers=(*kept, (name, value)))


def _change_address(sent: Sent, rng: random.Random) -> Sent:
    """A part of the path or a value of the query."""
    path, mark, query = sent.address.partition("?")
    word = quote(rng.choice(WORDS + NUMBERS), safe=rng.choice(("", "/%")), errors="surrogatepass")
    if mark and rng.random() < 0.7:
        pairs = [one.partition("=") for one in query.split("&")]
        place = rng.randrange(len(pairs))
        pairs[place] = (pairs[place][0], "=", word)
        pairs = [one for one in pairs if rng.random() < 0.8] or pairs
        return _replace(sent, address=f"{path}?{'&'.join(''.join(one) for one in pairs)}")
    parts = path.split("/")
    if rng.random() < 0.05:
        return _replace(sent, address=path + rng.choice(("/" * 9000, "/.." * 3000, "/%2e%2e" * 99)))
    parts[rng.randrange(1, len(parts))] = word
    return _replace(sent, address="/".join(parts) + mark + query)


def _change_method(sent: Sent, rng: random.Random) -> Sent:
    return _replace(sent, method=rng.choice(METHODS))


CHANGES = (
    *(_change_body,) * 3,
    _change_bytes,
    _change_header,
    *(_change_address,) * 2,
    _change_method,
)


def _replace(sent: Sent, **changes: object) -> Sent:
    return Sent(**{**sent.__dict__, **changes})  # type: ignore[arg-type]


async def answer_to(app: FastAPI, sent: Sent) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer."""
    path, _, query = sent.address.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": sent.method, "scheme": "http", "path": unquote(path), "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"), "root_path": "", "headers": list(sent.headers),
        "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    step = -(-max(1, len(sent.body)) // sent.pieces)
    pieces = [sent.body[start : start + step] for start in range(0, max(1, len(sent.body)), step)]
    messages = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ]
    heard: list[dict] = []

    async def receive() -> dict:
        return (
            messages.pop(0) if messages else await asyncio.sleep(3600, {"type": "http.disconnect"})
        )

    async def send(message: dict) -> None:
        heard.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        if not heard:  # the answer to an unhandled error is sent before it is raised again
            raise
    start = next(one for one in heard if one["type"] == "http.response.start")
    body = b"".join(one.get("body", b"") for one in heard if one["type"] == "http.response.body")
    return start["status"], dict(start["headers"]), body


def broken_promise(sent: Sent, status: int, headers: dict[bytes, bytes], body: bytes) -> str | None:
    """What is wrong with an answer: an error of the server, or one of another shape."""
    if status >= 500:
        return f"answered {status}: {body[:200]!r}"
    if status < 400 or sent.method == "HEAD" or not body:
        return None
    kind = headers.get(b"content-type", b"").partition(b";")[0]
    if kind == b"text/html":
        return None
    if kind != b"application/problem+json":
        return f"{status} is no problem of RFC 9457 but {kind!r}"
    problem = json.loads(body)
    if not {"type", "title", "status", "detail", "instance", "next"} <= set(problem):
        return f"{status} lacks a field of a problem: {sorted(problem)}"
    if problem["status"] != status:
        return f"{status} says it is {problem['status']}"
    return None


def ask(
    app: FastAPI, good: Sequence[Sent], *, count: int, seed: int, mutates: bool = True
) -> Found:
    """Ask so many requests, one after the other: mutants of good ones, or these as they are."""
    rng, found = random.Random(seed), Found()

    async def go() -> None:
        for _ in range(count):
            sent = mutated(good, rng) if mutates else rng.choice(good)
            began, worked = time.perf_counter(), time.process_time()
            status, headers, body = await answer_to(app, sent)
            waited, took = time.perf_counter() - began, time.process_time() - worked
            found.statuses[status] += 1
            found.slowest = max(found.slowest, took)
            problem = broken_promise(sent, status, headers, body) or undeclared_problem(
                app,
                sent.method,
                unquote(sent.address.partition("?")[0]),
                status,
                headers.get(b"content-type", b"").decode(),
                body,
            )
            if problem is None and (took > LONGEST or waited > LONGEST_WAIT):
                problem = f"took {took:.1f} s of the processor, {waited:.1f} s by the clock"
            if problem is not None:
                found.broken.append((problem, sent))

    asyncio.run(go())
    return found


def names_of(app: FastAPI) -> dict[str, list[str]]:
    """Ids that there are, by parameter of a path; a decision is made to have one."""
    body = json.dumps({"account_ids": ["acct-00"]}).encode()
    sent = Sent("POST", "/v1/next-actions", (*JSON, (b"idempotency-key", b"first")), body)
    _, _, answer = asyncio.run(answer_to(app, sent))
    decision = json.loads(answer)["items"][0]["decision_id"]
    return {"account_id": ["acct-00", "acct-47"], "decision_id": [decision], "name": ["effects"]}
