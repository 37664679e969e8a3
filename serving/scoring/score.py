"""This module is about how features become a score: the model's, or the health formula's.

All accounts are scored in one pass. The fallback is part of the same function: with no champion,
with a bundle that was refused, with features that the model can not read, or with features older
than allowed, the health formula answers in the same shape and the score says why. Unknown stays
null. Reads no store and asks for no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.feature import AnyFeature
from features.health.score import Health, HealthFormula, score_health
from registry.bundle.contract import FeatureContract, FeatureContractError
from registry.bundle.metadata import AMOUNT_ERROR
from registry.bundle.segment_gate import EVERYONE, segment_key
from registry.bundle.untreated_risk import Untouched
from registry.outcomes import OUTLOOKS, outcome_named
from serving.scoring.expected_money import Money, yearly
from serving.scoring.explanations import (
    Peers,
    Reasons,
    health_reasons,
    model_reasons,
    peers_of,
)
from serving.text_format import age, day

Floats = NDArray[np.float64]
Source = Literal["model", "health_formula"]
ScoredBy = Literal["model", "health_formula", "none"]

TIER_HORIZON_DAYS = 90
STANDARD_HORIZONS = (30, 60, 90)

OTHER_OUTCOMES = tuple(outcome.name for outcome in OUTLOOKS)
"""What else may come of an account; shown beside churn and expansion where a model serves."""

ENDED = "the contract has ended, so there is nothing left to predict"

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


def risk_tier(probability: float | None, base_rate: float | None) -> str | None:
    """The tier of a probability; the lower edge belongs to the tier.

    >>> [risk_tier(p, 0.05) for p in (0.049, 0.05, 0.1, 0.2, None)]
    ['low', 'medium', 'high', 'critical', None]
    """
    if probability is None or base_rate is None:
        return None
    return [t.name for t in RISK_TIERS if probability >= t.from_multiple * base_rate][-1]


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
    def amount_ratio(self) -> float | None:
        """Expansion: expected relative rise of MRR, given that it rises."""
        ...

    @property
    def not_estimable(self) -> Mapping[int, str]:
        """The horizons, in days, that the data could not judge, each with the reason."""
        ...

    @property
    def untouched(self) -> Untouched | None:
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
        self, X: Floats, horizon_days: int, *, raw: Floats | None = None
    ) -> tuple[Floats, float]:
        """Contributions in probability, and the base they start from."""
        ...

    def base_rate(self, horizon_days: int) -> float:
        """How often the outcome happened in the training rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A champion with the version it is known by, and the fingerprint of its bundle."""

    model: ScoringModel
    version: str
    fingerprint: str = ""


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
    say_health: Callable[[], Health] = field(repr=False, compare=False)
    say_reasons: Callable[[], Reasons] = field(repr=False, compare=False)
    say_expansion_reasons: Callable[[], Reasons] | None = field(repr=False, compare=False)
    attributes: Mapping[str, str | None]
    features: Mapping[str, float | None]
    others: Mapping[str, HorizonProbability] = field(default_factory=dict)  # by outcome
    other_notes: Mapping[str, str] = field(default_factory=dict)  # why one is missing

    @cached_property
    def health(self) -> Health:
        """Its health with every part; made when first asked."""
        return self.say_health()

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
        return yearly(
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
        """The probability that tiers and revenue at risk are made of."""
        at = self.churn_at(TIER_HORIZON_DAYS)
        return None if at is None else at.probability

    @property
    def score_source(self) -> ScoredBy:
        """What scored it: nothing did where the contract has ended or nothing is known."""
        unscored = self.churn_probability_90d is None and self.health.score is None
        return "none" if unscored or self.has_left else self.source

    @property
    def has_left(self) -> bool:
        """Whether the contract is known to have ended."""
        return self.attributes.get("contract_status") == "ended"


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """One model's answers for all rows of a frame."""

    version: str
    horizons: tuple[int, ...]
    probability: Mapping[int, NDArray[np.float64]]
    low: Mapping[int, NDArray[np.float64]]
    high: Mapping[int, NDArray[np.float64]]
    base_rate: Mapping[int, float]
    names: tuple[str, ...]
    points: NDArray[np.float64]
    start: float
    amount_ratio: float | None
    amount_error: float  # relative standard error of the amount

    def at(self, row: int) -> tuple[HorizonProbability, ...]:
        """The probabilities of one row."""
        return tuple(
            HorizonProbability(
                horizon_days=h,
                probability=float(self.probability[h][row]),
                low=float(self.low[h][row]),
                high=float(self.high[h][row]),
                base_rate=self.base_rate[h],
            )
            for h in self.horizons
        )


def score_accounts(
    frame: pl.DataFrame,
    models: Models,
    *,
    catalogue: Mapping[str, AnyFeature],
    formula: HealthFormula,
    now: datetime,
    max_age: timedelta,
    currency: str,
    peers: Peers | None = None,
) -> list[AccountScore]:
    """The scores of all accounts of a snapshot frame, in its order.

    ``peers`` says what is usual among similar accounts where the frame is a part of a snapshot.
    """
    digests = {name: feature.digest for name, feature in catalogue.items()}
    digests[HEALTH_SCORE] = formula.version
    churn, churn_refusal = _answer(models.churn, frame, digests)
    prior, _ = _answer(models.churn_formula, frame, digests)
    expansion, expansion_refusal = _answer(models.expansion, frame, digests)
    churn_refusal = churn_refusal or models.refusals.get("churn", "there is no churn model")
    expansion_refusal = expansion_refusal or models.refusals.get(
        "expansion", "there is no expansion model"
    )
    others = {name: _answer(models.others.get(name), frame, digests) for name in OTHER_OUTCOMES}
    usual = peers_of(frame, catalogue) if peers is None else peers
    columns = columns_of(frame, catalogue)
    scores = []
    told = frame.select("account_id", "as_of", *columns.attributes).iter_rows()
    numbers = frame.select(
        "account_id", pl.col(columns.features).cast(pl.Float64).fill_nan(None)
    ).iter_rows()
    for row, ((account_id, as_of, *said), (_, *values)) in enumerate(
        zip(told, numbers, strict=True)
    ):
        features: dict[str, float | None] = dict(zip(columns.features, values, strict=True))
        attributes: dict[str, str | None] = dict(zip(columns.attributes, said, strict=True))
        stale = staleness(as_of, now, max_age)
        refusal = stale or (
            churn_refusal if churn is None else models.withheld_from("churn", attributes)
        )
        answers = churn if refusal is None else prior
        health = partial(score_health, formula, features)
        left = attributes.get("contract_status") == "ended"
        if left:
            refusal = ENDED
            answers = None
        horizons = _horizons(answers, churn or prior, row)
        at_90 = _at_90(horizons)
        mrr = None if left else features.get("mrr")
        no_growth = (
            "the contract has ended"
            if left
            else stale
            or (
                expansion_refusal
                if expansion is None
                else models.withheld_from("expansion", attributes)
            )
        )
        growth = expansion.at(row) if expansion is not None and no_growth is None else ()
        grows = _at_90(growth)
        amount = _expansion_amount(expansion, mrr)
        at_risk = _money(at_90, mrr)
        rise = _money(grows, amount, expansion)
        also: dict[str, HorizonProbability] = {}
        not_also: dict[str, str] = {}
        for name, (answer, unreadable) in others.items():
            reason = (
                "the contract has ended"
                if left
                else stale
                or _not_asked(name, features, attributes)
                or (
                    unreadable or models.refusals.get(name, f"there is no {_spoken(name)} model")
                    if answer is None
                    else models.withheld_from(name, attributes)
                )
            )
            if reason is None and answer is not None:
                also[name] = answer.at(row)[-1]
            else:
                not_also[name] = sentence(reason or "")
        why = partial(
            _why,
            row=row,
            features=features,
            attributes=attributes,
            catalogue=catalogue,
            peers=usual,
        )
        scores.append(
            AccountScore(
                account_id=account_id,
                as_of=as_of,
                source="model" if refusal is None else "health_formula",
                degraded=None if refusal is None else sentence(refusal),
                model_version=None if answers is None else answers.version,
                formula=formula.id,
                churn=horizons,
                growth=growth,
                expansion_note=None if grows else sentence(no_growth or expansion_refusal),
                risk_tier=risk_tier(at_90.probability, at_90.base_rate) if at_90 else None,
                mrr=mrr,
                revenue_at_risk=at_risk.expected,
                revenue_at_risk_low=at_risk.low,
                revenue_at_risk_high=at_risk.high,
                expected_expansion=rise.expected,
                expected_expansion_low=rise.low,
                expected_expansion_high=rise.high,
                expansion_amount=amount,
                expansion_amount_error=0.0 if expansion is None else expansion.amount_error,
                currency=currency,
                say_health=health,
                say_reasons=(
                    partial(why, answers)
                    if refusal is None and answers is not None
                    else partial(_say_health_reasons, health)
                ),
                say_expansion_reasons=(
                    partial(why, expansion) if grows and expansion is not None else None
                ),
                attributes=attributes,
                features=features,
                others=also,
                other_notes=not_also,
            )
        )
    return scores


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


def _answer(
    served: ServedModel | None,
    frame: pl.DataFrame,
    digests: Mapping[str, str],
) -> tuple[_Answers | None, str | None]:
    """A model's answers for a frame, or why it gives none."""
    if served is None or frame.is_empty():
        return None, None
    model = served.model
    try:
        X = model.contract.matrix(frame, digests=digests)
    except FeatureContractError as error:
        return None, f"{served.version} can not read these features: {error}"
    horizons = tuple(model.horizons)
    raw = model.raw(X)
    intervals = {h: model.probability_interval(X, h, raw=raw) for h in horizons}
    points, start = model.points(
        X, TIER_HORIZON_DAYS if TIER_HORIZON_DAYS in horizons else horizons[-1], raw=raw
    )
    return _Answers(
        version=served.version,
        horizons=horizons,
        probability={h: model.probability(X, h, raw=raw) for h in horizons},
        low={h: low for h, (low, _) in intervals.items()},
        high={h: high for h, (_, high) in intervals.items()},
        base_rate={h: float(model.base_rate(h)) for h in horizons},
        names=tuple(f.name for f in model.contract.features),
        points=points,
        start=float(start),
        amount_ratio=model.amount_ratio,
        amount_error=(
            model.metrics.get(AMOUNT_ERROR, 0.0) / model.amount_ratio if model.amount_ratio else 0.0
        ),
    ), None


def _say_health_reasons(say_health: Callable[[], Health]) -> Reasons:
    return health_reasons(say_health())


def _not_asked(
    name: str, features: Mapping[str, float | None], attributes: Mapping[str, str | None]
) -> str | None:
    """Why an account is not among those that the outcome is asked about."""
    outcome, idle = outcome_named(name), features.get("days_since_activity")
    if outcome.cohort == "in_use" and idle is not None and idle > outcome.silence_days:
        return f"it has been silent for {idle:.0f} days already"
    if outcome.cohort == "trial" and attributes.get("contract_status") != "trial":
        return "it is not in a trial"
    return None


def _spoken(outcome: str) -> str:
    return outcome.replace("_", " ")


def _why(
    answers: _Answers,
    *,
    row: int,
    features: Mapping[str, float | None],
    attributes: Mapping[str, str | None],
    catalogue: Mapping[str, AnyFeature],
    peers: Peers,
) -> Reasons:
    return model_reasons(
        answers.names, answers.points[row], answers.start, features, catalogue, peers.of(attributes)
    )


def _horizons(
    answers: _Answers | None, usual: _Answers | None, row: int
) -> tuple[HorizonProbability, ...]:
    if answers is not None:
        return answers.at(row)
    horizons = usual.horizons if usual is not None else STANDARD_HORIZONS
    return tuple(HorizonProbability(horizon_days=h, probability=None) for h in horizons)


def _at_90(horizons: Sequence[HorizonProbability]) -> HorizonProbability | None:
    return next((h for h in horizons if h.horizon_days == TIER_HORIZON_DAYS), None)


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


def _money(
    chance: HorizonProbability | None, amount: float | None, estimated_by: _Answers | None = None
) -> Money:
    if chance is None:
        return Money()
    return yearly(
        chance.probability,
        chance.low,
        chance.high,
        amount,
        relative_error=estimated_by.amount_error if estimated_by else 0.0,
    )


def _expansion_amount(expansion: _Answers | None, mrr: float | None) -> float | None:
    if expansion is None or expansion.amount_ratio is None or mrr is None:
        return None
    return mrr * expansion.amount_ratio


def sentence(text: str) -> str:
    """A reason as it is shown, whoever gave it."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
