"""Read the limits that a workspace sets for itself: the file ``limits.toml``.

Every key is a field of ``Limits``; what the file does not name is as usual. The same text says what
a candidate of ``keepwell evaluate-policy`` changes.

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
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard

from experiments.policy.state import Limits, PolicyError
from registry.playbook.playbook import Playbook, load_playbook

LIMITS_FILE = "limits.toml"

SHARES = ("margin", "fatigue", "harm_tolerance")
"""Limits between 0 and 1: 5 % is 0.05."""

USUAL = Limits()

MOST = 1e12
"""What is larger is no limit of anything."""

WHAT_NEXT = "Mend it, or take the line out to go by the usual value."


class LimitsError(PolicyError):
    """What a file says about limits cannot be used."""


def read_limits(folder: Path) -> Limits:
    """The limits of a workspace: those of its file, and the usual ones where it is silent.

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
            f"{LIMITS_FILE} cannot be read ({exc}). Mend the file, or remove it to "
            f"go by the usual limits."
        ) from exc
    changes = parse_limits(text, LIMITS_FILE)
    _check_felt(changes, load_playbook())
    return with_changes(USUAL, changes)


def parse_limits(text: str, where: str = LIMITS_FILE) -> Mapping[str, Any]:
    """The limits that a TOML text names, by the names of ``Limits``, each of its kind and range.

    Raises:
        LimitsError: it is no TOML, or names what is no limit, or a value that is none.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise LimitsError(f"{where} is not valid TOML ({exc}). {WHAT_NEXT}") from exc
    kinds = {field.name: str(field.type) for field in fields(Limits)}
    for name in given:
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise LimitsError(
                f"{where}: there is no limit {name}. {meant}There are {', '.join(sorted(kinds))}."
            )
    changes = {name: _value(name, value, kinds[name], where) for name, value in given.items()}
    try:
        with_changes(USUAL, changes)
    except PolicyError as exc:
        raise LimitsError(f"{where}: {exc} {WHAT_NEXT}") from exc
    return changes


def with_changes(limits: Limits, changes: Mapping[str, Any]) -> Limits:
    """Limits with some of them changed; of the caps of channels those that are named.

    >>> with_changes(Limits(), {"channel_caps": {"phone": 1}}).channel_caps["sms"]
    2
    """
    caps = {**limits.channel_caps, **changes.get("channel_caps", {})}
    return replace(limits, **{**changes, "channel_caps": caps})


def at_any_hour(limits: Limits) -> Limits:
    """The same for what is done over days: the hour at which it is asked holds nothing back."""
    return replace(limits, quiet_hours=None)


def _value(name: str, value: object, kind: str, where: str) -> object:
    """A value of a file as the limit of that kind: a text, a number, hours or caps."""
    usual = getattr(USUAL, name)
    match kind:
        case "float" if _is_number(value):
            number = float(value)
            if name in SHARES and number > 1:
                raise LimitsError(
                    f"{where}: the limit {name} is {value!r}; it is a share of at "
                    f"most 1 (5 % is 0.05), usually {usual!r}. {WHAT_NEXT}"
                )
            return number
        case "int" if _is_whole(value):
            return value
        case "tuple[int, int]" | "tuple[int, int] | None" if (
            isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))
        ):
            return tuple(value)
        case "Mapping[str, int]" if isinstance(value, Mapping) and all(
            map(_is_whole, value.values())
        ):
            return dict(value)
        case "str | None" if isinstance(value, str):
            return value
        case _:
            raise LimitsError(
                f"{where}: the limit {name} is {value!r:.60}; it has to be "
                f"{WORDS[kind]}, usually {usual!r:.100}. {WHAT_NEXT}"
            )


WORDS: Mapping[str, str] = {
    "float": "a number",
    "int": "a whole number",
    "tuple[int, int]": "two whole hours of the day",
    "tuple[int, int] | None": "two whole hours of the day",
    "Mapping[str, int]": "a table of channels with a whole number each",
    "str | None": "text",
}
"""What each kind of limit is called in a message."""


def _check_felt(changes: Mapping[str, Any], book: Playbook) -> None:
    """See that every cap of a channel can bind: of some channels the account feels nothing."""
    for channel in changes.get("channel_caps", {}):
        if channel not in book.contact_channels:
            raise LimitsError(
                f"{LIMITS_FILE}: channel_caps names {channel!r}, through which an "
                f"account is not contacted, so nothing would be bounded. Contacts "
                f"go by {', '.join(sorted(book.contact_channels))}."
            )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def _is_whole(value: object) -> bool:
    return _is_number(value) and isinstance(value, int)
