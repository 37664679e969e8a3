"""The models that compete, each declared once.

A spec declares the features that a model reads, its form, its parameters, and what the study may
change. It fits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.outcomes import Rule

Parameters = Mapping[str, float]

HEALTH_SCORE = "health_score"
USAGE = "feature_uses_28d"
RENEWAL = "days_to_renewal"
TENURE = "tenure_days"
TERM = "term_months"

FEW_ACCOUNTS = 150
"""With fewer distinct accounts that left before the test, only a model for few outcomes serves."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Values a study may try: between two numbers, evenly or by orders of magnitude."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One contender."""

    name: str
    title: str
    form: str  # of `FITTINGS` in training/models/fit.py, or `reference`
    parameters: Parameters = field(default_factory=dict)
    space: Mapping[str, Range] = field(default_factory=dict)
    reads: str | None = None  # one feature; None: every model input
    may_serve: bool = False  # may become champion, if it is better than base rate and formula
    for_few: bool = False  # may serve even where few accounts have left
    rule: Rule | None = None  # of the outcomes that it is made for; None: all


LIGHTGBM = ModelSpec(
    name="lightgbm",
    title="LightGBM",
    form="trees",
    may_serve=True,
    # Few accounts leave, so shrink strongly: small trees, large leaves, small steps,
    # each tree on half of the features and of the rows.
    parameters={
        "learning_rate": 0.05,
        "num_leaves": 5,
        "min_data_in_leaf": 40,
        "lambda_l2": 30.0,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.6,
        "rounds": 120,
    },
    # Nothing here alters how features are binned: the Dataset is binned once for the study.
    space={
        "num_leaves": Range(low=3, high=16, whole=True),
        "min_data_in_leaf": Range(low=15, high=100, log=True, whole=True),
        "lambda_l2": Range(low=1.0, high=100.0, log=True),
        "feature_fraction": Range(low=0.2, high=0.8),
        "bagging_fraction": Range(low=0.4, high=0.9),
    },
)

LOGISTIC = ModelSpec(
    name="logistic",
    title="logistic regression",
    form="linear",
    may_serve=True,
    parameters={"strength": 0.003},  # inverse penalty per row-sum of the loss, as scikit-learn's C
)

FORMULA_PRIOR = ModelSpec(
    name="formula_prior",
    title="refined health formula",
    form="prior",
    may_serve=True,
    for_few=True,
    # formula and renewal date count as they are calibrated, all else is strongly penalised
    parameters={"prior_strength": 1.0, "strength": 0.001},
)

RENEWAL_RISK = ModelSpec(
    name="renewal_risk",
    title="renewal model",
    form="renewal",
    may_serve=True,
    for_few=True,
    rule="contract_ends",
    parameters={"strength": 0.001},  # of all features but the health score
)

FORMULA = ModelSpec(
    name="formula",
    title="health formula",
    form="linear",
    reads=HEALTH_SCORE,
    parameters={"strength": 1.0},
)

LAST_MONTH = ModelSpec(
    name="usage",
    title="usage in the last month",
    form="linear",
    reads=USAGE,
    parameters={"strength": 1.0},
)

BASE_RATE = ModelSpec(name="base_rate", title="base rate", form="constant")

SPECS: tuple[ModelSpec, ...] = (
    LIGHTGBM,
    LOGISTIC,
    FORMULA_PRIOR,
    RENEWAL_RISK,
    FORMULA,
    LAST_MONTH,
    BASE_RATE,
)


EVERYTHING_RENEWS = ModelSpec(name="everything_renews", title="everything renews", form="reference")

TENURE_RATE = ModelSpec(name="tenure_rate", title="base rate by tenure", form="reference")

SBG = ModelSpec(name="sbg", title="retention by renewals (sBG)", form="reference")

BDW = ModelSpec(name="bdw", title="retention by renewals (BdW)", form="reference")

REFERENCES: tuple[ModelSpec, ...] = (EVERYTHING_RENEWS, TENURE_RATE, SBG, BDW)
"""What renewals alone say: judged beside the contenders of churn, never served."""


def spec_named(name: str) -> ModelSpec:
    """The declared contender or reference of this name.

    >>> spec_named("formula").reads
    'health_score'
    """
    return next(spec for spec in (*SPECS, *REFERENCES) if spec.name == name)
