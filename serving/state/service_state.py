"""The state of the service: the one object that holds what the routes need to answer.

It opens the parts of a workspace once, makes portfolios from them, and is handed to the
application. No module keeps state of its own.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl

from experiments.effects.belief import MeasuredEffects
from features.alerts.alert import is_week_before
from features.catalogue.feature import AnyFeature
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotStore
from features.health.formula import HealthFormula
from features.health.score import TREND_LOOKBACK
from features.reloaded_file import ReloadedFile
from features.steady_clock import SteadyClock
from features.store.feast import OnlineStoreError, WorkspaceFeatures
from features.streaming.refresh import AccountRefresh
from features.workspace import SETTINGS_FILE, Workspace
from features.workspace_files import UnusableStoreError
from registry.bundle.segment_gate import SWITCH_FILE
from registry.monitoring.figures import newest_figures
from registry.store.store import ModelStore
from serving.auth.api_keys import ApiKeys
from serving.decisions.company_rules import CurrentRules
from serving.decisions.decision_record import POLICY_KINDS, PolicyFacts, facts_of_events
from serving.decisions.exploration_settings import (
    CHANCE_FILE,
    ExplorationSettings,
    ExplorationSettingsError,
    read_exploration_settings,
)
from serving.decisions.live_effects import measured_effects
from serving.decisions.live_limits import CurrentLimits, CurrentPrices
from serving.decisions.validated_playbook import load_validated_playbook
from serving.http.metrics import ServiceMetrics
from serving.ledger.database.change import OpenRequest, WaitBudget
from serving.ledger.database.timestamps import MonotonicClock
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.ledger import Ledger
from serving.problems import BusyError, NotReadyError
from serving.scoring.alerts import HeldWeek, WarningSigns, warning_signs
from serving.scoring.explanations import Peers, peers_of
from serving.scoring.models_served import champion_stamp, models_of, without_paths
from serving.scoring.portfolio import (
    EarlierScores,
    LivePortfolio,
    Portfolio,
    portfolio_of,
    with_scores,
)
from serving.scoring.score import AccountScore, Models
from serving.scoring.scored_columns import score_accounts
from serving.scoring.visible_accounts import VisibleAccounts
from serving.settings import ServiceSettings
from serving.state.store_conditions import StoreConditions
from serving.state.store_rebuild import StoreRebuild
from serving.state.watched_stores import watched_stores
from serving.timeline.contract_outcomes import join_slow_outcomes
from serving.timeline.event_cache import AccountCache
from serving.timeline.store import TimelineStore
from serving.timeline.usage_outcomes import measure_usage

log = logging.getLogger("keepwell.serving")


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The parts of one workspace, opened, and the clocks to ask them by.

    ``now`` is on the time of the data, which stands still between exports; ``wall_clock`` runs.
    """

    workspace: Workspace
    store: ModelStore
    now: Callable[[], datetime]
    wall_clock: Callable[[], datetime]
    settings: ServiceSettings
    ledger: Ledger
    timelines: TimelineStore
    features: WorkspaceFeatures
    metrics: ServiceMetrics
    keys: ApiKeys
    limits: CurrentLimits
    prices: CurrentPrices
    company: CurrentRules
    reach: VisibleAccounts | None = None
    chance: ExplorationSettings | None = None
    whole: ServiceState | None = (
        None  # the service of which this is a view; it makes what both hold
    )

    @cached_property
    def live(self) -> LivePortfolio:
        """The portfolio that is served, the same for every caller."""
        if self.whole is not None:
            return self.whole.live
        return LivePortfolio(make=self._make_portfolio, stamp=self._stamp)

    @cached_property
    def _week(self) -> HeldWeek:
        return HeldWeek()

    @cached_property
    def measured(self) -> ReloadedFile[MeasuredEffects]:
        """What was measured of the actions."""
        if self.whole is not None:
            return self.whole.measured
        return measured_effects(self.workspace.reports_dir)

    @cached_property
    def facts(self) -> AccountCache[PolicyFacts]:
        """What the policy reads of the timelines."""
        if self.whole is not None:
            return self.whole.facts
        return AccountCache(self.timelines.event_cache(POLICY_KINDS), facts_of_events)

    @cached_property
    def conditions(self) -> StoreConditions:
        """The condition of each store of the workspace."""
        if self.whole is not None:
            return self.whole.conditions
        return StoreConditions(watched_stores(self), self.wall_clock)

    @cached_property
    def rebuild(self) -> StoreRebuild:
        """What makes damaged stores again that can be computed."""
        if self.whole is not None:
            return self.whole.rebuild
        return StoreRebuild(self.workspace, self.features)

    @property
    def steady_clock(self) -> SteadyClock | None:
        """The wall clock where it is steady; None where whoever made the service has another."""
        return self.wall_clock if isinstance(self.wall_clock, SteadyClock) else None

    def look_at_stores(self) -> None:
        """Look at each store again: what came back serves again, and what is damaged is shown."""
        if self.steady_clock is not None:
            self.steady_clock.note()
            self.metrics.clock_ahead.set(self.steady_clock.ahead.total_seconds())
        for one in self.conditions.look():
            self.metrics.degraded.labels(one.store).set(one.reason is not None)

    def settings_problem(self) -> str | None:
        """What is wrong with files of settings, of which those that were read before hold."""
        self.limits.current()
        self.prices.current()
        self.company.current()
        problems = [
            self.workspace.settings_problem,
            self.limits.problem,
            self.prices.problem,
            self.company.problem,
        ]
        try:
            read_exploration_settings(self.workspace.root, self.settings.lottery_key)
        except ExplorationSettingsError as error:
            problems.append(f"{error} Until then draws are made as at the start.")
        return " ".join(filter(None, problems)) or None

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio as it is now, within reach, or NotReadyError."""
        return self.live.current().within(self.reach)

    def within(self, reach: VisibleAccounts | None) -> ServiceState:
        """The state for a caller who reaches only some accounts: it holds no others."""
        return self if reach is None else replace(self, reach=reach, whole=self.whole or self)

    def for_request(self, request: OpenRequest) -> ServiceState:
        """This service to one request under an Idempotency-Key: its changes are noted with the key."""
        ledger = self.ledger.for_request(request)
        return replace(self, ledger=ledger, whole=self.whole or self)

    def waiting(self, waits: WaitBudget) -> ServiceState:
        """This service to one request, whose writes wait for others no longer than this."""
        return replace(self, ledger=self.ledger.waiting(waits), whole=self.whole or self)

    @property
    def catalogue(self) -> Mapping[str, AnyFeature]:
        """The features of this tenant by name."""
        return self.workspace.settings.catalogue.by_name

    @property
    def formula(self) -> HealthFormula:
        """The tenant's health formula."""
        return self.workspace.settings.formula

    def refresh(self) -> bool:
        """Score anew if a snapshot, a champion or a setting changed; whether it did.

        With it comes what contracts have said since about actions that were carried out, and
        whether use has moved.
        """
        made = self.live.refresh()
        if made:
            self.metrics.refreshes.inc()
            self.metrics.show(self.portfolio)
            self._warn_of_segments()
            with contextlib.suppress(LedgerUnreachableError, UnusableStoreError):
                join_slow_outcomes(
                    self.ledger, self.timelines, now=self.now(), heard_at=self.wall_clock()
                )
                measure_usage(
                    self.ledger, self.timelines, now=self.now(), heard_at=self.wall_clock()
                )
        return made

    def _warn_of_segments(self) -> None:
        nobody = self.chance.segments_of_nobody(self.portfolio.scores) if self.chance else ()
        if nobody:
            log.warning(
                "%s leaves out segments that no account has now: %s. Where one is "
                "misspelt, its accounts are drawn.",
                CHANCE_FILE,
                ", ".join(nobody),
            )

    def deliver(self) -> bool:
        """Put what the ledger holds on the timeline; False while that cannot be written."""
        try:
            self.timelines.deliver(self.ledger, now=self.now())
        except (BusyError, LedgerUnreachableError, UnusableStoreError):
            return False
        return True

    def look_at_ledger(self, *, whole: bool = False, records: bool = False) -> None:
        """See that the ledger is the one it was, as every write does; what is found is in the log.

        ``whole`` reads the whole structure of its database, and ``records`` every record, which takes
        seconds where it is large.
        """
        before = self.ledger.database.problem
        with contextlib.suppress(LedgerUnreachableError):
            self.ledger.database.look()
            if whole:
                self.ledger.database.check_structure()
            if records:
                self.ledger.database.check_records()
        found = self.ledger.database.problem
        if found is not None and found != before:
            log.error("nothing is stored any more: %s", found)
        elif found is None and before is not None:
            log.warning("the ledger is the one it was again, and decisions are stored")

    def ledger_problem(self) -> str | None:
        """Why nothing is stored in the ledger now; None where it is."""
        database = self.ledger.database
        found = None
        try:
            database.check_readable()
        except LedgerUnreachableError as error:
            found = error.detail
        found = database.problem or found
        return found and f"{found} keepwell ledger verify says more."

    def close(self) -> None:
        """Let go of ledger and keys, and of the process that takes in large batches of events."""
        try:
            self.timelines.close()
        finally:
            self.keys.close()
            self.ledger.close()

    def _stamp(self) -> Hashable:
        # a snapshot is published before its file is written; single accounts are published
        # all the time, and their scores are exchanged without a refresh
        snapshots = SnapshotStore(self.workspace.snapshots_dir)
        moments = snapshots.moments()
        files = (
            self.workspace.root / SETTINGS_FILE,
            self.workspace.formula_file,
            self.workspace.monitoring_dir / SWITCH_FILE,
            *(snapshots.path(m) for m in moments),
        )
        return (
            tuple(f.stat().st_mtime_ns if f.exists() else None for f in files),
            moments,
            self.rebuild.online_made,
            champion_stamp(self.store),
            self.company.current().version,
            self.now().replace(minute=0, second=0, microsecond=0),  # ages move with the clock
        )

    def _make_portfolio(self) -> Portfolio:
        moments = SnapshotStore(self.workspace.snapshots_dir).moments()
        if not moments:
            raise NotReadyError("There is no snapshot in this workspace.")
        snapshots = SnapshotStore(self.workspace.snapshots_dir)
        known = moments
        newest, moments = self._newest_readable(snapshots, known)
        with contextlib.closing(AccountRefresh(self.workspace)) as touched:
            streamed, _ = touched.published_since(0)
        frame = self._newest_features(newest, streamed, is_whole=moments == known)
        if frame.is_empty():
            raise NotReadyError("The online store has no features; run keepwell snapshot.")
        before = self.live.current_or_none()
        models = models_of(self.workspace, self.store, None if before is None else before.models)
        peers = peers_of(frame, self.catalogue)
        earlier_moments = [moment for moment in moments if moment < moments[-1]]
        now = self.now()
        scores = self._scores(frame, models, now, peers)
        nobody = Peers(groups={})  # the earlier reasons are read by nobody
        earlier = min(
            earlier_moments, key=lambda m: abs(moments[-1] - m - TREND_LOOKBACK), default=None
        )
        return portfolio_of(
            scores,
            previous=EarlierScores(
                None if earlier is None else _readable(snapshots, earlier),
                lambda rows: self._scores(rows, models, earlier or now, nobody),
            ),
            as_of=max(score.as_of for score in scores),
            now=now,
            currency=self.workspace.settings.currency,
            freshness=self.timelines.freshness(),
            alerts=self._alerts(scores, moments),
            models=models,
            peers=peers,
        )

    def _newest_readable(
        self, snapshots: SnapshotStore, moments: tuple[datetime, ...]
    ) -> tuple[pl.DataFrame, tuple[datetime, ...]]:
        """The newest snapshot that is whole, and the moments up to it."""
        problem = ""
        for count in range(len(moments), 0, -1):
            try:
                return snapshots.read(moments[count - 1]), moments[:count]
            except DamagedSnapshotError as error:
                log.warning("%s The one before is used.", error)
                problem = without_paths(str(error))
        raise NotReadyError(problem)

    def _newest_features(
        self, newest: pl.DataFrame, streamed: Sequence[str], *, is_whole: bool
    ) -> pl.DataFrame:
        """The newest features of each account.

        The newest snapshot was published whole, so only accounts with events since can be newer in
        the online store, and only they are read from there: Feast reads a row at a time. Where that
        snapshot is damaged (not ``is_whole``) all are.
        """
        if not is_whole:
            return self._online(newest, sorted({*newest["account_id"], *streamed}))
        if not streamed:
            return newest
        found = self._online(newest, list(streamed))
        if found is newest or found.is_empty():
            return newest
        later = found.join(newest.select("account_id", was="as_of"), on="account_id", how="left")
        later = later.filter(pl.col("was").is_null() | (pl.col("as_of") >= pl.col("was")))
        kept = newest.filter(~pl.col("account_id").is_in(later["account_id"].implode()))
        return pl.concat([kept, later.drop("was").select(*newest.columns)])

    def _online(self, newest: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
        """The features of these accounts from the online store; the snapshot where it cannot be read."""
        try:
            found = self.features.online(wanted)
            if not found.is_empty() or self.workspace.settings.redis:
                return found
            log.warning("the online store has no features; it is made again of the newest snapshot")
            self.features.publish(newest)
            return self.features.online(wanted)
        except OnlineStoreError as error:
            log.warning("%s", error)
            if "locked" in str(error):
                return newest
        try:
            self.features.rebuild_online(newest)
            return self.features.online(wanted)
        except (UnusableStoreError, OSError, sqlite3.DatabaseError) as error:
            log.warning("the online store cannot be made again (%s)", error)
            return newest

    def rescored(self, portfolio: Portfolio, frame: pl.DataFrame) -> Portfolio:
        """The portfolio with the accounts of a frame of newer features scored anew."""
        now = self.now()
        scores = self._scores(frame, portfolio.models, now, portfolio.peers)
        moments = SnapshotStore(self.workspace.snapshots_dir).moments()
        return with_scores(
            portfolio,
            scores,
            now=now,
            freshness=self.timelines.freshness(),
            alerts=self._alerts(scores, moments),
        )

    def _alerts(self, scores: Sequence[AccountScore], moments: Sequence[datetime]) -> WarningSigns:
        rules = self.company.current().alerts
        week_ago = [m for m in moments if is_week_before(m, moments[-1])]
        if not week_ago:
            return warning_signs(scores, None, rules)
        snapshots = SnapshotStore(self.workspace.snapshots_dir)
        try:
            before = self._week.read(snapshots, week_ago[-1], self.catalogue, self.formula)
        except DamagedSnapshotError as error:
            log.warning("%s Until then nothing is said of a fall since.", error)
            return warning_signs(scores, None, rules)
        return warning_signs(scores, before, rules)

    def _scores(
        self, frame: pl.DataFrame, models: Models, now: datetime, peers: Peers | None = None
    ) -> list[AccountScore]:
        settings = self.workspace.settings
        return score_accounts(
            frame,
            models,
            catalogue=settings.catalogue,
            formula=self.formula,
            now=now,
            max_age=timedelta(days=settings.max_feature_age_days),
            currency=settings.currency,
            peers=peers,
            leaving=settings.leaving,
        )


def _readable(snapshots: SnapshotStore, moment: datetime) -> pl.DataFrame | None:
    """An earlier snapshot, which scores are compared with; None where it is damaged."""
    try:
        return snapshots.read(moment)
    except DamagedSnapshotError as error:
        log.warning("%s Until then no score is compared with those of that day.", error)
        return None


def open_service(
    workspace: Workspace,
    *,
    store: ModelStore,
    now: Callable[[], datetime],
    wall_clock: Callable[[], datetime],
    settings: ServiceSettings,
) -> ServiceState:
    """Open the parts of a workspace.

    Raises:
        ApiKeyError: there are keys, and they cannot be read.
        ExplorationSettingsError: draws are asked for, and cannot be made.
        LimitsError: what the workspace says about limits cannot be used.
        PlaybookError: an action reads what nobody declared.
        RulesError: what the company declared itself cannot be used.
    """
    load_validated_playbook(workspace.settings.catalogue.by_name)
    keys = ApiKeys(workspace.root, pepper=settings.key_pepper)
    keys.all()
    return ServiceState(
        keys=keys,
        workspace=workspace,
        store=store,
        now=now,
        wall_clock=(
            wall_clock if isinstance(wall_clock, SteadyClock) else MonotonicClock(wall_clock)
        ),
        settings=settings,
        ledger=Ledger(
            settings.ledger_url or workspace.ledger_db,
            heads=settings.head_places(workspace),
            wait_seconds=settings.ledger_wait_seconds,
        ),
        chance=read_exploration_settings(workspace.root, settings.lottery_key),
        limits=CurrentLimits(workspace.root),
        prices=CurrentPrices(workspace.root),
        company=CurrentRules(workspace),
        timelines=TimelineStore(workspace),
        features=WorkspaceFeatures(workspace),
        metrics=ServiceMetrics(lambda: newest_figures(workspace.monitoring_dir)),
    )
