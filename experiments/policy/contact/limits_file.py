"""Read the limits that a workspace sets for itself: the file ``limits.toml``.

Every key is a field of ``Limits``; a limit that the file does not name has its usual value. A
candidate of ``keepwell evaluate-policy`` names its changes in the same form.

::

    contacts_per_week = 2        # of one account
    quiet_hours = [19, 9]        # on the account's clock; two equal hours: none
    time_zone = "Europe/Zurich"  # where that of the account is not known

    [channel_caps]               # a week; a channel that is not named keeps its cap
    phone = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from experiments.policy.account_state import Limits, PolicyError
from registry.playbook.playbook import Playbook, load_playbook
from registry.toml_table import Table, TableError, toml_values

LIMITS_FILE = "limits.toml"

SHARES = ("margin", "fatigue", "harm_tolerance")
"""Limits between 0 and 1: 5 % is 0.05."""

USUAL = Limits()

KINDS: Mapping[str, str] = {field.name: str(field.type) for field in fields(Limits)}

MOST = 1e12
"""A larger number is no limit of anything."""

WHAT_NEXT = "Mend it, or take the line out to go by the usual value."


class LimitsError(PolicyError):
    """A file of limits cannot be used."""


def read_limits(folder: Path) -> Limits:
    """The limits of a workspace: those of its file, and the usual ones for all others.

    Raises:
        LimitsError: the file cannot be used; the message names the place.
    """
    path = folder / LIMITS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return USUAL
    except (OSError, UnicodeDecodeError) as exc:
        raise LimitsError(
            f"{LIMITS_FILE} cannot be read ({exc}). Mend the file, or empty it to "
            f"go by the usual limits."
        ) from exc
    changes = parse_limits(text, LIMITS_FILE)
    _check_channels(changes, load_playbook())
    return with_changes(USUAL, changes)


def parse_limits(text: str, where: str = LIMITS_FILE) -> Mapping[str, Any]:
    """The limits that a TOML text names, by the names of ``Limits``, each of its kind and range.

    Raises:
        LimitsError: the text is not TOML, or a key or a value cannot be used.
    """
    try:
        table = Table(toml_values(text), where)
        changes = {name: _value(table, name) for name in KINDS if table.has(name)}
        table.end()
        with_changes(USUAL, changes)
    except tomllib.TOMLDecodeError as exc:
        raise LimitsError(f"{where} is not valid TOML ({exc}). {WHAT_NEXT}") from exc
    except TableError as exc:
        raise LimitsError(str(exc)) from exc
    except PolicyError as exc:
        raise LimitsError(f"{where}: {exc} {WHAT_NEXT}") from exc
    return changes


def with_changes(limits: Limits, changes: Mapping[str, Any]) -> Limits:
    """Limits with some of them changed; a channel that is not named keeps its cap.

    >>> with_changes(Limits(), {"channel_caps": {"phone": 1}}).channel_caps["sms"]
    2
    """
    caps = {**limits.channel_caps, **changes.get("channel_caps", {})}
    return replace(limits, **{**changes, "channel_caps": caps})


def at_any_hour(limits: Limits) -> Limits:
    """The same limits without quiet hours, for actions that are carried out over days."""
    return replace(limits, quiet_hours=None)


def _value(table: Table, name: str) -> object:
    """The value of one limit; a wrong one is refused together with the usual value."""
    try:
        match KINDS[name]:
            case "float":
                return table.number(name, most=1 if name in SHARES else MOST)
            case "int":
                return table.whole(name, most=MOST)
            case "tuple[int, int]" | "tuple[int, int] | None":
                return table.whole_numbers(name, count=2)
            case "Mapping[str, int]":
                caps = table.table(name)
                return {channel: caps.whole(channel, most=MOST) for channel in caps.names()}
            case "str | None":
                return table.text(name)
            case kind:
                raise TypeError(f"The limit {name} has the type {kind}, which no file can hold.")
    except TableError as exc:
        usual = getattr(USUAL, name)
        raise TableError(f"{exc} Usual is {usual!r:.100}. {WHAT_NEXT}") from exc


def _check_channels(changes: Mapping[str, Any], book: Playbook) -> None:
    """Refuse the cap of a channel that reaches no account: it would limit nothing."""
    for channel in changes.get("channel_caps", {}):
        if channel not in book.contact_channels:
            raise LimitsError(
                f"{LIMITS_FILE}: channel_caps names {channel!r}, through which an "
                f"account is not contacted, so nothing would be bounded. Contacts "
                f"go by {', '.join(sorted(book.contact_channels))}."
            )
