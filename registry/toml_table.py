"""Read a table of a TOML file strictly.

Every key is taken by name and type; a key that is left over at the end is an error, so that a
misspelt key never becomes a silent default. Knows nothing about the meaning of the table.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches

FORMAT = 1
"""The newest version of the form of TOML files; a file that states none has version 1."""


def toml_values(text: str) -> dict[str, object]:
    """The values of a TOML file, without the version of its form, which it may state as ``format``.

    Raises:
        tomllib.TOMLDecodeError: it is none, or of a newer Keepwell.
    """
    values = tomllib.loads(text)
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
    """One table that is being read; ``where`` names it in messages."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise TableError(f"{where} has to be a table of keys and values, not {values!r}.")
        self._left: dict[str, object] = dict(values)
        self._asked: set[str] = set()
        self.where = where

    def has(self, key: str) -> bool:
        """Whether the key is there and not yet taken."""
        self._asked.add(key)
        return key in self._left

    def names(self) -> tuple[str, ...]:
        """The keys that are not yet taken, as written."""
        return tuple(self._left)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise TableError(f"{self.where}: `{key}` has to be text, not {value!r}.")
        return value

    def word(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of the allowed words."""
        value = self.text(key, default)
        if value not in allowed:
            raise TableError(
                f"{self.where}: `{key}` is {value!r}; allowed are {', '.join(allowed)}."
            )
        return value

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> float:
        """A finite number within its bounds; true, false, inf and nan are not numbers."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TableError(f"{self.where}: `{key}` has to be a number, not {value!r}.")
        try:
            number = float(value)
        except OverflowError:  # a whole number of more digits than a float holds
            number = math.inf
        if not math.isfinite(number):
            raise TableError(
                f"{self.where}: `{key}` is {value!r:.20}, which is no finite number. "
                f"Write one; where nothing is to be bounded, one that is never "
                f"reached, such as 1e12."
            )
        if (least is not None and number < least) or (most is not None and number > most):
            bounds = [
                f"at {side} {bound:g}"
                for side, bound in (("least", least), ("most", most))
                if bound is not None
            ]
            raise TableError(
                f"{self.where}: `{key}` is {value!r}; it has to be {' and '.join(bounds)}."
            )
        return number

    def whole(
        self,
        key: str,
        default: float | None = None,
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> int:
        """A whole number within its bounds."""
        number = self.number(key, default, least=least, most=most)
        if not number.is_integer():
            raise TableError(f"{self.where}: `{key}` is {number:g}; give a whole number.")
        return int(number)

    def whole_numbers(self, key: str, *, count: int) -> tuple[int, ...]:
        """A list of ``count`` whole numbers."""
        value = self._take(key, None)
        if not isinstance(value, list) or len(value) != count:
            raise TableError(
                f"{self.where}: `{key}` has to be a list of {count} whole numbers, not {value!r}."
            )
        numbered = {f"number {n}": each for n, each in enumerate(value, 1)}
        inside = Table(numbered, f"{self.where}, `{key}`")
        return tuple(inside.whole(name) for name in numbered)

    def optional_number(self, key: str, *, least: float | None = None) -> float | None:
        """A number, or None where the key is left out."""
        return self.number(key, least=least) if self.has(key) else None

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise TableError(f"{self.where}: `{key}` has to be true or false, not {value!r}.")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        value = self._take(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise TableError(f"{self.where}: `{key}` has to be a list of texts, not {value!r}.")
        return tuple(value)

    def table(self, key: str) -> Table:
        """A table inside this one."""
        return Table(self._take(key, None), f"{self.where}, `{key}`")

    def tables(self, key: str, default: tuple[object, ...] | None = None) -> tuple[Table, ...]:
        """A list of tables inside this one, numbered from 1 in messages."""
        value = self._take(key, default)
        if not isinstance(value, list | tuple):
            raise TableError(f"{self.where}: `{key}` has to be a list of tables, not {value!r}.")
        return tuple(Table(v, f"{self.where}, `{key}` number {n}") for n, v in enumerate(value, 1))

    def end(self) -> None:
        """Refuse keys that were not taken."""
        if self._left:
            left = sorted(self._left)
            meant = sorted(
                {near for key in left for near in get_close_matches(key, self._asked, 1)}
            )
            hint = f"Did you mean {', '.join(meant)}? " if meant else ""
            raise TableError(
                f"{self.where} has unknown key(s) {', '.join(left)}. {hint}"
                f"Remove them or correct their spelling; known are {', '.join(sorted(self._asked))}."
            )

    def _take(self, key: str, default: object) -> object:
        self._asked.add(key)
        value = self._left.pop(key, default)
        if value is None:
            raise TableError(f"{self.where} lacks `{key}`. Add it.")
        return value
