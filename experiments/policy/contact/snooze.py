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

MOST_AHEAD = timedelta(days=1)
"""How far ahead the clock of another machine may be; further ahead it was wrong."""


@dataclass(frozen=True, kw_only=True)
class Snooze:
    """A snoozed action of an account: until when, by whom, why, and since when.

    It holds from ``at`` on, and no longer at ``until``: actual time, because these are dates of a
    calendar. If another machine recorded it, with a clock that is up to a day ahead, it holds at
    once; ``at`` stays as recorded, so that questions asked meanwhile are equal.
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

    def holds_at(self, moment: datetime) -> bool:
        """Whether the action is snoozed at a moment."""
        return self.at <= moment + MOST_AHEAD and moment < self.until


def refuse_snoozed(action_id: str, put_off: Iterable[Snooze], moment: datetime) -> Refusal | None:
    """The refusal of a snoozed action; None without a snooze, or from its date on."""
    found = [one for one in put_off if one.action_id == action_id and one.holds_at(moment)]
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
