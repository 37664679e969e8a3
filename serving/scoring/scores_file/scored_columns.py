"""This module is about the scores of many accounts at once, as the columns of a file.

What ``scoring.score_accounts`` says of each account, in the same numbers and words, a column at a
time and with no value per account. Reads no store and asks for no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature
from features.health.score import HealthFormula, health_column, score_health
from registry.bundle.metadata import AMOUNT_ERROR
from serving.scoring.expected_money import yearly_of_many
from serving.scoring.explanations import MOST_REASONS, Peers, health_reasons
from serving.scoring.score import (
    ENDED,
    RISK_TIERS,
    STANDARD_HORIZONS,
    TIER_HORIZON_DAYS,
    Models,
    ServedModel,
    columns_of,
    sentence,
    staleness,
)
from serving.scoring.scores_file.file_columns import UNTOUCHED_COLUMNS, file_schema
from serving.scoring.scores_file.reason_columns import PEER_ATTRIBUTES, REMEMBERED, Themes, Wording

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Told = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chances:
    """One model's answers for all rows of a frame."""

    matrix: Floats
    raw: Floats
    probability: Mapping[int, Floats]
    low: Floats  # of the horizon that money is made of; NaN where it is not served
    high: Floats

    @classmethod
    def of(cls, served: ServedModel, frame: pl.DataFrame) -> _Chances:
        model = served.model
        matrix = model.contract.matrix(frame)
        raw = model.raw(matrix)
        low = high = np.full(len(raw), np.nan)
        if TIER_HORIZON_DAYS in model.horizons:
            low, high = model.probability_interval(matrix, TIER_HORIZON_DAYS, raw=raw)
        return cls(
            matrix=matrix,
            raw=raw,
            low=low,
            high=high,
            probability={h: model.probability(matrix, h, raw=raw) for h in model.horizons},
        )

    def untouched(self, served: ServedModel) -> dict[str, Floats]:
        """The risk if nobody acts and its interval, by column; {} where it is not known."""
        model, told = served.model, served.model.untouched
        if told is None or told.shift is None or TIER_HORIZON_DAYS not in told.shift.horizons:
            return {}
        bounds = {
            h: model.probability_interval(self.matrix, h, raw=self.raw) for h in told.shift.horizons
        }
        risk = told.risk(
            self.matrix,
            self.probability,
            {h: b[0] for h, b in bounds.items()},
            {h: b[1] for h, b in bounds.items()},
        )
        return dict(zip(UNTOUCHED_COLUMNS, risk[TIER_HORIZON_DAYS], strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnScoring:
    """How a part of a snapshot becomes a part of the file of scores.

    ``models`` are those that can read the snapshot; of the others ``refusals`` says why not.
    """

    models: Models
    catalogue: Mapping[str, AnyFeature]
    formula: HealthFormula
    now: datetime
    max_age: timedelta
    currency: str
    peers: Peers
    most_reasons: int = MOST_REASONS
    _known: dict[tuple[float | None, ...], Told] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def schema(self) -> pl.Schema:
        """The columns of every part."""
        served = [one.model for one in (self.models.churn, self.models.churn_formula) if one]
        return file_schema(
            {h for model in served for h in model.horizons}, self._grows, self.most_reasons
        )

    @property
    def _grows(self) -> tuple[int, ...]:
        """The horizons of expansion."""
        return () if self.models.expansion is None else tuple(self.models.expansion.model.horizons)

    @cached_property
    def reads(self) -> frozenset[str]:
        """The columns of a snapshot that are read where they are there."""
        served = (self.models.churn, self.models.churn_formula, self.models.expansion)
        return frozenset(
            {
                "account_id",
                "as_of",
                "contract_status",
                "mrr",
                *PEER_ATTRIBUTES,
                *self.formula.inputs,
                *(name for one in served if one for name in one.model.contract.names),
            }
        )

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The scores of a part, in its order."""
        rows, columns = frame.height, columns_of(frame, self.catalogue)
        is_ended = (
            pl.col("contract_status").eq_missing("ended")
            if "contract_status" in columns.attributes
            else pl.lit(value=False)
        )
        asked = frame.select(
            "account_id",
            "as_of",
            ended=is_ended,
            degraded=self._refusal(frame, "churn", self.models.churn, is_ended),
            no_growth=self._refusal(frame, "expansion", self.models.expansion, is_ended),
        )
        ended = asked["ended"].to_numpy()
        by_model = asked["degraded"].is_null().to_numpy()
        by_formula = ~by_model & ~ended & (self.models.churn_formula is not None)
        p: dict[int, Floats] = {h: np.full(rows, np.nan) for h in self._horizons}
        low, high, usual = (np.full(rows, np.nan) for _ in range(3))
        alone = {name: np.full(rows, np.nan) for name in UNTOUCHED_COLUMNS}
        churn: _Chances | None = None
        for served, whose in (
            (self.models.churn, by_model),
            (self.models.churn_formula, by_formula),
        ):
            if served is None or not whose.any():
                continue
            of_model = served is self.models.churn
            # reasons of a row among few are made in another way, so the model sees all of them
            answers = _Chances.of(served, frame if of_model else frame.filter(whose))
            seen = whose if of_model else np.ones(int(whose.sum()), bool)
            for horizon, chance in answers.probability.items():
                p[horizon][whose] = chance[seen]
            low[whose], high[whose] = answers.low[seen], answers.high[seen]
            if TIER_HORIZON_DAYS in served.model.horizons:
                usual[whose] = served.model.base_rate(TIER_HORIZON_DAYS)
            if of_model:
                churn = answers
                for name, values in answers.untouched(served).items():
                    alone[name][whose] = values[seen]
        at_90 = p[TIER_HORIZON_DAYS]
        mrr = np.full(rows, np.nan)
        if "mrr" in columns.features:
            mrr = frame["mrr"].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        mrr[ended] = np.nan
        at_risk, _, _ = yearly_of_many(at_90, low, high, mrr)
        health = health_column(frame, self.formula)
        unscored = pl.Series(np.isnan(at_90)) & health.is_null()
        told: dict[str, pl.Series | pl.Expr] = {
            **{f"churn_probability_{h}d": _known(chance) for h, chance in p.items()},
            "churn_probability_90d_low": _known(low),
            "churn_probability_90d_high": _known(high),
            **{name: _known(values) for name, values in alone.items()},
            **self._growth(frame, asked["no_growth"].is_null().to_numpy(), mrr),
            "health_score": health,
            "health_band": self._bands(health),
            "score_source": pl.when(pl.lit(unscored) | pl.col("ended"))
            .then(pl.lit("none"))
            .when(pl.lit(pl.Series(by_model)))
            .then(pl.lit("model"))
            .otherwise(pl.lit("health_formula")),
            "model_version": pl.when(pl.lit(pl.Series(by_model)))
            .then(_version(self.models.churn))
            .when(pl.lit(pl.Series(by_formula)))
            .then(_version(self.models.churn_formula)),
            "risk_tier": _tiers(at_90, usual),
            "mrr": _known(mrr),
            "revenue_at_risk": _known(at_risk),
            "currency": pl.lit(self.currency),
            **self._reasons(frame, churn, by_model),
        }
        return asked.with_columns(**told).select(
            pl.col(name).cast(kind) for name, kind in self.schema.items()
        )

    @cached_property
    def _horizons(self) -> tuple[int, ...]:
        names = [
            n.removeprefix("churn_probability_").removesuffix("d")
            for n in self.schema
            if n.startswith("churn_probability_")
        ]
        return tuple(int(n) for n in names if n.isdigit())

    def _refusal(
        self, frame: pl.DataFrame, label: str, served: ServedModel | None, is_ended: pl.Expr
    ) -> pl.Expr:
        """Why a model does not answer, as it is shown; null where it does."""
        reasons: list[pl.Expr] = [pl.when(is_ended).then(pl.lit(sentence(ENDED)))]
        old = {
            moment: sentence(why)
            for moment in frame["as_of"].unique()
            if (why := staleness(moment, self.now, self.max_age)) is not None
        }
        if old:
            reasons.append(_said(pl.col("as_of"), old))
        if served is None:
            reasons.append(
                pl.lit(sentence(self.models.refusals.get(label, f"there is no {label} model")))
            )
        elif self.models.withheld.get(label):
            by_segment = frame.schema.get("segment") == pl.String
            segment = pl.col("segment") if by_segment else pl.lit(None, dtype=pl.String)
            words = frame["segment"].unique() if by_segment else [None]
            withheld = {
                word: sentence(why)
                for word in words
                if (why := self.models.withheld_from(label, {"segment": word})) is not None
            }
            reasons.append(_said(segment, withheld))
        return pl.coalesce(*reasons, pl.lit(None, dtype=pl.String))

    def _growth(self, frame: pl.DataFrame, asked: Mask, mrr: Floats) -> dict[str, pl.Series]:
        """The chances to expand, and what that of 90 days comes to a year."""
        low, high, expected = (np.full(frame.height, np.nan) for _ in range(3))
        chances = {
            f"expansion_probability_{h}d": np.full(frame.height, np.nan)
            for h in (*STANDARD_HORIZONS, *self._grows)
        }
        served = self.models.expansion
        if served is not None and asked.any():
            answers, ratio = _Chances.of(served, frame), served.model.amount_ratio
            for horizon, chance in answers.probability.items():
                chances[f"expansion_probability_{horizon}d"] = np.where(asked, chance, np.nan)
            if ratio is not None and TIER_HORIZON_DAYS in served.model.horizons:
                error = served.model.metrics.get(AMOUNT_ERROR, 0.0) / ratio if ratio else 0.0
                expected, low, high = yearly_of_many(
                    chances[f"expansion_probability_{TIER_HORIZON_DAYS}d"],
                    np.where(asked, answers.low, np.nan),
                    np.where(asked, answers.high, np.nan),
                    mrr * ratio,
                    relative_error=error,
                )
        return {
            **{name: _known(chance) for name, chance in chances.items()},
            "expected_expansion": _known(expected),
            "expected_expansion_low": _known(low),
            "expected_expansion_high": _known(high),
        }

    def _bands(self, health: pl.Series) -> pl.Series:
        band = pl.lit(None, dtype=pl.String)
        for one in reversed(self.formula.bands):
            band = pl.when(pl.lit(health) >= one.lowest).then(pl.lit(one.name)).otherwise(band)
        return pl.select(band=band)["band"]

    def _reasons(
        self, frame: pl.DataFrame, churn: _Chances | None, by_model: Mask
    ) -> dict[str, pl.Series]:
        """The sentence and the points of each rank."""
        ranks = range(self.most_reasons)
        said = [pl.Series([None], dtype=pl.String).new_from_index(0, frame.height) for _ in ranks]
        points = np.full((frame.height, self.most_reasons), np.nan)
        if ranks and churn is not None and self.models.churn is not None:
            model = self.models.churn.model
            horizons = model.horizons
            contributions, _ = model.points(
                churn.matrix,
                TIER_HORIZON_DAYS if TIER_HORIZON_DAYS in horizons else horizons[-1],
                raw=churn.raw,
            )
            foremost = self._themes.foremost(contributions, self.most_reasons)
            values = np.take_along_axis(churn.matrix, np.maximum(foremost.leading, 0), axis=1)
            values[~self._is_number(frame)[foremost.leading]] = np.nan
            said = self._wording.columns(frame, foremost.leading, values)
            points = np.where(np.isneginf(foremost.points), np.nan, foremost.points)
        unit = pl.Series(np.where(by_model, "percentage points", "health points"))
        if ranks and not by_model.all():
            instead = self._by_formula(frame.filter(~by_model))
            places = np.nonzero(~by_model)[0]
            points[places] = np.nan
            for rank in ranks:
                words = [one[rank][0] if rank < len(one) else None for one in instead]
                said[rank] = said[rank].scatter(places, pl.Series(words, dtype=pl.String))
                points[places, rank] = [
                    one[rank][1] if rank < len(one) else np.nan for one in instead
                ]
        none = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
        return {
            **{f"reason_{rank + 1}": said[rank] for rank in ranks},
            **{f"reason_{rank + 1}_points": _known(points[:, rank]) for rank in ranks},
            "points_unit": unit.zip_with(said[0].is_not_null(), none) if ranks else none,
        }

    def _by_formula(self, frame: pl.DataFrame) -> list[Told]:
        """What takes most from health, of each row; equal ones are asked once."""
        inputs = [name for name in self.formula.inputs if name in frame.columns]
        told = []
        for values in frame.select(pl.col(inputs).cast(pl.Float64).fill_nan(None)).iter_rows():
            known = self._known.get(values)
            if known is None:
                health = score_health(self.formula, dict(zip(inputs, values, strict=True)))
                known = tuple(
                    (reason.sentence, reason.points)
                    for reason in health_reasons(health).top(self.most_reasons)
                )
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[values] = known
            told.append(known)
        return told

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return () if self.models.churn is None else self.models.churn.model.contract.names

    @cached_property
    def _themes(self) -> Themes:
        return Themes.of(self._names, self.catalogue)

    @cached_property
    def _wording(self) -> Wording:
        return Wording(self._names, self.catalogue, self.peers)

    def _is_number(self, frame: pl.DataFrame) -> Mask:
        """Which of the model's features are said with a number."""
        numbers = set(columns_of(frame, self.catalogue).features)
        return np.array([name in numbers for name in self._names])


def _known(values: Floats) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def _version(served: ServedModel | None) -> pl.Expr:
    return pl.lit(None if served is None else served.version, dtype=pl.String)


def _said(column: pl.Expr, words: Mapping[object, str]) -> pl.Expr:
    """The word for each value; null for others."""
    if not words:
        return pl.lit(None, dtype=pl.String)
    return column.replace_strict(
        list(words), list(words.values()), default=None, return_dtype=pl.String
    )


def _tiers(probability: Floats, usual: Floats) -> pl.Series:
    reached = sum(
        (probability >= tier.from_multiple * usual).astype(np.int64) for tier in RISK_TIERS
    )
    names = pl.Series([None, *(tier.name for tier in RISK_TIERS)], dtype=pl.String)
    return names.gather(reached)
