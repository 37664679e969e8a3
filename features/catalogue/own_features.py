"""Features that a company declares itself, in ``features.toml`` of its workspace.

The same declarations as those of the catalogue, as data: an aggregate over a window, or the ratio of two
other features. No code is run. Of the themes they belong to adoption, as the counts of ``use_names`` do::

    [[feature]]
    name = "exports_28d"
    description = "Exports in 28 days."
    reads = ["feature.used"]
    where = { name = "export" }
    aggregate = { operation = "count" }
    lookback_days = 28
    when_empty = 0                # left out: no events mean unknown
    unit = "exports"
    direction = "safety"          # what a larger value means: risk, safety, or open
    phrase = "exported {value:,.0f} times in the last 28 days"

    [[feature]]
    name = "exports_of_use"
    description = "Exports in 28 days as a share of all use."
    ratio_of = ["exports_28d", "feature_uses_28d"]
    unit = "share"
    phrase = "{value:.0%} of its use is exports"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import timedelta
from difflib import get_close_matches
from string import Formatter
from typing import get_args

from features.catalogue.feature import (
    Aggregate,
    AggregateError,
    AnyFeature,
    Derived,
    Direction,
    Feature,
    Role,
    ratio,
)
from features.events.schema import KINDS, is_kind
from features.toml_table import Table, toml_values

OWN_FEATURES_FILE = "features.toml"

MOST_FEATURES = 200
LONGEST_DAYS = 3_660

WINDOW = (
    *("name", "description", "reads", "aggregate", "unit", "phrase", "when_empty", "lookback_days"),
    *("ends_before_days", "where", "quantities", "direction", "role"),
)
RATIO = ("name", "description", "ratio_of", "unit", "phrase", "direction", "role")
AGGREGATE = ("operation", "of", "words", "state", "after_days")

_FORM = re.compile(r",?(\.\d)?[f%]")


class OwnFeatureError(ValueError):
    """The features of a company cannot be used."""


class _FeatureTable(Table):
    error = OwnFeatureError


def read_own_features(text: str, shipped: Collection[str]) -> tuple[AnyFeature, ...]:
    """The features of the text of a ``features.toml``, in order; none of an empty one.

    Args:
        text: of the file.
        shipped: names that are taken, and that a ratio may read.

    Raises:
        OwnFeatureError: what is wrong, with the line.
    """
    if not text.strip():
        return ()
    try:
        values = toml_values(text)
    except tomllib.TOMLDecodeError as exc:
        raise OwnFeatureError(f"{OWN_FEATURES_FILE} is not valid TOML: {exc}.") from exc
    file = _FeatureTable(values, OWN_FEATURES_FILE, allowed=("feature",))
    entries = file.tables("feature", ())
    if len(entries) > MOST_FEATURES:
        raise OwnFeatureError(
            f"{OWN_FEATURES_FILE} declares {len(entries)} features; at most {MOST_FEATURES} are read."
        )
    lines = [
        line
        for line, content in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*feature\s*\]\]", content)
    ]
    found: dict[str, AnyFeature] = {}
    for number, entry in enumerate(entries):
        line = f", line {lines[number]}" if number < len(lines) else ""
        where = f"{OWN_FEATURES_FILE}{line}"
        try:
            feature = _feature(entry, where, {*shipped, *found})
        except (AggregateError, ValueError) as exc:
            said = str(exc)
            raise OwnFeatureError(said if said.startswith(where) else f"{where}: {said}") from exc
        if feature.name in shipped or feature.name in found:
            raise OwnFeatureError(
                f"{where}: there is a feature {feature.name!r} already. Choose another name."
            )
        found[feature.name] = feature
    return tuple(found.values())


def _feature(entry: Mapping[str, object], where: str, known: Collection[str]) -> AnyFeature:
    is_ratio = "ratio_of" in entry
    table = _FeatureTable(entry, where, allowed=RATIO if is_ratio else WINDOW)
    name = table.text("name")
    table.where = f"{where}, feature {name!r}"
    phrase = table.text("phrase")
    _check_phrase(phrase, table.where)
    direction = table.word("direction", get_args(Direction), "open")
    role = table.word("role", get_args(Role), "signal")
    if is_ratio:
        inputs = table.texts("ratio_of")
        if len(inputs) != 2:
            raise OwnFeatureError(
                f"{table.where}: `ratio_of` has to name two features, the upper and the lower one."
            )
        for one in inputs:
            if one not in known:
                raise OwnFeatureError(
                    f"{table.where}: there is no feature {one!r} before it.{_near(one, known)}"
                )
        return Derived(
            name=name,
            description=table.text("description"),
            theme="adoption",
            inputs=inputs,
            formula=ratio,
            unit=table.text("unit"),
            phrase=phrase,
            direction=direction,
            role=role,
        )
    reads = table.texts("reads")
    for kind in reads:
        if not is_kind(kind):
            kinds = {one.name for one in KINDS}
            raise OwnFeatureError(
                f"{table.where}: there is no kind of event {kind!r}.{_near(kind, kinds)}"
            )
    return Feature(
        name=name,
        description=table.text("description"),
        theme="adoption",
        reads=reads,
        aggregate=_aggregate(table.table("aggregate"), table.where),
        unit=table.text("unit"),
        phrase=phrase,
        when_empty=table.number("when_empty") if table.has("when_empty") else None,
        lookback=_days(table, "lookback_days"),
        ends_before=_days(table, "ends_before_days") or timedelta(),
        where=_kept(table.table("where", {}), f"{table.where}, `where`"),
        quantities=tuple(_numbers(entry.get("quantities", ()), table)),
        direction=direction,
        role=role,
    )


def _aggregate(values: Mapping[str, object], where: str) -> Aggregate:
    table = _FeatureTable(values, f"{where}, `aggregate`", allowed=AGGREGATE)
    return Aggregate(
        operation=table.text("operation"),
        of=table.optional_text("of"),
        words={
            word: float(value)
            for word, value in table.table("words", {}).items()
            if isinstance(value, int | float)
        },
        state=_kept(table.table("state", {}), f"{table.where}, `state`"),
        after=_days(table, "after_days") or timedelta(),
    )


def _kept(values: Mapping[str, object], where: str) -> dict[str, str | tuple[str, ...]]:
    """Properties with the text, or the texts, that they have to have."""
    table = _FeatureTable(values, where)
    return {
        name: value if isinstance(value, str) else table.texts(name)
        for name, value in values.items()
    }


def _numbers(values: object, table: Table) -> list[float]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in values
    ):
        raise OwnFeatureError(f"{table.where}: `quantities` has to be a list of numbers.")
    return [float(one) for one in values]


def _days(table: Table, key: str) -> timedelta | None:
    if not table.has(key):
        return None
    days = table.whole(key)
    if not 1 <= days <= LONGEST_DAYS:
        raise OwnFeatureError(f"{table.where}: `{key}` is {days}; write 1 to {LONGEST_DAYS} days.")
    return timedelta(days=days)


def _check_phrase(phrase: str, where: str) -> None:
    """See that the sentence takes the value, in a form that is known, and nothing else."""
    try:
        parts = [part[1:] for part in Formatter().parse(phrase) if part[1] is not None]
    except ValueError:
        parts = []
    if not parts or any(
        name != "value" or how or not _FORM.fullmatch(form or "") for name, form, how in parts
    ):
        raise OwnFeatureError(
            f"{where}: the phrase {phrase!r:.120} has to hold the value as {{value:,.0f}}, {{value:.1f}} or "
            f"{{value:.0%}}, and no other braces."
        )


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f" Did you mean {near[0]!r}?" if near else ""
