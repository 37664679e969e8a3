"""Sequences of actions: steps in order, each some time after day zero.

A sequence declares its accounts, the start of its clock, when each step is due, and what ends it.
The policy treats the step that is due as a candidate like any other. The sequences are in
``sequences.toml``. Reads text into values; knows no account.

::

    day zero ──●──────●────────────●───────────────── stop: paid, returned, recovered, left
             step   step         step
             ├ due ─┤ lapses when the next one is due, unless the steps stay until the stop
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from registry.playbook.actions import PlaybookError, read_conditions, read_name
from registry.playbook.condition_grammar import Condition
from registry.toml_table import Table

Stays = Literal["until_next", "until_stop"]
StartKind = Literal["moment", "age", "ahead", "alert", "entry"]

MOMENTS = (
    "trial_started",
    "contract_started",
    "contract_ended",
    "incident_opened",
    "term_started",
    "reason_to_leave_given",
)
"""Instants that the caller may know; without them day zero falls back to features."""

_START = re.compile(r"(?P<kind>[a-z]+)( (?P<name>[a-z][a-z0-9_]*))?( (?P<shift>[-+]\d+)d)?")


@dataclass(frozen=True, kw_only=True)
class Start:
    """One way to know day zero.

    ``moment`` a named instant; ``age`` a feature that counts days since it; ``ahead`` a feature
    that counts days until it; ``alert`` when the alert was raised; ``entry`` the first step taken,
    or now. ``shift_days`` is added (renewal less 120 days: -120).
    """

    kind: StartKind
    name: str = ""
    shift_days: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """An action so many hours after day zero, on conditions."""

    action: str
    after_hours: float
    only_if: tuple[Condition, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Steps in order, with their accounts, the start of the clock and what ends them.

    Of the sequences of one ``calendar`` an account is in the first that applies. It is over when
    a stop condition holds, ``window_days`` after day zero, and, where ``declined_ends``, once the
    account has declined a step.
    """

    id: str
    name: str
    calendar: str | None
    applies: tuple[Condition, ...]
    day_zero: tuple[Start, ...]
    steps: tuple[Step, ...]
    stop: tuple[Condition, ...]
    stays: Stays
    declined_ends: bool
    window_days: float
    source: str
    ours: tuple[str, ...]

    def as_row(self) -> dict[str, object]:
        """The sequence as a row for the API and for tables."""
        return {
            "id": self.id,
            "name": self.name,
            "applies": [condition.text for condition in self.applies],
            "stop": [condition.text for condition in self.stop],
            "steps": [
                {
                    "action": step.action,
                    "after_hours": step.after_hours,
                    "text": step.text or None,
                    "only_if": [condition.text for condition in step.only_if],
                }
                for step in self.steps
            ],
            "source": self.source,
            "ours": list(self.ours),
        }


def read_sequence(table: Table) -> Sequence:
    """One sequence from its table; steps have to be in order of time."""
    identifier = read_name(table, "id")
    table.where = f"Sequence {identifier!r}"
    sequence = Sequence(
        id=identifier,
        name=table.text("name"),
        calendar=read_name(table, "calendar") if table.has("calendar") else None,
        applies=read_conditions(table, "applies"),
        day_zero=tuple(_start(text, table.where) for text in table.texts("day_zero")),
        steps=tuple(_step(step) for step in table.tables("steps")),
        stop=read_conditions(table, "stop", ()),
        stays=cast(Stays, table.word("stays", get_args(Stays), "until_next")),
        declined_ends=table.flag("declined_ends", False),
        window_days=table.number("window_days", least=0),
        source=table.text("source"),
        ours=table.texts("ours"),
    )
    table.end()
    offsets = [step.after_hours for step in sequence.steps]
    if not offsets or offsets != sorted(offsets):
        raise PlaybookError(f"Sequence {identifier!r}: it needs steps, in order of `after_hours`.")
    if not sequence.day_zero:
        raise PlaybookError(f"Sequence {identifier!r}: say under `day_zero` when its clock starts.")
    return sequence


def _step(table: Table) -> Step:
    step = Step(
        action=read_name(table, "action"),
        after_hours=table.number("after_hours", least=0),
        only_if=read_conditions(table, "only_if", ()),
        text=table.text("text", ""),
    )
    table.end()
    return step


def _start(text: str, where: str) -> Start:
    found = _START.fullmatch(text)
    kind = found["kind"] if found else ""
    if found is None or kind not in get_args(StartKind) or (kind == "entry") != (not found["name"]):
        raise PlaybookError(
            f"{where}: {text!r} is no start of a clock. Write `moment name`, "
            f"`age feature +30d`, `ahead feature -120d`, `alert id` or `entry`."
        )
    if kind == "moment" and found["name"] not in MOMENTS:
        raise PlaybookError(
            f"{where}: the moment {found['name']!r} is not one of {', '.join(MOMENTS)}."
        )
    return Start(
        kind=cast(StartKind, kind), name=found["name"] or "", shift_days=float(found["shift"] or 0)
    )
