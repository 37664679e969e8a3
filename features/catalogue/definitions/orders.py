"""Features of what an account buys: recency, frequency, money and gaps, over all that is known.

They are for companies without contracts, whose customers leave by buying nothing any more.
"""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions import QUARTER, YEAR
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio

_READS = ("order.placed",)


def _mean_gap(since_first: pl.Expr, since_last: pl.Expr, days: pl.Expr) -> pl.Expr:
    """Unknown with orders on one day only: there is no gap yet."""
    return pl.when(days > 1).then((since_first - since_last) / (days - 1))


def _pause(since_last: pl.Expr, since_first: pl.Expr, mean_gap: pl.Expr) -> pl.Expr:
    """Between 0 and 1: the part of its time as a customer that has passed since the last order."""
    return pl.when(mean_gap.is_not_null() & (since_first > 0)).then(since_last / since_first)


ORDERS: tuple[AnyFeature, ...] = (
    Feature(
        name="days_since_order",
        description="Days since the last order.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="days_since_last"),
        when_empty=None,
        unit="days",
        direction="risk",
        phrase="last order {value:,.0f} days ago",
    ),
    Feature(
        name="days_since_first_order",
        description="Days since the first order: how long the account has been a customer.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="days_since_first"),
        when_empty=None,
        unit="days",
        phrase="first order {value:,.0f} days ago",
        role="context",
    ),
    Feature(
        name="orders_count",
        description="Orders, all time.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="count"),
        when_empty=0.0,
        unit="orders",
        direction="safety",
        phrase="{value:,.0f} orders so far",
    ),
    Feature(
        name="order_days_count",
        description="Days with an order, all time.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="active_days"),
        when_empty=0.0,
        unit="days",
        direction="safety",
        phrase="orders on {value:,.0f} days so far",
    ),
    Feature(
        name="orders_90d",
        description="Orders in 90 days.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="count"),
        lookback=QUARTER,
        when_empty=0.0,
        unit="orders",
        direction="safety",
        phrase="{value:,.0f} orders in the last 90 days",
    ),
    Feature(
        name="order_amount",
        description="Amount of all orders, all time.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="sum"),
        when_empty=None,
        unit="currency",
        phrase="bought for {value:,.0f} so far",
    ),
    Feature(
        name="order_amount_mean",
        description="Mean amount of an order, all time.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="mean"),
        when_empty=None,
        unit="currency",
        phrase="{value:,.0f} for an order on average",
    ),
    Feature(
        name="order_amount_365d",
        description="Amount of the orders in 365 days.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="sum"),
        lookback=YEAR,
        when_empty=0.0,
        unit="currency",
        phrase="bought for {value:,.0f} in the last 365 days",
    ),
    Feature(
        name="order_last_gap",
        description="Days between the last two days with an order.",
        theme="orders",
        reads=_READS,
        aggregate=Aggregate(operation="last_gap"),
        when_empty=None,
        unit="days",
        phrase="{value:,.0f} days between the last two orders",
    ),
    Derived(
        name="order_mean_gap",
        description="Mean number of days between days with an order, all time.",
        theme="orders",
        inputs=("days_since_first_order", "days_since_order", "order_days_count"),
        formula=_mean_gap,
        unit="days",
        phrase="{value:,.0f} days between orders on average",
    ),
    Derived(
        name="order_last_gap_ratio",
        description="The last gap between orders over the mean gap.",
        theme="orders",
        inputs=("order_last_gap", "order_mean_gap"),
        formula=ratio,
        unit="ratio",
        phrase="the last gap between orders was {value:.1f} times the usual one",
    ),
    Derived(
        name="order_pause_ratio",
        description="Days since the last order over the mean gap between orders.",
        theme="orders",
        inputs=("days_since_order", "order_mean_gap"),
        formula=ratio,
        unit="ratio",
        direction="risk",
        phrase="the time since the last order is {value:.1f} times the usual gap",
    ),
    Derived(
        name="order_pause_share",
        description="Days since the last order as a share of the time as a customer, "
        "where it ordered more than once.",
        theme="orders",
        inputs=("days_since_order", "days_since_first_order", "order_mean_gap"),
        formula=_pause,
        unit="share",
        direction="risk",
        phrase="no order for {value:.0%} of its time as a customer",
    ),
)
