"""The time of a workspace runs on where the clock jumps, and follows it where it is drawn or accepted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.steady_clock import DRAWN, FILE, FOLDER, TOLERANCE, Machine, SteadyClock, this_start
from features.workspace_files import WorkspaceError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, YEAR = timedelta(seconds=1), timedelta(hours=1), timedelta(days=365)
JUMPS = pytest.mark.parametrize(
    "jump", [HOUR, -HOUR, YEAR, -YEAR], ids=["+1 h", "-1 h", "+1 y", "-1 y"]
)


@dataclass
class Turned:
    """A machine whose clock somebody turns."""

    clock: datetime = NOW
    run: float = 1_000.0
    start: str | None = "the first start"

    def passes(self, span: timedelta) -> None:
        self.clock += span
        self.run += span.total_seconds()

    def starts_again(self, off: timedelta, name: str = "the second start") -> None:
        self.clock += off
        self.run, self.start = 30.0, name

    def steady(self, root: Path) -> SteadyClock:
        machine = Machine(clock=lambda: self.clock, run=lambda: self.run, start=self.start)
        return SteadyClock(machine, root)


def near(found: datetime, wanted: datetime) -> bool:
    return abs(found - wanted) < timedelta(milliseconds=1)


@JUMPS
def test_a_jump_while_it_runs_changes_nothing_until_the_clock_is_back(
    tmp_path: Path, jump: timedelta
) -> None:
    machine = Turned()
    steady = machine.steady(tmp_path)
    assert steady() == NOW
    machine.clock += jump
    machine.passes(10 * SECOND)
    assert near(steady(), NOW + 10 * SECOND)
    side = "ahead of" if jump > timedelta(0) else "behind"
    assert side in (steady.problem or "")
    assert near(NOW + steady.ahead, NOW + jump)
    machine.clock -= jump
    assert steady.problem is None
    assert near(steady(), NOW + 10 * SECOND)


@JUMPS
def test_a_jump_while_nothing_runs_is_seen_by_whoever_starts_on_the_same_machine(
    tmp_path: Path, jump: timedelta
) -> None:
    machine = Turned()
    machine.steady(tmp_path).note()
    machine.clock += jump
    machine.passes(10 * SECOND)
    for other in (machine.steady(tmp_path), machine.steady(tmp_path)):
        assert near(other(), NOW + 10 * SECOND)
        assert other.problem is not None


@pytest.mark.parametrize("off", [HOUR, 30 * 24 * HOUR, -20 * SECOND], ids=str)
def test_after_another_start_of_the_machine_its_clock_is_believed(
    tmp_path: Path, off: timedelta
) -> None:
    machine = Turned()
    machine.steady(tmp_path).note()
    machine.starts_again(off)
    steady = machine.steady(tmp_path)
    assert near(steady(), max(NOW, machine.clock))
    assert steady.problem is None


def test_a_clock_behind_what_has_passed_is_followed_once_it_has_caught_up(tmp_path: Path) -> None:
    machine = Turned()
    machine.steady(tmp_path).note()
    machine.starts_again(-YEAR)
    for steady in (machine.steady(tmp_path), machine.steady(tmp_path)):
        steady.note()
        assert near(steady(), NOW)
        assert "365 days 0 h behind what has passed here" in (steady.problem or "")
    machine.clock = NOW + HOUR
    assert near(steady(), NOW + HOUR)
    steady.note()
    assert steady.problem is None
    machine.clock += HOUR
    assert near(machine.steady(tmp_path)(), NOW + HOUR)  # a jump again, not one that catches up


def test_a_small_difference_is_drawn_level_and_time_never_goes_back(tmp_path: Path) -> None:
    machine = Turned()
    steady = machine.steady(tmp_path)
    for off in (-TOLERANCE + SECOND, TOLERANCE - SECOND):
        machine.clock += off
        before = steady()
        for _ in range(100):
            machine.passes(SECOND)
            assert steady.problem is None
            now = steady()
            assert 1 - 2 * DRAWN < (now - before) / SECOND < 1 + 2 * DRAWN
            before = now
        assert abs(machine.clock - steady()) < abs(off) - 4 * SECOND
        machine.passes(HOUR)
        assert near(steady(), machine.clock)


def test_an_accepted_clock_is_followed_by_all_that_run_and_start(tmp_path: Path) -> None:
    machine = Turned()
    running, beside = machine.steady(tmp_path), machine.steady(tmp_path)
    running.note()
    machine.clock -= YEAR
    running.note()
    assert running.problem is not None
    assert machine.steady(tmp_path).accept() == NOW - YEAR
    beside.note()  # what is noted meanwhile takes nothing back
    machine.passes(2 * TOLERANCE)
    for one in (running, beside, machine.steady(tmp_path)):
        one.note()
        assert near(one(), machine.clock)
        assert one.problem is None


def test_time_is_noted_once_a_minute(tmp_path: Path) -> None:
    machine = Turned()
    steady = machine.steady(tmp_path)
    file = tmp_path / FOLDER / FILE
    for passed in range(0, 150, 5):
        steady.note()
        reached = json.loads(file.read_text())["reached"]
        assert reached == pytest.approx((NOW + passed // 60 * TOLERANCE).timestamp())
        machine.passes(5 * SECOND)


def test_a_system_that_does_not_name_its_starts_knows_only_what_has_passed(tmp_path: Path) -> None:
    machine = Turned(start=None)
    machine.steady(tmp_path).note()
    machine.clock -= HOUR
    assert near(machine.steady(tmp_path)(), NOW)
    machine.clock += YEAR
    assert near(machine.steady(tmp_path)(), machine.clock)


def test_a_note_that_cannot_be_read_is_none_and_a_newer_one_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / FOLDER / FILE
    file.parent.mkdir()
    for damage in (b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "start": "x", "no": 1}'):
        file.write_bytes(damage)
        assert Turned().steady(tmp_path)() == NOW
        assert "cannot be read" in caplog.text
        caplog.clear()
    file.write_text(json.dumps({"format": 2}))
    with pytest.raises(WorkspaceError, match=rf"{FILE} in .* has format version 2, of a newer"):
        Turned().steady(tmp_path)


def test_this_machine_names_its_start() -> None:
    assert this_start() == this_start()
    steady = Machine(clock=lambda: NOW)
    assert steady.run() <= steady.run()
