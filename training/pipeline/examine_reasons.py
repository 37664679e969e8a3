"""Examine the reasons of a model: refits on drawn accounts, and first reasons on later rows.

Each refit is fitted to the accounts of one bootstrap draw. Two things are read from it: whether it puts
each row on the same side as the model does, for every theme and feature; and what came of the accounts
that were not drawn, by the side on which the refit puts them. A theme stands on a side where it is at
least a twentieth of what all themes together usually add, by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.catalogue.themes import THEMES, theme_of
from features.health.formula import FORMULAS, HealthFormula
from features.health.parts import health_parts
from registry.bundle.linear import LinearForm
from registry.bundle.model_forms import ModelForm
from registry.promotion.reason_evidence import FirstReasonRecord, ReasonEvidence, SideEvidence
from training.dataset.errors import OneClassError
from training.dataset.splits import Fold
from training.dataset.training_set import TrainingSet
from training.models.binned_rows import Grower
from training.models.fit import FittedModel
from training.models.fitting.fit_rows import fit_rows
from training.models.fitting.held_out import HeldOutScores
from training.models.specs import ModelSpec, Parameters

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int64]

REFITS = 20

MOST_ROWS = 5_000
"""Refits see no more rows than this, so that large trainings pay no more for them."""

LEAST_SHARE = 0.05
"""A theme that is less of the usual way than this stands on no side."""

LEAST_SHARE_OF_ONE = 0.01
"""The same of a feature, which is a part of its theme."""

OWN_USE = "adoption"
"""The theme of what the general catalogue does not hold: counts of the product's own features."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Players:
    """The themes of a model's features, and how its health score is handed back to its parts."""

    names: tuple[str, ...]
    themes: tuple[str, ...]
    theme: Places
    formula: HealthFormula | None
    usual: Mapping[str, float]

    @classmethod
    def of(cls, training: TrainingSet, columns: list[int], matrix: Floats) -> Players:
        """The players among these columns, of which ``matrix`` holds the rows to fit."""
        catalogue = load_catalogue().by_name
        names = tuple(training.names[j] for j in columns)
        words = [
            theme_of(n, catalogue) if n in catalogue or n == HEALTH_SCORE else OWN_USE
            for n in names
        ]
        themes = tuple(theme for theme in THEMES if theme in words)
        version = training.digests.get(HEALTH_SCORE)
        known = [bool(np.isfinite(column).any()) for column in matrix.T]
        return cls(
            names=names,
            themes=themes,
            theme=np.array([themes.index(word) for word in words], np.int64),
            formula=next((f for f in FORMULAS.values() if f.version == version), None),
            usual={
                name: float(np.nanmedian(matrix[:, j])) for j, name in enumerate(names) if known[j]
            },
        )

    def explain(self, form: ModelForm, matrix: Floats) -> tuple[Floats, Floats]:
        """What a form adds for each theme and feature, in log-odds: rows × themes, and × features."""
        raw = form.score_many(matrix)
        by_theme = form.theme_contributions(matrix, raw, self.theme)
        points = form.contributions_of_many(matrix, raw)
        if HEALTH_SCORE not in self.names:
            return by_theme, points
        health = self.names.index(HEALTH_SCORE)
        zero = form.zero_at(health) if isinstance(form, LinearForm) else None
        if zero is not None and self.formula is not None:
            frame = pl.DataFrame(dict(zip(self.names, matrix.T, strict=True)))
            parts = health_parts(self.formula, frame, self.usual, zero)
            shared = parts.share_out(points[:, health], matrix[:, health], zero)
            for name, share in zip(parts.names, shared.T, strict=True):
                if name in self.names:
                    at = self.names.index(name)
                    points[:, at] += share
                    by_theme[:, self.theme[at]] += share
        points[:, health] = 0.0
        by_theme[:, self.theme[health]] = 0.0
        return by_theme, points


def examine_reasons(
    spec: ModelSpec,
    training: TrainingSet,
    rows: Bools,
    folds: tuple[Fold, ...],
    columns: list[int],
    parameters: Parameters,
    *,
    served: FittedModel,
    held_out: HeldOutScores,
    seed: int,
    grower: Grower | None = None,
) -> ReasonEvidence | None:
    """What the rows say of the reasons of a model that was fitted to them.

    ``held_out`` are the scores of all rows by fits without their accounts. None where no refit was possible.
    """
    if served.form is None:
        return None
    rows = _some(rows, training.account, np.random.default_rng(seed))
    matrix = training.part(rows, columns)
    players = Players.of(training, columns, matrix)
    fits = _refits(spec, training, rows, columns, parameters, seed=seed, grower=grower)
    if not fits:
        return None
    outcome, account = training.outcome[rows], training.account[rows]
    by_theme, points = players.explain(served.form, matrix)
    theme_sides = _Sides.of(by_theme, LEAST_SHARE, account, outcome)
    feature_sides = _Sides.of(points, LEAST_SHARE_OF_ONE, account, outcome)
    for form, drawn in fits:
        by_theme, points = players.explain(form, matrix)
        theme_sides.add(by_theme, drawn)
        feature_sides.add(points, drawn)
    return ReasonEvidence(
        refits=len(fits),
        themes=theme_sides.evidence(players.themes),
        features=feature_sides.evidence(players.names),
        first=_first_reasons(
            spec, training, folds, columns, parameters, players, held_out,
            seed=seed, grower=grower,
        ),
    )  # fmt: skip


def _some(rows: Bools, account: Places, rng: np.random.Generator) -> Bools:
    """All rows of as many accounts as make up ``MOST_ROWS``: refits of more would not tell more."""
    if rows.sum() <= MOST_ROWS:
        return rows
    accounts = np.unique(account[rows])
    kept = rng.permutation(accounts)[: max(int(len(accounts) * MOST_ROWS / rows.sum()), 1)]
    return np.asarray(rows & np.isin(account, kept))


def _refits(
    spec: ModelSpec,
    training: TrainingSet,
    rows: Bools,
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    grower: Grower | None,
) -> list[tuple[ModelForm, Bools]]:
    """Models fitted to drawn accounts, each with the rows whose accounts were drawn."""
    rng = np.random.default_rng(seed)
    account = training.account[rows]
    accounts = np.unique(account)
    found = []
    for _ in range(REFITS):
        drawn = np.isin(account, rng.choice(accounts, len(accounts)))
        part = rows.copy()
        part[rows] = drawn
        try:
            fitted = fit_rows(spec, training, part, columns, parameters, seed=seed, grower=grower)
        except OneClassError:
            continue
        assert fitted.form is not None, "the constant is never released"
        found.append((fitted.form, drawn))
    return found


class _Sides:
    """Counts of the sides on which refits put each row, for every player."""

    def __init__(
        self, sides: tuple[Bools, Bools], least: float, account: Places, outcome: Floats
    ) -> None:
        self._sides, self._least, self._outcome = sides, least, outcome
        _, place, rows = np.unique(account, return_inverse=True, return_counts=True)
        self._weight = 1.0 / rows[place]  # an account counts once, however many rows it has
        self._same = np.zeros((2, sides[0].shape[1]))
        self._met = np.zeros((2, *sides[0].shape))
        self._unseen = np.zeros(len(outcome))
        self._refits = 0

    @classmethod
    def of(cls, values: Floats, least: float, account: Places, outcome: Floats) -> _Sides:
        """Nothing counted yet; ``values`` are those of the model itself."""
        return cls(_on_side(values, least), least, account, outcome)

    def add(self, values: Floats, drawn: Bools) -> None:
        """Count what a refit says, with the rows of the accounts that it was fitted to."""
        self._refits += 1
        for n, (side, sign, own) in enumerate(
            zip(self._sides, (1, -1), _on_side(values, self._least), strict=True)
        ):
            self._same[n] += (side & (sign * values > 0)).sum(axis=0)
            self._met[n] += own & ~drawn[:, None]
        self._unseen += ~drawn

    def evidence(
        self, names: tuple[str, ...]
    ) -> Mapping[str, tuple[SideEvidence | None, SideEvidence | None]]:
        """The two sides of each player by its name."""
        seldom = np.maximum(self._unseen, 1.0)[:, None]
        base = float(self._weight @ self._outcome / self._weight.sum())
        found: dict[str, tuple[SideEvidence | None, SideEvidence | None]] = {}
        for column, name in enumerate(names):
            sides: list[SideEvidence | None] = []
            for n in range(2):
                served = int(self._sides[n][:, column].sum())
                weight = self._weight * (self._met[n] / seldom)[:, column]
                accounts = float(weight.sum())
                sides.append(
                    None
                    if not served or not accounts
                    else SideEvidence(
                        accounts=accounts,
                        came=float(weight @ self._outcome),
                        expected=accounts * base,
                        same_sign=float(self._same[n][column] / (served * self._refits)),
                    )
                )
            found[name] = (sides[0], sides[1])
        return found


def _on_side(values: Floats, least: float) -> tuple[Bools, Bools]:
    """Where a player raises, and where it lowers, by at least this share of the usual way.

    Not of the row's own way: that is long where the renewal is near, so that who is on a side would
    depend on the renewal.
    """
    enough = least * float(np.abs(values).sum(axis=1).mean())
    raises: Bools = (values > 0) & (values >= enough)
    lowers: Bools = (values < 0) & (-values >= enough)
    return raises, lowers


def _first_reasons(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    parameters: Parameters,
    players: Players,
    held_out: HeldOutScores,
    *,
    seed: int,
    grower: Grower | None,
) -> Mapping[str, FirstReasonRecord]:
    """By theme the accounts that had it first when it was scored out of time, and what came.

    An account counts at the first cutoff at which a theme is its first.
    """
    expected = np.full(len(training.outcome), np.nan)
    rows = held_out.rows
    expected[rows] = held_out.calibration.probability(
        held_out.scores[rows], len(training.horizons) - 1
    )
    first = np.full(len(training.outcome), -1)
    for fold in folds:
        train, later = training.rows_at(fold.train), training.rows_at(fold.held_out)
        fitted = fit_rows(spec, training, train, columns, parameters, seed=seed, grower=grower)
        assert fitted.form is not None, "the constant is never released"
        by_theme, _ = players.explain(fitted.form, training.part(later, columns))
        raises, _ = _on_side(by_theme, LEAST_SHARE)
        largest = np.argmax(np.where(raises, by_theme, 0.0), axis=1)
        first[later] = np.where(raises.any(axis=1), largest, -1)
    found = {}
    for place, theme in enumerate(players.themes):
        at = np.nonzero((first == place) & ~np.isnan(expected))[0]
        _, once = np.unique(training.account[at], return_index=True)  # rows are in time order
        at = at[once]
        if len(at):
            found[theme] = FirstReasonRecord(
                accounts=len(at),
                came=int(training.outcome[at].sum()),
                expected=float(expected[at].sum()),
            )
    return found
