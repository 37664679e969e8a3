"""The time that a workspace goes by, which runs steadily also where the clock of the machine jumps.

The clock of a machine can be set: by hand, by a time server after a wrong start, by a battery that
is empty. How long the machine has run cannot. So a process takes the clock once and adds what has
passed since. Where the two come apart by up to ``TOLERANCE``, the time is drawn towards the clock;
beyond that the clock has jumped: the time runs on, ``problem`` says so, and either the clock comes
back or a person accepts it.

The moment at which the machine started, by this time, is noted in the workspace. Every process on it
until the machine starts again goes by the note: workers, commands, and the next start of the service,
so that a jump while nothing ran is seen too. After another start of the machine the note says only
which time has passed already; a clock that is behind that goes on from there until it has caught up.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.format_version import newer_format
from features.workspace_files import WorkspaceError, hold_lock, write_atomically

log = logging.getLogger("keepwell")

TOLERANCE = timedelta(minutes=1)
"""A clock that is farther off has jumped."""

DRAWN = 0.05
"""Of each second that passes, so much may be added or left out to come nearer to the clock."""

NOTED_EVERY = timedelta(minutes=1)
FOLDER, FILE, FORMAT = "clock", "noted.json", 1
LOCK_SECONDS = 5.0


def seconds_run() -> float:
    """For how long the machine has run, what it slept included where the system counts that."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def this_start() -> str | None:
    """What tells this start of the machine from others; None where the system does not say."""
    with suppress(OSError):
        name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{name} {Path('/proc/self/ns/time').readlink()}"
    return None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a machine says about time: its clock, for how long it has run, and since which start."""

    clock: Callable[[], datetime]
    run: Callable[[], float] = seconds_run
    start: str | None = field(default_factory=this_start)


@dataclass(frozen=True, kw_only=True)
class NotedTime:
    """The time of a workspace as it is noted; moments are in seconds since 1970.

    Attributes:
        start: which start of the machine it is about.
        started: the moment of that start, by this time.
        reached: a moment that has passed.
        is_behind: the clock was behind what had passed, and has not caught up yet.
        accepted: how often a person accepted the clock.
    """

    start: str | None
    started: float
    reached: float
    is_behind: bool = False
    accepted: int = 0


class SteadyClock:
    """The time of one workspace, in one process.

    Args:
        machine: the machine that this runs on.
        root: the workspace; nothing is written before ``note``.

    Raises:
        WorkspaceError: what is noted there is of a newer Keepwell.
    """

    def __init__(self, machine: Machine, root: Path) -> None:
        self._machine = machine
        self._file = root / FOLDER / FILE
        self._turn = threading.Lock()
        self._logged: str | None = None
        self._noted_at: float | None = None
        clock, run = machine.clock().timestamp(), machine.run()
        noted = read_noted(self._file)
        if noted is None:
            found = NotedTime(start=machine.start, started=clock - run, reached=clock)
        elif _is_of(noted, machine):
            found = noted
        else:
            is_behind = clock < noted.reached - TOLERANCE.total_seconds()
            began = max(clock, noted.reached) - run
            found = replace(noted, start=machine.start, started=began, is_behind=is_behind)
        self._time = found
        self._run = run
        self._latest = found.started + run

    def __call__(self) -> datetime:
        """The moment now, never before one that was said."""
        with self._turn:
            return datetime.fromtimestamp(self._go_on(), UTC)

    @property
    def ahead(self) -> timedelta:
        """How far the clock of the machine is ahead of this time; negative where it is behind."""
        now = self()
        return self._machine.clock() - now

    @property
    def problem(self) -> str | None:
        """What is wrong with the clock of the machine and what to do; None where nothing is."""
        ahead = self.ahead
        if abs(ahead) <= TOLERANCE and not self._time.is_behind:
            return None
        side = "ahead of" if ahead > timedelta(0) else "behind"
        of = "what has passed here already" if self._time.is_behind else "the steady time here"
        return (
            f"The clock of this machine is {in_words(ahead)} {side} {of}. Set it right, and it is "
            f"followed again; if it is right, say so with: keepwell clock --accept"
        )

    def note(self) -> None:
        """Follow a clock that a person accepted, and note the time once a minute.

        To be called every few seconds, and where a request waits for nothing. What cannot be
        written is written another time.
        """
        there = read_noted(self._file)
        with self._turn:
            now = self._go_on()
            if there is not None and self._accept_of(there):
                now = self._go_on()
                log.warning("the clock of the machine was accepted; it is %s", _shown(now))
            is_due = self._noted_at is None or now - self._noted_at >= NOTED_EVERY.total_seconds()
            mine = replace(self._time, reached=now)
        if is_due or there is None or there.is_behind != mine.is_behind:
            with suppress(OSError, WorkspaceError), self._alone():
                there = read_noted(self._file)
                if there is None or there.accepted <= mine.accepted:
                    self._write(mine)
                    self._noted_at = now
        self._log()

    def accept(self) -> datetime:
        """Believe the clock of the machine from now on, in every process; the moment it says.

        Raises:
            WorkspaceBusyError, UnwritableError: it could not be noted.
        """
        with self._alone():
            there = read_noted(self._file)
            clock, run = self._machine.clock(), self._machine.run()
            self._write(
                NotedTime(
                    start=self._machine.start,
                    started=clock.timestamp() - run,
                    reached=clock.timestamp(),
                    accepted=(0 if there is None else there.accepted) + 1,
                )
            )
        return clock

    def _go_on(self) -> float:
        clock, run = self._machine.clock().timestamp(), self._machine.run()
        passed, self._run = max(0.0, run - self._run), run
        off = clock - (self._time.started + run)
        if self._time.is_behind:
            if off >= 0.0:
                self._time = replace(self._time, started=clock - run, is_behind=False)
        elif abs(off) <= TOLERANCE.total_seconds():
            drawn = min(max(off, -DRAWN * passed), DRAWN * passed)
            self._time = replace(self._time, started=self._time.started + drawn)
        self._latest = max(self._latest, self._time.started + run)
        return self._latest

    def _accept_of(self, there: NotedTime) -> bool:
        """Go by what a person accepted meanwhile, if somebody did."""
        if there.accepted <= self._time.accepted or not _is_of(there, self._machine):
            return False
        self._time, self._noted_at = there, None
        self._latest = there.started + self._machine.run()
        return True

    def _alone(self) -> AbstractContextManager[None]:
        busy = "Another process notes the time of this workspace just now. Try again."
        return hold_lock(self._file.parent, wait_seconds=LOCK_SECONDS, busy=busy)

    def _write(self, noted: NotedTime) -> None:
        content = {"format": FORMAT, **asdict(noted)}
        write_atomically(self._file, json.dumps(content, indent=1).encode())

    def _log(self) -> None:
        problem = self.problem
        if (problem is None) != (self._logged is None):
            if problem is None:
                log.warning("the clock of the machine is followed again")
            else:
                log.error("the clock of the machine jumped: %s", problem)
        self._logged = problem


def read_noted(file: Path) -> NotedTime | None:
    """What is noted in a file; None where there is none, or where it cannot be read.

    Raises:
        WorkspaceError: it is of a newer Keepwell.
    """
    try:
        content = json.loads(file.read_bytes())
        version = content.pop("format", None)
        newer = newer_format(version, newest=FORMAT, what=f"{FILE} in {file.parent}")
        if newer is None:
            return NotedTime(**content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s cannot be read (%s); the clock of the machine is believed", file, error)
        return None
    raise WorkspaceError(newer)


def in_words(span: timedelta) -> str:
    """A span of time without its sign, in the two largest units.

    >>> in_words(timedelta(days=-365, hours=-1)), in_words(timedelta(seconds=3605))
    ('365 days 1 h', '1 h 0 min')
    """
    minutes = round(abs(span).total_seconds()) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{days} days {hours} h" if days else f"{hours} h {minutes % 60} min"


def _is_of(noted: NotedTime, machine: Machine) -> bool:
    return machine.start is not None and noted.start == machine.start


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
