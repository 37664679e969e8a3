"""Snoozes: actions that a person put off until a date.

Whoever knows the account says "not now" of an action, until when and why; until then it is held
back for that account, in their words. Who takes it back leaves no such value. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.policy.account_state import PolicyError
from experiments.policy.withholding import Refusal

MOST_AHEAD = timedelta(days=1)
"""How far ahead the clock of whoever heard a person may be; further ahead it was wrong."""


@dataclass(frozen=True, kw_only=True)
class Snooze:
    """An action that somebody put off for an account: until when, who, why, and when they said so.

    It holds from ``at`` on, and no longer at ``until``: dates of a calendar, on the clock on the
    wall. Where another machine heard it, by a clock that is up to a day ahead, it holds at once;
    ``at`` stays what that clock said, so that what is asked meanwhile is one and the same question.
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
        """Whether the action is put off at a moment."""
        return self.at <= moment + MOST_AHEAD and moment < self.until


def refuse_snoozed(action_id: str, put_off: Iterable[Snooze], moment: datetime) -> Refusal | None:
    """Why an action waits because a person said so; None where nobody did, or the date has come."""
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
