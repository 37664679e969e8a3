"""This module is about whether the account pays and how much it uses: declarations only."""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions import MONTH, QUARTER
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio
from features.events.schema import CONTRACT_TERMS


def _days_overdue(movements: pl.Expr, since_late: pl.Expr, since_paid: pl.Expr) -> pl.Expr:
    """Zero only where invoices are known and none is open; unknown where none was ever seen."""
    is_open = since_late.is_not_null() & (since_paid.is_null() | (since_late < since_paid))
    return pl.when(movements.is_not_null()).then(pl.when(is_open).then(since_late).otherwise(0.0))


def _months_over(*pairs: pl.Expr) -> pl.Expr:
    """Months over the limit of their time, newest first, until one that was not or is unknown."""
    used, limits = pairs[::2], pairs[1::2]
    over = [(u > limit).fill_null(False) for u, limit in zip(used, limits, strict=True)]
    in_a_row = [pl.all_horizontal(over[:n + 1]).cast(pl.Float64) for n in range(len(over))]
    return pl.when(used[0].is_not_null() & limits[0].is_not_null()).then(
        pl.sum_horizontal(in_a_row))


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
    Feature(
        name="invoices_unpaid", description="Invoices that are late or failed, by their newest "
                                            "movement.",
        theme="billing", reads=("billing.invoice",), when_empty=0.0,
        aggregate=Aggregate(operation="in_state", of="invoice_id",
                            state={"status": ("late", "failed")}),
        unit="invoices", direction="risk", role="lever",
        phrase="{value:.0f} invoices are unpaid",
    ),
    Feature(
        name="units_used_prior_28d", description="Units used in the 28 days before the last 28.",
        theme="billing", reads=("usage.metered",), aggregate=Aggregate(operation="sum"),
        lookback=MONTH, ends_before=MONTH, when_empty=0.0, unit="units", direction="safety",
        is_model_input=False, phrase="{value:,.0f} units used in the 28 days before the last 28",
    ),
    Feature(
        name="units_used_back_2m_28d", description="Units used in the 28 days before those.",
        theme="billing", reads=("usage.metered",), aggregate=Aggregate(operation="sum"),
        lookback=MONTH, ends_before=2 * MONTH, when_empty=0.0, unit="units", direction="safety",
        is_model_input=False, phrase="{value:,.0f} units used two times 28 days ago",
    ),
    Feature(
        name="unit_limit_28d_ago", description="Units that the contract included 28 days ago.",
        theme="billing", reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="unit_limit"), ends_before=MONTH,
        when_empty=None, unit="units", role="context", is_model_input=False,
        phrase="{value:,.0f} units a month in the plan 28 days ago",
    ),
    Feature(
        name="unit_limit_56d_ago", description="Units that the contract included 56 days ago.",
        theme="billing", reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="unit_limit"), ends_before=2 * MONTH,
        when_empty=None, unit="units", role="context", is_model_input=False,
        phrase="{value:,.0f} units a month in the plan 56 days ago",
    ),
    Derived(
        name="overage_months",
        description="Months of 28 days in a row, up to 3, with more units than the plan's.",
        theme="billing",
        inputs=("units_used_28d", "unit_limit", "units_used_prior_28d", "unit_limit_28d_ago",
                "units_used_back_2m_28d", "unit_limit_56d_ago"),
        formula=_months_over, unit="months",
        phrase="over the plan's units for {value:.0f} months in a row",
    ),
)
