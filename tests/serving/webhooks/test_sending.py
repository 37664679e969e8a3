"""Webhooks reach a real receiver: signed, in order per account, again after a failure or a kill."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from forked_programs import Program

from serving.ledger.database.database import open_engine
from serving.ledger.database.tables import CHAINED
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.ledger.stores.outbox import Outbox, OutboxError
from serving.ledger.stores.outbox_tables import ENDPOINTS, Endpoint
from serving.ledger.stores.records import newest_place
from serving.webhooks.http_delivery import Attempt
from serving.webhooks.messages import (
    ALL_KINDS,
    KINDS,
    MOMENTS,
    NOT_TOLD,
    SAYS_MORE,
    messages_after,
)
from serving.webhooks.secret_encryption import (
    KEY_FILE,
    MARK,
    SecretEncryption,
    WebhookEncryptionError,
)
from serving.webhooks.sending import (
    FIRST_WAIT,
    LEASE_SECONDS,
    LONGEST_WAIT,
    MOST_ATTEMPTS,
    Sender,
    keep_sending,
    seconds_to_wait,
)
from serving.webhooks.signature import secret_text
from serving.webhooks.url import allowed_addresses

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET, OLDER = secret_text(b"n" * 32), secret_text(b"o" * 32)
STARTED = 1_800_000_000.0

Answer = Callable[["Request"], int]


@dataclass(frozen=True)
class Request:
    """What came in: the path, the headers, the body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found

    @property
    def data(self) -> dict[str, object]:
        found = self.said["data"]
        assert isinstance(found, dict)
        return found


@dataclass
class Receiver:
    """A server on a real socket that keeps what it gets, and answers as it is told."""

    port: int = 0
    answer: Answer = lambda request: 204
    got: list[Request] = field(default_factory=list)
    more_headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            found.got.append(request)
            status = found.answer(request)
            try:
                self.send_response(status)
                for name, value in found.more_headers.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                pass  # the sender has hung up

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_place)) as found:
        yield found


@pytest.fixture
def outbox_place(ledger_place: Path | str) -> Path | str:
    """A file beside the ledger's, or the ledger's own database."""
    return ledger_place if isinstance(ledger_place, str) else ledger_place.with_name("webhooks.db")


@pytest.fixture
def outbox(outbox_place: Path | str, tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(outbox_place, SecretEncryption(tmp_path, None))) as found:
        yield found


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = STARTED

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(ledger: Ledger, outbox: Outbox, receiver: Receiver, clock: Clock) -> Sender:
    outbox.add(Endpoint(name="crm", url=receiver.url, kinds=(), place=0), SECRET)
    return Sender(
        ledger=ledger.database,
        outbox=outbox,
        clock=clock,
        holder="one",
        rng=np.random.default_rng(1),
        seconds=5.0,
        allowed=allowed_addresses(f"127.0.0.1:{receiver.port}", "127.0.0.0/8"),
    )


def decide(ledger: Ledger, *names: str) -> None:
    """Decisions d1-a, d1-b, …: number, then account."""
    ledger.append_decisions(
        [
            Decision(
                decision_id=name,
                account_id=name.partition("-")[2],
                decided_at=NOW,
                as_of=NOW,
                action="success_call",
                expected_value=1.5,
                currency="USD",
                eligible=({"action_id": "success_call", "secret ranking": 1},),
                withheld=(),
                versions={},
                input_digest="ab",
            )
            for name in names
        ]
    )


def run(sender: Sender, steps: int = 20) -> None:
    """Steps until nothing more is delivered."""
    for _ in range(steps):
        if not sender.step("crm"):
            return


def is_signed(request: Request, secret: str) -> bool:
    """The check of a receiver, by its own calculation."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join(
        [
            request.headers["webhook-id"].encode(),
            request.headers["webhook-timestamp"].encode(),
            request.body,
        ]
    )
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [each.split(",", 1) for each in request.headers["webhook-signature"].split(" ")]
    return ["v1", wanted] in given


def test_what_the_ledger_holds_is_told_once_and_signed(ledger, outbox, receiver, sender) -> None:
    decide(ledger, "d1-a", "d2-b")
    ledger.append_outcome("d1-a", NewOutcome(kind="executed", by="ann"), key="k1", received_at=NOW)
    run(sender)
    run(sender)
    assert [each.said["type"] for each in receiver.got] == [
        "decision.made",
        "decision.made",
        "outcome.reported",
    ]
    first, _, outcome = receiver.got
    assert first.data["decision_id"] == "d1-a"
    assert first.data["account_id"] == outcome.data["account_id"] == "a"
    assert outcome.data["kind"] == "executed"
    assert first.said["timestamp"] == "2026-03-01T12:00:00.000000+00:00"
    places = [each.data["place"] for each in receiver.got]
    assert places == sorted(places)
    assert b"secret ranking" not in first.body
    assert all(is_signed(each, SECRET) for each in receiver.got)
    assert not is_signed(replace(first, body=first.body + b" "), SECRET)
    assert first.headers["webhook-timestamp"] == "1800000000"
    assert first.headers["content-type"] == "application/json"
    assert len({each.headers["webhook-id"] for each in receiver.got}) == 3
    assert outbox.counts("crm").sent == 3


def test_two_secrets_sign_while_one_takes_the_place_of_the_other(
    ledger, outbox, receiver, sender
) -> None:
    outbox.change_secrets("crm", (SECRET, OLDER))
    decide(ledger, "d1-a")
    run(sender)
    assert is_signed(receiver.got[0], SECRET)
    assert is_signed(receiver.got[0], OLDER)
    outbox.change_secrets("crm", (SECRET,))
    decide(ledger, "d2-a")
    run(sender)
    assert is_signed(receiver.got[1], SECRET)
    assert not is_signed(receiver.got[1], OLDER)


def test_messages_of_an_account_stay_in_order_and_others_do_not_wait(
    ledger,
    receiver,
    sender,
    clock,
) -> None:
    broken = {"d1-a"}
    receiver.answer = lambda request: 500 if request.data["decision_id"] in broken else 200
    decide(ledger, "d1-a", "d2-a", "d3-b", "d4-a", "d5-b")
    run(sender)
    assert [each.data["decision_id"] for each in receiver.got] == ["d1-a", "d3-b", "d5-b"]
    broken.clear()
    run(sender)  # not due yet
    assert len(receiver.got) == 3
    clock.at += FIRST_WAIT
    run(sender)
    assert [each.data["decision_id"] for each in receiver.got[3:]] == ["d1-a", "d2-a", "d4-a"]
    assert receiver.got[0].headers["webhook-id"] == receiver.got[3].headers["webhook-id"]
    assert receiver.got[0].body == receiver.got[3].body


def test_what_nobody_takes_is_tried_ever_later_and_then_given_up(
    ledger,
    outbox,
    receiver,
    sender,
    clock,
) -> None:
    receiver.answer = lambda request: 500 if request.data["decision_id"] == "d1-a" else 200
    decide(ledger, "d1-a", "d2-a")
    times = []
    for _ in range(2 * MOST_ATTEMPTS):
        before = len(receiver.got)
        sender.step("crm")
        if len(receiver.got) > before and receiver.got[-1].data["decision_id"] == "d1-a":
            times.append(clock.at)
        clock.at += LONGEST_WAIT
    assert len(times) == MOST_ATTEMPTS
    assert receiver.got[-1].data["decision_id"] == "d2-a"  # what comes after it is told at last
    counts = outbox.counts("crm")
    assert (counts.dead, counts.sent, counts.waiting) == (1, 1, 0)
    assert counts.dead_places == (1, 1)
    assert counts.problem == "answered 500"


def test_waits_double_with_jitter_up_to_a_bound() -> None:
    rng = np.random.default_rng(1)
    for attempts in range(1, MOST_ATTEMPTS):
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
        waits = [seconds_to_wait(attempts, rng) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert max(waits) - min(waits) > 0.4 * longest


def test_given_up_messages_are_told_again_by_a_replay_of_their_places(
    ledger,
    outbox,
    receiver,
    sender,
    clock,
) -> None:
    decide(ledger, "d1-a", "d2-b", "d3-a")
    receiver.answer = lambda request: 410  # Gone
    run(sender)
    sender.step("crm")
    assert outbox.counts("crm").dead == 3
    assert len(receiver.got) == 3
    receiver.answer = lambda request: 200
    messages, _ = messages_after(ledger.database, "crm", (), after=0, up_to=2)
    outbox.replay("crm", messages, now=clock())
    run(sender)
    assert [each.data["decision_id"] for each in receiver.got[3:]] == ["d1-a", "d2-b"]
    assert [each.headers["webhook-id"] for each in receiver.got[3:]] == [
        each.headers["webhook-id"] for each in receiver.got[:2]
    ]
    assert (outbox.counts("crm").dead, outbox.dead("crm")) == (1, {3})


def test_a_redirect_is_not_followed(ledger, outbox, receiver, sender) -> None:
    receiver.more_headers["Location"] = f"http://127.0.0.1:{receiver.port}/elsewhere"
    receiver.answer = lambda request: 307
    decide(ledger, "d1-a")
    sender.step("crm")
    assert [each.path for each in receiver.got] == ["/hook"]
    assert outbox.counts("crm").problem == (
        "answered 307, a redirect, and redirects are not followed"
    )


def test_a_receiver_that_asks_for_time_gets_it(ledger, receiver, sender, clock) -> None:
    receiver.more_headers["Retry-After"] = "600"
    receiver.answer = lambda request: 503
    decide(ledger, "d1-a")
    sender.step("crm")
    clock.at += 599
    sender.step("crm")
    assert len(receiver.got) == 1
    clock.at += 1
    sender.step("crm")
    assert len(receiver.got) == 2


def test_what_was_put_off_by_a_wrong_clock_does_not_wait_for_it(
    ledger, receiver, sender, clock
) -> None:
    receiver.answer = lambda request: 503
    decide(ledger, "d1-a")
    sender.step("crm")
    receiver.answer = lambda request: 200
    clock.at -= 365 * 86_400
    assert sender.step("crm") == 1


def test_a_slow_receiver_is_left_and_asked_again(ledger, outbox, receiver, sender, clock) -> None:
    hold = threading.Event()
    receiver.answer = lambda request: (hold.wait(20), 200)[1]
    decide(ledger, "d1-a", "d2-b")
    impatient = replace(sender, seconds=0.3)
    assert impatient.step("crm") == 0
    hold.set()
    assert outbox.counts("crm").problem == "did not answer within 0.3 seconds"
    assert len(receiver.got) == 1  # the others were not even tried
    clock.at += FIRST_WAIT
    run(sender)
    assert {each.data["decision_id"] for each in receiver.got[1:]} == {"d1-a", "d2-b"}


def test_a_receiver_that_dribbles_is_left_after_the_whole_time(ledger, outbox, sender) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        over = threading.Event()

        def dribble() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not over.wait(0.05):
                        connection.sendall(b"X-More: 1\r\n")
                except OSError:
                    pass

        thread = threading.Thread(target=dribble)
        thread.start()
        outbox.add(
            Endpoint(name="slow", url=f"http://127.0.0.1:{port}/", kinds=(), place=0), SECRET
        )
        decide(ledger, "d1-a")
        replace(
            sender, seconds=0.4, allowed=allowed_addresses(f"127.0.0.1:{port}", "127.0.0.0/8")
        ).step("slow")
        over.set()
        thread.join()
    assert outbox.counts("slow").problem == "did not answer within 0.4 seconds"


def test_a_private_address_is_not_reached_unless_it_is_allowed(
    ledger, outbox, receiver, sender
) -> None:
    decide(ledger, "d1-a")
    replace(sender, allowed=allowed_addresses(f"127.0.0.1:{receiver.port}", "")).step("crm")
    assert receiver.got == []
    assert "127.0.0.1, which is no public address" in str(outbox.counts("crm").problem)


def test_a_name_that_changes_its_mind_is_not_followed(
    ledger, outbox, receiver, sender, clock
) -> None:
    """The address that was looked at is the one that is connected to."""
    outbox.add(
        Endpoint(name="named", url=f"http://hooks.example:{receiver.port}/hook", kinds=(), place=0),
        SECRET,
    )
    decide(ledger, "d1-a")
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    named = replace(
        sender,
        allowed=allowed_addresses(f"hooks.example:{receiver.port}", "127.0.0.0/8"),
        resolve=lambda host, port: next(answers),
    )
    assert named.step("named") == 1
    assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"
    decide(ledger, "d2-a")
    assert named.step("named") == 0
    assert "10.0.0.1, which is no public address" in str(outbox.counts("named").problem)


def test_a_receiver_whose_certificate_nobody_signed_is_not_told(
    ledger, outbox, receiver, sender
) -> None:
    outbox.add(
        Endpoint(name="tls", url=f"https://127.0.0.1:{receiver.port}/hook", kinds=(), place=0),
        SECRET,
    )
    decide(ledger, "d1-a")
    replace(sender, context=ssl.create_default_context()).step("tls")
    assert receiver.got == []
    assert "could not be reached (SSL" in str(outbox.counts("tls").problem)


def test_a_webhook_is_told_only_what_it_asked_for(ledger, outbox, receiver, sender) -> None:
    outbox.add(Endpoint(name="outcomes", url=receiver.url, kinds=("outcome",), place=0), SECRET)
    decide(ledger, "d1-a")
    ledger.append_outcome("d1-a", NewOutcome(kind="executed"), key="k", received_at=NOW)
    assert sender.step("outcomes") == 1
    assert receiver.got[0].said["type"] == "outcome.reported"
    assert outbox.endpoint("outcomes").place == newest_place(ledger.database)


def test_only_one_process_sends_to_a_webhook_until_its_lease_is_over(
    ledger,
    receiver,
    sender,
    clock,
) -> None:
    decide(ledger, "d1-a")
    sender.step("crm")
    other = replace(sender, holder="two")
    decide(ledger, "d2-a")
    assert other.step("crm") == 0
    clock.at += LEASE_SECONDS + 1
    assert other.step("crm") == 1
    assert sender.step("crm") == 0
    assert len(receiver.got) == 2


def test_reading_on_at_the_same_time_makes_no_message_twice(ledger, outbox, sender) -> None:
    decide(ledger, *(f"d{n}-a{n % 7}" for n in range(700)))
    endpoint = outbox.endpoint("crm")
    threads = [threading.Thread(target=sender.fill, args=(endpoint,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.counts("crm").waiting == 700
    assert outbox.endpoint("crm").place == newest_place(ledger.database)


def test_a_full_outbox_reads_no_further_and_loses_nothing(
    ledger,
    outbox,
    receiver,
    sender,
    monkeypatch,
) -> None:
    monkeypatch.setattr("serving.webhooks.sending.MOST_WAITING", 1)
    decide(ledger, *(f"d{n}-a" for n in range(6)))
    monkeypatch.setattr(
        "serving.webhooks.sending.messages_after",
        lambda *words, after: messages_after(*words, after=after, most=2),
    )
    sender.fill(outbox.endpoint("crm"))
    assert outbox.counts("crm").waiting == 2
    run(sender)
    assert [each.data["decision_id"] for each in receiver.got] == [f"d{n}-a" for n in range(6)]


def test_what_was_sent_long_ago_is_forgotten_and_can_still_be_replayed(
    ledger,
    outbox,
    receiver,
    sender,
    clock,
) -> None:
    decide(ledger, "d1-a")
    run(sender)
    clock.at += 31 * 86_400
    sender.forget()
    assert outbox.counts("crm").sent == 0
    messages, _ = messages_after(ledger.database, "crm", (), after=0)
    outbox.replay("crm", messages, now=clock())
    run(sender)
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


def test_webhooks_that_there_are_not_or_twice_are_named(outbox, sender) -> None:
    with pytest.raises(OutboxError, match="There is a webhook 'crm' already"):
        outbox.add(outbox.endpoint("crm"), SECRET)
    with pytest.raises(OutboxError, match="no webhook 'erp'; there are: crm"):
        outbox.endpoint("erp")
    assert outbox.remove("crm") == 0
    with pytest.raises(OutboxError, match="there are: none"):
        sender.step("crm")


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "webhooks.db", SecretEncryption(tmp_path, None))) as outbox:
        assert outbox.endpoints() == ()
    assert (tmp_path / "webhooks.db").stat().st_mode & 0o077 == 0
    assert not (tmp_path / KEY_FILE).exists()  # nothing is encrypted under it yet


def test_where_the_key_is_gone_nothing_is_sent_and_nothing_given_up(
    ledger,
    outbox_place,
    outbox,
    receiver,
    sender,
    tmp_path,
) -> None:
    decide(ledger, "d1-a")
    (tmp_path / KEY_FILE).rename(tmp_path / "aside")
    with closing(Outbox(outbox_place, SecretEncryption(tmp_path, None))) as later:
        assert [each.name for each in later.endpoints()] == ["crm"]
        with pytest.raises(WebhookEncryptionError, match="is missing, so no webhook"):
            replace(sender, outbox=later).step("crm")
        with pytest.raises(WebhookEncryptionError, match="is missing, so no webhook"):
            later.change_secrets("crm", (SECRET,))
        assert (later.counts("crm").waiting, receiver.got) == (1, [])
        (tmp_path / "aside").rename(tmp_path / KEY_FILE)
        assert replace(sender, outbox=later).step("crm") == 1
    assert is_signed(receiver.got[0], SECRET)


def test_secrets_of_before_are_sealed_and_leave_no_trace(outbox_place, tmp_path) -> None:
    with closing(Outbox(outbox_place, SecretEncryption(tmp_path, None))) as outbox:
        outbox.add(Endpoint(name="crm", url="https://hooks.example/", kinds=(), place=0), SECRET)
    engine = open_engine(outbox_place)
    with engine.execution_options(keepwell_writes=True).begin() as connection:
        connection.execute(sa.update(ENDPOINTS).values(secrets=f"{SECRET} {OLDER}"))
    for path in tmp_path.glob(f"{KEY_FILE}*"):
        path.unlink()
    with closing(Outbox(outbox_place, SecretEncryption(tmp_path, None))) as outbox:
        assert outbox.secrets("crm") == (SECRET, OLDER)
        with engine.connect() as connection:
            held = connection.scalar(sa.select(ENDPOINTS.c.secrets))
        engine.dispose()
        assert [one.startswith(MARK) for one in held.split()] == [True, True]
        for path in tmp_path.iterdir():
            for secret in (SECRET, OLDER):
                assert secret.encode() not in path.read_bytes(), path


def test_every_record_of_the_ledger_is_told_or_is_known_to_say_nothing() -> None:
    assert set(CHAINED) == set(KINDS) | NOT_TOLD
    assert {kind.partition(".")[0] for kind in KINDS.values()} == set(ALL_KINDS)
    for name, column in SAYS_MORE.items():
        assert column in CHAINED[name].columns
    assert all(set(MOMENTS) & set(CHAINED[name].columns.keys()) for name in KINDS)


def test_answers_are_said_in_words() -> None:
    assert Attempt(status=204).is_delivered
    assert Attempt(status=404).words == "answered 404"
    assert Attempt().words == "no answer"


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from serving.ledger.ledger import Ledger
from serving.ledger.stores.outbox import Outbox
from serving.webhooks.url import allowed_addresses
from serving.webhooks.secret_encryption import SecretEncryption
from serving.webhooks.sending import Sender
def place(text):
    return text if "://" in text else Path(text)
port = sys.argv[2]
outbox = Outbox(place(sys.argv[4]), SecretEncryption(Path(sys.argv[5]), None))
sender = Sender(ledger=Ledger(place(sys.argv[1])).database, outbox=outbox,
                clock=time.time, rng=np.random.default_rng(), holder=sys.argv[3], seconds=30.0,
                allowed=allowed_addresses(f"127.0.0.1:{port}", "127.0.0.0/8"))
while True:
    sender.step("crm")
    time.sleep(0.01)
"""


def test_a_process_killed_between_sending_and_marking_loses_nothing(
    ledger,
    outbox,
    receiver,
    sender,
    ledger_place,
    outbox_place,
    clock,
    tmp_path,
) -> None:
    decide(ledger, *(f"d{n}-{'ab'[n % 2]}" for n in range(8)))
    reached, kills = threading.Event(), 3

    def hold(request: Request) -> int:
        if len(receiver.got) % 2 == 0:
            reached.set()
            time.sleep(1.0)  # it is killed meanwhile, with the message in our hands
        return 200

    for kill in range(kills):
        receiver.answer = hold
        reached.clear()
        process = Program(
            KILLED,
            str(ledger_place),
            str(receiver.port),
            f"p{kill}",
            str(outbox_place),
            str(tmp_path),
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )
        assert reached.wait(60)
        process.kill()
        process.wait()
        process.close()
        # what it held ends by itself; nobody waits for it here
        assert outbox.take_lease("crm", f"p{kill}", now=0.0, seconds=1.0)
    receiver.answer = lambda request: 200
    clock.at = time.time() + 10 * LEASE_SECONDS
    run(sender)
    ids = [each.headers["webhook-id"] for each in receiver.got]
    assert len(ids) > len(set(ids))  # some were sent twice …
    for account in "ab":  # … none was lost, and the first arrivals are in order
        mine = [
            str(each.data["decision_id"])
            for each in receiver.got
            if each.data["account_id"] == account
        ]
        assert list(dict.fromkeys(mine)) == [
            f"d{n}-{account}" for n in range(8) if "ab"[n % 2] == account
        ]
    bodies = {each.headers["webhook-id"]: each.body for each in receiver.got}
    assert all(each.body == bodies[each.headers["webhook-id"]] for each in receiver.got)
    assert outbox.counts("crm").sent == 8


def test_a_database_that_is_away_is_said_once_and_asked_ever_less_often(
    sender: Sender, outbox: Outbox, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    away, asked = sa.exc.OperationalError("SELECT 1", {}, Exception("no route to it\nmore")), []

    class Away:
        def endpoints(self) -> tuple[Endpoint, ...]:
            asked.append(time.monotonic())
            if len(asked) <= FAILURES:
                raise away
            return ()

        def forget_sent(self, *, before: float) -> None:
            pass

    async def send_until(count: int) -> None:
        task = asyncio.create_task(keep_sending(replace(sender, outbox=Away()), seconds=0.01))  # type: ignore[arg-type]
        until = time.monotonic() + 60
        while len(asked) < count and time.monotonic() < until:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level("INFO", logger="keepwell.webhooks"):
        asyncio.run(send_until(FAILURES + 2))
    assert len(asked) >= FAILURES + 2
    assert asked[FAILURES] - asked[0] >= 0.04 * (2**FAILURES - 1)  # each pause twice the last
    said = [record for record in caplog.records if "cannot be read" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert "no route to it It is tried again" in said[0].getMessage()
    assert not any(record.exc_info for record in caplog.records)


FAILURES = 5
