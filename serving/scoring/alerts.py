"""Warning signs: the alerts that the scores of a portfolio raise now.

Accounts are scored far more often than read, so an account's alerts are found when they are first
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import polars as pl

from features.alerts.alert import Alert, Reading, is_week_before, raise_alerts
from features.alerts.rules import ALERTS
from features.catalogue.feature import AnyFeature
from features.health.formula import HealthFormula
from features.health.score import score_health
from serving.scoring.score import AccountScore, Columns, columns_of, features_of

ALERT_WORDS: Mapping[str, str] = {rule.id: rule.title for rule in ALERTS}
"""Alert id to what a person calls it."""


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


def warning_signs(
    scores: Sequence[AccountScore],
    week_before: pl.DataFrame | None,
    *,
    catalogue: Mapping[str, AnyFeature],
    formula: HealthFormula,
) -> WarningSigns:
    """The alerts of each account; one that has left raises none.

    ``week_before`` is the snapshot of a week ago; without it nothing is said of a fall.
    """
    before = {}
    if week_before is not None:
        columns = columns_of(week_before, catalogue)
        rows = dict(
            zip(week_before["account_id"].to_list(), range(week_before.height), strict=True)
        )
        before = {
            name: partial(_reading, week_before, row, columns, formula)
            for name, row in rows.items()
        }
    return WarningSigns(
        {
            score.account_id: partial(_raised, score, before.get(score.account_id))
            for score in scores
            if not score.has_left
        }
    )


def _raised(score: AccountScore, week_before: Callable[[], Reading] | None) -> tuple[Alert, ...]:
    now = Reading(
        as_of=score.as_of, health=score.health, features=score.features, attributes=score.attributes
    )
    before = None if week_before is None else week_before()
    if before is not None and not is_week_before(before.as_of, now.as_of):
        before = None
    return raise_alerts(now, before)


def _reading(frame: pl.DataFrame, row: int, columns: Columns, formula: HealthFormula) -> Reading:
    values = frame.row(row, named=True)
    features = features_of(values, columns)
    return Reading(as_of=values["as_of"], health=score_health(formula, features), features=features)
