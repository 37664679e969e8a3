"""This module is about which columns the file of scores has."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from serving.scoring.explanations import MOST_REASONS
from serving.scoring.score import STANDARD_HORIZONS

UNTOUCHED_COLUMNS = (
    "churn_probability_90d_if_untouched",
    "churn_probability_90d_if_untouched_low",
    "churn_probability_90d_if_untouched_high",
)
"""Columns of the file for the risk if nobody acts; null where it is not known."""


def file_schema(
    horizons: Iterable[int], growth: Iterable[int] = (), most_reasons: int = MOST_REASONS
) -> pl.Schema:
    """The columns of ``keepwell score`` where these horizons of churn and expansion are served."""
    kinds: dict[str, pl.DataType | type[pl.DataType]] = {
        "account_id": pl.String,
        "as_of": pl.Datetime("us", "UTC"),
        **{f"churn_probability_{h}d": pl.Float64 for h in sorted({*horizons, *STANDARD_HORIZONS})},
        "churn_probability_90d_low": pl.Float64,
        "churn_probability_90d_high": pl.Float64,
        **dict.fromkeys(UNTOUCHED_COLUMNS, pl.Float64),
        **{
            f"expansion_probability_{h}d": pl.Float64 for h in sorted({*growth, *STANDARD_HORIZONS})
        },
        "health_score": pl.Float64,
        "health_band": pl.String,
        "score_source": pl.String,
        "degraded": pl.String,
        "model_version": pl.String,
        "risk_tier": pl.String,
        "mrr": pl.Float64,
        "revenue_at_risk": pl.Float64,
        "expected_expansion": pl.Float64,
        "expected_expansion_low": pl.Float64,
        "expected_expansion_high": pl.Float64,
        "currency": pl.String,
        **{f"reason_{n}": pl.String for n in range(1, most_reasons + 1)},
        **{f"reason_{n}_points": pl.Float64 for n in range(1, most_reasons + 1)},
        "points_unit": pl.String,
    }
    return pl.Schema(kinds)
