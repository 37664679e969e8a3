"""The columns of the file of scores, made from the columns of the scores.

A part of a snapshot becomes a part of the file. Sentences that are the same for many accounts are
made once for all parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.health.score import health_column, score_health
from serving.scoring.explanations import (
    MOST_REASONS,
    PEER_ATTRIBUTES,
    TERM,
    Peers,
    health_reasons,
)
from serving.scoring.reasons.facts import ACCOUNT_AGE, Facts
from serving.scoring.reasons.in_words import UsualValues
from serving.scoring.score import (
    RISK_TIERS,
    STANDARD_HORIZONS,
    TIER_HORIZON_DAYS,
)
from serving.scoring.scored_columns import ModelColumns, ScoredColumns, Scoring
from serving.scoring.scores_file.reason_columns import REMEMBERED, ReasonSentences
from serving.scoring.without_contracts import READS

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Sentences = tuple[tuple[str, float], ...]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class FileColumns:
    """How a part of a snapshot becomes a part of the file of scores.

    Every model of ``scoring`` can read the snapshot, and its ``peers`` are those of all of it.
    """

    scoring: Scoring
    most_reasons: int = MOST_REASONS
    _health_sentences: dict[tuple[float | None, ...], Sentences] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns of every part."""
        models = self.scoring.models
        churn = [one.model for one in (models.churn, models.churn_formula) if one]
        return file_schema(
            {h for model in churn for h in model.horizons},
            () if models.expansion is None else models.expansion.model.horizons,
            self.most_reasons,
        )

    @cached_property
    def reads(self) -> frozenset[str]:
        """The columns of a snapshot that are read where they are there."""
        models = self.scoring.models
        served = (models.churn, models.churn_formula, models.expansion)
        return frozenset(
            {
                "account_id",
                "as_of",
                "contract_status",
                "mrr",
                ACCOUNT_AGE,
                *PEER_ATTRIBUTES,
                TERM,
                *(READS if self.scoring.leaving.is_no_use else ()),
                *self.scoring.formula.inputs,
                *(name for one in served if one for name in one.model.contract.names),
            }
        )

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The scores of a part, in its order."""
        scored = self.scoring.columns(frame)
        churn, expansion = scored.churn, scored.expansion
        by_model = churn.refusals.answered
        of_tiers = churn.probability(self.scoring.risk_days)
        low, high = churn.interval(TIER_HORIZON_DAYS)
        health = health_column(frame, self.scoring.formula)
        unscored = (np.isnan(of_tiers) & health.is_null().to_numpy()) | scored.without_contract
        source = np.where(by_model, 1, 2)
        source[unscored] = 0
        columns: dict[str, pl.Series | pl.Expr] = {
            **{name: _known(churn.probability(h)) for name, h in self._horizons("churn")},
            "churn_probability_90d_low": _known(low),
            "churn_probability_90d_high": _known(high),
            **_untreated(scored),
            **{name: _known(expansion.probability(h)) for name, h in self._horizons("expansion")},
            "health_score": health,
            "health_band": self._bands(health),
            "score_source": _words(("none", "model", "health_formula"), source),
            "degraded": _words((*churn.refusals.sentences, None), churn.refusals.codes),
            "model_version": _versions(churn.answers, len(of_tiers)),
            "risk_tier": _words((*(tier.name for tier in RISK_TIERS), None), scored.tiers),
            "mrr": _known(scored.mrr),
            "revenue_at_risk": _known(scored.revenue_at_risk.expected),
            "expected_expansion": _known(scored.expected_expansion.expected),
            "expected_expansion_low": _known(scored.expected_expansion.low),
            "expected_expansion_high": _known(scored.expected_expansion.high),
            "currency": pl.lit(self.scoring.currency),
            **self._reasons(scored),
        }
        return (
            frame.select("account_id", "as_of")
            .with_columns(**columns)
            .select(pl.col(name).cast(kind) for name, kind in self.schema.items())
        )

    def _horizons(self, outcome: str) -> list[tuple[str, int]]:
        """The columns of an outcome's probabilities and their horizons."""
        prefix = f"{outcome}_probability_"
        days = {name: name.removeprefix(prefix).removesuffix("d") for name in self.schema}
        return [(name, int(n)) for name, n in days.items() if n.isdigit()]

    def _bands(self, health: pl.Series) -> pl.Series:
        band = pl.lit(None, dtype=pl.String)
        for one in reversed(self.scoring.formula.bands):
            band = pl.when(pl.lit(health) >= one.lowest).then(pl.lit(one.name)).otherwise(band)
        return pl.select(band=band)["band"]

    def _reasons(self, scored: ScoredColumns) -> dict[str, pl.Series]:
        """The sentence and the points of each rank."""
        frame, by_model = scored.frame, scored.churn.refusals.answered
        ranks = range(self.most_reasons)
        none = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
        sentences = [none.clone() for _ in ranks]
        points = np.full((frame.height, self.most_reasons), np.nan)
        if ranks and by_model.any():
            [churn, *_] = scored.churn.answers
            chosen, groups = scored.reasons(churn, self._facts, self._usual)
            sentences = self._wording.columns(chosen, groups, self.most_reasons)
            points[:, : chosen.points.shape[1]] = chosen.points[:, : self.most_reasons]
        unit = pl.Series(np.where(by_model, "percentage points", "health points"))
        if ranks and not by_model.all():
            instead = self._by_formula(frame.filter(~by_model))
            places = np.nonzero(~by_model)[0]
            points[places] = np.nan
            for rank in ranks:
                words = [one[rank][0] if rank < len(one) else None for one in instead]
                sentences[rank] = sentences[rank].scatter(places, pl.Series(words, dtype=pl.String))
                points[places, rank] = [
                    one[rank][1] if rank < len(one) else np.nan for one in instead
                ]
        return {
            **{f"reason_{rank + 1}": sentences[rank] for rank in ranks},
            **{f"reason_{rank + 1}_points": _known(points[:, rank]) for rank in ranks},
            "points_unit": unit.zip_with(sentences[0].is_not_null(), none) if ranks else none,
        }

    def _by_formula(self, frame: pl.DataFrame) -> list[Sentences]:
        """What takes most from health, of each row; equal ones are asked once."""
        formula, cached = self.scoring.formula, self._health_sentences
        inputs = [name for name in formula.inputs if name in frame.columns]
        found = []
        for values in frame.select(pl.col(inputs).cast(pl.Float64).fill_nan(None)).iter_rows():
            sentences = cached.get(values)
            if sentences is None:
                health = score_health(formula, dict(zip(inputs, values, strict=True)))
                sentences = tuple(
                    (reason.sentence, reason.points)
                    for reason in health_reasons(health).top(self.most_reasons)
                )
                if len(cached) >= REMEMBERED:
                    cached.clear()
                cached[values] = sentences
            found.append(sentences)
        return found

    @cached_property
    def _names(self) -> tuple[str, ...]:
        churn = self.scoring.models.churn
        return () if churn is None else churn.model.contract.names

    @cached_property
    def _facts(self) -> Facts:
        churn = self.scoring.models.churn
        assert churn is not None, "without a model there are no reasons of one"
        return self.scoring.facts(churn.model, of_leaving=True)

    @cached_property
    def _usual(self) -> UsualValues:
        churn = self.scoring.models.churn
        return UsualValues(
            names=self._facts.names,
            peers=self.scoring.peers or Peers(groups={}),
            otherwise={} if churn is None else churn.model.usual,
        )

    @cached_property
    def _wording(self) -> ReasonSentences:
        return ReasonSentences(self._facts, self.scoring.catalogue.by_name, self._usual)


def _untreated(scored: ScoredColumns) -> dict[str, pl.Series]:
    """The risk if nobody acts and its interval; null where it is not known."""
    columns = [np.full(scored.frame.height, np.nan) for _ in UNTOUCHED_COLUMNS]
    by_model = scored.churn.refusals.answered
    if by_model.any():
        [churn, *_] = scored.churn.answers
        for column, values in zip(
            columns, churn.untreated(TIER_HORIZON_DAYS), strict=False
        ):  # none where it is not known
            churn.put(column, values)
    return {name: _known(column) for name, column in zip(UNTOUCHED_COLUMNS, columns, strict=True)}


def _known(values: Floats) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def _words(words: Sequence[str | None], codes: NDArray[np.int64]) -> pl.Series:
    """The word of each row; the code -1 is the last word."""
    return pl.Series(words, dtype=pl.String).gather(np.where(codes < 0, len(words) - 1, codes))


def _versions(answers: Iterable[ModelColumns], rows: int) -> pl.Series:
    """Which model answered for each row; null where none did."""
    versions: list[str | None] = [None]
    codes = np.zeros(rows, np.int64)
    for one in answers:
        codes[one.answered] = len(versions)
        versions.append(one.served.version)
    return _words(versions, codes)
