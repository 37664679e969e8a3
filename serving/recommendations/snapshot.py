"""Score and recommend for a whole snapshot, without a service.

The command line takes this way to the same functions that the service answers with: one account
gets the same score, the same reasons and the same ranking either way.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from experiments.policy.contact.limits_file import at_any_hour, read_limits
from features.alerts.alert import is_week_before
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.playbook.prices import read_prices
from registry.store.store import ModelStore
from serving.decisions.company_rules import CompanyRules, rules_of
from serving.decisions.decision_record import POLICY_KINDS, policy_facts
from serving.decisions.exploration_settings import ExplorationSettings
from serving.decisions.live_effects import evidence_in
from serving.recommendations.recommend import ProposedDecision, decide_on
from serving.scoring.alerts import WeekBefore, warning_signs
from serving.scoring.models_served import models_of
from serving.scoring.portfolio import portfolio_order
from serving.scoring.score import AccountScore
from serving.scoring.scored_columns import score_accounts
from serving.timeline.store import TimelineStore


def scores_as_of(workspace: Workspace, store: ModelStore, as_of: datetime) -> list[AccountScore]:
    """The score of every account of a snapshot, most revenue at risk first.

    The features are as old as the question, so they are never too old here.

    Raises:
        SnapshotError: there is no snapshot as of this moment.
    """
    settings = workspace.settings
    scores = score_accounts(
        SnapshotStore(workspace.snapshots_dir).read(as_of),
        models_of(workspace, store),
        catalogue=settings.catalogue,
        formula=settings.formula,
        now=as_of,
        max_age=timedelta(days=settings.max_feature_age_days),
        currency=settings.currency,
        leaving=settings.leaving,
    )
    return sorted(scores, key=portfolio_order)


def decisions_as_of(
    workspace: Workspace,
    store: ModelStore,
    as_of: datetime,
    *,
    rules: ExplorationSettings | None = None,
    asked_at: datetime | None = None,
    shared: str | None = None,
    company: CompanyRules | None = None,
) -> tuple[ProposedDecision, ...]:
    """Recommend for every account as of a moment, on what was known then.

    Of the timeline it also sees what came in live at that very moment, as the service does; scores
    are those of the snapshot, which ends strictly before it.

    ``asked_at`` is the clock on the wall, by which dates that people gave have come or not; left
    out, the question is asked at the moment it is about. ``shared`` is the digest of what all
    questions have in common; with it every decision holds its question. ``company`` are the rules, those
    of the workspace where they are left out.

    Raises:
        SnapshotError: there is no snapshot as of this moment.
        LimitsError, PricesError: the workspace's limits or its price list cannot be used.
    """
    limits = at_any_hour(read_limits(workspace.root))
    company = rules_of(workspace) if company is None else company
    scores = scores_as_of(workspace, store, as_of)
    features = workspace.settings.catalogue
    snapshots = SnapshotStore(workspace.snapshots_dir)
    week_ago = [m for m in snapshots.moments() if is_week_before(m, as_of)]
    signs = warning_signs(
        scores,
        WeekBefore(snapshots.read(week_ago[-1]), features.by_name, workspace.settings.formula)
        if week_ago
        else None,
        company.alerts,
    )
    timelines = TimelineStore(workspace)
    events = timelines.of_kinds(
        POLICY_KINDS,
        account_ids=[s.account_id for s in scores],
        as_of=timelines.seen_as_of(as_of),
    )
    return decide_on(
        scores,
        facts=policy_facts(events),
        alerts=signs,
        features=features,
        now=as_of,
        asked_at=asked_at,
        evidence=evidence_in(workspace.reports_dir),
        limits=limits,
        prices=read_prices(workspace.root),
        rules=rules,
        company=company,
        shared=shared,
    )


def recommendations_as_of(
    workspace: Workspace,
    store: ModelStore,
    as_of: datetime,
    *,
    rules: ExplorationSettings | None = None,
    asked_at: datetime | None = None,
) -> dict[str, Any]:
    """The decisions as plain values, most revenue at risk first."""
    return {
        "as_of": as_of.isoformat(),
        "currency": workspace.settings.currency,
        "accounts": [
            {
                "churn_probability_90d": one.score.churn_probability_90d,
                "revenue_at_risk": one.score.revenue_at_risk,
                "degraded": one.score.degraded,
                "health_score": one.score.health.score,
                **one.recommendation.to_dict(),
            }
            for one in decisions_as_of(workspace, store, as_of, rules=rules, asked_at=asked_at)
        ],
    }
