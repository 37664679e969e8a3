"""This module is about what people said to recommendations, as lines of the account page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from experiments.policy.recommend import DO_NOTHING
from serving.feedback import ONE_CLICK, Feedback
from serving.words import day, plain, who

MOST_SAID = 3

SAID: Mapping[str, str] = {
    "agree": "agreed to", "disagree": "disagreed with", "snooze": "put off"}


@dataclass(frozen=True, kw_only=True)
class SayView:
    """The form by which a person judges the first action, and what was said before."""

    action: str  # empty where the caller may not judge
    put_off: str  # what the button says; empty where nothing can be put off
    said: tuple[str, ...]


def say_view(first_action: str | None, heard: Sequence[Feedback], names: Mapping[str, str], *,
             clock: datetime) -> SayView:
    """The form for the action that is recommended first, and the newest of what was said; ``clock``
    is that of the service, by which is put off."""
    return SayView(action=first_action or "",
                   put_off="" if first_action in (None, DO_NOTHING) else (
                       f"Not for two weeks (until {day(clock + ONE_CLICK)})"),
                   said=tuple(said_line(one, names) for one in heard[:MOST_SAID]))


def judged_sentence(properties: Mapping[str, str | float | bool]) -> str:
    """An event of what somebody said to an action, in words.

    >>> judged_sentence({"by": "ann", "verdict": "snooze", "action": "success_call",
    ...                  "until": "2026-03-15T09:00:00+00:00", "reason": "They are on leave."})
    'ann put off success call until 15 March 2026 (They are on leave.)'
    >>> judged_sentence({"verdict": "agree", "action": "success_call"})
    'Somebody agreed to success call'
    """
    verdict, until = str(properties["verdict"]), str(properties.get("until") or "")
    said_by = str(properties.get("by") or "")
    text = (f"{who(said_by)} {SAID.get(verdict, plain(verdict))} "
            f"{plain(str(properties.get('action') or 'an action'))}")
    with suppress(ValueError):
        text += f" until {day(datetime.fromisoformat(until))}" if until else ""
    if who(said_by) != said_by:  # no name, so a sentence begins
        text = text[:1].upper() + text[1:]
    return f"{text} ({properties['reason']})" if properties.get("reason") else text


def said_line(one: Feedback, names: Mapping[str, str]) -> str:
    """What was said, in a sentence."""
    until = f" until {day(one.snooze_until)}" if one.snooze_until else ""
    why = f": {one.reason}" if one.reason else ""
    return (f"{who(one.by)} {SAID[one.verdict]} {names.get(one.action, plain(one.action))}{until}, "
            f"{day(one.said_at)}{why}")
