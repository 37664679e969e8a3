"""This module is about the limits of a workspace as they are now, read anew when the file changes.

A file that can not be used changes nothing: what held before holds on, and the service says what is
wrong with it. What is just being written, or put in another's place, is looked at again a moment
later, since half of a file may be limits, too, and none means the usual ones. Holds the last
reading; decides nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments.policy.contact.limits_file import LIMITS_FILE, USUAL, LimitsError, limits_in
from experiments.policy.state import Limits

log = logging.getLogger("keepwell.serving")

SETTLED_SECONDS = 1.0
"""So long after its last change a file counts as written, and a missing one as gone."""

Stamp = tuple[int, ...]
NO_FILE: Stamp = ()


@dataclass
class CurrentLimits:
    """The limits of one workspace as they are now; ``problem`` says why its file is not used.

    Raises:
        LimitsError: at the start, where there is nothing to hold on to: the file can not be used.
    """

    folder: Path
    problem: str | None = field(default=None, init=False)
    _limits: Limits = field(default=USUAL, init=False)
    _stamp: Stamp | None = field(default=None, init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Read the file as soon as it is written."""
        before, is_settled = self._look()
        while before != NO_FILE and not is_settled:
            time.sleep(SETTLED_SECONDS / 10)
            before, is_settled = self._look()
        self._limits, self._stamp = limits_in(self.folder), before

    def current(self) -> Limits:
        """The limits, read again where the file is another one than last time."""
        stamp, is_settled = self._look()
        if stamp != self._stamp and is_settled:
            with self._reading:
                self._read_again()
        return self._limits

    def _read_again(self) -> None:
        before, is_settled = self._look()
        if before == self._stamp or not is_settled:
            return
        try:
            found = limits_in(self.folder)
        except LimitsError as error:
            problem = f"{error} Until then the limits hold that held before."
            if problem != self.problem:
                log.warning("%s", problem)
            self.problem = problem  # and it is tried again: what could not be read may be, soon
            return
        if self._look()[0] != before:
            return  # it changed while it was read
        self._limits, self._stamp, self.problem = found, before, None
        log.info("limits read anew: %s", LIMITS_FILE if before else "the usual ones")

    def _look(self) -> tuple[Stamp, bool]:
        """Which file is there, and whether its last change is over."""
        try:
            status = (self.folder / LIMITS_FILE).stat()
            stamp: Stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            changed = status.st_ctime
        except OSError:
            # a file that another is to replace is missing for a moment, which its folder tells
            stamp, changed = NO_FILE, self.folder.stat().st_mtime
        return stamp, not 0 <= time.time() - changed < SETTLED_SECONDS
