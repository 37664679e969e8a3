"""What our own parts do, done by Polars alone: ``bench_own_parts.py`` measures both.

Inside each block, the form takes the place of the own part in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.compute import encode
from features.lake.deduplication import deduplicate
from features.lake.deduplication.key_index import OTHER, SAME, KeyMatches
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, Words, with_keys


@contextmanager
def ids_looked_up_in_parquet() -> Iterator[None]:
    """What the lake holds of some ids, by a join with the parts instead of their key index."""

    def look_up_keys(parts: Iterable[Path], ids: Words, contents: Words) -> KeyMatches:
        states = np.zeros(len(ids), dtype=np.uint8)
        holders = []
        asked = pl.DataFrame({ID_KEY: ids, "asked": contents}).with_row_index("row")
        for part in parts if len(ids) else ():
            keys = with_keys(pl.read_parquet(part)).select(ID_KEY, CONTENT_KEY)
            found = keys.join(asked, on=ID_KEY)
            if found.height:
                holders.append(part.name)
                same = (found[CONTENT_KEY] == found["asked"]).to_numpy()
                np.maximum.at(states, found["row"].to_numpy(), np.where(same, SAME, OTHER))
        return KeyMatches(states=states, parts=tuple(holders))

    with _replaced(deduplicate, look_up_keys=look_up_keys):
        yield


@contextmanager
def encoded_by_polars() -> Iterator[None]:
    """Numbers of texts, order of events and users within accounts, by sorts, joins and ``unique``."""
    with _replaced(
        encode,
        StringViews=TextColumn,
        number_strings=_numbered,
        order_events=_ordered,
        string_keys=lambda views: (views.column,),
        number_users=_users_within,
        number_triples=_numbered_triples,
    ):
        yield


class TextColumn:
    """A column in the place of ``StringViews``."""

    def __init__(self, column: pl.Series) -> None:
        self.column = self.words = self.addresses = column

    @classmethod
    def of(cls, column: pl.Series) -> TextColumn:
        """The column itself."""
        return cls(column)

    @classmethod
    def none(cls) -> TextColumn:
        """A column without rows."""
        return cls(pl.Series([], dtype=pl.String))


def _numbered(views: TextColumn) -> tuple[Any, Any]:
    return _first_of_each(pl.DataFrame({"text": views.column}))


def _numbered_triples(one: Any, two: Any, three: Any) -> tuple[Any, Any]:
    return _first_of_each(pl.DataFrame({"one": one, "two": two, "three": three}))


def _first_of_each(frame: pl.DataFrame) -> tuple[Any, Any]:
    """Each row's number among the distinct rows, and where each was first."""
    names = frame.columns
    firsts = frame.with_row_index("row").unique(names, keep="first", maintain_order=True)
    firsts = firsts.with_row_index("code")
    codes = frame.join(firsts, on=names, how="left", nulls_equal=True, maintain_order="left")
    return codes["code"].cast(pl.Int32).to_numpy(), firsts["row"].cast(pl.Int64).to_numpy()


def _ordered(
    account: Any, n_accounts: int, occurred: Any, recorded: Any, ids: pl.Series, _: object
) -> tuple[Any, Any, Any, int]:
    frame = pl.DataFrame({"account": account, "occurred": occurred, "recorded": recorded})
    if len(ids):
        frame = frame.with_columns(ids.alias("id"))
    by = frame.columns
    frame = frame.with_row_index("row").sort(by)
    counts = np.bincount(account, minlength=n_accounts)
    known = frame.group_by("account").agg(pl.col("recorded").min()).sort("account")["recorded"]
    undecided = 0 if len(ids) else frame.height - frame.select(by).n_unique()
    return (
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        frame["row"].cast(pl.Int32).to_numpy().copy(),
        known.to_numpy().copy(),
        undecided,
    )


def _users_within(account: Any, n_accounts: int, users: pl.Series) -> tuple[Any, Any]:
    frame = pl.DataFrame({"account": account, "user": users})
    firsts = frame.drop_nulls().unique(maintain_order=True)
    firsts = firsts.with_columns(pl.int_range(pl.len()).over("account").cast(pl.Int32).alias("n"))
    numbers = frame.join(firsts, on=["account", "user"], how="left", maintain_order="left")["n"]
    counts = np.bincount(firsts["account"].to_numpy(), minlength=n_accounts)
    return numbers.fill_null(-1).to_numpy().copy(), counts.astype(np.int64)


@contextmanager
def _replaced(module: Any, **forms: object) -> Iterator[None]:
    own = {name: getattr(module, name) for name in forms}
    for name, form in forms.items():
        setattr(module, name, form)
    try:
        yield
    finally:
        for name, part in own.items():
            setattr(module, name, part)
