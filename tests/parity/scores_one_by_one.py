"""The file of scores as it follows from the accounts' scores one by one: what parts are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from serving.scoring.explanations import MOST_REASONS
from serving.scoring.score import TIER_HORIZON_DAYS, AccountScore, HorizonProbability
from serving.scoring.scores_file.file_columns import UNTOUCHED_COLUMNS, file_schema


def score_frame_for_file(
    scores: Sequence[AccountScore],
    *,
    most_reasons: int = MOST_REASONS,
    untouched: Mapping[str, HorizonProbability] | None = None,
) -> pl.DataFrame:
    """The scores as the columns of ``keepwell score``: one row per account.

    ``untouched`` is the risk if nobody acts, of the accounts where it is known.
    """
    schema = file_schema(
        {h.horizon_days for s in scores for h in s.churn},
        {h.horizon_days for s in scores for h in s.growth},
        most_reasons,
    )
    rows = []
    for score in scores:
        at_90 = score.churn_at(TIER_HORIZON_DAYS)
        row: dict[str, object] = {
            "account_id": score.account_id,
            "as_of": score.as_of,
            **{f"churn_probability_{h.horizon_days}d": h.probability for h in score.churn},
            "churn_probability_90d_low": at_90.low if at_90 else None,
            "churn_probability_90d_high": at_90.high if at_90 else None,
            **{f"expansion_probability_{h.horizon_days}d": h.probability for h in score.growth},
            "health_score": score.health.score,
            "health_band": score.health.band,
            "score_source": score.score_source,
            "degraded": score.degraded,
            "model_version": score.model_version,
            "risk_tier": score.risk_tier,
            "mrr": score.mrr,
            "revenue_at_risk": score.revenue_at_risk,
            "expected_expansion": score.expected_expansion,
            "expected_expansion_low": score.expected_expansion_low,
            "expected_expansion_high": score.expected_expansion_high,
            "currency": score.currency,
        }
        if untouched and (at := untouched.get(score.account_id)) is not None:
            row.update(zip(UNTOUCHED_COLUMNS, (at.probability, at.low, at.high), strict=True))
        for n, reason in enumerate(score.reasons.top(most_reasons), start=1):
            row[f"reason_{n}"], row[f"reason_{n}_points"] = reason.sentence, reason.points
            row["points_unit"] = reason.points_unit
        rows.append(row)
    return pl.DataFrame(rows, schema=schema)
