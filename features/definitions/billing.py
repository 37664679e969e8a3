"""This module is about whether the account pays and how much it uses: declarations only."""

from __future__ import annotations

import polars as pl

from features.definitions import MONTH, QUARTER
from features.feature import Aggregate, AnyFeature, Derived, Feature, ratio
from features.telemetry import CONTRACT_TERMS


def _days_overdue(movements: pl.Expr, since_late: pl.Expr, since_paid: pl.Expr) -> pl.Expr:
    """Zero only where invoices are known and none is open; unknown where none was ever seen."""
    is_open = since_late.is_not_null() & (since_paid.is_null() | (since_late < since_paid))
    return pl.when(movements.is_not_null()).then(pl.when(is_open).then(since_late).otherwise(0.0))


BILLING: tuple[AnyFeature, ...] = (
    Feature(
        name="invoices_issued_90d", description="Invoices issued.", theme="billing",
        reads=("billing.invoice",), where={"status": "issued"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="invoices",
        phrase="{value:.0f} invoices issued in the last 90 days",
    ),
    Feature(
        name="invoices_paid_90d", description="Invoices paid.", theme="billing",
        reads=("billing.invoice",), where={"status": "paid"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="invoices",
        direction="safety", phrase="{value:.0f} invoices paid in the last 90 days",
    ),
    Feature(
        name="invoices_late_90d", description="Invoices late.", theme="billing",
        reads=("billing.invoice",), where={"status": "late"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="invoices",
        direction="risk", phrase="{value:.0f} invoices late in the last 90 days",
    ),
    Feature(
        name="invoices_failed_90d", description="Invoices failed to be charged.", theme="billing",
        reads=("billing.invoice",), where={"status": "failed"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="invoices",
        direction="risk", phrase="{value:.0f} invoices failed to be charged in the last 90 days",
    ),
    Feature(
        name="days_since_invoice_late", description="Days since an invoice fell late or failed.",
        theme="billing", reads=("billing.invoice",), where={"status": ("late", "failed")},
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="safety", is_model_input=False,
        phrase="an invoice fell late or failed {value:.0f} days ago",
    ),
    Feature(
        name="days_since_invoice_paid", description="Days since an invoice was paid.",
        theme="billing", reads=("billing.invoice",), where={"status": "paid"},
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="risk", is_model_input=False, phrase="an invoice was paid {value:.0f} days ago",
    ),
    Feature(
        name="invoices_count", description="Movements of invoices, all time.", theme="billing",
        reads=("billing.invoice",), aggregate=Aggregate(operation="count"), when_empty=None,
        unit="movements", is_model_input=False, phrase="{value:.0f} invoice movements",
    ),
    Derived(
        name="invoice_days_overdue",
        description="Days since an invoice fell late or failed, with no payment after it.",
        theme="billing",
        inputs=("invoices_count", "days_since_invoice_late", "days_since_invoice_paid"),
        formula=_days_overdue, unit="days", direction="risk", role="lever",
        phrase="an invoice is {value:.0f} days overdue",
    ),
    Feature(
        name="units_used_28d", description="Metered units used.", theme="billing",
        reads=("usage.metered",), aggregate=Aggregate(operation="sum"), lookback=MONTH,
        when_empty=0.0, unit="units", direction="safety",
        phrase="{value:,.0f} units used in the last 28 days",
    ),
    Feature(
        name="unit_limit", description="Units that the contract includes a month.", theme="billing",
        reads=CONTRACT_TERMS, aggregate=Aggregate(operation="last", of="unit_limit"),
        when_empty=None, unit="units", role="context", is_model_input=False,
        phrase="{value:,.0f} units a month in the plan",
    ),
    Derived(
        name="limit_utilisation_28d", description="Units used over the units of the plan.",
        theme="billing", inputs=("units_used_28d", "unit_limit"), formula=ratio, unit="share",
        phrase="{value:.0%} of the plan's units used in the last 28 days",
    ),
    Feature(
        name="limits_reached_90d", description="Times a limit of the plan was reached.",
        theme="billing", reads=("usage.limit_reached",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="times",
        phrase="limit reached {value:.0f} times in the last 90 days",
    ),
)
