"""What a model says of each row: the points of themes, and under each the points of its facts.

The themes are the players of the game, so a theme's number does not depend on how many features tell
the same; inside a theme its features share its number (Owen values, ``registry.trees.owen``). Health is
no theme: what a model adds for it is handed back to the features that made the score
(``features.health.parts``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.feature import AnyFeature, Role
from features.catalogue.parts import whole_of
from features.catalogue.themes import THEMES, days_compared, direction_of, theme_of
from features.health.formula import HealthFormula
from features.health.parts import deciding_features, health_parts
from serving.scoring.explanations import NOT_COMPARED, VALUE_FORMAT
from serving.scoring.score import NONE, ScoringModel

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

ACCOUNT_AGE = "account_age_days"
"""The feature that says how long an account is known."""

MOST_DIGITS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """The facts that the reasons of one model can name: the features that it reads.

    Where it reads the health score, the features that make the score are facts as well. ``theme`` is
    a place in ``themes``. Directions are of the risk to leave; they are 0 for another outcome.
    """

    names: tuple[str, ...]
    themes: tuple[str, ...]
    theme: Places
    roles: tuple[Role, ...]
    direction: Floats  # 1 more is riskier, -1 more is safer, 0 not declared
    digits: Places  # after the point, with which a value is said
    days_compared: Floats  # how far back the earlier window of a comparison begins; 0: none
    is_date: Mask  # dates and lengths of a contract, of which none is usual
    whole: Places  # of the count that each is part of; NONE where it is part of none
    n_read: int  # the first so many are the columns of the model's matrix
    formula: HealthFormula

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        catalogue: Mapping[str, AnyFeature],
        formula: HealthFormula,
        *,
        of_leaving: bool = True,
    ) -> Facts:
        """The facts of a model that reads these features, in the order of its matrix."""
        made_of = deciding_features(formula) if HEALTH_SCORE in names else ()
        every = (*names, *(name for name in made_of if name not in names))
        words = [theme_of(name, catalogue) for name in every]
        themes = tuple(theme for theme in THEMES if theme in words)
        declared = [catalogue.get(name) for name in every]
        return cls(
            names=every,
            themes=themes,
            theme=np.array([themes.index(word) for word in words], np.int64),
            roles=tuple("signal" if one is None else one.role for one in declared),
            direction=np.array(
                [direction_of(name, catalogue) if of_leaving else 0 for name in every], float
            ),
            digits=np.array([_digits(one) for one in declared], np.int64),
            days_compared=np.array([days_compared(name, catalogue) for name in every]),
            is_date=np.array([name in NOT_COMPARED for name in every]),
            whole=np.array([_place_of_whole(name, every) for name in every], np.int64),
            n_read=len(names),
            formula=formula,
        )

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The place of each fact."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def in_theme(self) -> Floats:
        """Facts × themes: 1 where a fact is of a theme."""
        of_theme: Mask = self.theme[:, None] == np.arange(len(self.themes))
        return np.asarray(of_theme, float)

    def explain(
        self,
        model: ScoringModel,
        matrix: Floats,
        horizon_days: int,
        frame: pl.DataFrame,
        *,
        raw: Floats,
    ) -> ExplainedRows:
        """What the model adds for each theme and fact of the rows of a frame.

        ``matrix`` is what the model reads of the frame, ``raw`` its score.
        """
        read, start = model.points(matrix, horizon_days, raw=raw, within=self.theme[: self.n_read])
        return self._explained(model, matrix, frame, read, np.full(len(matrix), float(start)))

    def explain_renewal(
        self, model: ScoringModel, matrix: Floats, frame: pl.DataFrame, *, raw: Floats
    ) -> ExplainedRows | None:
        """The same of the chance to leave when the term ends; None where the model knows no dates."""
        read = model.points_at_renewal(matrix, within=self.theme[: self.n_read], raw=raw)
        if read is None:
            return None
        return self._explained(model, matrix, frame, *read)

    def _explained(
        self,
        model: ScoringModel,
        matrix: Floats,
        frame: pl.DataFrame,
        read: Floats,
        starts: Floats,
    ) -> ExplainedRows:
        """The rows with what the model adds for the features that it reads."""
        points = np.zeros((len(matrix), len(self.names)))
        points[:, : self.n_read] = read
        by_theme = points @ self.in_theme
        total = by_theme.sum(axis=1)
        schema = frame.schema
        values = np.full(points.shape, np.nan)
        is_number = [name in schema and _is_number(schema[name]) for name in self.names]
        values[:, : self.n_read] = np.where(is_number[: self.n_read], matrix, np.nan)
        others = _values(frame, (*self.names[self.n_read :], ACCOUNT_AGE))
        values[:, self.n_read :] = others[:, :-1]
        health = self.place.get(HEALTH_SCORE)
        if health is not None:
            self._hand_back(points, by_theme, health, model, matrix[:, health], frame)
        return ExplainedRows(
            facts=self,
            points=points,
            by_theme=by_theme,
            start=starts,
            total=total,
            values=values,
            age=others[:, -1],
        )

    def _hand_back(
        self,
        points: Floats,
        by_theme: Floats,
        health: int,
        model: ScoringModel,
        score: Floats,
        frame: pl.DataFrame,
    ) -> None:
        """Give what is added for health to the features that made the score."""
        reference = model.zero_at(HEALTH_SCORE)
        if reference is not None:
            parts = health_parts(self.formula, frame, model.usual, reference)
            shared = parts.share_out(points[:, health], score, reference)
            at = np.array([self.place[name] for name in parts.names])
            points[:, at] += shared
            by_theme += shared @ self.in_theme[at]
        points[:, health] = 0.0
        by_theme[:, self.theme[health]] = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedRows:
    """What a model adds to the probability for each theme and fact, of some rows.

    ``by_theme`` sums to ``total`` but for what could not be handed back of health, and ``start +
    total`` is the shown probability.
    """

    facts: Facts
    points: Floats  # rows × facts, in probability
    by_theme: Floats  # rows × themes, in probability
    start: Floats
    total: Floats
    values: Floats  # rows × facts, NaN unknown
    age: Floats  # days since the account is known

    def whole(self, row: int, fact: int) -> float | None:
        """The count that a fact is part of; None where it is not known, or part of none."""
        place = self.facts.whole[fact]
        whole = np.nan if place == NONE else float(self.values[row, place])
        return None if np.isnan(whole) else float(whole)


def _place_of_whole(name: str, every: Sequence[str]) -> int:
    whole = whole_of(name)
    return NONE if whole is None or whole.feature not in every else every.index(whole.feature)


DIGITS = re.compile(r"\.(\d)([f%])")


def _digits(declared: AnyFeature | None) -> int:
    """The digits after the point of a share or number in a feature's phrase.

    >>> from features.catalogue.catalogue import load_catalogue
    >>> [_digits(load_catalogue().by_name[n]) for n in ("errors_7d", "error_rate_7d", "ces_90d")]
    [0, 3, 1]
    """
    form = VALUE_FORMAT.search(declared.phrase) if declared else None
    found = DIGITS.search(form.group(1) or "") if form else None
    return MOST_DIGITS if found is None else int(found[1]) + (2 if found[2] == "%" else 0)


def _values(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    """The numbers of these columns, NaN where one is unknown or no number."""
    schema = frame.schema
    there = [name in schema and _is_number(schema[name]) for name in names]
    found = np.full((frame.height, len(names)), np.nan)
    found[:, there] = (
        frame.select(
            pl.col([name for name, is_there in zip(names, there, strict=True) if is_there])
            .cast(pl.Float64)
            .fill_null(np.nan)
        ).to_numpy()
        if any(there)
        else 0.0
    )
    return found


def _is_number(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind == pl.Boolean
