"""Decide for which segments a model answers: a switch with hysteresis.

::

                 worse at TO_WITHHOLD looks in a row
      answers ───────────────────────────────────────► withheld
              ◄───────────────────────────────────────
                 better at TO_RETURN looks in a row

A look counts once, and only if it knows outcomes that the previous look did not: the same evidence
is not counted twice. A look that is neither better nor worse ends a run. States are stored by the
model's fingerprint, so a new champion starts afresh and a rollback finds the old model's state.
Pure, but for reading a file; monitoring writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

SegmentVerdict = Literal["worse", "better", "unclear"]

TO_WITHHOLD, TO_RETURN = 2, 3
"""Looks in a row. More to return than to withhold, because people trust a score that comes and goes
less than the formula."""

EVERYONE = "everyone"
SWITCH_FILE = "segments.json"
KIND, VERSION = "keepwell-segment-switch", 1


class SegmentSwitchError(Exception):
    """The file of the segments that a model may answer for cannot be read."""


def segment_key(segment: str | None) -> str:
    """The name under which a segment is stored; a tenant's own word never means everyone.

    >>> [segment_key(name) for name in ("small", "everyone", None)]
    ['segment small', 'segment everyone', 'unknown segment']
    """
    return "unknown segment" if segment is None else f"segment {segment}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The finding of one look at a segment, from outcomes known up to a moment."""

    finding: SegmentVerdict
    known_to: datetime  # the newest label window that it judged closes here
    because: str


@dataclass(frozen=True, kw_only=True)
class SegmentState:
    """Whether a model is withheld from a segment, and how far it is from the other state."""

    withheld: bool = False
    looks: int = 0  # in a row, in favour of the other state
    known_to: datetime | None = None  # of the newest look that counted
    since: datetime | None = None  # of the last change
    because: str = ""  # of the last change

    @property
    def needed(self) -> int:
        """The number of looks in a row that change the state."""
        return TO_RETURN if self.withheld else TO_WITHHOLD

    def after(self, look: Look, *, at: datetime) -> SegmentState:
        """The state after one more look; unchanged if the look knows nothing new."""
        if self.known_to is not None and look.known_to <= self.known_to:
            return self
        speaks_for_change = look.finding == ("better" if self.withheld else "worse")
        looks = self.looks + 1 if speaks_for_change else 0
        if looks < self.needed:
            return replace(self, looks=looks, known_to=look.known_to)
        return SegmentState(withheld=not self.withheld, known_to=look.known_to, since=at,
                            because=look.because)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SegmentSwitch:
    """The states of all models, by fingerprint and then by ``segment_key``."""

    models: Mapping[str, Mapping[str, SegmentState]] = field(default_factory=dict)

    def of(self, fingerprint: str) -> Mapping[str, SegmentState]:
        """The segments of one model that have had a look."""
        return self.models.get(fingerprint, {})

    def withheld(self, fingerprint: str) -> dict[str, str]:
        """The segments that a model does not answer for, each with the sentence why."""
        return {
            key: f"{_whom(key)} the model is withheld since {state.since:%Y-%m-%d}: {state.because}"
            for key, state in self.of(fingerprint).items() if state.withheld
        }  # fmt: skip

    def looked(self, fingerprint: str, looks: Mapping[str, Look], *, at: datetime) -> SegmentSwitch:
        """The switch after a look at some segments of one model."""
        known = self.of(fingerprint)
        after = {key: known.get(key, SegmentState()).after(look, at=at)
                 for key, look in looks.items()}  # fmt: skip
        return SegmentSwitch(models={**self.models, fingerprint: {**known, **after}})

    def text(self) -> str:
        """The content of the file."""
        return json.dumps({
            "kind": KIND, "version": VERSION,
            "models": {name: {key: _document(state) for key, state in segments.items()}
                       for name, segments in self.models.items()},
        }, indent=1)  # fmt: skip


def read_switch(file: Path) -> SegmentSwitch:
    """The switch that a file holds; without a file, every model answers for everyone.

    Raises:
        SegmentSwitchError: the file is no such switch.
    """
    if not file.exists():
        return SegmentSwitch()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        version = document.get("version", 1)
        if document["kind"] != KIND:
            raise ValueError(f"it is a {document['kind']!r}")
        if version != VERSION:
            raise ValueError(f"it has format version {version!r}, of a newer Keepwell; this one reads "
                             f"versions up to {VERSION}; use the newer Keepwell")  # fmt: skip
        return SegmentSwitch(models={
            name: {key: _state(state) for key, state in segments.items()}
            for name, segments in document["models"].items()})  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SegmentSwitchError(
            f"{file.name} does not say which segments a model may answer for ({exc}). Put back a "
            "copy of it, or delete it: every model then answers for everyone until monitoring "
            "(keepwell monitor) has found against it again."
        ) from exc


def _whom(key: str) -> str:
    if key == EVERYONE:
        return "for every account"
    return f"for accounts of {key}" if key.startswith("segment ") else f"for accounts of an {key}"


def _document(state: SegmentState) -> dict[str, Any]:
    return {"withheld": state.withheld, "looks": state.looks,
            "known_to": None if state.known_to is None else state.known_to.isoformat(),
            "since": None if state.since is None else state.since.isoformat(),
            "because": state.because}  # fmt: skip


def _state(document: Mapping[str, Any]) -> SegmentState:
    def moment(name: str) -> datetime | None:
        return None if document[name] is None else datetime.fromisoformat(document[name])

    state = SegmentState(withheld=bool(document["withheld"]), looks=int(document["looks"]),
                         known_to=moment("known_to"), since=moment("since"),
                         because=str(document["because"]))  # fmt: skip
    if state.withheld and state.since is None:
        raise ValueError("a segment is withheld since no moment")
    return state
