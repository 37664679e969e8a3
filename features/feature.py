"""This module is about what a feature is: a number known as of a moment, declared once.

The kernel's plan, the Feast schema, the API field, the sentence a customer success manager reads
and the catalogue row all come from one declaration. Most are a ``Feature`` (an aggregate over a
window) or a ``Derived`` (made of others); what neither can say is an ``Expression`` over the
events themselves. Declares; computes nothing.

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
from typing import Literal

import polars as pl

Theme = Literal["adoption", "stickiness", "reliability", "support", "sentiment", "sponsor",
                "billing", "contract", "onboarding", "interventions", "health"]
Role = Literal["signal", "lever", "context"]
Direction = Literal["risk", "safety", "open"]

Operation = Literal[
    "count",  # sum of event_count
    "sum",  # sum of quantity
    "mean",  # mean of quantity over events that have one
    "max",  # largest quantity
    "min",  # smallest quantity
    "last",  # quantity of the newest event (or a numeric property, see `of`)
    "users",  # distinct user_id; unknown when events carry none
    "user_days",  # distinct (user_id, day) pairs; unknown when events carry none
    "peak_users",  # largest user_count of one event
    "values",  # distinct values of the property `of`
    "active_days",  # distinct UTC days with an event
    "days_since_last",  # days from the newest event to as_of
    "days_since_first",  # days from the oldest event to as_of
    "days_until",  # days from as_of to the date in the property `of` of the newest event
]


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """How the events in a window become one number.

    ``of`` names a property and is needed by ``values`` and ``days_until``; with ``last`` it reads
    that property as a number instead of the quantity.
    """

    operation: Operation
    of: str | None = None

    def __post_init__(self) -> None:
        if self.operation in ("values", "days_until") and self.of is None:
            raise ValueError(f"The aggregate {self.operation!r} needs `of`, a property to read.")


NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A number computed from the events of an account in one window.

    ``where`` keeps only events whose property equals the value (or one of the values),
    ``quantities`` only those with such a quantity (a severity, a rating).
    ``when_empty`` is ``0.0`` where silence is a fact and ``None`` where it is ignorance; whatever
    it says, the value is unknown while no source has ever sent any of the kinds it reads.
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

    @property
    def digest(self) -> str:
        """Hash of what decides the value; wording is left out."""
        return _digest(self.name, self.reads, self.aggregate, self.when_empty, self.lookback,
                       self.ends_before, sorted(self.where.items()), self.quantities)


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

    @property
    def digest(self) -> str:
        """Hash of what decides the value: name, inputs and version of the formula."""
        return _digest(self.name, self.inputs, self.version)


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A number that no aggregate can say: a Polars expression over the events of a window.

    The formula sees, for one account as of one moment, exactly the events that a ``Feature`` with
    the same window would see, oldest first: the columns of ``EVENT_SCHEMA``, ``as_of``, and
    ``days_before`` (0 for the last 24 hours of the window, 1 for those before them, …). It must
    come to one number. It is not asked where the window is empty: the value is then
    ``when_empty``. ``expressions`` chooses the events; ``formulas`` has words to build with.
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

    @property
    def digest(self) -> str:
        """Hash of what decides the value: name, kinds, window and version of the formula."""
        return _digest(self.name, self.reads, self.when_empty, self.lookback, self.ends_before,
                       self.version)


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A word known as of a moment: the newest value of a property (segment, plan, owner).

    Without ``of`` the word is the newest event's kind, said by ``words``.
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
