"""Warning signs: the alerts that the scores of a portfolio raise now.

Accounts are scored far more often than read, so an account's alerts are found when they are first
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import polars as pl

from features.alerts.alert import Alert, Reading, is_week_before, raise_alerts
from features.alerts.rule_set import SHIPPED, AlertRules
from features.catalogue.feature import AnyFeature
from features.compute.snapshot_store import SnapshotStore
from features.health.formula import HealthFormula
from features.health.score import score_health
from features.reloaded_file import Stamp, stamp_of
from serving.scoring.score import AccountScore, columns_of, features_of


class WarningSigns(Mapping[str, tuple[Alert, ...]]):
    """The alerts of each account that raises any, most urgent first; found when asked for.

    Args:
        find: for every account that may raise alerts, what finds them.
    """

    def __init__(self, find: Mapping[str, Callable[[], tuple[Alert, ...]]]) -> None:
        self._find = find
        self._found: dict[str, tuple[Alert, ...]] = {}

    def of(self, account_id: str) -> tuple[Alert, ...]:
        """The alerts of an account; none where it may not raise any or nobody knows it."""
        if account_id not in self._find:
            return ()
        if account_id not in self._found:
            self._found[account_id] = self._find[account_id]()
        return self._found[account_id]

    def __getitem__(self, account_id: str) -> tuple[Alert, ...]:
        found = self.of(account_id)
        if not found:
            raise KeyError(account_id)
        return found

    def __contains__(self, account_id: object) -> bool:
        return isinstance(account_id, str) and bool(self.of(account_id))

    def __iter__(self) -> Iterator[str]:
        return (account_id for account_id in self._find if self.of(account_id))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def with_newer(self, accounts: Collection[str], newer: WarningSigns) -> WarningSigns:
        """These, but for the accounts that were scored anew."""
        kept = {name: find for name, find in self._find.items() if name not in accounts}
        signs = WarningSigns({**kept, **newer._find})
        # as a list at once: another thread may be asking for alerts meanwhile
        signs._found = {
            name: found
            for name, found in list(self._found.items())
            if name in kept and name not in newer._find
        }
        return signs


class WeekBefore:
    """The snapshot of a week ago, which all accounts are compared with.

    One for all of them, however often they are scored anew: a part of a frame holds on to all of it.
    """

    def __init__(
        self, snapshot: pl.DataFrame, catalogue: Mapping[str, AnyFeature], formula: HealthFormula
    ) -> None:
        self._snapshot = snapshot
        self._columns = columns_of(snapshot, catalogue)
        self._formula = formula
        self._rows = dict(
            zip(snapshot["account_id"].to_list(), range(snapshot.height), strict=True)
        )

    def reading(self, account_id: str) -> Reading | None:
        """What an account's alerts would have been raised on; None where it was not there."""
        row = self._rows.get(account_id)
        if row is None:
            return None
        values = self._snapshot.row(row, named=True)
        features = features_of(values, self._columns)
        health = score_health(self._formula, features)
        return Reading(as_of=values["as_of"], health=health, features=features)


class HeldWeek:
    """The newest snapshot of a week before, read once as long as its file is the same."""

    def __init__(self) -> None:
        self._held: tuple[Stamp | None, HealthFormula, WeekBefore] | None = None

    def read(
        self,
        snapshots: SnapshotStore,
        moment: datetime,
        catalogue: Mapping[str, AnyFeature],
        formula: HealthFormula,
    ) -> WeekBefore:
        """The snapshot of this moment, compared by this formula."""
        stamp = stamp_of(snapshots.existing_path(moment))
        held = self._held
        if held is not None and stamp is not None and held[:2] == (stamp, formula):
            return held[2]
        week = WeekBefore(snapshots.read(moment), catalogue, formula)
        self._held = stamp, formula, week
        return week


def warning_signs(
    scores: Sequence[AccountScore], week_before: WeekBefore | None, rules: AlertRules = SHIPPED
) -> WarningSigns:
    """The alerts of each account by these rules; one that has left raises none.

    Without the snapshot of ``week_before`` nothing is said of a fall.
    """
    return WarningSigns(
        {
            score.account_id: partial(_raised, score, week_before, rules)
            for score in scores
            if not score.has_left
        }
    )


def _raised(
    score: AccountScore, week_before: WeekBefore | None, rules: AlertRules
) -> tuple[Alert, ...]:
    now = Reading(
        as_of=score.as_of, health=score.health, features=score.features, attributes=score.attributes
    )
    before = None if week_before is None else week_before.reading(score.account_id)
    if before is not None and not is_week_before(before.as_of, now.as_of):
        before = None
    return raise_alerts(now, before, rules)
