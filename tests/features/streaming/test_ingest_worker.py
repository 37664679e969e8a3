"""An intake lands the same rows wherever it does it, and outlives its process."""

from __future__ import annotations

import errno
import multiprocessing.process
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.lake.lake import Lake
from features.lake.summary import IngestSummary
from features.streaming.ingest_worker import IngestWorker
from features.workspace_files import WorkspaceBusyError

NOW = datetime(2024, 6, 1, tzinfo=UTC)
MOST_SECONDS = 60.0


def rows(first: int, count: int) -> list[dict[str, object]]:
    return [
        {
            "event_id": f"e{n}",
            "account_id": f"a{n % 7}",
            "kind": "feature.used",
            "occurred_at": "2024-05-01T00:00:00Z",
            "properties": {"name": "search"},
        }
        for n in range(first, first + count)
    ]


def take(
    intake: IngestWorker, sent: list[dict[str, object]], wait_seconds: float = 5.0
) -> IngestSummary:
    return intake.ingest(sent, now=NOW, source="api", wait_seconds=wait_seconds)


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + MOST_SECONDS
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def with_process(intake: IngestWorker, sent: list[dict[str, object]]) -> int:
    """Send batches until the process takes them in; its id."""
    until(lambda: bool(take(intake, sent)) and intake.process_id is not None)
    found = intake.process_id
    assert found is not None
    return found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "events", tmp_path / "refused")


@pytest.fixture
def intake(lake: Lake) -> Iterator[IngestWorker]:
    made = IngestWorker(lake, large=5, rest_seconds=0.0)
    yield made
    made.close()


def test_a_small_batch_needs_no_process(intake, lake):
    assert take(intake, rows(0, 4)).landed == 4
    assert intake.process_id is None
    assert lake.scan().collect().height == 4


def test_a_large_batch_is_judged_alike_in_the_process_and_here(intake, tmp_path):
    with_process(intake, rows(0, 5))
    bad: list[dict[str, object]] = [{"event_id": "bad", "kind": "no.kind"}]
    sent = [*rows(3, 6), *bad, *rows(100, 2)]
    there = take(intake, sent)
    other = IngestWorker(Lake(tmp_path / "other"), large=10_000)
    take(other, rows(0, 5))
    here = take(other, sent)
    assert there == here
    assert (there.landed, there.duplicates, sum(there.quarantined.values())) == (6, 2, 1)
    assert other.process_id is None


def test_what_was_asked_of_a_process_that_died_is_done_here_and_the_next_gets_another(intake, lake):
    died = with_process(intake, rows(0, 5))
    os.kill(died, signal.SIGKILL)
    assert take(intake, rows(10, 5)).landed == 5
    assert with_process(intake, rows(20, 5)) != died
    assert lake.scan().collect()["event_id"].n_unique() == 15


def test_whenever_a_process_dies_all_that_was_answered_is_on_the_disk_once(intake, lake):
    rng = random.Random(3)
    first = 0
    for _ in range(3):
        process_id = with_process(intake, rows(0, 5))
        killer = threading.Timer(rng.uniform(0.0, 0.06), os.kill, (process_id, signal.SIGKILL))
        killer.start()
        while killer.is_alive() or intake.process_id == process_id:
            answer = take(intake, rows(first, 300))
            assert answer.landed + answer.duplicates == 300
            first += 300
    ids = lake.scan().collect()["event_id"]
    assert sorted(ids) == sorted(f"e{n}" for n in range(first))


def test_a_process_that_does_not_answer_is_ended_and_its_batch_is_done_here(lake):
    intake = IngestWorker(lake, large=5, most_seconds=0.2)
    stuck = with_process(intake, rows(0, 5))
    os.kill(stuck, signal.SIGSTOP)
    assert take(intake, rows(10, 5), wait_seconds=0.5).landed == 5
    assert not is_running(stuck)
    assert take(intake, rows(20, 5)).landed == 5
    assert intake.process_id is None  # for a while none is started
    intake.close()


def test_where_no_process_can_be_started_batches_are_taken_in_here(lake, monkeypatch, caplog):
    def no_room(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", no_room)
    intake = IngestWorker(lake, large=5)
    assert [take(intake, rows(n, 5)).landed for n in (0, 5, 10)] == [5, 5, 5]
    assert caplog.text.count("cannot be started") == 1
    intake.close()


def test_closing_waits_for_the_batch_that_is_on_its_way(intake, lake):
    process_id = with_process(intake, rows(0, 5))
    asked = threading.Thread(target=take, args=(intake, rows(100, 3000)))
    asked.start()
    until(lambda: intake._turn.locked() or not asked.is_alive())
    intake.close()
    asked.join()
    assert not is_running(process_id)
    assert lake.scan().collect().height == 3005


def test_a_process_says_that_others_are_writing(intake, lake):
    with_process(intake, rows(0, 5))
    with lake.batch(), pytest.raises(WorkspaceBusyError, match="writing"):
        take(intake, rows(10, 5), wait_seconds=0.1)
    assert take(intake, rows(10, 5)).landed == 5


def test_a_batch_does_not_wait_longer_than_it_may_for_its_turn(intake):
    with_process(intake, rows(0, 5))
    with (
        intake._turn,
        pytest.raises(
            WorkspaceBusyError, match=r"taken in, for 0\.1 seconds now\. Send this one again\."
        ),
    ):
        take(intake, rows(10, 5), wait_seconds=0.1)


def test_the_process_ends_with_whoever_started_it_however_that_ends(tmp_path):
    script = f"""
import time
from datetime import datetime, UTC
from features.streaming.ingest_worker import IngestWorker
from features.lake.lake import Lake
if __name__ == "__main__":
    intake = IngestWorker(Lake({str(tmp_path / "events")!r}), large=1)
    while intake.process_id is None:
        intake.ingest([{{"event_id": "e", "account_id": "a", "kind": "feature.used",
                       "occurred_at": "2024-05-01T00:00:00Z"}}],
                    now=datetime(2024, 6, 1, tzinfo=UTC), source="api", wait_seconds=5.0)
    print(intake.process_id, flush=True)
    time.sleep(600)
"""
    path = tmp_path / "starts.py"
    path.write_text(script, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert parent.stdout is not None
    with parent.stdout as said:
        process_id = int(said.readline())
    assert is_running(process_id)
    parent.kill()
    parent.wait()
    until(lambda: not is_running(process_id))


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return state.rsplit(")", 1)[1].split()[0] != "Z"
