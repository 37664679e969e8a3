"""This module is about the desk: the one object that holds what the routes need to answer.

It opens the parts of a workspace once, makes portfolios from them, and is handed to the
application. No module keeps state of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl

from features.alerts import WEEK, WEEK_TOLERANCE
from features.catalogue import catalogue
from features.feast_store import WorkspaceFeatures
from features.feature import AnyFeature
from features.health import FORMULAS, TREND_LOOKBACK, HealthFormula
from features.snapshots import SnapshotStore
from features.workspace import SETTINGS_FILE, Workspace
from registry.store import ModelStore
from serving.champions import champion_stamp, champions
from serving.errors import BusyError, NotReadyError
from serving.ledger import Ledger
from serving.observed import ServiceMetrics
from serving.portfolio import LivePortfolio, Portfolio, portfolio_of
from serving.scoring import AccountScore, Models, score_accounts
from serving.settings import ServiceSettings
from serving.signs import warning_signs
from serving.timelines import TimelineStore

log = logging.getLogger("keepwell.serving")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The parts of one workspace, opened, and the clock to ask them by."""

    workspace: Workspace
    store: ModelStore
    now: Callable[[], datetime]
    settings: ServiceSettings
    ledger: Ledger
    timelines: TimelineStore
    features: WorkspaceFeatures
    metrics: ServiceMetrics

    @cached_property
    def live(self) -> LivePortfolio:
        """The portfolio that is served."""
        return LivePortfolio(make=self._make_portfolio, stamp=self._stamp)

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio as it is now, or NotReadyError."""
        return self.live.current()

    @property
    def catalogue(self) -> Mapping[str, AnyFeature]:
        """The features of this tenant by name."""
        return features_by_name(self.workspace)

    @property
    def formula(self) -> HealthFormula:
        """The tenant's health formula."""
        return FORMULAS[self.workspace.settings.health_formula]

    def refresh(self) -> bool:
        """Score anew if a snapshot, a champion or a setting changed; whether it did."""
        made = self.live.refresh()
        if made:
            self.metrics.refreshes.inc()
            self.metrics.show(self.portfolio)
        return made

    def deliver(self) -> bool:
        """Put what the ledger holds on the timeline; False while the workspace is being written."""
        try:
            self.timelines.deliver(self.ledger, now=self.now())
        except BusyError:
            return False
        return True

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()

    def _stamp(self) -> Hashable:
        root = self.workspace.root
        files = (self.workspace.online_db, root / SETTINGS_FILE)
        return (
            tuple(f.stat().st_mtime_ns if f.exists() else None for f in files),
            SnapshotStore(self.workspace.snapshots_dir).moments(),
            champion_stamp(self.store),
            self.now().replace(minute=0, second=0, microsecond=0),  # ages move with the clock
        )

    def _make_portfolio(self) -> Portfolio:
        moments = SnapshotStore(self.workspace.snapshots_dir).moments()
        if not moments:
            raise NotReadyError("There is no snapshot in this workspace.")
        snapshots = SnapshotStore(self.workspace.snapshots_dir)
        newest = snapshots.read(moments[-1])
        frame = self.features.online(newest["account_id"].to_list())
        if frame.is_empty():
            raise NotReadyError("The online store has no features; run keepwell snapshot.")
        models = champions(self.store)
        before = [moment for moment in moments if moment < moments[-1]]
        now = self.now()
        scores = self._scores(frame, models, now)
        earlier = min(before, key=lambda m: abs(moments[-1] - m - TREND_LOOKBACK), default=None)
        week_ago = [m for m in before if abs(moments[-1] - m - WEEK) <= WEEK_TOLERANCE]
        return portfolio_of(
            scores,
            previous=(self._scores(snapshots.read(earlier), models, earlier)
                      if earlier is not None else ()),
            as_of=max(score.as_of for score in scores), now=now,
            currency=self.workspace.settings.currency, freshness=self.timelines.freshness(),
            alerts=warning_signs(scores, snapshots.read(week_ago[-1]) if week_ago else None,
                                 catalogue=self.catalogue, formula=self.formula))

    def _scores(self, frame: pl.DataFrame, models: Models, now: datetime) -> list[AccountScore]:
        settings = self.workspace.settings
        return score_accounts(
            frame, models, catalogue=self.catalogue, formula=self.formula, now=now,
            max_age=timedelta(days=settings.max_feature_age_days), currency=settings.currency)


def open_desk(workspace: Workspace, *, store: ModelStore, now: Callable[[], datetime],
              settings: ServiceSettings) -> Desk:
    """Open the parts of a workspace."""
    return Desk(
        workspace=workspace, store=store, now=now, settings=settings,
        ledger=Ledger(workspace.ledger_db), timelines=TimelineStore(workspace),
        features=WorkspaceFeatures(workspace), metrics=ServiceMetrics())


def features_by_name(workspace: Workspace) -> Mapping[str, AnyFeature]:
    """The features of a tenant by name."""
    return {f.name: f for f in catalogue(workspace.settings.use_names).features}
