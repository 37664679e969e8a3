"""Kafka over the wire: librdkafka's mock cluster, real clients, processes killed at any step."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from keepwell_command import run_keepwell

from features.lake.lake import Lake
from features.streaming.consumer import MOST_MESSAGES, consume
from features.streaming.kafka import KafkaTopic, KafkaTopicError
from features.streaming.offsets import Message, read_offsets

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PARTITIONS = 4
QUICK = {
    "session.timeout.ms": "2500",
    "heartbeat.interval.ms": "500",
    "max.poll.interval.ms": "2500",
    "log_level": "3",
}


class Cluster:
    """A Kafka cluster inside this process, which other processes can reach by its address."""

    def __init__(self) -> None:
        self._producer = Producer(
            {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 3}
        )
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def send(self, topic: str, values: list[bytes]) -> None:
        for number, value in enumerate(values):
            self._producer.produce(topic, value, partition=number % PARTITIONS)
        assert self._producer.flush(20) == 0


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "w" / "events")


def event(number: int, **changes: object) -> bytes:
    return json.dumps(
        {
            "event_id": f"e{number}",
            "account_id": f"a{number % 7}",
            "kind": "feature.used",
            "occurred_at": "2026-05-01T00:00:00Z",
            "quantity": number,
            **changes,
        }
    ).encode()


def read_all(
    cluster: Cluster, topic: str, lake: Lake, *, group: str = "g", idle_seconds: float = 1.5
):
    stream = KafkaTopic(
        cluster.address, topic, group, offsets=lambda: read_offsets(lake, group), options=QUICK
    )
    try:
        return consume(stream, lake, group=group, now=lambda: NOW, idle_seconds=idle_seconds)
    finally:
        stream.close()


def ids(lake: Lake) -> list[str]:
    return sorted(lake.scan().select("event_id").collect()["event_id"].to_list())


def test_every_message_of_a_topic_is_counted_once_and_a_bad_one_shows_its_place(cluster, lake):
    values = [event(n) for n in range(40)]
    values[9], values[22], values[33] = b"{", event(22, kind="no"), event(1)
    cluster.send("counted", values)
    total = read_all(cluster, "counted", lake)
    assert (total.read, total.landed, total.duplicates, total.quarantined) == (40, 37, 1, 2)
    refused = lake.quarantined().select("file", "line", "reason").sort("file").collect()
    assert refused.rows() == [
        ("counted/1", 2, "is not JSON"),
        ("counted/2", 5, "kind is not known"),
    ]
    assert sum(read_offsets(lake, "g").values()) == 40


def tell_broker(cluster: Cluster, topic: str, offset: int) -> None:
    """As if another program of the group had read so far."""
    member = Consumer(
        {
            "bootstrap.servers": cluster.address,
            "group.id": "g",
            "enable.auto.commit": False,
            **QUICK,
        }
    )
    assigned = threading.Event()
    member.subscribe([topic], on_assign=lambda *_: assigned.set())
    for _ in range(200):
        member.consume(1, 0.1)
        if assigned.is_set():
            break
    member.commit(
        offsets=[TopicPartition(topic, n, offset) for n in range(PARTITIONS)], asynchronous=False
    )
    member.close()


def test_a_restart_goes_on_where_the_lake_is_whatever_the_broker_says(cluster, lake):
    cluster.send("restart", [event(n) for n in range(12)])
    assert read_all(cluster, "restart", lake).landed == 12
    tell_broker(cluster, "restart", 0)
    cluster.send("restart", [event(n) for n in range(12, 20)])
    again = read_all(cluster, "restart", lake)
    assert (again.read, again.landed, again.read_before) == (8, 8, 0)
    tell_broker(cluster, "restart", 5)
    elsewhere = Lake(lake.folder.parent / "other")
    assert read_all(cluster, "restart", elsewhere).landed == 20


def test_two_readers_of_one_group_share_a_topic_and_a_lake(cluster, lake):
    cluster.send("shared", [event(n) for n in range(20)])
    totals = []

    def started() -> threading.Thread:
        stream = KafkaTopic(
            cluster.address, "shared", "g", offsets=lambda: read_offsets(lake, "g"), options=QUICK
        )

        def run() -> None:
            totals.append(consume(stream, lake, group="g", now=lambda: NOW, idle_seconds=6))
            stream.close()

        reader = threading.Thread(target=run)
        reader.start()
        until = time.monotonic() + 30
        while not stream.is_assigned() and time.monotonic() < until:
            time.sleep(0.05)
        return reader

    readers = [started() for _ in range(2)]
    for n in range(20, 60, 10):
        cluster.send("shared", [event(m) for m in range(n, n + 10)])
    for reader in readers:
        reader.join(timeout=60)
    assert len(totals) == 2
    # who waits long for its turn on a busy machine may leave before all has come
    totals.append(read_all(cluster, "shared", lake))
    assert sum(total.landed for total in totals) == 60
    assert ids(lake) == sorted(f"e{n}" for n in range(60))


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from features.streaming.consumer import consume
from features.streaming.kafka import KafkaTopic
from features.lake.lake import Lake
from features.streaming.offsets import read_offsets

folder, address, topic, member, nth = sys.argv[1:]
steps = 0

def kill_at_step(event, arguments):
    global steps
    if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(
            folder):
        steps += 1
        if steps == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_at_step)
lake = Lake(folder + "/events")
# every life is a member of its own, since the mock cluster waits long for one that is gone
stream = KafkaTopic(address, topic, member, offsets=lambda: read_offsets(lake, "g"),
                    options={"log_level": "3"})
print(consume(stream, lake, group="g", now=lambda: datetime(2026, 6, 1, tzinfo=UTC),
              idle_seconds=1.5).read)
stream.close()
"""


def check_kills(cluster: Cluster, folder: Path, *, topic: str, kills: int, seed: int) -> None:
    """Kill reader after reader, each at a random step on its files, while messages come in."""
    rng = random.Random(seed)
    sent, killed = 0, 0
    lake = Lake(folder / "events")
    without_id = 0

    def life(nth: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                str(folder),
                cluster.address,
                topic,
                f"member-{killed}-{nth}",
                str(nth),
            ],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        )

    while killed < kills:
        values = [event(n) for n in range(sent, sent + 30)]
        values[3] = b"broken %d" % sent
        values[5] = values[8] = event(0, event_id=None)  # equal, and each an event of its own
        cluster.send(topic, values)
        sent, without_id = sent + 30, without_id + 2
        done = life(rng.randrange(1, 23))  # a life has about 22 steps
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        killed += done.returncode == -signal.SIGKILL
        there = ids(lake)
        assert len(set(there)) == len(there)
    assert life(-1).returncode == 0
    given = [n for n in range(sent) if n % 30 not in (3, 5, 8)]
    there = ids(lake)
    assert [name for name in there if name.startswith("e")] == sorted(f"e{n}" for n in given)
    assert len(there) == len(given) + without_id
    assert lake.quarantined().collect().height == sent // 30
    assert sum(read_offsets(lake, "g").values()) == sent


def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(cluster, tmp_path):
    check_kills(cluster, tmp_path, topic="killed", kills=2, seed=20261121)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_and_double_nothing(cluster, tmp_path):
    check_kills(cluster, tmp_path, topic="killed-often", kills=200, seed=200)


def test_the_command_reads_a_topic_and_publishes_features(cluster, tmp_path):
    cluster.send("command", [event(n) for n in range(14)])
    done = run_keepwell(
        "consume",
        "--bootstrap",
        cluster.address,
        "--topic",
        "command",
        "--group",
        "g",
        "--until-idle",
        "1.5",
        "-w",
        str(tmp_path / "w"),
        "--option",
        "log_level=3",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "14 messages: 14 landed" in done.stdout
    from features.store.feast import WorkspaceFeatures
    from features.workspace import Workspace

    online = WorkspaceFeatures(Workspace(tmp_path / "w", environment={})).online(["a1", "a2"])
    assert online.select("account_id", pl.col("feature_uses_90d") > 0).height == 2


def test_brokers_that_do_not_answer_are_an_error_and_not_an_empty_topic():
    with pytest.raises(KafkaTopicError, match=r"No broker answered at 127\.0\.0\.1:1 within"):
        KafkaTopic("127.0.0.1:1", "events", "group", offsets=dict, answer_seconds=0.5)


def test_a_setting_that_the_client_does_not_have_is_refused(tmp_path):
    with pytest.raises(KafkaTopicError, match="No such configuration property"):
        KafkaTopic("127.0.0.1:1", "t", "g", offsets=dict, options={"no.such": "1"})
    done = run_keepwell(
        "consume",
        "--bootstrap",
        "b",
        "--topic",
        "t",
        "--group",
        "g",
        "--option",
        "loud",
        "-w",
        str(tmp_path),
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert "'loud' is no setting of Kafka's client" in " ".join(done.stderr.split())


def test_a_topic_that_can_not_be_read_is_said(cluster, lake):
    stream = KafkaTopic(cluster.address, "not/a topic", "g", offsets=dict, options=QUICK)
    with pytest.raises(KafkaTopicError, match="'not/a topic' cannot be read"):
        consume(stream, lake, group="g", now=lambda: NOW, idle_seconds=20)
    stream.close()


def test_without_the_client_the_message_says_how_to_install_it():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['confluent_kafka'] = None\nimport features.streaming.kafka",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install -e '.[kafka]'" in done.stderr


class Written:
    """A stream that is written down."""

    def __init__(self, *batches: int) -> None:
        self._batches: Iterator[int] = iter(batches)
        self._next = 0
        self.told: list[Mapping[tuple[str, int], int]] = []

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        first, self._next = self._next, self._next + self._size()
        return [
            Message(topic="t", partition=0, offset=n, value=event(n))
            for n in range(first, self._next)
        ]

    def _size(self) -> int:
        return next(self._batches, 0)

    def tell_broker(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self.told.append(offsets)

    def is_assigned(self) -> bool:
        return True


def test_features_wait_while_a_backlog_is_read(lake):
    seen: list[int] = []
    stream = Written(MOST_MESSAGES, MOST_MESSAGES, 3)
    total = consume(
        stream,
        lake,
        group="g",
        now=lambda: NOW,
        idle_seconds=0,
        on_caught_up=lambda: seen.append(len(stream.told)),
    )
    assert total.landed == 2 * MOST_MESSAGES + 3
    assert seen == [0, 3, 3]
    assert stream.told[-1] == {("t", 0): 2 * MOST_MESSAGES + 3}


class LateStream(Written):
    """A stream of a group that deals out its partitions only after some waits."""

    def __init__(self, *batches: int, waits: int) -> None:
        super().__init__(*batches)
        self.waits = waits

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        self.waits -= 1
        return super().read(most=most, wait_seconds=wait_seconds) if self.waits < 0 else []

    def is_assigned(self) -> bool:
        return self.waits <= 0


def test_waiting_for_partitions_is_not_being_idle(lake):
    stream = LateStream(2, waits=5)
    total = consume(
        stream,
        lake,
        group="g",
        now=lambda: NOW,
        idle_seconds=2,
        elapsed=itertools.count().__next__,
    )
    assert total.landed == 2


class OverError(Exception):
    """The stream is written no further."""


class Endless(Written):
    """A stream that nobody stops for being idle: a batch of none is a wait without messages."""

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        try:
            return super().read(most=most, wait_seconds=wait_seconds)
        except StopIteration:
            raise OverError from None

    def _size(self) -> int:
        return next(self._batches)


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ((), [0]),
        ((0, 0), [0]),
        ((MOST_MESSAGES,), [0]),
        ((MOST_MESSAGES, 0, 0), [0, 1]),
        ((MOST_MESSAGES, 0, 2, 0), [0, 1, 2]),
    ],
    ids=["start", "silence", "a full batch", "a full batch and silence", "and one more"],
)
def test_features_are_made_at_the_start_and_when_silence_follows_a_full_batch(
    lake, batches, expected
):
    seen: list[int] = []
    stream = Endless(*batches)
    with pytest.raises(OverError):
        consume(
            stream,
            lake,
            group="g",
            now=lambda: NOW,
            on_caught_up=lambda: seen.append(len(stream.told)),
        )
    assert seen == expected
