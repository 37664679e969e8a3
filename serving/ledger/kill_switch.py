"""The kill switch: what a person stopped, and what may go on.

A stop names nothing (everything), an action, a segment, a CSM, or several of these together. It
holds for a decision where all that it names is the decision's own. Stops and resumptions are records
of the ledger, and are read in the transaction that records a decision or a claim: a claim that
commits after a stop did not see the moment before it. Levels and capacities are stored the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.chain import insert_linked
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.prepared import Prepared
from serving.ledger.database.tables import CONTROLS
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.errors import StoppedError

IN_ORDER = Prepared(sa.select(CONTROLS).order_by(CONTROLS.c.control_id))

ControlKind = Literal["stop", "resume", "level", "capacity"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The scope of a control; a part that is None is not named, so everything of it counts.

    >>> Scope(action="discount").words, Scope().words
    ('the action discount', 'everything')
    """

    action: str | None = None
    segment: str | None = None
    csm: str | None = None

    def holds(self, other: Scope) -> bool:
        """Whether every part named here is the same in the other scope.

        >>> Scope(action="a").holds(Scope(action="a", segment="small"))
        True
        >>> Scope(action="a", csm="ann").holds(Scope(action="a", csm=None))
        False
        """
        return all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.action, other.action),
                (self.segment, other.segment),
                (self.csm, other.csm),
            )
        )

    @property
    def words(self) -> str:
        """The scope for a person to read."""
        named = [
            f"the {what} {value}"
            for what, value in (
                ("action", self.action),
                ("segment", self.segment),
                ("CSM", self.csm),
            )
            if value is not None
        ]
        return " for ".join(named) or "everything"


@dataclass(frozen=True, kw_only=True)
class Control:
    """One record: what somebody stopped, resumed or set, when and why."""

    kind: ControlKind
    scope: Scope
    value: int | None
    by: str
    at: datetime
    reason: str


def unknown_parts(
    scope: Scope,
    *,
    actions: Collection[str | None],
    segments: Collection[str | None],
    csms: Collection[str | None],
) -> tuple[str, ...]:
    """The parts of a scope that name nothing there is: to stop a misspelt name stops nothing.

    >>> unknown_parts(Scope(action="cal", csm="ann"), actions={"call"}, segments=(), csms={"ann"})
    ('action',)
    """
    named = (
        ("action", scope.action, actions),
        ("segment", scope.segment, segments),
        ("csm", scope.csm, csms),
    )
    return tuple(part for part, name, known in named if name is not None and name not in known)


class Controls:
    """Stops, levels and capacities of one workspace."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def record(
        self,
        kind: ControlKind,
        scope: Scope,
        *,
        by: str,
        reason: str,
        at: datetime,
        value: int | None = None,
    ) -> Control:
        """Write a control down; it holds for every transaction that begins afterwards."""
        control = Control(kind=kind, scope=scope, value=value, by=by, at=at, reason=reason)
        with self._database.writing() as connection:
            return add_control(connection, control)

    def all(self) -> tuple[Control, ...]:
        """Every control in the order in which they were given."""
        with self._database.reading() as connection:
            return read_controls(connection)


def add_control(connection: Connection, control: Control) -> Control:
    """Write a control down in a transaction that has the writers' lock."""
    count = connection.scalar(sa.select(sa.func.count()).select_from(CONTROLS)) or 0
    insert_linked(
        connection,
        CONTROLS,
        {
            "control_id": f"{count + 1:012d}",
            "kind": control.kind,
            "action": control.scope.action,
            "segment": control.scope.segment,
            "csm": control.scope.csm,
            "value": control.value,
            "by": control.by,
            "at": as_text(control.at),
            "reason": control.reason,
        },
    )
    return control


def read_controls(connection: Connection) -> tuple[Control, ...]:
    """Every control in the order in which they were given."""
    rows = IN_ORDER.rows(connection, {})
    return tuple(
        Control(
            kind=row.kind,
            value=row.value,
            by=row.by,
            at=as_moment(row.at),
            reason=row.reason,
            scope=Scope(action=row.action, segment=row.segment, csm=row.csm),
        )
        for row in rows
    )


def stops(controls: Sequence[Control]) -> tuple[Control, ...]:
    """The stops that nobody has taken back; each by a resumption of the very same scope."""
    open_stops: dict[Scope, Control] = {}
    for control in controls:
        if control.kind == "stop":
            open_stops.setdefault(control.scope, control)
        elif control.kind == "resume":
            open_stops.pop(control.scope, None)
    return tuple(open_stops.values())


def stop_of(controls: Sequence[Control], scope: Scope) -> Control | None:
    """The stop that holds for a decision, if any."""
    return next((stop for stop in stops(controls) if stop.scope.holds(scope)), None)


def check_not_stopped(controls: Sequence[Control], scope: Scope) -> None:
    """See that nothing stops a decision.

    Raises:
        StoppedError: somebody stopped it; the message says who, what and why.
    """
    stop = stop_of(controls, scope)
    if stop is not None:
        raise StoppedError(
            f"{stop.by} stopped {stop.scope.words} on {stop.at:%Y-%m-%d %H:%M} UTC: {stop.reason}"
        )
