"""Sentences of the timeline about judgements of people and about measured outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from serving.text_format import day, plain, who

SAID: Mapping[str, str] = {"agree": "agreed to", "disagree": "disagreed with", "snooze": "put off"}


def judged_sentence(properties: Mapping[str, str | float | bool]) -> str:
    """The sentence of an event in which a person judged an action.

    >>> judged_sentence({"by": "ann", "verdict": "snooze", "action": "success_call",
    ...                  "until": "2026-03-15T09:00:00+00:00", "reason": "They are on leave."})
    'ann put off success call until 15 March 2026 (They are on leave.)'
    >>> judged_sentence({"verdict": "agree", "action": "success_call"})
    'Somebody agreed to success call'
    """
    verdict, until = str(properties["verdict"]), str(properties.get("until") or "")
    said_by = str(properties.get("by") or "")
    text = (
        f"{who(said_by)} {SAID.get(verdict, plain(verdict))} "
        f"{plain(str(properties.get('action') or 'an action'))}"
    )
    with suppress(ValueError):
        text += f" until {day(datetime.fromisoformat(until))}" if until else ""
    if who(said_by) != said_by:  # no name, so a sentence begins
        text = text[:1].upper() + text[1:]
    return f"{text} ({properties['reason']})" if properties.get("reason") else text
