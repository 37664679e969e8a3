"""Snoozes: actions that a person holds back until a date.

A person who knows the account snoozes an action, with a date and a reason; until then it is held
back for that account, with that reason. A snooze that was taken back is not given to this module.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.policy.account_state import PolicyError
from experiments.policy.withholding import Refusal

BY_LOT = "A lottery"
"""Who put an action off that is held back so that its effect can be measured."""

MOST_AHEAD = timedelta(days=1)
"""How far ahead the clock of another machine may be; further ahead it was wrong."""


@dataclass(frozen=True, kw_only=True)
class Snooze:
    """A snoozed action of an account: until when, by whom, why, and since when.

    It holds from ``at`` on, and no longer at ``until``: actual time, because these are dates of a
    calendar. If another machine recorded it, with a clock that is up to a day ahead, it holds at
    once; ``at`` stays as recorded, so that questions asked meanwhile are equal. A lottery's is on the
    time of the data, because its effect is measured on that.
    """

    action_id: str
    until: datetime
    at: datetime
    by: str
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None or self.until.utcoffset() is None:
            raise PolicyError(
                f"The action {self.action_id!r} is put off at a time without a time "
                f"zone; write it in UTC."
            )

    @property
    def is_by_lot(self) -> bool:
        """Whether no person put it off, but a draw."""
        return self.by == BY_LOT

    def holds_at(self, moment: datetime, as_of: datetime) -> bool:
        """Whether the action is snoozed at an actual time, and, by lot, at that time of the data."""
        clock = as_of if self.is_by_lot else moment
        return self.at <= clock + MOST_AHEAD and clock < self.until


def refuse_snoozed(
    action_id: str,
    put_off: Iterable[Snooze],
    moment: datetime,
    *,
    as_of: datetime,
    is_owed: bool = False,
) -> Refusal | None:
    """The refusal of a snoozed action; None without a snooze, or from its date on.

    What is owed (urgent, or promised) waits for what a person said, and for no lot.
    """
    found = [
        one
        for one in put_off
        if one.action_id == action_id
        and one.holds_at(moment, as_of)
        and not (is_owed and one.is_by_lot)
    ]
    if not found:
        return None
    longest = max(found, key=lambda one: (one.until, one.at, one.by, one.reason or ""))
    why = f": “{longest.reason}”" if longest.reason else ""
    return Refusal(
        stage="put_off",
        reason="put_off",
        allowed_from=longest.until,
        why=f"{longest.by} put this off on {longest.at:%-d %B %Y}{why}.",
        until=f"until {longest.until:%d %B %Y %H:%M}",
    )
