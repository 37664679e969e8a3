"""The records of champion changes, for a store that has tags and an alias.

A record is written first, as a tag of the version it is about; then the alias moves, in one step.
A process that dies in between leaves a record without a move. So every record names the one that
was in force when it was written (``follows``), and what counts is the chain that ends at the
version which the alias names: an interrupted change is on no chain and never happened.

A request for a promotion is a tag too; it moves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from registry.store.store import ChampionChange, PromotionRequest

PREFIX, REQUEST_PREFIX = "keepwell.champion.", "keepwell.request."


@dataclass(frozen=True, kw_only=True)
class ChampionRecord:
    """One change of the champion and the number of the record it follows (0: none)."""

    number: int
    follows: int
    change: ChampionChange

    @property
    def key(self) -> str:
        """The tag's name; names sort as the records were written."""
        return f"{PREFIX}{self.number:06d}"

    @property
    def text(self) -> str:
        """The tag's value."""
        change = self.change
        return json.dumps(
            {
                "how": change.how,
                "by": change.by,
                "at": change.at.isoformat(),
                "follows": self.follows,
                "evidence": change.evidence,
                **({"approved_by": change.approved_by} if change.approved_by else {}),
            },
            sort_keys=True,
        )


def read_records(tags: Mapping[int, Mapping[str, str]]) -> tuple[ChampionRecord, ...]:
    """The records in the tags of all versions, in the order they were written."""
    records = []
    for version, of_version in tags.items():
        for key, text in of_version.items():
            if key.startswith(PREFIX):
                stored = json.loads(text)
                change = ChampionChange(
                    version=version,
                    how=cast(Literal["promoted", "rolled back"], stored["how"]),
                    by=stored["by"],
                    at=datetime.fromisoformat(stored["at"]),
                    evidence=stored["evidence"],
                    approved_by=stored.get("approved_by"),
                )
                number = int(key.removeprefix(PREFIX))
                records.append(
                    ChampionRecord(number=number, follows=stored["follows"], change=change)
                )
    return tuple(sorted(records, key=lambda record: record.number))


def chain(records: tuple[ChampionRecord, ...], champion: int | None) -> tuple[ChampionRecord, ...]:
    """The changes that happened, oldest first: back from the newest record of the champion."""
    by_number = {record.number: record for record in records}
    happened: list[ChampionRecord] = []
    of_champion = [record.number for record in records if record.change.version == champion]
    number = max(of_champion, default=0)
    while number in by_number:
        happened.append(by_number[number])
        # A record follows an earlier one; a record that does not ends the chain, not the process.
        number = min(by_number[number].follows, number - 1)
    return tuple(reversed(happened))


def next_record(
    records: tuple[ChampionRecord, ...], champion: int | None, change: ChampionChange
) -> ChampionRecord:
    """The record of a change about to be made."""
    happened = chain(records, champion)
    return ChampionRecord(
        number=1 + max((record.number for record in records), default=0),
        follows=happened[-1].number if happened else 0,
        change=change,
    )


def request_tag(
    tags: Mapping[int, Mapping[str, str]], request: PromotionRequest
) -> tuple[str, str]:
    """The name and the value of a new request's tag; names sort as requests were made."""
    number = 1 + max((int(key.removeprefix(REQUEST_PREFIX)) for _, key, _ in _requests(tags)),
                     default=0)  # fmt: skip
    text = json.dumps(
        {
            "by": request.by,
            "at": request.at.isoformat(),
            "changes": request.changes,
            "evidence": request.evidence,
        },
        sort_keys=True,
    )
    return f"{REQUEST_PREFIX}{number:06d}", text


def newest_request(tags: Mapping[int, Mapping[str, str]]) -> PromotionRequest | None:
    """The request that was made last, whatever happened since."""
    found = max(_requests(tags), key=lambda each: each[1], default=None)
    if found is None:
        return None
    version, _, text = found
    stored = json.loads(text)
    return PromotionRequest(
        version=version, by=stored["by"], at=datetime.fromisoformat(stored["at"]),
        evidence=stored["evidence"], changes=stored["changes"],
    )  # fmt: skip


def _requests(tags: Mapping[int, Mapping[str, str]]) -> list[tuple[int, str, str]]:
    return [(version, key, text) for version, of_version in tags.items()
            for key, text in of_version.items() if key.startswith(REQUEST_PREFIX)]  # fmt: skip
