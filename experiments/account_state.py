"""This module is about what the policy is told: an account, what was done for it, and the limits.

Plain values; nothing here decides. Whoever asks (the service, the command, a notebook) fills an
``AccountState`` from a snapshot, a score and the open alerts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Literal

ScoreSource = Literal["model", "health_formula", "none"]
PastOutcome = Literal["done", "accepted", "declined", "no_answer", "not_done"]

STATE_FACTS = ("annual_revenue", "churn_probability", "consent_email", "consent_sms",
               "expansion_probability", "health_band", "health_score", "mrr", "risk_tier", "stage")
"""What a condition may read besides declared features and attributes."""


class PolicyError(ValueError):
    """What the policy was given can not be used."""


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """One account as known at ``as_of``.

    ``expected_amount`` is the rise of MRR if it expands; ``mrr`` of an account that has left is
    the last one. Probabilities are for 90 days and come from ``score_source``; without them the
    policy falls back to the playbook's assumptions and says so. ``is_before_churn``: the expansion
    probability is that of expanding before any churn, as our models give it; where it is not, the
    policy multiplies it by the chance to stay. ``risk_tier`` is the band of the churn probability
    as the service names it. ``moments`` may hold the instants
    named in ``registry.sequences.MOMENTS``; ``consents`` says per channel ("email", "sms")
    whether it was given.
    """

    account_id: str
    as_of: datetime
    attributes: Mapping[str, str | None]
    features: Mapping[str, float | None]
    churn_probability: float | None = None
    expansion_probability: float | None = None
    expected_amount: float | None = None
    is_before_churn: bool = True
    mrr: float | None = None
    alerts: tuple[str, ...] = ()
    alert_raised_at: Mapping[str, datetime] = field(default_factory=dict)
    moments: Mapping[str, datetime] = field(default_factory=dict)
    consents: Mapping[str, bool] = field(default_factory=dict)
    health_score: float | None = None
    health_band: str | None = None
    risk_tier: str | None = None
    score_source: ScoreSource = "none"

    def __post_init__(self) -> None:
        if self.as_of.utcoffset() is None:
            raise PolicyError(f"as_of of account {self.account_id!r} has no time zone; "
                              f"write it in UTC.")
        for name in ("churn_probability", "expansion_probability"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise PolicyError(f"{name} of account {self.account_id!r} is {value!r}; it has to "
                                  f"lie between 0 and 1, or be None where it is not known.")

    @property
    def monthly_revenue(self) -> float | None:
        """The MRR, from the state or else from its feature."""
        return _known(self.mrr if self.mrr is not None else self.features.get("mrr"))

    def values(self) -> dict[str, float | str | None]:
        """All figures and attributes by name; NaN is unknown, like None."""
        mrr = self.monthly_revenue
        health = self.health_score
        given = {True: "yes", False: "no", None: None}
        return {
            **{name: _known(value) for name, value in self.features.items()},
            **self.attributes,
            "mrr": mrr,
            "annual_revenue": None if mrr is None else 12 * mrr,
            "churn_probability": self.churn_probability,
            "expansion_probability": self.expansion_probability,
            "health_score": _known(health if health is not None
                                   else self.features.get("health_score")),
            "health_band": self.health_band,
            "risk_tier": self.risk_tier,
            "consent_email": given[self.consents.get("email")],
            "consent_sms": given[self.consents.get("sms")],
        }


@dataclass(frozen=True, kw_only=True)
class PastAction:
    """An action that was decided on earlier; ``not_done`` means that nobody carried it out."""

    action_id: str
    at: datetime
    outcome: PastOutcome | None = None

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise PolicyError(f"The time of the past action {self.action_id!r} has no time zone; "
                              f"write it in UTC.")

    @property
    def was_carried_out(self) -> bool:
        """Whether the account has felt it, as far as we know."""
        return self.outcome != "not_done"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds the policy; every default is ours.

    Revenue counts over ``horizon_months`` at ``margin``. ``caution`` is how many standard
    deviations of the prior are taken off before ranking. An action has to be worth more than
    ``tolerance``. ``workday`` are the hours (UTC, Monday to Friday) in which urgent personal
    deadlines run; costs in the playbook are in US dollars, worth ``money_per_usd`` each.
    """

    horizon_months: float = 12.0
    margin: float = 0.8
    hourly_cost: float = 60.0
    money_per_usd: float = 1.0
    actions_per_week: int = 6
    contacts_per_week: int = 3
    onboarding_contacts_per_week: int = 4
    tolerance: float = 0.0
    caution: float = 0.5
    workday: tuple[int, int] = (9, 17)

    def __post_init__(self) -> None:
        for name in ("horizon_months", "margin", "hourly_cost", "money_per_usd",
                     "actions_per_week", "contacts_per_week", "onboarding_contacts_per_week",
                     "tolerance", "caution"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise PolicyError(f"The limit {name} is {value!r}; it has to be a number of at "
                                  f"least 0.")
        opens, closes = self.workday
        if not 0 <= opens < closes <= 24:
            raise PolicyError(f"The limit workday is {self.workday!r}; it has to be two hours of "
                              f"the day, the earlier first.")


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
