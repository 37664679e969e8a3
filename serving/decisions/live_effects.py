"""This module is about the measured effects of actions, read anew when their file changes.

A file that can not be read stops nothing: the playbook stands alone then, and every answer says
why. Holds the last reading; reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.effects.file import EFFECTS_FILE, read_effects
from experiments.effects.measured import Evidence, EvidenceError

NO_FILE = (0, 0)


def evidence_in(folder: Path) -> Evidence:
    """The effects of a reports folder, or none with what is wrong with them."""
    try:
        return read_effects(folder)
    except EvidenceError as error:
        return Evidence(problem=str(error))


@dataclass
class MeasuredEffects:
    """The effects of one reports folder as they are now."""

    folder: Path
    _stamp: tuple[int, int] | None = field(default=None, init=False)
    _evidence: Evidence = field(default_factory=Evidence, init=False)

    def current(self) -> Evidence:
        """The effects, read again where the file is another one than last time."""
        try:
            status = (self.folder / EFFECTS_FILE).stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = NO_FILE
        if stamp != self._stamp:
            self._evidence = evidence_in(self.folder)
            self._stamp = stamp
        return self._evidence
