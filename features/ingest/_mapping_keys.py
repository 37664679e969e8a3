"""Take the keys of a mapping file, each with its type, and refuse a key that nothing reads.

A key that is misspelt, missing or of another type is an error that names the file, the table and
what could stand there. Knows TOML values; knows nothing of tables and events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from math import inf
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class MappingError(ValueError):
    """The mapping file does not fit: itself, or the table that it describes."""


class Keys:
    """The keys of one TOML table; ``allowed`` first, so that a misspelt key is named as such."""

    def __init__(
        self, table: Mapping[str, object], *, where: str, allowed: Iterable[str] | None = None
    ) -> None:
        self._table = table
        self._where = where
        unknown = [] if allowed is None else sorted(set(table) - set(allowed))
        if unknown:
            raise MappingError(
                f"{where} has an unknown key: {', '.join(unknown)}. "
                f"It may hold: {', '.join(sorted(allowed or ()))}."
            )

    def text(self, key: str, *, needed: bool = False, among: tuple[str, ...] = ()) -> str | None:
        """A text, one of ``among`` where that is given."""
        value: str | None = self._take(key, str, "a text", needed=needed)
        if value is not None and among and value not in among:
            raise MappingError(
                f"{self._where}: {key} = {value!r} is not one of {', '.join(among)}."
            )
        return value

    def number(self, key: str, default: float, *, is_edge: bool = False) -> float:
        """A number; only one that is an edge may be ``inf`` or ``-inf``."""
        value = self._take(key, (int, float), "a number")
        if value is not None and (value != value or (abs(value) == inf and not is_edge)):
            raise MappingError(
                f"{self._where}: {key} must be a number that can be counted with, not {value!r}."
            )
        return default if value is None else float(value)

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        """A list of texts; one text counts as a list of one."""
        value = self._take(key, (str, list), "a list of texts", needed=needed)
        items = [value] if isinstance(value, str) else value or []
        if not all(isinstance(item, str) and item for item in items):
            raise MappingError(f"{self._where}: {key} must be a list of texts, not {value!r}.")
        return tuple(items)

    def table(self, key: str, *, needed: bool = False) -> Mapping[str, object]:
        """A table below this one."""
        return self._take(key, dict, "a table", needed=needed) or {}

    def words(self, key: str) -> dict[str, str]:
        """A table of texts."""
        found = self.table(key)
        wrong = [name for name, value in found.items() if not isinstance(value, str)]
        if wrong:
            raise MappingError(f"{self._where}: {key}.{wrong[0]} must be a text.")
        return {name: str(value) for name, value in found.items()}

    def constants(self, key: str) -> dict[str, str | float | int]:
        """A table of texts and numbers."""
        kept: dict[str, str | float | int] = {}
        for name, value in self.table(key).items():
            if isinstance(value, bool) or not isinstance(value, (str, float, int)):
                raise MappingError(f"{self._where}: {key}.{name} must be a text or a number.")
            kept[name] = value
        return kept

    def instant(self, key: str, zone: str | None) -> datetime | None:
        """A moment in UTC."""
        value = self._take(key, date, "a time such as 2023-04-01T00:00:00Z")
        if value is None:
            return None
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - zone follows
        if value.tzinfo is None:
            if zone is None:
                raise MappingError(
                    f"{self._where}: {key} = {value} has no time zone. Write it in UTC, such as "
                    f"2023-04-01T00:00:00Z, or declare zone."
                )
            value = value.replace(tzinfo=ZoneInfo(zone))
        return value.astimezone(UTC)

    def _take(
        self, key: str, kind: type | tuple[type, ...], words: str, *, needed: bool = False
    ) -> Any:
        value = self._table.get(key)
        if value is None:
            if needed:
                raise MappingError(f"{self._where} says no {key}; it must be {words}.")
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise MappingError(f"{self._where}: {key} must be {words}, not {value!r}.")
        return value


def zone_of(name: str | None, place: str) -> str | None:
    """The name of a time zone, if it is one."""
    if name is not None:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise MappingError(
                f"{place}: the zone {name!r} is not known. Write one such as UTC or Europe/Berlin."
            ) from exc
    return name
