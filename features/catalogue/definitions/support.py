"""This module is about the help an account needs, and how it gets it: declarations only."""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions import HALF_YEAR, MONTH, QUARTER
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio


def _open(created: pl.Expr, reopened: pl.Expr, resolved: pl.Expr) -> pl.Expr:
    """A source without updates of tickets reopens none."""
    return (created + reopened.fill_null(0.0) - resolved).clip(0)


SEVERE = (1.0, 2.0)
"""Severities of ``ticket.created`` that count as severe."""

SUPPORT: tuple[AnyFeature, ...] = (
    Feature(
        name="tickets_28d", description="Support tickets opened, the last 28 days.",
        theme="support", reads=("ticket.created",), aggregate=Aggregate(operation="count"),
        lookback=MONTH, when_empty=0.0, unit="tickets", direction="risk",
        phrase="{value:.0f} support tickets in the last 28 days",
    ),
    Feature(
        name="tickets_90d", description="Support tickets opened, the last 90 days.",
        theme="support", reads=("ticket.created",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="tickets", direction="risk",
        phrase="{value:.0f} support tickets in the last 90 days",
    ),
    Feature(
        name="tickets_180d", description="Support tickets opened, the last 180 days.",
        theme="support", reads=("ticket.created",), aggregate=Aggregate(operation="count"),
        lookback=HALF_YEAR, when_empty=0.0, unit="tickets", direction="risk",
        phrase="{value:.0f} support tickets in the last 180 days",
    ),
    Feature(
        name="severe_tickets_28d",
        description="Tickets of severity 1 or 2 opened, the last 28 days.", theme="support",
        reads=("ticket.created",), quantities=SEVERE,
        aggregate=Aggregate(operation="count"), lookback=MONTH, when_empty=0.0, unit="tickets",
        direction="risk", phrase="{value:.0f} severe tickets in the last 28 days",
    ),
    Feature(
        name="severe_tickets_90d",
        description="Tickets of severity 1 or 2 opened, the last 90 days.", theme="support",
        reads=("ticket.created",), quantities=SEVERE,
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        direction="risk", phrase="{value:.0f} severe tickets in the last 90 days",
    ),
    Feature(
        name="tickets_created_count", description="Tickets opened, all time.", theme="support",
        reads=("ticket.created",), aggregate=Aggregate(operation="count"), when_empty=0.0,
        unit="tickets", is_model_input=False, phrase="{value:.0f} tickets ever opened",
    ),
    Feature(
        name="tickets_resolved_count", description="Tickets closed, all time.", theme="support",
        reads=("ticket.resolved",), aggregate=Aggregate(operation="count"), when_empty=0.0,
        unit="tickets", is_model_input=False, phrase="{value:.0f} tickets ever closed",
    ),
    Feature(
        name="tickets_reopened_count", description="Tickets reopened, all time.", theme="support",
        reads=("ticket.updated",), where={"change": "reopened"},
        aggregate=Aggregate(operation="count"), when_empty=0.0, unit="tickets",
        is_model_input=False, phrase="{value:.0f} tickets ever reopened",
    ),
    Feature(
        name="severe_tickets_created_count", description="Severe tickets opened, all time.",
        theme="support", reads=("ticket.created",), quantities=SEVERE,
        aggregate=Aggregate(operation="count"), when_empty=0.0, unit="tickets",
        is_model_input=False, phrase="{value:.0f} severe tickets ever opened",
    ),
    Feature(
        name="severe_tickets_resolved_count", description="Severe tickets closed, all time.",
        theme="support", reads=("ticket.resolved",), where={"severity": ("1", "2")},
        aggregate=Aggregate(operation="count"), when_empty=0.0, unit="tickets",
        is_model_input=False, phrase="{value:.0f} severe tickets ever closed",
    ),
    Derived(
        name="tickets_open", description="Tickets that are open.", theme="support",
        inputs=("tickets_created_count", "tickets_reopened_count", "tickets_resolved_count"),
        formula=_open, unit="tickets", direction="risk", role="lever",
        phrase="{value:.0f} open tickets",
    ),
    Derived(
        name="severe_tickets_open", description="Severe tickets that are open.", theme="support",
        inputs=("severe_tickets_created_count", "severe_tickets_resolved_count"),
        formula=lambda created, resolved: (created - resolved).clip(0), unit="tickets",
        direction="risk", role="lever", phrase="{value:.0f} open severe tickets",
    ),
    Feature(
        name="resolution_hours_90d", description="Mean hours from opening to resolution (MTTR).",
        theme="support", reads=("ticket.resolved",), aggregate=Aggregate(operation="mean"),
        lookback=QUARTER, when_empty=None, unit="hours", direction="risk", role="lever",
        phrase="tickets took {value:.0f} hours to resolve in the last 90 days",
    ),
    Feature(
        name="first_reply_hours_90d", description="Mean hours to the first reply.", theme="support",
        reads=("ticket.updated",), where={"change": "first_reply"},
        aggregate=Aggregate(operation="mean"), lookback=QUARTER, when_empty=None, unit="hours",
        direction="risk", role="lever",
        phrase="first reply after {value:.1f} hours in the last 90 days",
    ),
    Feature(
        name="sla_met_90d", description="Tickets resolved within the promise.", theme="support",
        reads=("ticket.resolved",), where={"sla_met": "yes"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        direction="safety", is_model_input=False,
        phrase="{value:.0f} tickets within the promise in the last 90 days",
    ),
    Feature(
        name="sla_judged_90d", description="Tickets resolved that had a promise.", theme="support",
        reads=("ticket.resolved",), where={"sla_met": ("yes", "no")},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        is_model_input=False, phrase="{value:.0f} tickets with a promise in the last 90 days",
    ),
    Derived(
        name="sla_attainment_90d", description="Share of tickets resolved within the promise.",
        theme="support", inputs=("sla_met_90d", "sla_judged_90d"), formula=ratio, unit="share",
        direction="safety", role="lever",
        phrase="{value:.0%} of tickets within the promised time in the last 90 days",
    ),
    Feature(
        name="tickets_reopened_90d", description="Tickets that had to be opened again.",
        theme="support", reads=("ticket.updated",), where={"change": "reopened"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        direction="risk", phrase="{value:.0f} tickets reopened in the last 90 days",
    ),
    Feature(
        name="repeat_tickets_90d", description="Tickets about a topic already raised.",
        theme="support", reads=("ticket.created",), where={"repeat": "yes"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        direction="risk", phrase="{value:.0f} repeat tickets in the last 90 days",
    ),
    Derived(
        name="support_load_28d", description="Tickets over active users.", theme="support",
        inputs=("tickets_28d", "active_users_28d"), formula=ratio, unit="share", direction="risk",
        phrase="{value:.0%} as many tickets as active people in the last 28 days",
    ),
    Derived(
        name="ticket_spike_28d",
        description="Tickets in 28 days over the mean 28 days of the last 180.", theme="support",
        inputs=("tickets_28d", "tickets_180d"),
        formula=lambda now, half_year: ratio(now, half_year * 28 / 180), unit="ratio",
        direction="risk", phrase="tickets are {value:.1f} times the usual month's",
    ),
    *(Feature(
        name=f"severity_{severity}_tickets_90d",
        description=f"Tickets of severity {severity} opened.", theme="support",
        reads=("ticket.created",), quantities=(float(severity),),
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="tickets",
        direction="risk", is_model_input=False,
        phrase=f"{{value:.0f}} tickets of severity {severity} in the last 90 days",
    ) for severity in (1, 2, 3, 4)),
    Feature(
        name="severe_resolution_hours_90d",
        description="Mean hours from opening to resolution of severe tickets.", theme="support",
        reads=("ticket.resolved",), where={"severity": ("1", "2")},
        aggregate=Aggregate(operation="mean"), lookback=QUARTER, when_empty=None, unit="hours",
        direction="risk", role="lever", is_model_input=False,
        phrase="severe tickets took {value:.0f} hours to resolve in the last 90 days",
    ),
    Feature(
        name="tickets_prior_28d", description="Tickets opened in the 28 days before the last 28.",
        theme="support", reads=("ticket.created",), aggregate=Aggregate(operation="count"),
        lookback=MONTH, ends_before=MONTH, when_empty=0.0, unit="tickets", direction="risk",
        is_model_input=False, phrase="{value:.0f} tickets in the 28 days before the last 28",
    ),
    Derived(
        name="ticket_change_28d",
        description="Tickets in 28 days less those of the 28 days before.", theme="support",
        inputs=("tickets_28d", "tickets_prior_28d"), formula=lambda now, before: now - before,
        unit="tickets", direction="risk",
        phrase="{value:+.0f} tickets against the 28 days before",
    ),
    Feature(
        name="tickets_resolved_90d", description="Tickets closed, the last 90 days.",
        theme="support", reads=("ticket.resolved",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="tickets", is_model_input=False,
        phrase="{value:.0f} tickets closed in the last 90 days",
    ),
    Derived(
        name="resolved_at_once_90d",
        description="Share of closed tickets that nobody had to open again.", theme="support",
        inputs=("tickets_reopened_90d", "tickets_resolved_90d"),
        formula=lambda again, closed: (1 - ratio(again, closed)).clip(0, 1), unit="share",
        direction="safety", role="lever", is_model_input=False,
        phrase="{value:.0%} of tickets stayed closed in the last 90 days",
    ),
)
