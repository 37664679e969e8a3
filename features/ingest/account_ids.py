"""Keep the ids of two sources apart: a prefix where it is asked for, a refusal where companies would mix.

Exports of two products, regions or tenants often count their customers from 1, so account 17 is another
company in each. Merged, its timeline would be that of nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from features.ingest.mapped_tables import MappingError, SourceMapping
from features.lake.lake import Lake

NAMED = ("account.updated",)
NAME, PARENT = "name", "parent"

MOST_NAMED = 3
"""So many examples a refusal gives."""


def prefix_ids(draft: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """The draft with the prefix before the ids of its accounts, people and events, and of parents."""
    if not prefix:
        return draft
    return draft.with_columns(
        *(
            (pl.lit(prefix) + pl.col(name)).alias(name)
            for name in ("account_id", "event_id", "user_id")
        ),
        pl.when(
            pl.col("kind").is_in(NAMED)
            & pl.col("properties").str.json_path_match(f"$.{PARENT}").is_not_null()
        )
        .then(
            pl.col("properties").map_elements(
                lambda text: _with_parent(text, prefix), return_dtype=pl.String
            )
        )
        .otherwise("properties")
        .alias("properties"),
    )


def _with_parent(text: str, prefix: str) -> str:
    properties = json.loads(text)
    if PARENT in properties:
        properties[PARENT] = f"{prefix}{properties[PARENT]}"
    return json.dumps(properties, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class IdWatch:
    """Notices that a new source gives the ids of known accounts to other companies, by their names.

    Args:
        lake: what is known already.
        mapping: of the run; a source that was ingested before is not looked at, since it may rename.
    """

    def __init__(self, lake: Lake, mapping: SourceMapping) -> None:
        sources = {name.partition(".")[0] for name in lake.manifest.sources}
        self._is_new = bool(sources) and mapping.name not in sources
        self._lake, self._mapping = lake, mapping
        self._names: dict[str, str] = {}

    def see(self, draft: pl.DataFrame) -> None:
        """Note the names of accounts in a draft."""
        if self._is_new:
            self._names |= _names_of(draft.lazy())

    def check(self) -> None:
        """See that accounts that both have are the same companies.

        Raises:
            MappingError: most of them have another name here.
        """
        if not self._names:
            return
        known = _names_of(self._lake.scan().filter(pl.col("account_id").is_in(sorted(self._names))))
        both = [name for name in self._names if name in known]
        differ = [name for name in both if _plain(known[name]) != _plain(self._names[name])]
        if 2 * len(differ) <= len(both):
            return
        examples = ", ".join(
            f"{name} is {known[name]!r} in the workspace and {self._names[name]!r} here"
            for name in sorted(differ)[:MOST_NAMED]
        )
        raise MappingError(
            f"{len(differ):,} of {len(both):,} account ids that {self._mapping.name!r} shares with what "
            f"is in the workspace belong to companies of another name: {examples}. Nothing was "
            f"written. If they are other companies, keep their ids apart: write account_prefix = "
            f'"{self._mapping.name}-" into the mapping, above its first [table]. If they are the same '
            f"companies under other names, leave `name` out of the properties of this mapping."
        )


def _names_of(events: pl.LazyFrame) -> Mapping[str, str]:
    """The newest name of each account."""
    found = (
        events.filter(pl.col("kind").is_in(NAMED))
        .with_columns(name=pl.col("properties").str.json_path_match(f"$.{NAME}"))
        .filter(pl.col("name").is_not_null() & pl.col("account_id").is_not_null())
        .sort("occurred_at")
        .group_by("account_id", maintain_order=True)
        .agg(pl.col("name").last())
        .collect()
    )
    return dict(zip(found["account_id"], found["name"], strict=True))


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
