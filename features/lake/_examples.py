"""Find an example for each reason of refusal: the first row, with its bad value.

A reason starts with a name (``mrr is no number``), and the mapping says from which column that was
read. The summary of an ingestion shows the examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from features.events.schema import RAW

LONGEST_SHOWN = 60  # characters of a bad value


def first_examples(
    refused: Iterable[tuple[int, str]],
    rows: Mapping[int, Mapping[str, object]],
    *,
    file: str,
    columns: Mapping[str, str],
    broken: Iterable[tuple[int, str, str]] = (),
) -> dict[str, str]:
    """Reason to the place of its first refused row and, where it is known, the bad value.

    ``rows`` are the refused rows by line, ``broken`` the lines that are no rows, with their text.

    >>> first_examples([(7, "mrr is no number")], {7: {"Amount": "lots"}}, file="a.csv",
    ...                columns={"mrr": "Amount"})
    {'mrr is no number': "a.csv:7 'lots'"}
    """
    first: dict[str, tuple[int, object]] = {}
    for line, reason in sorted(refused):
        if reason not in first:
            first[reason] = (line, _value(rows.get(line, {}), reason, columns))
    for line, reason, text in sorted(broken):
        first.setdefault(reason, (line, text))
    return {reason: f"{file}:{line}{_shown(value)}" for reason, (line, value) in first.items()}


def _value(row: Mapping[str, object], reason: str, columns: Mapping[str, str]) -> object:
    """The value in the row that a reason names; None where it names none."""
    if RAW in row:
        return _sent(str(row[RAW])).get(reason.replace(":", " ").split()[0])
    named = [name for name in columns if reason.startswith(f"{name} ")]
    return row.get(columns[named[0]]) if named else None


def _sent(text: str) -> Mapping[str, object]:
    """The event that a program sent as JSON; empty where the text is none."""
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return sent if isinstance(sent, dict) else {}


def _shown(value: object) -> str:
    if value is None or value == "":
        return ""
    text = repr(value) if isinstance(value, str) else str(value)
    return " " + (text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")
