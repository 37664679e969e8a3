"""Declare a feature once: a number that is known as of a moment.

The kernel's plan, the Feast schema, the API field, the sentence a customer success manager reads
and the catalogue row are derived from the declaration. Most are a ``Feature`` (an aggregate over a
window) or a ``Derived`` (computed from other features). A number that neither can express is an
``Expression`` over the events themselves.

::

    occurred_at  ────────[───────── lookback ─────────)── ends_before ──┤ as_of
                         opens                       closes             nothing at or after
                                                                        is seen
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Literal

import polars as pl

from features.kernel.aggregations import BY_NAME

Theme = Literal[
    "adoption",
    "stickiness",
    "reliability",
    "support",
    "sentiment",
    "sponsor",
    "billing",
    "orders",
    "contract",
    "onboarding",
    "interventions",
    "health",
]
Role = Literal["signal", "lever", "context"]
Direction = Literal["risk", "safety", "open"]


PROPERTY = re.compile(r"[A-Za-z0-9_]+")


def _check_properties(*names: str) -> None:
    for name in names:
        if not PROPERTY.fullmatch(name):  # Polars would read it as a JSON path
            raise AggregateError(
                f"Property {name!r}: letters, digits and underscores only. Give "
                f"it such a name in the mapping."
            )


class AggregateError(ValueError):
    """An aggregate is declared that no operation can compute."""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """How the events in a window become one number.

    Attributes:
        operation: the name of an operation of ``kernel/aggregations.py``.
        of: a property. ``values`` and ``in_state`` distinguish its values, ``days_until`` and
            ``days_spanned`` read it as a date, any other operation reads it as a number instead of
            the quantity.
        words: numbers for words of the property ``of``.
        state: for ``in_state``, which values of which properties make up the state.
        after: for ``in_state``, how old an event of the state must be to count.

    Raises:
        AggregateError: the operation is not known, or does not get what it needs.
    """

    operation: str
    of: str | None = None
    words: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    after: timedelta = timedelta()

    def __post_init__(self) -> None:
        if self.operation not in BY_NAME:
            raise AggregateError(
                f"There is no operation {self.operation!r}. Choose one of "
                f"{', '.join(BY_NAME)}, "
                "or add a class to features/kernel/aggregations.py."
            )
        operation = BY_NAME[self.operation]
        if operation.needs_property and self.of is None:
            raise AggregateError(
                f"The aggregate {self.operation!r} needs `of`, a property to read."
            )
        if bool(self.state) != (operation.property_as == "state"):
            raise AggregateError(
                f"The aggregate {self.operation!r} "
                + (
                    "has no use for `state`."
                    if self.state
                    else "needs `state`, the properties that make up the state."
                )
            )
        reads_numbers = operation.property_as == "number" and "quantity" in operation.reads
        useless = [
            name
            for name, is_said, has_use in (
                ("of", self.of is not None, operation.needs_property or reads_numbers),
                ("words", self.words, self.of is not None and reads_numbers),
                ("after", self.after, operation.property_as == "state"),
            )
            if is_said and not has_use
        ]
        if useless:
            raise AggregateError(
                f"The aggregate {self.operation!r} has no use for `{useless[0]}`; leave it out."
            )
        _check_properties(*self.state, *([] if self.of is None else [self.of]))

    def __repr__(self) -> str:
        """The declaration as text. It is part of the digest, so defaults are left out."""
        said = [f"operation={self.operation!r}", f"of={self.of!r}"]
        said += [
            f"{name}={value!r}"
            for name, value in (
                ("words", sorted(self.words.items())),
                ("state", sorted(self.state.items())),
                ("after", self.after),
            )
            if value
        ]
        return f"Aggregate({', '.join(said)})"


NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A number computed from the events of an account in one window.

    ``where`` keeps only events whose property equals the value (or one of the values),
    ``quantities`` only those with such a quantity (a severity, a rating).
    ``when_empty`` is ``0.0`` where no events mean zero, and ``None`` where they mean unknown. The
    value is always unknown while no source has sent an event of the kinds that it reads.
    """

    name: str
    description: str
    theme: Theme
    reads: tuple[str, ...]
    aggregate: Aggregate
    unit: str
    phrase: str  # "{value:.0f} logins in the last 28 days"
    when_empty: float | None
    lookback: timedelta | None = None  # None: all that is known
    ends_before: timedelta = timedelta()
    where: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    quantities: tuple[float, ...] = ()  # keep only events with one of these; empty: all
    direction: Direction = "open"  # what a larger value means
    role: Role = "signal"
    is_model_input: bool = True

    def __post_init__(self) -> None:
        _check_name(self.name, self.lookback)
        if not self.reads:
            raise ValueError(f"Feature {self.name!r} reads no event kind.")
        _check_properties(*self.where)
        if self.aggregate.after and self.lookback is not None:
            raise ValueError(
                f"Feature {self.name!r} has a lookback, and its aggregate an `after`: "
                f"leave one out."
            )

    @cached_property
    def digest(self) -> str:
        """Hash of what decides the value; wording is left out."""
        return _digest(
            self.name,
            self.reads,
            self.aggregate,
            self.when_empty,
            self.lookback,
            self.ends_before,
            sorted(self.where.items()),
            self.quantities,
        )


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A number computed from other features of the same snapshot by a Polars expression.

    Unknown inputs are null and stay null unless the formula says otherwise.
    """

    name: str
    description: str
    theme: Theme
    inputs: tuple[str, ...]
    formula: Callable[..., pl.Expr]  # called with one pl.Expr per input, in order
    unit: str
    phrase: str
    version: int = 1  # raise when the formula changes: it is part of the fingerprint
    direction: Direction = "open"
    role: Role = "signal"
    is_model_input: bool = True

    def __post_init__(self) -> None:
        _check_name(self.name, None)

    @cached_property
    def digest(self) -> str:
        """Hash of what decides the value: name, inputs and version of the formula."""
        return _digest(self.name, self.inputs, self.version)


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A number that no aggregate can express: a Polars expression over the events of a window.

    The formula sees, for one account as of one moment, exactly the events that a ``Feature`` with
    the same window would see, oldest first: the columns of ``EVENT_SCHEMA``, ``as_of``, and
    ``days_before`` (0 for the last 24 hours of the window, 1 for those before them, …). It must
    return one number. It is not evaluated where the window is empty: the value is then
    ``when_empty``. ``expression_terms.py`` has terms to build a formula from.
    """

    name: str
    description: str
    theme: Theme
    reads: tuple[str, ...]
    formula: Callable[[], pl.Expr]
    unit: str
    phrase: str
    when_empty: float | None
    lookback: timedelta | None = None  # None: all that is known
    ends_before: timedelta = timedelta()
    version: int = 1  # raise when the formula changes: it is part of the fingerprint
    direction: Direction = "open"
    role: Role = "signal"
    is_model_input: bool = True

    def __post_init__(self) -> None:
        _check_name(self.name, self.lookback)
        if not self.reads:
            raise ValueError(f"Feature {self.name!r} reads no event kind.")

    @cached_property
    def digest(self) -> str:
        """Hash of what decides the value: name, kinds, window and version of the formula."""
        return _digest(
            self.name, self.reads, self.when_empty, self.lookback, self.ends_before, self.version
        )


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A text known as of a moment: the newest value of a property (segment, plan, owner).

    Without ``of`` it is the kind of the newest event, translated by ``words``.
    """

    name: str
    description: str
    reads: tuple[str, ...]
    of: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)


AnyFeature = Feature | Derived | Expression


def ratio(top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
    """``top / bottom``; unknown where the bottom is zero or unknown."""
    return pl.when(bottom != 0).then(top / bottom)


def _check_name(name: str, lookback: timedelta | None) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"Feature name {name!r}: lower-case words joined by underscores.")
    if lookback is not None and not name.endswith(f"_{lookback.days}d"):
        raise ValueError(f"Feature name {name!r} must end in its lookback: _{lookback.days}d.")


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
