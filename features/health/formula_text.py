"""Write a health formula as TOML, in the form in which ``read_formulas`` reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator

from features.health.formula import Component, HealthFormula, Measure


def formula_text(formula: HealthFormula, remarks: Iterable[str] = ()) -> str:
    """The formula as a text that is read back as the same formula.

    Args:
        formula: any formula.
        remarks: lines that stand above it as comments.
    """
    return "\n".join([*(f"# {line}".rstrip() for line in remarks), *_lines(formula)]) + "\n"


def _lines(formula: HealthFormula) -> Iterator[str]:
    yield "[[formula]]"
    yield f"id = {_text(formula.id)}"
    if formula.former_id is not None:
        yield f"former_id = {_text(formula.former_id)}"
    yield f"title = {_text(formula.title)}"
    yield f"source = {_text(formula.source)}"
    yield f"ours = {_texts(formula.ours)}"
    for band in formula.bands:
        yield "\n    [[formula.band]]"
        yield f"    lowest = {_number(band.lowest)}"
        yield f"    name = {_text(band.name)}"
        yield f"    action = {_text(band.action)}"
    for component in formula.components:
        yield from _component(component)


def _component(component: Component) -> Iterator[str]:
    yield "\n    [[formula.component]]"
    yield f"    name = {_text(component.name)}"
    if component.group is not None:
        yield f"    group = {_text(component.group)}"
    yield f"    weight = {_number(component.weight)}"
    if component.combine != "first":
        yield f"    combine = {_text(component.combine)}"
    yield f"    source = {_text(component.source)}"
    yield f"    ours = {_texts(component.ours)}"
    if component.unknown is not None:
        yield f"    unknown = {_text(component.unknown)}"
    for measure in component.measures:
        yield from _measure(measure)


def _measure(measure: Measure) -> Iterator[str]:
    yield "        [[formula.component.measure]]"
    yield f"        feature = {_text(measure.feature)}"
    if measure.over is not None:
        yield f"        over = {_text(measure.over)}"
    if measure.only_if is not None:
        feature, above = measure.only_if
        yield f"        only_if = {{ feature = {_text(feature)}, above = {_number(above)} }}"
    yield f"        unit = {_text(measure.unit)}"
    yield f"        phrase = {_text(measure.phrase)}"
    pairs = ", ".join(f"[{_number(x)}, {_number(y)}]" for x, y in measure.knots)
    yield f"        {measure.shape} = [{pairs}]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _number(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return str(int(value)) if value == int(value) else repr(value)
