"""Judgements of recommendations, as lines of the account page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from experiments.policy.recommend import DO_NOTHING
from serving.ledger.feedback import ONE_CLICK, Feedback
from serving.text_format import day, plain, who
from serving.timeline.sentences import SAID

MOST_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FeedbackView:
    """The form by which a person judges the first action, and earlier judgements."""

    action: str  # empty where the caller may not judge
    put_off: str  # what the button says; empty where nothing can be put off
    earlier: tuple[str, ...]


def feedback_view(
    first_action: str | None,
    heard: Sequence[Feedback],
    names: Mapping[str, str],
    *,
    clock: datetime,
    data_stand_still: bool = False,
) -> FeedbackView:
    """The form for the action that is recommended first, and the newest judgements.

    ``clock`` is that of the service, by which snoozes end; where the data stand still, as between
    two exports, the form says that its date is by that clock.
    """
    until = f"until {day(clock + ONE_CLICK)}{' by today’s calendar' if data_stand_still else ''}"
    return FeedbackView(
        action=first_action or "",
        put_off="" if first_action in (None, DO_NOTHING) else f"Not for two weeks ({until})",
        earlier=tuple(feedback_line(one, names) for one in heard[:MOST_SHOWN]),
    )


def feedback_line(one: Feedback, names: Mapping[str, str]) -> str:
    """A judgement in a sentence."""
    until = f" until {day(one.snooze_until)}" if one.snooze_until else ""
    why = f": {one.reason}" if one.reason else ""
    return (
        f"{who(one.by)} {SAID[one.verdict]} {names.get(one.action, plain(one.action))}{until}, "
        f"{day(one.given_at)}{why}"
    )
