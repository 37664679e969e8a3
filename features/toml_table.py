"""Read a table of a TOML file strictly.

Every key is read by name and type. A key that is misspelt, missing or of another type is an error
that names the file, the table and what could stand there. Knows nothing of what a table is about.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from math import inf, isfinite, isnan
from typing import ClassVar, TypeGuard, TypeVar
from zoneinfo import ZoneInfo

Word = TypeVar("Word", bound=str)

FORMAT = 1
"""The newest version of the form of TOML files; a file that states none has version 1."""


def toml_values(text: str) -> dict[str, object]:
    """The values of a TOML file, without the version of its form, which it may state as ``format``.

    Raises:
        tomllib.TOMLDecodeError: it is none, is nested too deeply, holds a number of too many digits,
            or is of a newer Keepwell.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as exc:  # a whole number that Python will not read
        raise tomllib.TOMLDecodeError(str(exc)) from None
    version = values.pop("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise tomllib.TOMLDecodeError(
            f"it has format version {version!r}, of a newer Keepwell; this one reads versions up to "
            f"{FORMAT}. Use the newer Keepwell"
        )
    return values


class TableError(ValueError):
    """A table of a TOML file lacks a key, has one too many, or one of the wrong type."""


class Table:
    """One table that is read; ``where`` names it in messages, ``allowed`` are all keys it may hold.

    A subclass says in ``error`` which error its callers expect. Without ``allowed`` the names of
    the keys are free.
    """

    error: ClassVar[type[Exception]] = TableError

    def __init__(self, values: object, where: str, *, allowed: Iterable[str] | None = None) -> None:
        if not isinstance(values, Mapping):
            raise self.error(f"{where} has to be a table of keys and values, not {values!r}.")
        self.where = where
        self._values: Mapping[str, object] = values
        self._allowed = frozenset(values if allowed is None else allowed)
        if unknown := sorted(set(values) - self._allowed):
            near = {name for key in unknown for name in get_close_matches(key, self._allowed, 1)}
            hint = f"Did you mean {', '.join(sorted(near))}? " if near else ""
            raise self.error(
                f"{where} has unknown key(s) {', '.join(unknown)}. {hint}"
                f"It may hold: {', '.join(sorted(self._allowed))}."
            )

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it may not be empty."""
        value = self._get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self._wrong(key, "text")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where the key is left out."""
        return self.text(key, "") if self.has(key) else None

    def word(self, key: str, allowed: tuple[Word, ...], default: Word | None = None) -> Word:
        """One of the allowed words."""
        value = self.text(key, default)
        for word in allowed:
            if word == value:
                return word
        raise self.error(f"{self.where}: `{key}` is {value!r}; allowed are {', '.join(allowed)}.")

    def optional_word(self, key: str, allowed: tuple[Word, ...]) -> Word | None:
        """One of the allowed words, or None where the key is left out."""
        return self.word(key, allowed) if self.has(key) else None

    def number(
        self, key: str, default: float | None = None, *, may_be_infinite: bool = False
    ) -> float:
        """A finite number; only one that bounds something may be ``inf`` or ``-inf``."""
        value = self._get(key, default)
        if not is_number(value):
            raise self._wrong(key, "a number")
        try:
            number = float(value)
        except OverflowError:  # a whole number of more digits than a float holds
            number = inf
        if not isfinite(number) and (isnan(number) or not may_be_infinite):
            raise self._wrong(key, "a finite number")
        return number

    def whole(self, key: str, default: int | None = None) -> int:
        """A number without a fraction."""
        value = self.number(key, default)
        if not value.is_integer():
            raise self._wrong(key, "a whole number")
        return int(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts; one text counts as a list of one."""
        value = self._get(key, default)
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
            raise self._wrong(key, "a list of texts")
        return tuple(texts)

    def table(self, key: str, default: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """The values of a table inside this one, not yet read."""
        value = self._get(key, default)
        if not isinstance(value, Mapping):
            raise self._wrong(key, "a table")
        return value

    def tables(
        self, key: str, default: tuple[Mapping[str, object], ...] | None = None
    ) -> tuple[Mapping[str, object], ...]:
        """The values of a list of tables inside this one, not yet read."""
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, Mapping) for v in value):
            raise self._wrong(key, "a list of tables")
        return tuple(value)

    def instant(self, key: str, zone: str | None = None) -> datetime | None:
        """A moment in UTC, or None where the key is left out; ``zone`` is of times without one."""
        if not self.has(key):
            return None
        value = self._values[key]
        if not isinstance(value, date):
            raise self._wrong(key, "a time such as 2023-04-01T00:00:00Z")
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - zone follows
        if value.tzinfo is None:
            if zone is None:
                raise self.error(
                    f"{self.where}: `{key}` is {value}, which has no time zone. Write it in UTC, "
                    f"such as 2023-04-01T00:00:00Z"
                    f"{', or declare `zone`' if 'zone' in self._allowed else ''}."
                )
            value = value.replace(tzinfo=ZoneInfo(zone))
        return value.astimezone(UTC)

    def day(self, key: str, default: date) -> date:
        """A day without a time."""
        value = self._get(key, default)
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self._wrong(key, "a day such as 2023-04-01")
        return value

    def _get(self, key: str, default: object) -> object:
        value = self._values.get(key, default)
        if value is None:
            raise self.error(f"{self.where} lacks `{key}`. Add it.")
        return value

    def _wrong(self, key: str, expected: str) -> Exception:
        found = self._values.get(key)
        return self.error(f"{self.where}: `{key}` has to be {expected}, not {found!r:.200}.")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of TOML is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
