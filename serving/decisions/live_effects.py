"""The measured effects of actions as they are now, read again when their file changes.

A file that cannot be read stops nothing: the playbook stands alone then, and every answer says
why.
"""

from __future__ import annotations

from pathlib import Path

from experiments.effects.belief import MeasuredEffects, MeasuredEffectsError
from experiments.effects.effects_file import EFFECTS_FILE, read_effects
from features.reloaded_file import ReloadedFile


def evidence_in(folder: Path) -> MeasuredEffects:
    """The effects of a reports folder, or none with what is wrong with them."""
    try:
        return read_effects(folder)
    except MeasuredEffectsError as error:
        return MeasuredEffects(problem=str(error))


def measured_effects(folder: Path) -> ReloadedFile[MeasuredEffects]:
    """The effects of one reports folder as they are now."""
    return ReloadedFile(folder / EFFECTS_FILE, lambda _: evidence_in(folder), MeasuredEffects)
