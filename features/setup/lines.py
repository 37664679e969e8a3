"""The lines of a proposed mapping, with the reason behind each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from features.setup import words
from features.setup.look import Export
from features.setup.words import words_of


@dataclass(kw_only=True)
class Entry:
    """A line of the mapping: key, value as TOML, and the reason with its runner-up."""

    key: str
    value: str
    why: str = ""


@dataclass(kw_only=True)
class TableProposal:
    """A table of the mapping: what it is, in words, and its lines."""

    name: str
    export: Export
    what: str
    entries: list[Entry]
    properties: list[Entry] = field(default_factory=list)
    computed: list[Entry] = field(default_factory=list)
    constants: list[Entry] = field(default_factory=list)
    is_contract: bool = False
    is_use: bool = False
    is_order: bool = False
    used: tuple[str, ...] = ()  # the names of what is used most
    latest: datetime | None = None  # the newest day that it tells of
    left_where: str | None = None  # true of those who left on a day that no column tells


def quoted(text: str) -> str:
    """A text as TOML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(texts: tuple[str, ...]) -> str:
    """Texts as a list of TOML."""
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def column(name: str) -> str:
    """A column as an expression names it."""
    return name if name.isidentifier() else f"[{name}]"


def property_named(name: str) -> str:
    """The property that a column of this name is."""
    parts = words_of(name)
    known = next((word for word in words.PROPERTIES if word in parts), None)
    return {
        "source": "channel",
        "sector": "industry",
        "branche": "industry",
        "land": "country",
    }.get(
        known or "",
        known or ("price_plan" if {*parts} & {*words.PLAN} else "_".join(parts) or "attribute"),
    )
