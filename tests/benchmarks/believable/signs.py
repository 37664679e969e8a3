"""Count the warning signs that a success manager would not believe, over all accounts.

A sign is found as the service finds it: from the newest snapshot beside that of a week before. What
is wrong with one is written here once more, from the account's own figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.alerts.alert import Alert, is_week_before
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from serving.cli.models import store_of
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.alerts import WeekBefore, warning_signs
from serving.scoring.score import AccountScore

TODAY = 4
LOW_HEALTH = frozenset({"health_below_40", "health_below_60"})
FALL_OF_HEALTH = frozenset({"health_fell_20pct", "health_fell_10pts"})
LESS_USE = frozenset({"login_none_30d", "usage_halved", "sign_usage_drop"})
NEUTRAL = -0.25
"""Nearer to 0 than this, the common classifiers of sentiment call a text neutral."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The signs of one account."""

    score: AccountScore
    alerts: tuple[Alert, ...]

    @property
    def ids(self) -> set[str]:
        return {alert.id for alert in self.alerts}

    @property
    def is_prospect(self) -> bool:
        return self.score.attributes.get("contract_status") == "none"

    @property
    def is_urgent(self) -> bool:
        return any(alert.urgency >= TODAY for alert in self.alerts)

    @property
    def tells_one_fall_twice(self) -> bool:
        fell = len(self.ids & FALL_OF_HEALTH)
        return fell > 1 or bool(fell and self.ids & LOW_HEALTH)

    @property
    def is_upset_by_nothing(self) -> bool:
        mood = self.score.features.get("ticket_sentiment_lowest_7d")
        return "ticket_negative" in self.ids and mood is not None and mood > NEUTRAL


def shown(workspace: Path) -> Iterator[Shown]:
    """Every account of a workspace that has not left, with its signs at the newest snapshot."""
    place = Workspace(workspace)
    snapshots = SnapshotStore(place.snapshots_dir)
    as_of = snapshots.moments()[-1]
    before = next((one for one in snapshots.moments() if is_week_before(one, as_of)), None)
    scores = scores_as_of(place, store_of(place), as_of)
    signs = warning_signs(
        scores,
        None
        if before is None
        else WeekBefore(
            snapshots.read(before),
            place.settings.catalogue.by_name,
            place.settings.formula,
        ),
    )
    for score in scores:
        if not score.has_left:
            yield Shown(score=score, alerts=signs.of(score.account_id))


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted, and the figure in words."""
    every = list(shown(workspace))
    prospects = [one for one in every if one.is_prospect]
    return [
        ("accounts that have not left", f"{len(every):,}"),
        ("of them without a contract so far", f"{len(prospects):,}"),
        (
            "accounts with a sign of “act today” or “at once”",
            f"{sum(o.is_urgent for o in every):,}",
        ),
        (
            "accounts without a contract so far with a sign of “act today” or “at once”",
            f"{sum(o.is_urgent for o in prospects):,}",
        ),
        (
            "accounts with a sign over a ticket whose sentiment is neutral",
            f"{sum(o.is_upset_by_nothing for o in every):,}",
        ),
        (
            "accounts with more than one notice of the same fall of health",
            f"{sum(o.tells_one_fall_twice for o in every):,}",
        ),
        (
            "accounts with more than one notice of the same fall of use",
            f"{sum(len(o.ids & LESS_USE) > 1 for o in every):,}",
        ),
        ("signs, in all", f"{sum(len(o.alerts) for o in every):,}"),
    ]
