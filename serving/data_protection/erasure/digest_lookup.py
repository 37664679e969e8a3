"""Find which erased names a workspace holds, by hashing every text that could be a name.

A restored backup has to erase again whoever was erased since, and only keyed digests say who that was.
So every text of the workspace is taken apart: a value as a whole, the values within JSON, and runs of
up to five words of free text, by the same borders at which a name is found in a text.
"""

from __future__ import annotations

import hmac
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import polars as pl

from features.events.subject import SubjectKind
from features.workspace import Workspace
from serving.data_protection.erasure.file_erasers import TEXTS
from serving.data_protection.places import files_of
from serving.ledger.stores.texts import texts_in

MOST_WORDS = 5
"""A name of more words is found where it is a whole value, not within free text."""

WORD = re.compile(r"[\w@+-](?:[\w@.+-]*[\w@+-])?")
NAMES_NOBODY = ("event_id", "kind")
"""Columns of events without names: ids are drawn anew where they may hold one."""

NOT_LOOKED_INTO = ("online.db",)
"""Packed features, of accounts that the snapshots and the lake name as well."""


def names_by_digest(
    workspace: Workspace,
    databases: Iterable[Path | str],
    *,
    key: bytes,
    wanted: Mapping[SubjectKind, Set[str]],
) -> dict[str, str]:
    """The names in a workspace that have one of the wanted digests, by digest.

    Args:
        workspace: where they are looked for.
        databases: those that are not files of the workspace.
        key: of the digests.
        wanted: digests by the kind of their subject.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for text in _texts(workspace, databases):
        for name in _names_in(text):
            if name in seen:
                continue
            seen.add(name)
            for kind, digests in wanted.items():
                digest = hmac.digest(key, f"{kind}\0{name}".encode(errors="replace"), "sha256")
                if digest.hex() in digests:
                    found[digest.hex()] = name
    return found


def _texts(workspace: Workspace, databases: Iterable[Path | str]) -> Iterator[str]:
    """Every text of every place, each distinct value of a column once."""
    yield from (text for one in databases for text in texts_in(one))
    for name, place in files_of(workspace.root):
        path = workspace.root / name
        if place is None or place.kind in ("draft", "lock", "secret") or name in NOT_LOOKED_INTO:
            continue
        if place.kind == "SQLite":
            if place.covers(name) and name == place.path:
                yield from texts_in(path)
        elif path.suffix == ".parquet":
            yield from _texts_of_table(path)
        elif path.suffix in TEXTS:
            yield path.read_text(encoding="utf-8", errors="replace")


def _texts_of_table(path: Path) -> Iterator[str]:
    schema = pl.read_parquet_schema(path)
    for column, dtype in schema.items():
        if dtype == pl.String and column not in NAMES_NOBODY:
            values = pl.scan_parquet(path).select(pl.col(column).drop_nulls().unique()).collect()
            yield from values[column]


def _names_in(text: str) -> Iterator[str]:
    """All that could be a name in a text.

    >>> sorted(_names_in('{"by": "ann@example.org"}'))
    ['ann@example.org', 'by']
    >>> sorted(_names_in("Ann Lee."))
    ['Ann', 'Ann Lee', 'Ann Lee.', 'Lee']
    """
    for value in _values_in(text):
        yield value
        words = [(one.start(), one.end()) for one in WORD.finditer(value)]
        if len(words) == 1 and words[0] == (0, len(value)):
            continue
        for number, (start, _) in enumerate(words):
            for _, end in words[number : number + MOST_WORDS]:
                yield value[start:end]


def _values_in(text: str) -> Iterator[str]:
    """The texts within JSON, or in each of its lines; other text as it is, and as HTML means it."""
    if text[:1] in ("{", "["):
        parsed = _parsed(text)
        if parsed is not None:
            yield from _strings(parsed)
            return
        lines = text.splitlines()
        if len(lines) > 1:
            yield from (value for line in lines for value in _values_in(line))
            return
    yield text
    if "&" in text and (plain := html.unescape(text)) != text:
        yield plain


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> Iterator[str]:
    """Every text within parsed JSON, names of fields too."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if one[:1] in ("{", "[") and (inner := _parsed(one)) is not None:
                waiting.append(inner)
            else:
                yield one
        elif isinstance(one, dict):
            waiting.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
