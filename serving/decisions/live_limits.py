"""The limits of a workspace as they are now, read again when the file changes.

A file that cannot be used changes nothing: what held before holds on, and the service says what is
wrong with it. A file that is just being written, or put in another's place, is looked at again a
moment later, because half of a file may be limits, too, and none means the usual ones.
"""

from __future__ import annotations

import logging
from pathlib import Path

from experiments.policy.account_state import Limits
from experiments.policy.contact.limits_file import LIMITS_FILE, USUAL, LimitsError, read_limits
from features.reloaded_file import ReloadedFile

log = logging.getLogger("keepwell.serving")

SETTLED_SECONDS = 1.0
"""So long after its last change a file counts as written, and a missing one as gone."""


class CurrentLimits:
    """The limits of one workspace as they are now; ``problem`` says why its file is not used.

    Raises:
        LimitsError: at the start, where there is nothing to hold on to: the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.problem: str | None = None
        self._file = ReloadedFile(
            folder / LIMITS_FILE,
            lambda _: read_limits(folder),
            lambda: USUAL,
            settle_seconds=SETTLED_SECONDS,
            tolerated_errors=(LimitsError,),
        )
        self._limits = self._file.current()

    def current(self) -> Limits:
        """The limits, read again where the file is another one than last time."""
        limits, error = self._file.current(), self._file.problem
        problem = error and f"{error} Until then the limits hold that held before."
        if problem != self.problem and problem is not None:
            log.warning("%s", problem)
        if limits is not self._limits:
            log.info("limits read anew: %s", "the usual ones" if limits is USUAL else LIMITS_FILE)
        self._limits, self.problem = limits, problem or None
        return limits
