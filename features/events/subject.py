"""One subject of data, an account or a person, and how to find and replace it in texts.

A subject is known by its id and by further names (an e-mail address, a written name). In its place
stands a random pseudonym: the same one everywhere, so that what was one person stays one, and nobody
can lead it back.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Literal

SubjectKind = Literal["account", "person"]
SUBJECT_KINDS: tuple[SubjectKind, ...] = ("account", "person")

PSEUDONYM_PREFIX = "erased-"
REMOVED = "(erased)"
"""Stands for a text that was taken out as a whole."""

SHORTEST_IN_TEXT = 4
"""Shorter names, and numbers of up to five digits, are only looked for as the value of a field that
names somebody: in free text, `12` is mostly no account."""

NAMING_FIELDS = (
    "account_id|account|parent|user_id|user|csm|by|owner|proposed_by|assigned_to|person|contact|"
    "sponsor|champion|name|key"
)


class SubjectError(ValueError):
    """What was given names no subject."""


def new_pseudonym() -> str:
    """A name that stands for somebody whom nobody can name any more."""
    return PSEUDONYM_PREFIX + secrets.token_hex(8)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An account or a person, by id and further names, with the pseudonym that replaces them.

    >>> ann = Subject(kind="person", id="ann@example.org", pseudonym="erased-1")
    >>> ann.scrub('{"by": "ann@example.org", "reason": "ask joann@example.org"}')
    '{"by": "erased-1", "reason": "ask joann@example.org"}'

    Raises:
        SubjectError: a name is empty, or is a pseudonym.
    """

    kind: SubjectKind
    id: str
    names: tuple[str, ...] = ()
    pseudonym: str = field(default_factory=new_pseudonym)

    def __post_init__(self) -> None:
        for name in (self.id, *self.names):
            if not name.strip() or name.startswith(PSEUDONYM_PREFIX):
                raise SubjectError(
                    f"{name!r:.60} cannot be the id or a name of a subject. Give the id as it is in "
                    f"the data, and names that are not empty."
                )

    @property
    def all_names(self) -> tuple[str, ...]:
        """The id and the further names, longest first."""
        return tuple(sorted({self.id, *self.names}, key=lambda name: (-len(name), name)))

    def is_value(self, value: object) -> bool:
        """Whether a value, as a whole, is the id or a name."""
        return isinstance(value, str) and value in self._names

    def is_in(self, text: str) -> bool:
        """Whether a text, free or JSON, names the subject."""
        return any(pattern.search(text) is not None for pattern in self._patterns)

    def scrub(self, text: str) -> str:
        """The text with the pseudonym wherever it names the subject."""
        for pattern in self._patterns:
            text = pattern.sub(lambda found: (found.group(1) or "") + self.pseudonym, text)
        return text

    def scrub_value(self, text: str) -> str:
        """The same of a value of a field: short names count there if they are all of it."""
        return self.pseudonym if text in self._names else self.scrub(text)

    @cached_property
    def needles(self) -> tuple[str, ...]:
        """Texts of which one is in every text that ``is_in`` finds, for a database to look for."""
        return tuple(dict.fromkeys(form for name in self.all_names for form in _forms(name)))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset((self.id, *self.names))

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        short = [form for name in self.all_names if is_short(name) for form in _forms(name)]
        long = [form for name in self.all_names if not is_short(name) for form in _forms(name)]
        found = []
        if long:
            found.append(re.compile(rf"()(?<![\w@.+-])(?:{_any_of(long)})(?![\w@+-]|\.\w)"))
        if short:
            found.append(re.compile(rf'("(?:{NAMING_FIELDS})"\s*:\s*")(?:{_any_of(short)})(?=")'))
        return tuple(found)


def _any_of(forms: Iterable[str]) -> str:
    return "|".join(map(re.escape, forms))


def _forms(name: str) -> tuple[str, ...]:
    """A name as it is, and as JSON and HTML may write it."""
    forms = (name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1], escape(name))
    return tuple(dict.fromkeys(forms))


def is_short(name: str) -> bool:
    """Whether a name is too short to be looked for in free text.

    >>> [is_short(name) for name in ("12", "10442", "104421", "ann", "anna")]
    [True, True, False, True, False]
    """
    return len(name) < SHORTEST_IN_TEXT or (name.isdigit() and len(name) <= 5)
