"""Examine the reasons of a model: refits on drawn accounts, and first reasons on later rows.

Each refit is fitted to the accounts of one bootstrap draw. Two things are read from it: whether it puts
each row on the same side as the model does, for every theme and feature; and what came of the accounts
that were not drawn, by the side on which the refit puts them. A theme stands on a side where it is at
least a twentieth of what all themes together usually add, by size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.catalogue.themes import THEMES, theme_of
from features.health.formula import FORMULAS, HealthFormula
from features.health.parts import health_parts
from registry.bundle.linear import LinearForm
from registry.bundle.model_forms import ModelForm, TreeForm
from registry.promotion.reason_evidence import (
    LEAST_OUTCOMES_ALONE,
    FirstReasonRecord,
    ReasonEvidence,
    SegmentEvidence,
    SideEvidence,
    Sides,
)
from training.dataset.errors import OneClassError
from training.dataset.labels import ROW
from training.dataset.splits import Fold
from training.dataset.training_set import FeatureReader, TrainingSet
from training.models.binned_rows import Grower
from training.models.fit import FittedModel
from training.models.fitting.fit_rows import fit_rows
from training.models.fitting.held_out import HeldOutScores
from training.models.specs import ModelSpec, Parameters
from training.pipeline.prepare import PreparedData

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int64]
Words = NDArray[np.str_]

REFITS = 20

MOST_ROWS = 5_000
"""Refits see no more rows than this, so that large trainings pay no more for them."""

MOST_JUDGED = 20_000
"""Nor do they judge more rows than this, those that they are fitted to among them."""

LEAST_SHARE = 0.05
"""A theme that is less of the usual way than this stands on no side."""

LEAST_SHARE_OF_ONE = 0.01
"""The same of a feature, which is a part of its theme."""

SEGMENT = "segment"
"""The attribute whose groups are examined alone."""

OWN_USE = "adoption"
"""The theme of what the general catalogue does not hold: counts of the product's own features."""


class Explained(NamedTuple):
    """What a form adds to some rows: rows × themes, and rows × features.

    ``alone`` is what each adds where nothing else is known. Trees add more, or less, for one fact where
    another is there; whether accounts leave more must not be read from a side that others make.
    """

    added: tuple[Floats, Floats]
    alone: tuple[Floats, Floats]


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

    def explain(self, form: ModelForm, matrix: Floats) -> Explained:
        """What a form adds for each theme and feature, in log-odds."""
        raw = form.score_many(matrix)
        by_theme = form.theme_contributions(matrix, raw, self.theme)
        points = form.contributions_of_many(matrix, raw)
        if isinstance(form, TreeForm):
            alone = (form.alone(matrix, self.theme), form.alone(matrix))
            self._hand_back(form, matrix, *alone)
        self._hand_back(form, matrix, by_theme, points)
        return Explained(
            (by_theme, points), alone if isinstance(form, TreeForm) else (by_theme, points)
        )

    def _hand_back(self, form: ModelForm, matrix: Floats, by_theme: Floats, points: Floats) -> None:
        """Give what is added for health to the features that made the score, in place."""
        if HEALTH_SCORE not in self.names:
            return
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


def segments_of(prepared: PreparedData, reader: FeatureReader) -> Words:
    """The segment of each row of a training at its cutoff, "" where it is not known."""
    training, dtype = prepared.training, prepared.labelled.frame.schema["as_of"]
    keys = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account),
            "as_of": pl.Series(training.cutoffs, dtype=dtype).gather(training.cutoff),
        }
    )
    read = reader(keys)
    if SEGMENT not in read.columns:
        return np.full(len(training.account), "")
    words = keys.join(read, on=ROW, how="left", maintain_order="left", validate="1:1")
    return words[SEGMENT].cast(pl.String).fill_null("").to_numpy().astype(np.str_)


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
    segments: Words | None = None,
    seed: int,
    grower: Grower | None = None,
) -> ReasonEvidence | None:
    """What the rows say of the reasons of a model that was fitted to them.

    ``held_out`` are the scores of all rows by fits without their accounts, ``segments`` the segment of
    each row of the training, "" where it is not known. None where no refit was possible.
    """
    if served.form is None:
        return None
    rng = np.random.default_rng(seed)
    fitted = _some(rows, training.account, rng)
    judged = _some(rows, training.account, rng, most=MOST_JUDGED, first=fitted)
    matrix = training.part(judged, columns)
    players = Players.of(training, columns, matrix)
    fits = _refits(spec, training, fitted, columns, parameters, seed=seed, grower=grower)
    if not fits:
        return None
    outcome, account = training.outcome[judged], training.account[judged]
    added = players.explain(served.form, matrix).added
    theme_sides = _Sides.of(added[0], LEAST_SHARE, account, outcome)
    feature_sides = _Sides.of(added[1], LEAST_SHARE_OF_ONE, account, outcome)
    for form, accounts in fits:
        found = players.explain(form, matrix)
        drawn = np.isin(account, accounts)
        theme_sides.add(found.added[0], found.alone[0], drawn)
        feature_sides.add(found.added[1], found.alone[1], drawn)
    every = np.ones(len(account), bool)
    return ReasonEvidence(
        refits=len(fits),
        themes=theme_sides.evidence(players.themes, every),
        features=feature_sides.evidence(players.names, every),
        segments={
            name: SegmentEvidence(
                outcomes=outcomes,
                themes=theme_sides.evidence(players.themes, inside),
                features=feature_sides.evidence(players.names, inside),
            )
            for name, inside, outcomes in _segments(segments, judged, account, outcome)
        },
        first=_first_reasons(
            spec, training, folds, columns, parameters, players, held_out,
            seed=seed, grower=grower,
        ),
    )  # fmt: skip


def _some(
    rows: Bools,
    account: Places,
    rng: np.random.Generator,
    *,
    most: int = MOST_ROWS,
    first: Bools | None = None,
) -> Bools:
    """All rows of as many accounts as make up ``most``: more would not tell more.

    The accounts of ``first`` are among them.
    """
    if rows.sum() <= most:
        return rows
    accounts = np.unique(account[rows])
    order = rng.permutation(accounts)
    if first is not None:
        order = order[np.argsort(~np.isin(order, account[first]), kind="stable")]
    kept = order[: max(int(len(accounts) * most / rows.sum()), 1)]
    return np.asarray(rows & np.isin(account, kept))


def _segments(
    segments: Words | None, rows: Bools, account: Places, outcome: Floats
) -> Iterator[tuple[str, Bools, int]]:
    """The segments that answer for themselves, their rows, and how many accounts had the outcome."""
    if segments is None:
        return
    words = segments[rows]
    for name in np.unique(words[words != ""]).tolist():
        inside = words == name
        outcomes = len(np.unique(account[inside & (outcome == 1)]))
        if outcomes >= LEAST_OUTCOMES_ALONE:
            yield name, inside, outcomes


def _refits(
    spec: ModelSpec,
    training: TrainingSet,
    rows: Bools,
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    grower: Grower | None,
) -> list[tuple[ModelForm, Places]]:
    """Models fitted to drawn accounts, each with the accounts that were drawn."""
    rng = np.random.default_rng(seed)
    account = training.account[rows]
    accounts = np.unique(account)
    found = []
    for _ in range(REFITS):
        drawn = np.unique(rng.choice(accounts, len(accounts)))
        part = rows.copy()
        part[rows] = np.isin(account, drawn)
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
        _, self._account, rows = np.unique(account, return_inverse=True, return_counts=True)
        self._weight = 1.0 / rows[self._account]  # an account counts once, however many rows it has
        self._same = np.zeros((2, sides[0].shape[1]))
        self._met = np.zeros((2, *sides[0].shape))
        self._unseen = np.zeros(len(outcome))
        self._refits = 0

    @classmethod
    def of(cls, values: Floats, least: float, account: Places, outcome: Floats) -> _Sides:
        """Nothing counted yet; ``values`` are those of the model itself."""
        return cls(_on_side(values, least), least, account, outcome)

    def add(self, values: Floats, alone: Floats, drawn: Bools) -> None:
        """Count what a refit adds, also alone, and the rows it was fitted to."""
        self._refits += 1
        for n, (side, sign, own) in enumerate(
            zip(self._sides, (1, -1), _on_side(alone, self._least), strict=True)
        ):
            self._same[n] += (side & (sign * values > 0)).sum(axis=0)
            self._met[n] += own & ~drawn[:, None]
        self._unseen += ~drawn

    def evidence(self, names: tuple[str, ...], rows: Bools) -> Mapping[str, Sides]:
        """The two sides of each player by its name: what came of some of the rows.

        Whether refits agree is about the model, so all rows say it.
        """
        outcome, weight = self._outcome[rows], self._weight[rows]
        seldom = np.maximum(self._unseen[rows], 1.0)
        base = float(weight @ outcome / weight.sum())
        apart = weight * (outcome - base)
        found: dict[str, Sides] = {}
        for column, name in enumerate(names):
            sides: list[SideEvidence | None] = []
            for n in range(2):
                served = int(self._sides[n][:, column].sum())
                share = self._met[n][rows, column] / seldom  # of the refits that had not seen it
                met = weight * share
                accounts = float(met.sum())
                sides.append(
                    None
                    if not served or not accounts
                    else SideEvidence(
                        accounts=accounts,
                        came=float(met @ outcome),
                        expected=accounts * base,
                        same_sign=float(self._same[n][column] / (served * self._refits)),
                        error=self._error(apart * (share - accounts / weight.sum()), rows),
                    )
                )
            found[name] = (sides[0], sides[1])
        return found

    def _error(self, parts: Floats, rows: Bools) -> float:
        """The standard error of a sum of parts: the rows of an account are not independent.

        The sandwich of Liang and Zeger (1986).
        """
        return float(np.sqrt(np.square(np.bincount(self._account[rows], parts)).sum()))


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
        by_theme, _ = players.explain(fitted.form, training.part(later, columns)).added
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
