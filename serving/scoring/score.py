"""The score of one account, and what scoring needs: models, horizons, risk tiers.

``scored_columns`` makes the scores of a frame of accounts. Unknown stays ``None``. Reads no store
and asks for no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.definitions.attributes import WITHOUT_CONTRACT
from features.catalogue.feature import AnyFeature
from features.health.score import Health
from features.leaving import Leaving
from registry.bundle.feature_contract import FeatureContract, Row
from registry.bundle.segment_gate import EVERYONE, segment_key
from registry.bundle.untreated_risk import UntreatedRisk
from registry.outcomes import OUTLOOKS, Outcome, churn_of
from registry.promotion.reason_evidence import ReasonEvidence
from serving.scoring.expected_money import Money, yearly_of_one
from serving.scoring.explanations import Reasons
from serving.text_format import age, day

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Source = Literal["model", "health_formula"]
ScoredBy = Literal["model", "health_formula", "none"]

TIER_HORIZON_DAYS = 90
STANDARD_HORIZONS = (30, 60, 90)

OTHER_OUTCOMES = tuple(outcome.name for outcome in OUTLOOKS)
"""What else may come of an account; shown beside churn and expansion where a model serves."""

ENDED = "the contract has ended, so there is nothing left to predict"
NO_CONTRACT = "no contract has begun, so there is none that could end"

NOT_ATTRIBUTES = frozenset({"account_id", "as_of"})


@dataclass(frozen=True, kw_only=True)
class RiskTier:
    """A band of churn probability that starts at a multiple of the base rate."""

    name: str
    from_multiple: float


RISK_TIERS = (
    RiskTier(name="low", from_multiple=0.0),
    RiskTier(name="medium", from_multiple=1.0),
    RiskTier(name="high", from_multiple=2.0),
    RiskTier(name="critical", from_multiple=4.0),
)
"""Cuts on the calibrated 90-day probability, as multiples of the base rate. Ours."""


HIGH_TIERS = frozenset({"high", "critical"})
"""The tiers that come before anything is sold, and before what is usual for a health band."""

NONE = -1
"""In a column of codes: there is none."""


def risk_tiers(probability: Floats, base_rate: Floats, *, by_odds: bool = False) -> Codes:
    """The tier of each probability by its place in ``RISK_TIERS``, ``NONE`` where it is unknown.

    The lower edge belongs to the tier. ``by_odds`` compares odds, for outcomes that are usual: twice a
    chance of 80 % is none.

    >>> risk_tiers(np.array([0.049, 0.05, 0.1, 0.2, np.nan]), np.full(5, 0.05)).tolist()
    [0, 1, 2, 3, -1]
    >>> risk_tiers(np.array([0.7, 0.8, 0.9, 0.95]), np.full(4, 0.8), by_odds=True).tolist()
    [0, 1, 2, 3]
    """
    if by_odds:
        with np.errstate(divide="ignore"):
            probability = probability / (1 - probability)
            base_rate = base_rate / (1 - base_rate)
    reached = np.full(len(probability), NONE, np.int64)
    for tier in RISK_TIERS:
        reached += probability >= tier.from_multiple * base_rate
    return reached


class ScoringModel(Protocol):
    """What scoring needs of a bundle."""

    @property
    def contract(self) -> FeatureContract:
        """The features that it reads."""
        ...

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizons, in days, that it gives a probability for."""
        ...

    @property
    def extended_from(self) -> int | None:
        """The longest horizon that was learned, where longer ones take its rate to go on; else None."""
        ...

    @property
    def amount_ratio(self) -> float | None:
        """Expansion: expected relative rise of MRR, given that it rises."""
        ...

    @property
    def not_estimable(self) -> Mapping[int, str]:
        """The horizons, in days, that the data could not judge, each with the reason."""
        ...

    @property
    def untreated_risk(self) -> UntreatedRisk | None:
        """What is known of accounts that nobody acts on; None where nobody looked."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """What is known of how good it is, and of how exact its amount."""
        ...

    def raw(self, X: Floats) -> Floats:
        """The raw score of every row, which the others take so that it is counted once."""
        ...

    def probability(self, X: Floats, horizon_days: int, *, raw: Floats | None = None) -> Floats:
        """The calibrated probability of every row."""
        ...

    def probability_interval(
        self, X: Floats, horizon_days: int, *, raw: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """The 95 % interval of every row's probability."""
        ...

    def points(
        self,
        X: Floats,
        horizon_days: int,
        *,
        raw: Floats | None = None,
        within: Codes | None = None,
    ) -> tuple[Floats, float]:
        """Contributions in probability, and the base they start from.

        With ``within``, the theme of each feature, they sum by theme to the theme's own.
        """
        ...

    def zero_at(self, name: str) -> float | None:
        """The value of a feature at which it contributes nothing; None where there is none."""
        ...

    @property
    def reason_evidence(self) -> ReasonEvidence | None:
        """What its training found out about its reasons; None where nobody looked."""
        ...

    @property
    def usual(self) -> Mapping[str, float]:
        """The median of each feature in the training rows."""
        ...

    def at_renewal(
        self, rows: Row | Floats, *, raw: Floats | None = None
    ) -> tuple[Floats, Floats, Floats] | None:
        """The probability to leave when the term ends, with its ends; None: it knows no dates."""
        ...

    def usual_at_renewal(self, rows: Row | Floats) -> Floats | None:
        """The same of accounts with the usual score and each row's contract."""
        ...

    def points_at_renewal(
        self, rows: Floats, *, within: Codes | None = None, raw: Floats | None = None
    ) -> tuple[Floats, Floats] | None:
        """The contributions in that probability, and where each row starts."""
        ...

    def base_rate(self, horizon_days: int) -> float:
        """How often the outcome happened in the training rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A champion with the version it is known by, and the fingerprint of its bundle.

    ``is_prior`` says that nothing was learned: it is what is believed on the first day.
    """

    model: ScoringModel
    version: str
    fingerprint: str = ""
    is_prior: bool = False


@dataclass(frozen=True, kw_only=True)
class Models:
    """What there is to score with; ``refusals`` says per label why a model is missing.

    ``withheld`` says per label for which segments (``segment_key``) its model does not answer, and
    why.
    """

    churn: ServedModel | None = None
    churn_formula: ServedModel | None = None
    expansion: ServedModel | None = None
    others: Mapping[str, ServedModel] = field(default_factory=dict)  # of OTHER_OUTCOMES
    refusals: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def is_first_day(self) -> bool:
        """Whether the chance to leave is a prior, because nothing was learned yet."""
        return self.churn is None and self.churn_formula is not None and self.churn_formula.is_prior

    def withheld_from(self, label: str, attributes: Mapping[str, str | None]) -> str | None:
        """Why a label's model does not answer for this account; None where it does."""
        segments = self.withheld.get(label, {})
        return segments.get(EVERYONE) or segments.get(segment_key(attributes.get("segment")))


@dataclass(frozen=True, kw_only=True)
class HorizonProbability:
    """A probability within a horizon, with its 95 % interval and what is usual."""

    horizon_days: int
    probability: float | None
    low: float | None = None
    high: float | None = None
    base_rate: float | None = None
    extended_from: int | None = None  # days that were learned, where this takes their rate to go on


@dataclass(frozen=True, kw_only=True)
class SourceFreshness:
    """When a kind of event was last recorded in this workspace."""

    kind: str
    last_recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class AccountScore:
    """All that one look at an account says. ``None`` is unknown, never zero."""

    account_id: str
    as_of: datetime
    source: Source
    degraded: str | None
    model_version: str | None
    formula: str
    churn: tuple[HorizonProbability, ...]
    growth: tuple[HorizonProbability, ...]  # to expand before any churn; () where not known
    expansion_note: str | None
    risk_tier: str | None
    mrr: float | None
    revenue_at_risk: float | None
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    expected_expansion: float | None  # P(expand before any churn) × amount, a year
    expected_expansion_low: float | None
    expected_expansion_high: float | None
    expansion_amount: float | None  # the rise of MRR, given that it rises
    expansion_amount_error: float  # relative standard error of that amount
    currency: str
    explain_health: Callable[[], Health] = field(repr=False, compare=False)
    say_reasons: Callable[[], Reasons] = field(repr=False, compare=False)
    say_expansion_reasons: Callable[[], Reasons] | None = field(repr=False, compare=False)
    attributes: Mapping[str, str | None]
    features: Mapping[str, float | None]
    at_renewal: HorizonProbability | None = None  # to leave when the term ends, if still there
    usual_at_renewal: float | None = None  # the same of the usual score with such a contract
    others: Mapping[str, HorizonProbability] = field(default_factory=dict)  # by outcome
    other_notes: Mapping[str, str] = field(default_factory=dict)  # why one is missing
    leaving: Leaving = field(default_factory=Leaving)  # what leaving means in the workspace

    @property
    def outcome(self) -> Outcome:
        """Churn as the workspace means it."""
        return churn_of(self.leaving)

    @property
    def risk_days(self) -> int:
        """The horizon of its risk tier and revenue at risk."""
        return self.leaving.days if self.leaving.is_no_use else TIER_HORIZON_DAYS

    @cached_property
    def renewal_tier(self) -> str | None:
        """The band of the chance to leave when the term ends, in multiples of what is usual then."""
        if self.at_renewal is None or self.at_renewal.probability is None:
            return None
        usual = np.array([np.nan if self.usual_at_renewal is None else self.usual_at_renewal])
        code = int(risk_tiers(np.array([self.at_renewal.probability]), usual)[0])
        return None if code == NONE else RISK_TIERS[code].name

    @cached_property
    def health(self) -> Health:
        """Its health with every part; made when first asked."""
        return self.explain_health()

    @cached_property
    def reasons(self) -> Reasons:
        """Why it is at risk; made when first asked, as few of the accounts scored are read."""
        return self.say_reasons()

    @cached_property
    def expansion_reasons(self) -> Reasons | None:
        """Why it may grow; None where no probability of that is given."""
        return self.say_expansion_reasons() if self.say_expansion_reasons else None

    def churn_at(self, horizon_days: int) -> HorizonProbability | None:
        """The probability within a horizon; None where that horizon is not served."""
        return next((h for h in self.churn if h.horizon_days == horizon_days), None)

    def growth_at(self, horizon_days: int) -> HorizonProbability | None:
        """The probability to expand within a horizon; None where that is not known."""
        return next((h for h in self.growth if h.horizon_days == horizon_days), None)

    def expected_growth(self, at: HorizonProbability) -> Money:
        """The rise of revenue, a year, that a probability to expand stands for."""
        return yearly_of_one(
            at.probability,
            at.low,
            at.high,
            self.expansion_amount,
            relative_error=self.expansion_amount_error,
        )

    @property
    def expansion(self) -> HorizonProbability | None:
        """The probability to expand that expected expansion is made of."""
        return self.growth_at(TIER_HORIZON_DAYS)

    @property
    def churn_probability_90d(self) -> float | None:
        """The probability that tiers and revenue at risk are made of: of 90 days, but where a workspace
        without contracts states others."""
        at = self.churn_at(self.risk_days)
        return None if at is None else at.probability

    @property
    def score_source(self) -> ScoredBy:
        """What scored it: nothing did where no contract runs or nothing is known."""
        unscored = self.churn_probability_90d is None and self.health.score is None
        return "none" if unscored or self.has_no_contract else self.source

    @property
    def has_left(self) -> bool:
        """Whether the contract is known to have ended."""
        return self.attributes.get("contract_status") == "ended"

    @property
    def has_no_contract(self) -> bool:
        """Whether it is known that no contract runs: it has ended, or none has begun."""
        return self.attributes.get("contract_status") in WITHOUT_CONTRACT


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a snapshot are features, and which are words."""

    features: tuple[str, ...]
    attributes: tuple[str, ...]


def columns_of(frame: pl.DataFrame, catalogue: Mapping[str, AnyFeature]) -> Columns:
    """The columns of a snapshot frame."""
    return Columns(
        features=tuple(n for n, t in frame.schema.items() if n in catalogue or t.is_numeric()),
        attributes=tuple(
            n for n, t in frame.schema.items() if t == pl.String and n not in NOT_ATTRIBUTES
        ),
    )


def features_of(row: Mapping[str, Any], columns: Columns) -> dict[str, float | None]:
    """The features of one row; a number that is none is unknown."""
    return {name: _number(row[name]) for name in columns.features}


def staleness(as_of: datetime, now: datetime, max_age: timedelta) -> str | None:
    """Why features of a moment are too old to be given to a model; None where they are not."""
    if now - as_of <= max_age:
        return None
    return (
        f"the features are of {day(as_of)}, {age(now - as_of)} old, and may be at most "
        f"{age(max_age)} old"
    )


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)


def sentence(text: str) -> str:
    """A reason as it is shown, of the model or of the formula."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
