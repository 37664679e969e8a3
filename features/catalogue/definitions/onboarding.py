"""Features of how far the account has come towards its first value."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from features.catalogue.definitions import QUARTER
from features.catalogue.expression_terms import newest_of_each, property_number
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Expression, Feature, ratio

STEPS, ONBOARDING_DAYS = 5.0, 45.0
"""Our choice: with fewer steps the onboarding is open. The longest one of the sources is 45 days."""


def _first(
    what: str, kind: str, said: str, *, where: Mapping[str, str | tuple[str, ...]] | None = None
) -> Feature:
    return Feature(
        name=f"days_since_first_{what}",
        description=f"Days since {said}.",
        theme="onboarding",
        reads=(kind,),
        where=where or {},
        aggregate=Aggregate(operation="days_since_first"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase=f"{said} {{value:.0f}} days ago",
    )


_FIRSTS = (
    _first("sso", "onboarding.step_completed", "SSO first live", where={"step": "sso"}),
    _first(
        "integration",
        "integration.state",
        "an integration first connected",
        where={"state": "connected"},
    ),
    _first(
        "data_set",
        "onboarding.step_completed",
        "a data set first came in",
        where={"step": ("data_set", "first_data_set")},
    ),
    _first("recipe", "recipe.completed", "a guided recipe first finished"),
    _first(
        "report", "feature.used", "a report first used", where={"name": ("report", "dashboard")}
    ),
    _first(
        "trained_champion",
        "training.completed",
        "a champion first trained",
        where={"role": "champion"},
    ),
    _first("review", "review.held", "a business review first held"),
    _first("goal_reached", "goal.measured", "a goal first reached", where={"reached": "yes"}),
)


def _reached_by(day: int, age: pl.Expr, steps: pl.Expr, *days: pl.Expr) -> pl.Expr:
    """How many of these came by the day; unknown before it, and where no onboarding is known."""
    came = [(at <= day).fill_null(False).cast(pl.Float64) for at in days]
    return pl.when((age >= day) & steps.is_not_null()).then(pl.sum_horizontal(came))


def _stall_hours(steps: pl.Expr, since_step: pl.Expr, age: pl.Expr) -> pl.Expr:
    still = (pl.coalesce(since_step, age) * 24 - 72).clip(0)
    is_open = (steps < STEPS) & (age <= ONBOARDING_DAYS)
    return pl.when(steps.is_not_null() & age.is_not_null()).then(
        pl.when(is_open).then(still).otherwise(0.0)
    )


def _goal_progress() -> pl.Expr:
    baseline, target = property_number("baseline"), property_number("target")
    share = ((pl.col("quantity") - baseline) / (target - baseline)).clip(0, 1)
    return pl.when(newest_of_each("kpi") & (target != baseline)).then(share).mean()


ONBOARDING: tuple[AnyFeature, ...] = (
    Feature(
        name="onboarding_steps_done",
        description="Onboarding steps completed.",
        theme="onboarding",
        reads=("onboarding.step_completed",),
        aggregate=Aggregate(operation="values", of="step"),
        when_empty=0.0,
        unit="steps",
        direction="safety",
        role="lever",
        phrase="{value:.0f} onboarding steps done",
    ),
    Feature(
        name="days_since_onboarding_step",
        description="Days since an onboarding step was completed.",
        theme="onboarding",
        reads=("onboarding.step_completed",),
        aggregate=Aggregate(operation="days_since_last"),
        when_empty=None,
        unit="days",
        direction="risk",
        role="lever",
        phrase="no onboarding step for {value:.0f} days",
    ),
    Feature(
        name="trainings_completed_90d",
        description="Trainings completed.",
        theme="onboarding",
        reads=("training.completed",),
        aggregate=Aggregate(operation="count"),
        lookback=QUARTER,
        when_empty=0.0,
        unit="trainings",
        direction="safety",
        role="lever",
        phrase="{value:.0f} trainings in the last 90 days",
    ),
    Feature(
        name="goals_reached",
        description="Goals of the account that were reached.",
        theme="onboarding",
        reads=("goal.measured",),
        where={"reached": "yes"},
        aggregate=Aggregate(operation="values", of="kpi"),
        when_empty=0.0,
        unit="goals",
        direction="safety",
        role="lever",
        phrase="{value:.0f} goals reached",
    ),
    Feature(
        name="goals_set",
        description="Goals of the account that are measured.",
        theme="onboarding",
        reads=("goal.measured",),
        aggregate=Aggregate(operation="values", of="kpi"),
        when_empty=0.0,
        unit="goals",
        is_model_input=False,
        phrase="{value:.0f} goals measured",
    ),
    Derived(
        name="goals_reached_share",
        description="Share of the measured goals that were reached.",
        theme="onboarding",
        inputs=("goals_reached", "goals_set"),
        formula=ratio,
        unit="share",
        direction="safety",
        role="lever",
        phrase="{value:.0%} of the goals reached",
    ),
    Feature(
        name="account_age_days",
        description="Days since the account was first known.",
        theme="onboarding",
        reads=("account.updated", "trial.started", "contract.started"),
        aggregate=Aggregate(operation="days_since_first"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="known for {value:.0f} days",
    ),
    Feature(
        name="days_since_first_use",
        description="Days since the first use.",
        theme="onboarding",
        reads=("feature.used",),
        aggregate=Aggregate(operation="days_since_first"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="first used {value:.0f} days ago",
    ),
    Derived(
        name="days_to_first_use",
        description="Days from the first contract or trial to the first use.",
        theme="onboarding",
        inputs=("account_age_days", "days_since_first_use"),
        formula=lambda age, since: (age - since).clip(0),
        unit="days",
        direction="risk",
        phrase="first used {value:.1f} days after it was known",
    ),
    Feature(
        name="milestones_overdue",
        description="Milestones that were found overdue.",
        theme="onboarding",
        reads=("milestone.updated",),
        where={"status": "overdue"},
        aggregate=Aggregate(operation="values", of="name"),
        when_empty=0.0,
        unit="milestones",
        direction="risk",
        role="lever",
        phrase="{value:.0f} milestones were overdue",
    ),
    *_FIRSTS,
    *(
        Derived(
            name=first.name.replace("days_since_first_", "days_to_first_"),
            description=f"Days from the start: {first.phrase.split(' {')[0]}.",
            theme="onboarding",
            inputs=("account_age_days", first.name),
            formula=lambda age, since: (age - since).clip(0),
            unit="days",
            direction="risk",
            is_model_input=first.name == "days_since_first_goal_reached",
            phrase=f"{first.phrase.split(' {')[0]} {{value:.1f}} days after the start",
        )
        for first in _FIRSTS
    ),
    Derived(
        name="onboarding_day7_outcomes",
        description="Outcomes of day 7 reached in time, of 4: SSO, integration, data set, recipe.",
        theme="onboarding",
        inputs=(
            "account_age_days",
            "onboarding_steps_done",
            "days_to_first_sso",
            "days_to_first_integration",
            "days_to_first_data_set",
            "days_to_first_recipe",
        ),
        formula=lambda age, steps, *days: _reached_by(7, age, steps, *days),
        unit="outcomes",
        direction="safety",
        is_model_input=False,
        phrase="{value:.0f} of the 4 outcomes of day 7 reached in time",
    ),
    Derived(
        name="onboarding_day14_outcomes",
        description="Outcomes of day 14 reached in time, of 2: a report, a trained champion.",
        theme="onboarding",
        inputs=(
            "account_age_days",
            "onboarding_steps_done",
            "days_to_first_report",
            "days_to_first_trained_champion",
        ),
        formula=lambda age, steps, *days: _reached_by(14, age, steps, *days),
        unit="outcomes",
        direction="safety",
        is_model_input=False,
        phrase="{value:.0f} of the 2 outcomes of day 14 reached in time",
    ),
    Derived(
        name="onboarding_day30_outcomes",
        description="Outcomes of days 7, 14 and 30 reached by day 30, of 7, the review included.",
        theme="onboarding",
        inputs=(
            "account_age_days",
            "onboarding_steps_done",
            "days_to_first_sso",
            "days_to_first_integration",
            "days_to_first_data_set",
            "days_to_first_recipe",
            "days_to_first_report",
            "days_to_first_trained_champion",
            "days_to_first_review",
        ),
        formula=lambda age, steps, *days: _reached_by(30, age, steps, *days),
        unit="outcomes",
        direction="safety",
        phrase="{value:.0f} of the 7 outcomes of the first 30 days reached in time",
    ),
    Derived(
        name="onboarding_stall_hours",
        description="Hours beyond 72 without a step, while fewer than 5 are done in 45 days.",
        theme="onboarding",
        inputs=("onboarding_steps_done", "days_since_onboarding_step", "account_age_days"),
        formula=_stall_hours,
        unit="hours",
        direction="risk",
        role="lever",
        is_model_input=False,
        phrase="onboarding has stood still for {value:.0f} hours more than 72",
    ),
    Feature(
        name="milestones_completed",
        description="Milestones of the success plan completed.",
        theme="onboarding",
        reads=("milestone.updated",),
        where={"status": "completed"},
        aggregate=Aggregate(operation="values", of="name"),
        when_empty=0.0,
        unit="milestones",
        direction="safety",
        is_model_input=False,
        phrase="{value:.0f} milestones completed",
    ),
    Feature(
        name="milestones_overdue_now",
        description="Milestones that are overdue now.",
        theme="onboarding",
        reads=("milestone.updated",),
        when_empty=0.0,
        aggregate=Aggregate(operation="in_state", of="name", state={"status": "overdue"}),
        unit="milestones",
        direction="risk",
        role="lever",
        is_model_input=False,
        phrase="{value:.0f} milestones are overdue",
    ),
    Expression(
        name="goal_progress",
        description="Mean share of the way from baseline to target, by goal, newest measurement.",
        theme="onboarding",
        reads=("goal.measured",),
        when_empty=None,
        formula=_goal_progress,
        unit="share",
        direction="safety",
        role="lever",
        phrase="{value:.0%} of the way to its goals",
    ),
)
