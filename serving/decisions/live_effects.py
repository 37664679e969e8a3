"""The measured effects of actions as they are now, read again when their file changes.

A file that cannot be read stops nothing: the playbook stands alone then, and every answer says
why.
"""

from __future__ import annotations

from pathlib import Path

from experiments.effects.effects_file import EFFECTS_FILE, read_effects
from experiments.effects.measured import Evidence, EvidenceError
from features.reloaded_file import ReloadedFile


def evidence_in(folder: Path) -> Evidence:
    """The effects of a reports folder, or none with what is wrong with them."""
    try:
        return read_effects(folder)
    except EvidenceError as error:
        return Evidence(problem=str(error))


def measured_effects(folder: Path) -> ReloadedFile[Evidence]:
    """The effects of one reports folder as they are now."""
    return ReloadedFile(folder / EFFECTS_FILE, lambda _: evidence_in(folder), Evidence)
