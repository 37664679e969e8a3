"""This module is about the limits of a workspace as they are now, read anew when the file changes.

A file that can not be used changes nothing: what held before holds on, and the service says what is
wrong with it. One that is just being written is looked at again a moment later, since half of a
file may be limits, too. Holds the last reading; decides nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments.account_state import Limits
from experiments.limits_file import LIMITS_FILE, USUAL, LimitsError, limits_in

log = logging.getLogger("keepwell.serving")

SETTLED_SECONDS = 1.0
"""So long after its last change a file counts as written."""

NO_FILE = (0, 0)


@dataclass
class CurrentLimits:
    """The limits of one workspace as they are now; ``problem`` says why its file is not used."""

    folder: Path
    problem: str | None = field(default=None, init=False)
    _limits: Limits = field(default=USUAL, init=False)
    _stamp: tuple[int, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Read the file; one that can not be used is raised here, before anything goes by it."""
        stamp, _ = self._look()
        self._limits, self._stamp = limits_in(self.folder), stamp

    def current(self) -> Limits:
        """The limits, read again where the file is another one than last time."""
        stamp, is_settled = self._look()
        if stamp == self._stamp or not is_settled:
            return self._limits
        try:
            self._limits, self.problem = limits_in(self.folder), None
        except LimitsError as error:
            self.problem = f"{error} Until then the limits hold that held before."
            log.warning("%s", self.problem)
        else:
            log.info("limits read anew from %s",
                     "the usual ones" if stamp == NO_FILE else LIMITS_FILE)
        self._stamp = stamp
        return self._limits

    def _look(self) -> tuple[tuple[int, int], bool]:
        """Which file is there, and whether its last change is over."""
        try:
            status = (self.folder / LIMITS_FILE).stat()
        except OSError:
            return NO_FILE, True
        age = time.time() - status.st_mtime
        return (status.st_mtime_ns, status.st_size), not 0 <= age < SETTLED_SECONDS
