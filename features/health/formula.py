"""Declare health formulas as data: components, weights, measures and bands.

The four formulas are in ``formulas.toml`` and are checked when they are read: weights that do not
add to 100, a measure that rises and falls, and an unknown key are errors. A measure turns a feature
into points, of one value or of a column; ``score.py`` combines the points to a score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from features.toml_table import Table, is_number, toml_values

ShapeKind = Literal["line", "at_least", "at_most"]
Combine = Literal["first", "worst"]
Knots = tuple[tuple[float, float], ...]

FORMULA_FILE = Path(__file__).with_name("formulas.toml")
DEFAULT_FORMULA = "balanced"
"""The only formula whose source gives all weights, all bands and an action for each band."""


class HealthFormulaError(Exception):
    """A health formula is not valid, or there is none of that name."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A feature that gives points from 0 to 100.

    ``over`` divides by a second feature; ``only_if`` uses the measure only while a feature is
    above a number. An unknown input, or a division by zero, makes the points unknown.
    """

    feature: str
    shape: ShapeKind
    knots: Knots
    unit: str
    phrase: str
    over: str | None = None
    only_if: tuple[str, float] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features that are read."""
        guard = () if self.only_if is None else (self.only_if[0],)
        return (self.feature, *(() if self.over is None else (self.over,)), *guard)

    def value(self, features: Mapping[str, float | None]) -> float | None:
        """The measured number, or None where it is unknown or does not apply."""
        value = nan_to_none(features.get(self.feature))
        if self.only_if is not None:
            guard = nan_to_none(features.get(self.only_if[0]))
            if guard is None or not guard > self.only_if[1]:
                return None
        if self.over is None or value is None:
            return value
        over = nan_to_none(features.get(self.over))
        return None if over is None or over == 0 else nan_to_none(value / over)

    def points(self, value: float) -> float | None:
        """The points of a known value; None below the first step of ``at_least``.

        >>> FORMULAS["balanced"].component("usage").measures[0].points(7.0)
        100.0
        """
        if self.shape == "line":
            (x, y) = self.knots[0]
            if value <= x:
                return y
            for (x0, y0), (x1, y1) in pairwise(self.knots):
                if value <= x1:
                    return y0 + (value - x0) / (x1 - x0) * (y1 - y0)
            return self.knots[-1][1]
        if self.shape == "at_most":
            return next(points for edge, points in self.knots if value <= edge)
        reached = [points for edge, points in self.knots if value >= edge]
        return reached[-1] if reached else None

    def value_expression(self) -> pl.Expr:
        """``value`` for a column."""
        value = nan_to_null(self.feature)
        if self.over is not None:
            over = nan_to_null(self.over)
            value = pl.when(over != 0).then(value / over).fill_nan(None)
        if self.only_if is not None:
            value = pl.when(nan_to_null(self.only_if[0]) > self.only_if[1]).then(value)
        return value

    def points_expression(self) -> pl.Expr:
        """``points`` of ``value`` for a column; null where it is unknown."""
        return self.points_of(self.value_expression())

    def points_of(self, value: pl.Expr) -> pl.Expr:
        """``points`` of values that were measured; null where they are unknown."""
        if self.shape == "at_least":
            steps = pl.lit(None, dtype=pl.Float64)
            for edge, points in self.knots:
                steps = pl.when(value >= edge).then(pl.lit(points)).otherwise(steps)
            return steps
        if self.shape == "at_most":
            steps = pl.lit(None, dtype=pl.Float64)
            for edge, points in reversed(self.knots):
                steps = pl.when(value <= edge).then(pl.lit(points)).otherwise(steps)
            return steps
        line = pl.when(value.is_not_null()).then(pl.lit(self.knots[-1][1])).otherwise(None)
        for (x0, y0), (x1, y1) in reversed(list(pairwise(self.knots))):
            between = y0 + (value - x0) / (x1 - x0) * (y1 - y0)
            line = pl.when(value <= x1).then(between).otherwise(line)
        x, y = self.knots[0]
        return pl.when(value <= x).then(pl.lit(y)).otherwise(line)


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of the score. Its weight is in points of the whole; weight 0 is shown, not summed.

    A component without measures says in ``unknown`` why it cannot be measured.
    """

    name: str
    weight: float
    source: str
    ours: tuple[str, ...]
    measures: tuple[Measure, ...]
    combine: Combine = "first"
    group: str | None = None
    unknown: str | None = None

    @property
    def title(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")

    def points_of(self, points: Sequence[pl.Expr]) -> pl.Expr:
        """The points of the component from those of its measures; null where none is known."""
        if not points:
            return pl.lit(None, dtype=pl.Float64)
        return pl.coalesce(points) if self.combine == "first" else pl.min_horizontal(points)


@dataclass(frozen=True, kw_only=True)
class Band:
    """The name of the scores from ``lowest`` (inclusive) to the next band, and what to do."""

    lowest: float
    name: str
    action: str


@dataclass(frozen=True, kw_only=True)
class HealthFormula:
    """A checked formula; ``bands`` from the highest to the lowest.

    ``former_id`` is the number that a formula had before it had a name; settings and stored
    versions may still hold it. A new formula has none.

    Raises:
        HealthFormulaError: weights that do not add to 100, or bands that leave a gap.
    """

    id: str
    title: str
    source: str
    ours: tuple[str, ...]
    bands: tuple[Band, ...]
    components: tuple[Component, ...]
    former_id: str | None = None

    def __post_init__(self) -> None:
        total = sum(component.weight for component in self.components)
        if total != 100:
            raise HealthFormulaError(
                f"The weights of health formula {self.id!r} add to {total:g}; they must add to "
                f"100. Correct them in {FORMULA_FILE.name}."
            )
        edges = [band.lowest for band in self.bands]
        if edges != sorted(set(edges), reverse=True) or edges[-1:] != [0]:
            raise HealthFormulaError(
                f"The bands of health formula {self.id!r} start at {edges}; they must fall and "
                f"end at 0."
            )

    @cached_property
    def version(self) -> str:
        """Id and hash of everything that decides a score; wording is left out.

        A formula with a ``former_id`` keeps it here, because bundles and snapshots hold it.
        """
        decides = (
            [(band.lowest, band.name) for band in self.bands],
            [
                (
                    c.name,
                    c.weight,
                    c.combine,
                    [(m.feature, m.over, m.only_if, m.shape, m.knots) for m in c.measures],
                )
                for c in self.components
            ],
        )
        digest = hashlib.blake2b(repr(decides).encode(), digest_size=4).hexdigest()
        return f"{self.former_id or self.id}-{digest}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every feature that is read, once, in the order of the file."""
        read = (name for c in self.components for m in c.measures for name in m.inputs)
        return tuple(dict.fromkeys(read))

    def component(self, name: str) -> Component:
        """The component of this name.

        Raises:
            HealthFormulaError: there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        names = ", ".join(component.name for component in self.components)
        raise HealthFormulaError(
            f"Health formula {self.id!r} has no part {name!r}; it has {names}."
        )

    def band(self, score: float) -> Band:
        """The band of an unrounded score, lower edge inclusive."""
        return next(band for band in self.bands if score >= band.lowest)


def nan_to_none(value: float | None) -> float | None:
    """The value, or None where it is NaN."""
    return None if value is None or math.isnan(value) else float(value)


def nan_to_null(name: str) -> pl.Expr:
    """``nan_to_none`` for a column."""
    return pl.col(name).cast(pl.Float64).fill_nan(None)


def read_formulas(text: str, name: str = FORMULA_FILE.name) -> dict[str, HealthFormula]:
    """The formulas of a TOML text by id, checked; ``name`` is that of its file in messages.

    Raises:
        HealthFormulaError: naming the formula, the part and what is wrong.
    """
    file = _FormulaTable(toml_values(text), name, allowed=("formula",))
    formulas = [_formula(values) for values in file.tables("formula")]
    return {formula.id: formula for formula in formulas}


class _FormulaTable(Table):
    error = HealthFormulaError

    def knots(self, key: ShapeKind) -> Knots:
        rows = self._get(key, None)
        if not isinstance(rows, list) or not rows or not all(map(_is_pair, rows)):
            raise self._wrong(key, "a list of pairs [value, points]")
        return tuple((float(x), float(y)) for x, y in rows)


def _is_pair(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(map(is_number, row))


def _formula(values: Mapping[str, object]) -> HealthFormula:
    where = f"health formula {values.get('id')!r}"
    table = _FormulaTable(
        values,
        where,
        allowed=("id", "former_id", "title", "source", "ours", "band", "component"),
    )
    return HealthFormula(
        id=table.text("id"),
        former_id=table.optional_text("former_id"),
        title=table.text("title"),
        source=table.text("source"),
        ours=table.texts("ours"),
        bands=tuple(_band(band, where) for band in table.tables("band")),
        components=tuple(_component(part, where) for part in table.tables("component")),
    )


def _band(values: Mapping[str, object], formula: str) -> Band:
    table = _FormulaTable(
        values,
        f"band {values.get('name')!r} of {formula}",
        allowed=("lowest", "name", "action"),
    )
    return Band(lowest=table.number("lowest"), name=table.text("name"), action=table.text("action"))


def _component(values: Mapping[str, object], formula: str) -> Component:
    where = f"part {values.get('name')!r} of {formula}"
    table = _FormulaTable(
        values,
        where,
        allowed=("name", "group", "weight", "combine", "source", "ours", "unknown", "measure"),
    )
    measures = tuple(_measure(measure, where) for measure in table.tables("measure", ()))
    unknown = table.optional_text("unknown")
    if bool(measures) == (unknown is not None):
        raise HealthFormulaError(
            f"The {where} needs either measures or, in 'unknown', a reason why there are none."
        )
    return Component(
        name=table.text("name"),
        weight=table.number("weight"),
        source=table.text("source"),
        ours=table.texts("ours"),
        measures=measures,
        combine=table.word("combine", get_args(Combine), "first"),
        group=table.optional_text("group"),
        unknown=unknown,
    )


def _measure(values: Mapping[str, object], part: str) -> Measure:
    where = f"measure {values.get('feature')!r} in {part}"
    shapes: tuple[ShapeKind, ...] = get_args(ShapeKind)
    table = _FormulaTable(
        values, where, allowed=("feature", "over", "only_if", "unit", "phrase", *shapes)
    )
    given = [shape for shape in shapes if table.has(shape)]
    if len(given) != 1:
        raise HealthFormulaError(f"The {where} needs exactly one of {', '.join(shapes)}.")
    [shape] = given
    knots = table.knots(shape)
    _check_knots(knots, shape, where)
    return Measure(
        feature=table.text("feature"),
        shape=shape,
        knots=knots,
        unit=table.text("unit"),
        phrase=table.text("phrase"),
        over=table.optional_text("over"),
        only_if=_guard(table, where) if table.has("only_if") else None,
    )


def _guard(measure: _FormulaTable, where: str) -> tuple[str, float]:
    values = measure.table("only_if")
    table = _FormulaTable(values, f"`only_if` of {where}", allowed=("feature", "above"))
    return table.text("feature"), table.number("above")


def _check_knots(knots: Knots, shape: ShapeKind, where: str) -> None:
    values, points = zip(*knots, strict=True)
    rises = all(a <= b for a, b in pairwise(points))
    falls = all(a >= b for a, b in pairwise(points))
    if not all(a < b for a, b in pairwise(values)) or rises == falls:
        raise HealthFormulaError(
            f"The {where} needs rising values, and points that only rise or only fall."
        )
    if not all(0 <= p <= 100 for p in points):
        raise HealthFormulaError(f"The {where} gives points outside 0 to 100.")
    if shape == "at_most" and values[-1] != math.inf:
        raise HealthFormulaError(f"The {where} leaves large values out; end at_most with inf.")


FORMULAS: dict[str, HealthFormula] = read_formulas(FORMULA_FILE.read_text(encoding="utf-8"))
"""The formulas by id; ``DEFAULT_FORMULA`` names the default."""

FORMER_IDS = {one.former_id: name for name, one in FORMULAS.items() if one.former_id is not None}
"""The name of a formula by the number that it had before."""


def formula_id(text: str) -> str:
    """The id of a formula that is given by its id or by its former number.

    >>> formula_id("003"), formula_id("goal_led")
    ('balanced', 'goal_led')

    Raises:
        HealthFormulaError: there is no such formula.
    """
    name = FORMER_IDS.get(text, text)
    if name not in FORMULAS:
        raise HealthFormulaError(
            f"There is no health formula {text!r}. Choose one of {', '.join(FORMULAS)}."
        )
    return name
