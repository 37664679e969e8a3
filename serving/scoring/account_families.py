"""Families: which accounts are below which, and what they come to together.

The links and the sums are those of ``hierarchy``, made of the portfolio's own scores when they are
asked for, so that a parent is always as fresh as its accounts. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import Derived
from features.compute.hierarchy import combination, roll_up, rolled_up_features, valid_links
from features.events.schema import UTC_INSTANT
from serving.scoring.score import AccountScore

How = Literal["sum", "largest", "smallest", "made of the sums", "not known, but bounded"]

SHOWN = ("mrr", "active_users_28d", "tickets_28d", "tickets_open", "seats")
"""What of a family is said with unit and origin; everything else that adds up is listed."""

PEOPLE = ("active_users_28d",)
"""Counts of different people: somebody may be in two accounts, so only bounds are known."""


@dataclass(frozen=True, kw_only=True)
class Families:
    """Which account is below which; a link that would close a circle does not count."""

    parent_of: Mapping[str, str]
    children_of: Mapping[str, tuple[str, ...]]

    def members(self, account_id: str) -> tuple[str, ...]:
        """The account itself, then all below it, the nearest first."""
        found = [account_id]
        for each in found:  # grows while it is walked through
            found += self.children_of.get(each, ())
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class FamilyFigure:
    """One number of a family. Where it is not known, two bounds may be."""

    feature: str
    description: str
    unit: str
    value: float | None
    at_least: float | None
    at_most: float | None
    how: How
    known_of: int  # accounts of which it is known


@dataclass(frozen=True, kw_only=True)
class Family:
    """What an account and all below it come to. Children are its direct ones, worst health first,
    unknown health last."""

    account_id: str
    as_of: datetime
    oldest_as_of: datetime
    accounts: int
    children: tuple[AccountScore, ...]
    figures: tuple[FamilyFigure, ...]
    features: Mapping[str, float | None]

    def figure(self, feature: str) -> FamilyFigure:
        """The figure of a feature that is ``SHOWN``."""
        return next(figure for figure in self.figures if figure.feature == feature)


def families_of(scores: Iterable[AccountScore]) -> Families:
    """The families that the newest ``parent`` of each account makes."""
    stated = [(s.account_id, s.attributes.get("parent"), s.as_of) for s in scores]
    if not any(parent for _, parent, _ in stated):
        return Families(parent_of={}, children_of={})
    moment = max(as_of for *_, as_of in stated)
    frame = pl.DataFrame(
        [(account, parent, moment) for account, parent, _ in stated if parent],
        orient="row",
        schema={"account_id": pl.String, "parent": pl.String, "as_of": UTC_INSTANT},
    )
    parent_of = {account: parent for _, account, parent in valid_links(frame).iter_rows()}
    children: dict[str, list[str]] = {}
    for account, parent in parent_of.items():
        children.setdefault(parent, []).append(account)
    return Families(
        parent_of=parent_of,
        children_of={parent: tuple(below) for parent, below in children.items()},
    )


def family_of(
    account_id: str, families: Families, by_id: Mapping[str, AccountScore], catalogue: Catalogue
) -> Family | None:
    """What an account and all below it come to; None where nothing is below it."""
    if account_id not in families.children_of:
        return None
    scores = [by_id[name] for name in families.members(account_id) if name in by_id]
    as_of = max(score.as_of for score in scores)
    [rolled] = (
        roll_up(_frame(scores, families, as_of, catalogue), catalogue)
        .filter(account_id=account_id)
        .to_dicts()
    )
    return Family(
        account_id=account_id,
        as_of=as_of,
        oldest_as_of=min(score.as_of for score in scores),
        accounts=len(scores),
        children=tuple(
            sorted((by_id[name] for name in families.children_of[account_id]), key=_worst_first)
        ),
        figures=tuple(_figure(name, rolled[name], scores, catalogue) for name in SHOWN),
        features={
            name: rolled[name] for name in catalogue.names if name in rolled_up_features(catalogue)
        },
    )


def _frame(
    scores: Sequence[AccountScore], families: Families, as_of: datetime, catalogue: Catalogue
) -> pl.DataFrame:
    """The scores as a snapshot of one moment: newer features of one account do not part it."""
    names = [f.name for f in catalogue.features if combination(f) != "unknown"]
    return pl.DataFrame(
        {
            "account_id": [score.account_id for score in scores],
            "as_of": [as_of] * len(scores),
            "parent": [families.parent_of.get(score.account_id) for score in scores],
            **{name: [score.features.get(name) for score in scores] for name in names},
        },
        schema={
            "account_id": pl.String,
            "as_of": UTC_INSTANT,
            "parent": pl.String,
            **dict.fromkeys(names, pl.Float64),
        },
    )


def _figure(
    name: str,
    value: float | None,
    scores: Sequence[AccountScore],
    catalogue: Catalogue,
) -> FamilyFigure:
    feature = catalogue.feature(name)
    known = [v for score in scores if (v := score.features.get(name)) is not None]
    is_bounded = name in PEOPLE and bool(known)
    how: How = "not known, but bounded"
    if isinstance(feature, Derived):
        how = "made of the sums"
    elif (way := combination(feature)) != "unknown":
        how = way
    return FamilyFigure(
        feature=name,
        description=feature.description,
        unit=feature.unit,
        value=value,
        at_least=max(known) if is_bounded else None,
        at_most=sum(known) if is_bounded else None,
        how=how,
        known_of=len(known),
    )


def _worst_first(score: AccountScore) -> tuple[float, str]:
    health = score.health.score
    return (float("inf") if health is None else health, score.account_id)
