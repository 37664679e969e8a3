"""This module is about how far the account has come towards its first value: declarations only."""

from __future__ import annotations

from features.definitions import QUARTER
from features.feature import Aggregate, AnyFeature, Derived, Feature, ratio

ONBOARDING: tuple[AnyFeature, ...] = (
    Feature(
        name="onboarding_steps_done", description="Onboarding steps completed.", theme="onboarding",
        reads=("onboarding.step_completed",), aggregate=Aggregate(operation="values", of="step"),
        when_empty=0.0, unit="steps", direction="safety", role="lever",
        phrase="{value:.0f} onboarding steps done",
    ),
    Feature(
        name="days_since_onboarding_step",
        description="Days since an onboarding step was completed.", theme="onboarding",
        reads=("onboarding.step_completed",), aggregate=Aggregate(operation="days_since_last"),
        when_empty=None, unit="days", direction="risk", role="lever",
        phrase="no onboarding step for {value:.0f} days",
    ),
    Feature(
        name="trainings_completed_90d", description="Trainings completed.", theme="onboarding",
        reads=("training.completed",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="trainings", direction="safety", role="lever",
        phrase="{value:.0f} trainings in the last 90 days",
    ),
    Feature(
        name="goals_reached", description="Goals of the account that were reached.",
        theme="onboarding", reads=("goal.measured",), where={"reached": "yes"},
        aggregate=Aggregate(operation="values", of="kpi"), when_empty=0.0, unit="goals",
        direction="safety", role="lever", phrase="{value:.0f} goals reached",
    ),
    Feature(
        name="goals_set", description="Goals of the account that are measured.", theme="onboarding",
        reads=("goal.measured",), aggregate=Aggregate(operation="values", of="kpi"), when_empty=0.0,
        unit="goals", is_model_input=False, phrase="{value:.0f} goals measured",
    ),
    Derived(
        name="goals_reached_share", description="Share of the measured goals that were reached.",
        theme="onboarding", inputs=("goals_reached", "goals_set"), formula=ratio, unit="share",
        direction="safety", role="lever", phrase="{value:.0%} of the goals reached",
    ),
    Feature(
        name="account_age_days", description="Days since the account was first known.",
        theme="onboarding", reads=("account.updated", "trial.started", "contract.started"),
        aggregate=Aggregate(operation="days_since_first"), when_empty=None, unit="days",
        role="context", is_model_input=False, phrase="known for {value:.0f} days",
    ),
    Feature(
        name="days_since_first_use", description="Days since the first use.", theme="onboarding",
        reads=("feature.used",), aggregate=Aggregate(operation="days_since_first"), when_empty=None,
        unit="days", role="context", is_model_input=False, phrase="first used {value:.0f} days ago",
    ),
    Derived(
        name="days_to_first_use",
        description="Days from the first contract or trial to the first use.", theme="onboarding",
        inputs=("account_age_days", "days_since_first_use"),
        formula=lambda age, since: (age - since).clip(0), unit="days", direction="risk",
        phrase="first used {value:.1f} days after it was known",
    ),
    Feature(
        name="milestones_overdue", description="Milestones that were found overdue.",
        theme="onboarding", reads=("milestone.updated",), where={"status": "overdue"},
        aggregate=Aggregate(operation="values", of="name"), when_empty=0.0, unit="milestones",
        direction="risk", role="lever", phrase="{value:.0f} milestones were overdue",
    ),
)
