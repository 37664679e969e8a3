"""Features of the contract: money, seats, dates."""

from __future__ import annotations

import math
from itertools import pairwise

import polars as pl

from features.catalogue.definitions import QUARTER, YEAR
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio
from features.events.schema import CONTRACT_TERMS

PLAUSIBLE_TERMS = (1, 2, 3, 6, 12, 18, 24, 36, 48, 60)
"""Months that terms are agreed for."""

DAYS_A_MONTH = 365.25 / 12


def term_months(days: pl.Expr, billing: pl.Expr) -> pl.Expr:
    """Months of a term that runs for so many days, or of the billing period where that is longer.

    The days are rounded to the nearest plausible term, by ratio. Nobody pays in advance for longer
    than the term, so a first period that was cut short has the length of those that follow it.
    """
    months = days / DAYS_A_MONTH
    rounded = pl.lit(float(PLAUSIBLE_TERMS[0]))
    for shorter, longer in pairwise(PLAUSIBLE_TERMS):
        rounded = (
            pl.when(months >= math.sqrt(shorter * longer)).then(float(longer)).otherwise(rounded)
        )
    return pl.max_horizontal(pl.when(days > 0).then(rounded), billing)


def unless_renewed_since(value: pl.Expr, said: pl.Expr, renewed: pl.Expr, then: pl.Expr) -> pl.Expr:
    """A value that somebody's word gave, or ``then`` where the contract was renewed after it.

    ``said`` and ``renewed`` are days ago. Where either is not known, the word stands.
    """
    return pl.when(said > renewed).then(then).otherwise(value)


CONTRACT: tuple[AnyFeature, ...] = (
    Feature(
        name="mrr",
        description="Monthly recurring revenue of the contract.",
        theme="contract",
        reads=(*CONTRACT_TERMS, "contract.resumed"),
        aggregate=Aggregate(operation="last"),
        when_empty=None,
        unit="money a month",
        role="context",
        phrase="{value:,.0f} MRR",
    ),
    Feature(
        name="mrr_90d_ago",
        description="Monthly recurring revenue 90 days ago.",
        theme="contract",
        reads=(*CONTRACT_TERMS, "contract.resumed"),
        aggregate=Aggregate(operation="last"),
        ends_before=QUARTER,
        when_empty=None,
        unit="money a month",
        role="context",
        is_model_input=False,
        phrase="{value:,.0f} MRR 90 days ago",
    ),
    Derived(
        name="mrr_change_90d",
        description="MRR over that of 90 days ago; 1 is level.",
        theme="contract",
        inputs=("mrr", "mrr_90d_ago"),
        formula=ratio,
        unit="ratio",
        role="context",
        phrase="MRR is {value:.0%} of that of 90 days ago",
    ),
    Feature(
        name="seats",
        description="Seats paid for.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="seats"),
        when_empty=None,
        unit="seats",
        role="context",
        phrase="{value:.0f} seats",
    ),
    Feature(
        name="seats_90d_ago",
        description="Seats paid for 90 days ago.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="seats"),
        ends_before=QUARTER,
        when_empty=None,
        unit="seats",
        role="context",
        is_model_input=False,
        phrase="{value:.0f} seats 90 days ago",
    ),
    Derived(
        name="seats_change_90d",
        description="Seats over those of 90 days ago; 1 is level.",
        theme="contract",
        inputs=("seats", "seats_90d_ago"),
        formula=ratio,
        unit="ratio",
        role="context",
        phrase="seats are {value:.0%} of those of 90 days ago",
    ),
    Derived(
        name="mrr_per_seat",
        description="MRR over seats.",
        theme="contract",
        inputs=("mrr", "seats"),
        formula=ratio,
        unit="money a month",
        role="context",
        phrase="{value:,.2f} MRR a seat",
    ),
    Feature(
        name="discount_rate",
        description="Discount of the contract.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="discount"),
        when_empty=None,
        unit="share",
        role="context",
        phrase="{value:.0%} discount",
    ),
    Feature(
        name="billing_months",
        description="Months between two invoices.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="billing_months"),
        when_empty=None,
        unit="months",
        role="context",
        is_model_input=False,  # the term holds it
        phrase="billed every {value:.0f} months",
    ),
    Feature(
        name="term_days",
        description="Days from the event that set the renewal date to that date.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="days_spanned", of="renewal_on"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="a term of {value:.0f} days",
    ),
    Derived(
        name="term_months",
        description="Months of the term: by its dates, or the billing period where that is longer.",
        theme="contract",
        inputs=("term_days", "billing_months"),
        formula=term_months,
        unit="months",
        role="context",
        phrase="a term of {value:.0f} months",
    ),
    Feature(
        name="tenure_days",
        description="Days since the first contract.",
        theme="contract",
        reads=("contract.started",),
        aggregate=Aggregate(operation="days_since_first"),
        when_empty=None,
        unit="days",
        role="context",
        phrase="an account for {value:.0f} days",
    ),
    Feature(
        name="days_to_renewal",
        description="Days to the renewal date.",
        theme="contract",
        reads=(*CONTRACT_TERMS, "contract.resumed"),
        aggregate=Aggregate(operation="days_until", of="renewal_on"),
        when_empty=None,
        unit="days",
        role="context",
        phrase="{value:.0f} days to the renewal",
    ),
    Feature(
        name="contract_changes_365d",
        description="Changes of plan, seats or billing.",
        theme="contract",
        reads=("contract.changed",),
        aggregate=Aggregate(operation="count"),
        lookback=YEAR,
        when_empty=0.0,
        unit="changes",
        role="context",
        phrase="{value:.0f} contract changes in the last 365 days",
    ),
    Feature(
        name="renewals_count",
        description="Renewals and changes so far.",
        theme="contract",
        reads=("contract.renewed", "contract.changed"),
        aggregate=Aggregate(operation="count"),
        when_empty=0.0,
        unit="renewals",
        role="context",
        phrase="{value:.0f} renewals so far",
    ),
    Feature(
        name="cancellations_intended_90d",
        description="Times the account said that it means to leave.",
        theme="contract",
        reads=("cancellation.intended",),
        aggregate=Aggregate(operation="count"),
        lookback=QUARTER,
        when_empty=0.0,
        unit="times",
        direction="risk",
        is_model_input=False,  # it counts until the renewal
        phrase="said {value:.0f} times in the last 90 days that it means to leave",
    ),
    Feature(
        name="days_since_cancellation_intended",
        description="Days since the account last said that it means to leave.",
        theme="contract",
        reads=("cancellation.intended",),
        aggregate=Aggregate(operation="days_since_last"),
        when_empty=None,
        unit="days",
        direction="safety",
        is_model_input=False,
        phrase="said {value:.0f} days ago that it means to leave",
    ),
    Feature(
        name="days_since_renewal",
        description="Days since the contract began or was last renewed.",
        theme="contract",
        reads=("contract.started", "contract.renewed"),
        aggregate=Aggregate(operation="days_since_last"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="began or renewed {value:.0f} days ago",
    ),
    Derived(
        name="cancellations_pending",
        description="Times in 90 days that the account said that it means to leave; 0 where it has "
        "renewed since.",
        theme="contract",
        inputs=(
            "cancellations_intended_90d",
            "days_since_cancellation_intended",
            "days_since_renewal",
        ),
        formula=lambda times, said, renewed: unless_renewed_since(
            times, said, renewed, pl.lit(0.0)
        ),
        unit="times",
        direction="risk",
        phrase="said {value:.0f} times in the last 90 days that it means to leave, and has not "
        "renewed since",
    ),
    Feature(
        name="notice_days",
        description="Days of notice before the renewal date.",
        theme="contract",
        reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="notice_days"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="{value:.0f} days of notice",
    ),
    Derived(
        name="days_to_notice",
        description="Days to the last day on which notice can be given; below 0 it is past.",
        theme="contract",
        inputs=("days_to_renewal", "notice_days"),
        formula=lambda renewal, notice: renewal - notice,
        unit="days",
        role="context",
        phrase="{value:.0f} days to the last day of notice",
    ),
    Feature(
        name="trial_age_days",
        description="Days since a trial began.",
        theme="contract",
        reads=("trial.started",),
        aggregate=Aggregate(operation="days_since_last"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="a trial began {value:.0f} days ago",
    ),
    Feature(
        name="trial_length_days",
        description="Length of the newest trial.",
        theme="contract",
        reads=("trial.started",),
        aggregate=Aggregate(operation="last", of="length_days"),
        when_empty=None,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="a trial of {value:.0f} days",
    ),
    Derived(
        name="trial_days_left",
        description="Days left of the trial, of 14 where its length is not said; below 0 it is "
        "past.",
        theme="contract",
        inputs=("trial_age_days", "trial_length_days"),
        formula=lambda age, length: length.fill_null(14.0) - age,
        unit="days",
        role="context",
        is_model_input=False,
        phrase="{value:.0f} days left of the trial",
    ),
    Feature(
        name="pauses_365d",
        description="Times the contract was paused.",
        theme="contract",
        reads=("contract.paused",),
        aggregate=Aggregate(operation="count"),
        lookback=YEAR,
        when_empty=0.0,
        unit="times",
        direction="risk",
        role="context",
        is_model_input=False,
        phrase="paused {value:.0f} times in the last 365 days",
    ),
)
