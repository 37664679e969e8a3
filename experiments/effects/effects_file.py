"""Read and write the file of measured effects beside the reports: ``effects.json``.

Measuring writes it, the policy reads it. It is bounded and checked field by field: an invalid
number or an unknown grade is an error with its place, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from experiments.effects.action_effect import ActionEffect, ActionEffectError, GoodOutcome
from experiments.effects.belief import MeasuredEffects, MeasuredEffectsError
from features.format_version import newer_format
from registry.integrity.sealed_document import AlteredDocumentError, seal, unseal

EFFECTS_FILE, FORMAT = "effects.json", 1
MOST_BYTES = 4_000_000
MOST_EFFECTS = 10_000
MOST_OF_ANYTHING = 1e12

DERIVED = ("grade_meaning", "is_evidence")
"""Written beside each effect for readers; not read back."""

_TEXTS = ("action_id", "grade", "source", "outcome", "why")
_NUMBERS = (
    "estimate",
    "standard_error",
    "effective_n",
    "low",
    "high",
    "playbook_share",
    "untouched_risk",
)
_COUNTS = ("n", "horizon_days")
_MOMENTS = ("measured_from", "measured_to")


def read_effects(folder: Path) -> MeasuredEffects:
    """The measured effects of a reports folder; none where there is no such file.

    Raises:
        MeasuredEffectsError: the file cannot be read as effects; the message names the place.
    """
    path = folder / EFFECTS_FILE
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise MeasuredEffectsError(
                f"{path.name} has {size:,} bytes; at most {MOST_BYTES:,} are read. "
                f"Keep the newest effect of each action and segment."
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return MeasuredEffects()
    except (OSError, UnicodeDecodeError) as exc:
        raise MeasuredEffectsError(f"{path.name} cannot be read ({exc}). Write it again.") from exc
    return parse_effects(text, path.name)


def parse_effects(text: str, where: str = EFFECTS_FILE) -> MeasuredEffects:
    """The effects of a JSON text.

    Raises:
        MeasuredEffectsError: what is wrong, and with which effect.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise MeasuredEffectsError(f"{where} is not valid JSON ({exc}). Write it again.") from exc
    stated = document.get("format") if isinstance(document, dict) else None
    newer = newer_format(stated, newest=FORMAT, what=where)
    if newer is not None:
        raise MeasuredEffectsError(newer)
    try:
        document = unseal(document) if isinstance(document, dict) else document
    except AlteredDocumentError as exc:
        raise MeasuredEffectsError(
            f"{where} is damaged ({exc}). Put it back from a backup, or measure again: keepwell effects."
        ) from exc
    if not isinstance(document, dict) or not isinstance(document.get("effects"), list):
        raise MeasuredEffectsError(f"{where} has to be an object with a list `effects`.")
    attribute = document.get("segment_attribute", "segment")
    if not isinstance(attribute, str) or not attribute:
        raise MeasuredEffectsError(
            f"{where}: `segment_attribute` is {attribute!r}; name the attribute "
            f"that segments are values of."
        )
    rows = document["effects"]
    if len(rows) > MOST_EFFECTS:
        raise MeasuredEffectsError(
            f"{where} holds {len(rows):,} effects; at most {MOST_EFFECTS:,} are "
            f"read. Keep the newest effect of each action and segment."
        )
    return MeasuredEffects(
        segment_attribute=attribute,
        effects=tuple(
            effect_from(row, f"{where}, effect number {number}")
            for number, row in enumerate(rows, 1)
        ),
    )


def effect_from(row: object, where: str) -> ActionEffect:
    """One effect from plain values, as ``ActionEffect.to_dict`` writes them.

    Raises:
        MeasuredEffectsError: a field is missing, unknown or invalid.
    """
    if not isinstance(row, Mapping):
        raise MeasuredEffectsError(f"{where} has to be an object, not {row!r:.60}.")
    known = {field.name: field.default is MISSING for field in fields(ActionEffect)}
    lacking = [name for name, needed in known.items() if needed and name not in row]
    unknown = [name for name in row if name not in known and name not in DERIVED]
    if lacking or unknown:
        raise MeasuredEffectsError(
            f"{where} lacks {', '.join(lacking) or 'nothing'} and has the unknown "
            f"field(s) {', '.join(map(str, unknown)) or 'none'}. Write it again."
        )
    values: dict[str, Any] = {name: row[name] for name in row if name in known}
    for name, value in values.items():
        is_number = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and -MOST_OF_ANYTHING < value < MOST_OF_ANYTHING
        )
        fits = (
            isinstance(value, str)
            if name in _TEXTS or name in _MOMENTS
            else is_number or (value is None and name == "untouched_risk")
            if name in _NUMBERS
            else is_number and float(value).is_integer()
            if name in _COUNTS
            else value is None or isinstance(value, str)
        )
        if not fits:
            raise MeasuredEffectsError(f"{where}: `{name}` is {value!r:.60}, which cannot be read.")
    if values["outcome"] not in get_args(GoodOutcome):
        raise MeasuredEffectsError(
            f"{where}: `outcome` is {values['outcome']!r:.60}; allowed are "
            f"{', '.join(get_args(GoodOutcome))}."
        )
    try:
        values |= {name: datetime.fromisoformat(values[name]) for name in _MOMENTS}
        return ActionEffect(**values)
    except ActionEffectError as exc:
        raise MeasuredEffectsError(f"{where}: {exc}") from exc
    except ValueError as exc:
        raise MeasuredEffectsError(
            f"{where}: a moment cannot be read ({exc}). Write it like 2026-03-02T00:00:00+00:00."
        ) from exc


def effects_document(evidence: MeasuredEffects) -> dict[str, object]:
    """The effects as plain values for JSON."""
    return {
        "format": FORMAT,
        "segment_attribute": evidence.segment_attribute,
        "effects": [effect.to_dict() for effect in evidence.effects],
    }


def write_effects(evidence: MeasuredEffects, folder: Path) -> Path:
    """Write the file of effects into a reports folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / EFFECTS_FILE
    draft = path.with_suffix(".json.part")
    draft.write_text(
        json.dumps(seal(effects_document(evidence)), indent=1, allow_nan=False), encoding="utf-8"
    )
    draft.replace(path)
    return path
