"""Write the causal report of a workspace: its log, its snapshots, its currency.

Designs are drawn up from the log of decisions alone and written before anything else is read.
If no intervention was logged the report names the cheapest lottery.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from experiments.causal.analysis import CountedMoney
from experiments.causal.design import write_design
from experiments.causal.interventions import propose_designs, trial_events
from experiments.causal.power import ExperimentCandidate, PowerError, churn_base_rate
from experiments.effects.belief import EFFECT_HORIZON_DAYS, MeasuredEffects, MeasuredEffectsError
from experiments.effects.effects_file import read_effects
from experiments.policy.account_state import Limits
from experiments.policy.contact.limits_file import USUAL, read_limits
from experiments.report.counted_effects import counted_effects
from experiments.report.render import write_report
from experiments.report.report import Report, build_report, no_intervention_report
from features.alerts.rule_set import rules_text
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.playbook.actions import Action
from registry.playbook.playbook import load_playbook

LOTTERY_ACTIONS = ("success_call", "value_plan", "usage_analysis", "optimization_guide")
"""Candidate actions for a first lottery, if none was logged yet."""


def write_workspace_report(
    workspace: Workspace,
    *,
    as_of: datetime,
    written_at: datetime,
    seed: int = 1,
    horizon_days: int = EFFECT_HORIZON_DAYS,
) -> tuple[Path, Path]:
    """Write the report of what was known at ``as_of``; the page and its data.

    Args:
        workspace: whose log and snapshots are read.
        as_of: nothing at or after it is seen.
        written_at: the moment that new designs are stamped with.
        seed: of the folds and repeats of the estimators.
        horizon_days: for how long accounts are followed after an action.
    """
    events = trial_events(Lake(workspace.events_dir, workspace.quarantine_dir).as_of(as_of))
    snapshots = SnapshotStore(workspace.snapshots_dir)
    moments = tuple(moment for moment in snapshots.moments() if moment <= as_of)
    designs = tuple(
        write_design(design, workspace.reports_dir / "designs", at=written_at)
        for design in propose_designs(
            events, as_of=as_of, snapshots=moments, horizon_days=horizon_days
        )
    )
    limits = read_limits(workspace.root)
    own = rules_text(workspace.root)
    costs = {action.id: full_cost(action, limits) for action in load_playbook(own).actions}
    currency = workspace.settings.currency
    if designs:
        features = pl.concat([snapshots.read(moment) for moment in moments], how="diagonal")
        report = build_report(
            events,
            features,
            designs,
            as_of=as_of,
            costs=costs,
            currency=currency,
            rng=np.random.default_rng(seed),
            counted=CountedMoney(months=limits.horizon_months, margin=limits.margin),
        )
        evidence = _measured(workspace.reports_dir)
        found = {
            result.design.design_id: counted_effects(result, evidence)
            for action in report.actions
            for result in action.results
        }
        report = replace(report, counted={name: one for name, one in found.items() if one})
    else:
        report = report_without_interventions(
            events, as_of=as_of, currency=currency, limits=limits, horizon_days=horizon_days
        )
    if horizon_days == EFFECT_HORIZON_DAYS:
        return write_report(report, workspace.reports_dir)
    # told apart in the list of reports, and a file of its own
    titled = replace(report, title=f"{report.title}, followed for {horizon_days} days")
    return write_report(titled, workspace.reports_dir, name=f"report-{horizon_days}-days")


def _measured(folder: Path) -> MeasuredEffects:
    """The effects that the ranking reads now; none where the file cannot be read."""
    try:
        return read_effects(folder)
    except MeasuredEffectsError:
        return MeasuredEffects()


def full_cost(action: Action, limits: Limits) -> float:
    """The cost of carrying out an action once: its outlay and the hours of people, in money."""
    return action.cost_usd * limits.money_per_usd + action.hours * limits.hourly_cost


def report_without_interventions(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    currency: str,
    limits: Limits = USUAL,
    horizon_days: int = EFFECT_HORIZON_DAYS,
) -> Report:
    """The report that no intervention was logged, with the cheapest lottery."""
    try:
        base = churn_base_rate(events, as_of=as_of, horizon_days=horizon_days)
    except PowerError as error:
        return no_intervention_report(
            as_of=as_of,
            currency=currency,
            candidates=(),
            horizon_days=horizon_days,
            base_rate_sentence=str(error),
        )
    actions = load_playbook().by_id
    candidates = [
        ExperimentCandidate(
            action=action_id,
            name=actions[action_id].name,
            eligible="accounts with a running contract",
            n_eligible=len(base.running_now),
            cost_per_account=full_cost(actions[action_id], limits),
            base_rate=base.rate,
            prior_effect=actions[action_id].prior.mean * base.rate,
        )
        for action_id in LOTTERY_ACTIONS
    ]
    return no_intervention_report(
        as_of=as_of,
        currency=currency,
        candidates=candidates,
        horizon_days=horizon_days,
        base_rate_sentence=(
            f"Of {base.n_accounts:,} account-months up to {max(base.cutoffs):%Y-%m-%d}, "
            f"{base.n_left:,} ({base.rate:.1%}) left within {horizon_days} days."
        ),
    )
