"""Compute the features of a parent account together with all accounts below it.

The links are the attribute ``parent`` of a snapshot, as of its moment. A rolled-up number is the number
of all accounts as one, where it follows from their numbers. Where it does not follow (the same person
may be in two accounts; means; ratios of such numbers), it is unknown.

::

    holding            accounts 4    tickets_28d = its own + a + b + c
      ├── a            accounts 2    tickets_28d = its own + c
      │   └── c                      (no row: nothing below it)
      └── b
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import AnyFeature, Feature
from features.kernel.aggregations import BY_NAME, Combination

Node = tuple[datetime, str]

LEVELS = (
    "mrr",
    "mrr_90d_ago",
    "seats",
    "seats_90d_ago",
    "unit_limit",
    "unit_limit_28d_ago",
    "unit_limit_56d_ago",
)
"""Features whose newest values are summed over accounts, because each account pays for itself."""


def combination(feature: AnyFeature) -> Combination:
    """How the values of accounts are combined to the value of their parent."""
    if not isinstance(feature, Feature):
        return "unknown"
    if feature.name in LEVELS:
        return "sum"
    return BY_NAME[feature.aggregate.operation].over_accounts


def roll_up(snapshot: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The features of every parent, over itself and all accounts below it, at each moment.

    A parent without a row of its own, because it sends no events, is rolled up as well. A derived
    feature is computed from its rolled-up inputs if all of them roll up, else it is unknown.
    Links that would close a circle are left out; ``broken_links`` returns them.

    Returns:
        ``account_id`` of the parent, ``as_of``, ``accounts`` (how many have a row, the parent
        included) and every feature of the catalogue, ordered by account and moment.
    """
    parents, _ = _links(snapshot)
    depth = _depths(parents)
    ways = {f.name: way for f in catalogue.features if (way := combination(f)) != "unknown"}
    level = _at_depth(
        snapshot.select("account_id", "as_of", pl.lit(1).alias("accounts"), *ways), depth, parents
    )
    done: list[pl.DataFrame] = []
    deepest = max(depth.values(), default=0)
    below = level.filter(pl.col("depth") == deepest)
    for deep in range(deepest - 1, -1, -1):
        own = level.filter(pl.col("depth") == deep).with_columns(pl.lit("").alias("child"))
        up = below.filter(pl.col("above").is_not_null()).with_columns(
            pl.col("above").alias("account_id"), pl.col("account_id").alias("child")
        )
        with_children = up.select("account_id", "as_of").unique()
        # sorted, so that a sum has the same bits in any order of the input
        summed = (
            pl.concat([own, up])
            .sort("account_id", "as_of", "child")
            .group_by(
                "account_id",
                "as_of",
                maintain_order=True,
            )
            .agg(pl.col("accounts").sum(), *(_combined(name, way) for name, way in ways.items()))
        )
        done.append(summed.join(with_children, on=["account_id", "as_of"], how="semi"))
        below = _at_depth(summed, depth, parents)
    empty = level.clear().select("account_id", "as_of", "accounts", *ways)
    return _with_derived(pl.concat([empty, *done]).sort("account_id", "as_of"), catalogue)


def broken_links(snapshot: pl.DataFrame) -> pl.DataFrame:
    """``as_of``, ``account_id`` and ``parent`` of the links that would close a circle.

    Of each circle the link of the account with the first id is left out, so that the same data
    always give the same parents.
    """
    _, broken = _links(snapshot)
    rows = [(moment, account, parent) for (moment, account), parent in sorted(broken.items())]
    return _links_frame(rows, snapshot)


def valid_links(snapshot: pl.DataFrame) -> pl.DataFrame:
    """``as_of``, ``account_id`` and ``parent`` of the links without those of ``broken_links``.

    Parents are rolled up by these links. They are sorted by account.
    """
    parents, _ = _links(snapshot)
    rows = [(moment, account, parent) for (moment, account), parent in sorted(parents.items())]
    return _links_frame(rows, snapshot)


def _links_frame(rows: list[tuple[datetime, str, str]], snapshot: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        orient="row",
        schema={"as_of": snapshot.schema["as_of"], "account_id": pl.String, "parent": pl.String},
    )


def _links(snapshot: pl.DataFrame) -> tuple[dict[Node, str], dict[Node, str]]:
    """The parent of each account and moment; and the links that were left out."""
    said = snapshot.filter(pl.col("parent").is_not_null(), pl.col("parent") != "")
    parents = {
        (moment, account): parent
        for moment, account, parent in said.select("as_of", "account_id", "parent").iter_rows()
    }
    broken: dict[Node, str] = {}
    safe: set[Node] = set()  # from here no circle can be reached
    for start in sorted(parents):
        path: dict[Node, None] = {}
        node: Node = start
        while node in parents and node not in safe and node not in path:
            path[node] = None
            node = (node[0], parents[node])
        if node in path:
            nodes = list(path)
            first = min(nodes[nodes.index(node) :])
            broken[first] = parents.pop(first)
        safe.update(path)
    return parents, broken


def _depths(parents: Mapping[Node, str]) -> dict[Node, int]:
    """How many links there are from each account up to one without a parent."""
    depth: dict[Node, int] = {}
    for start in parents:
        path: list[Node] = []
        node: Node = start
        while node not in depth and node in parents:
            path.append(node)
            node = (node[0], parents[node])
        deep = depth.setdefault(node, 0)
        for step, each in enumerate(reversed(path), start=1):
            depth[each] = deep + step
    return depth


def _at_depth(
    frame: pl.DataFrame,
    depth: Mapping[Node, int],
    parents: Mapping[Node, str],
) -> pl.DataFrame:
    nodes = list(frame.select("as_of", "account_id").iter_rows())
    return frame.with_columns(
        pl.Series("depth", [depth.get(node) for node in nodes], pl.Int64),
        pl.Series("above", [parents.get(node) for node in nodes], pl.String),
    )


def _combined(name: str, way: Combination) -> pl.Expr:
    column = pl.col(name)
    if way == "sum":
        return pl.when(column.count() > 0).then(column.sum()).alias(name)
    return column.max() if way == "largest" else column.min()


def _with_derived(frame: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    there = set(frame.columns)
    for derived in catalogue.derived_in_order():
        if there.issuperset(derived.inputs):
            value = derived.formula(*map(pl.col, derived.inputs)).cast(pl.Float64)
            frame = frame.with_columns(pl.when(value.is_finite()).then(value).alias(derived.name))
            there.add(derived.name)
    unknown = [pl.lit(None, pl.Float64).alias(n) for n in catalogue.names if n not in there]
    return frame.with_columns(unknown).select("account_id", "as_of", "accounts", *catalogue.names)


def rolled_up_features(catalogue: Catalogue) -> frozenset[str]:
    """The names of the features that a parent has."""
    names = {f.name for f in catalogue.features if combination(f) != "unknown"}
    for derived in catalogue.derived_in_order():
        if names.issuperset(derived.inputs):
            names.add(derived.name)
    return frozenset(names)
