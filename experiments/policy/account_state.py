"""The state that the policy reads: an account, what was done for it, and the limits.

Plain values; nothing here decides. The caller (the service, the command, a notebook) fills an
``AccountState`` from a snapshot, a score and the open alerts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from registry.playbook.actions import Channel

ScoreSource = Literal["model", "health_formula", "none"]
PastOutcome = Literal["done", "accepted", "declined", "no_answer", "not_done"]

STATE_FACTS = (
    "annual_revenue",
    "churn_probability",
    "consent_email",
    "consent_sms",
    "days_since_end",
    "days_since_reason_to_leave",
    "expansion_probability",
    "health_band",
    "health_score",
    "leaves_by",
    "legal_hold",
    "mrr",
    "renewal_probability",
    "renewal_tier",
    "risk_tier",
    "stage",
    "term_months",
)
"""The facts that a condition may read besides declared features and attributes."""


MONTH_DAYS = 365.25 / 12


class PolicyError(ValueError):
    """The input of the policy cannot be used."""


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """One account as known at ``as_of``.

    ``expected_amount`` is the rise of MRR if it expands; ``mrr`` of an account that has left is the
    last one. Probabilities are for 90 days and come from ``score_source``; without them the policy
    uses the playbook's assumptions, with a note. ``is_before_churn``: the expansion probability is
    that of expanding before any churn, as our models give it; where it is not, the policy
    multiplies it by the chance to stay. ``renewal_probability`` is the chance to leave when the running
    term ends, if the account is still there, and ``renewal_tier`` its band in multiples of what is
    usual then; None where the model knows no ends of terms. ``risk_tier`` is the band of the churn
    probability as the service names it. ``moments`` may hold the instants named in
    ``registry.playbook.sequences.MOMENTS``; ``consents`` holds per channel ("email", "sms") whether
    it was given. ``contacts`` names the person behind a role ("main", "sponsor") that an action
    addresses, ``time_zone`` is where they are (an IANA name), and ``legal_hold`` whether the legal
    team has asked for silence.
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
    contacts: Mapping[str, str] = field(default_factory=dict)
    time_zone: str | None = None
    legal_hold: bool | None = None
    health_score: float | None = None
    health_band: str | None = None
    risk_tier: str | None = None
    renewal_probability: float | None = None
    renewal_tier: str | None = None
    score_source: ScoreSource = "none"
    leaves_by: str | None = None  # "contract_ends" or "no_use"; None: not stated

    def __post_init__(self) -> None:
        if self.as_of.utcoffset() is None:
            raise PolicyError(
                f"as_of of account {self.account_id!r} has no time zone; write it in UTC."
            )
        if self.time_zone is not None and zone_named(self.time_zone) is None:
            raise PolicyError(
                f"The time zone of account {self.account_id!r} is "
                f"{self.time_zone!r}, which is no IANA name (like Europe/Zurich). "
                f"Correct it, or leave it out where it is not known."
            )
        for name in ("churn_probability", "expansion_probability", "renewal_probability"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise PolicyError(
                    f"{name} of account {self.account_id!r} is {value!r}; it has to "
                    f"lie between 0 and 1, or be None where it is not known."
                )

    @property
    def monthly_revenue(self) -> float | None:
        """The MRR, from the state or else from its feature."""
        return _known(self.mrr if self.mrr is not None else self.features.get("mrr"))

    @property
    def known_health(self) -> float | None:
        """The health score, from the state or else from its feature."""
        return _known(
            self.health_score
            if self.health_score is not None
            else self.features.get("health_score")
        )

    def values(self) -> dict[str, float | str | None]:
        """All figures and attributes by name; NaN is unknown, like None."""
        mrr = self.monthly_revenue
        given = {True: "yes", False: "no", None: None}
        return {
            **{
                name: None if value is None or value != value else float(value)
                for name, value in self.features.items()
            },
            **self.attributes,
            "mrr": mrr,
            "annual_revenue": None if mrr is None else 12 * mrr,
            "churn_probability": self.churn_probability,
            "expansion_probability": self.expansion_probability,
            "renewal_probability": self.renewal_probability,
            "renewal_tier": self.renewal_tier,
            "health_score": self.known_health,
            "health_band": self.health_band,
            "risk_tier": self.risk_tier,
            "consent_email": given[self.consents.get("email")],
            "consent_sms": given[self.consents.get("sms")],
            "legal_hold": given[self.legal_hold],
            "days_since_end": self.days_since("contract_ended"),
            "days_since_reason_to_leave": self.days_since("reason_to_leave_given"),
            "term_months": self.term_months,
            "leaves_by": self.leaves_by,
        }

    def days_since(self, moment: str) -> float | None:
        """Days from one of ``moments`` to the state's own; None where it is not known."""
        at = self.moments.get(moment)
        return None if at is None else (self.as_of - at) / timedelta(days=1)

    @property
    def term_months(self) -> float | None:
        """Length of the running term; None where it is not known.

        It is a feature. Of a snapshot from before there was one, it is counted from the start of
        the term, and without that the months between two invoices stand in.
        """
        if (term := _known(self.features.get("term_months"))) is not None:
            return term
        begun, ahead = self.days_since("term_started"), _known(self.features.get("days_to_renewal"))
        if begun is None or ahead is None:
            return _known(self.features.get("billing_months"))
        return (begun + ahead) / MONTH_DAYS


@dataclass(frozen=True, kw_only=True)
class PastAction:
    """An action that was decided on earlier; ``not_done`` means that nobody carried it out.

    ``contact`` is the person that it reached, if known. Actions of people and of programs count
    alike, because the account feels both.
    """

    action_id: str
    at: datetime
    outcome: PastOutcome | None = None
    contact: str | None = None

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise PolicyError(
                f"The time of the past action {self.action_id!r} has no time zone; write it in UTC."
            )

    @property
    def was_carried_out(self) -> bool:
        """Whether the account has felt it, as far as we know."""
        return self.outcome != "not_done"


CHANNEL_CAPS: Mapping[str, int] = {"phone": 2, "sms": 2, "survey": 1, "offer": 1, "contract": 1}
"""Contacts a week for one account by the most tiring channels; ours, grade E."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of the policy; every default is ours.

    Revenue counts over ``horizon_months`` at ``margin``. ``caution`` is the number of
    standard deviations of the belief that are subtracted before ranking. An action has to be worth
    more than ``tolerance``, and its measured effect must not allow more than ``harm_tolerance``
    (probability points) of damage. Every contact of the last four weeks reduces the effect of the
    next one by the share ``fatigue``. ``workday`` are the hours (UTC, Monday to Friday) in
    which urgent personal deadlines run. ``quiet_hours`` are those in which nobody is contacted, on
    the account's clock, or on that of ``time_zone`` where the account's is not known; with neither
    there are none. Costs in the playbook are in US dollars, worth ``money_per_usd`` each.
    """

    horizon_months: float = 12.0
    margin: float = 0.8
    hourly_cost: float = 60.0
    money_per_usd: float = 1.0
    actions_per_week: int = 6
    contacts_per_week: int = 3
    onboarding_contacts_per_week: int = 4
    contacts_per_person: int = 2
    channel_caps: Mapping[str, int] = field(default_factory=lambda: dict(CHANNEL_CAPS))
    tolerance: float = 0.5
    caution: float = 0.5
    harm_tolerance: float = 0.02
    fatigue: float = 0.05
    workday: tuple[int, int] = (9, 17)
    quiet_hours: tuple[int, int] | None = (20, 8)
    time_zone: str | None = None

    def __post_init__(self) -> None:
        for name in (
            "horizon_months",
            "margin",
            "hourly_cost",
            "money_per_usd",
            "actions_per_week",
            "contacts_per_week",
            "onboarding_contacts_per_week",
            "contacts_per_person",
            "tolerance",
            "caution",
            "harm_tolerance",
            "fatigue",
        ):
            self._refuse_below_zero(name, getattr(self, name))
        for channel, cap in self.channel_caps.items():
            if channel not in get_args(Channel):
                raise PolicyError(
                    f"The limit channel_caps names the channel {channel!r}; known "
                    f"are {', '.join(get_args(Channel))}."
                )
            self._refuse_below_zero(f"channel_caps of {channel!r}", cap)
        if self.fatigue > 1:
            raise PolicyError(f"The limit fatigue is {self.fatigue!r}; it is a share of at most 1.")
        opens, closes = self.workday
        if not 0 <= opens < closes <= 24:
            raise PolicyError(
                f"The limit workday is {self.workday!r}; it has to be two hours of "
                f"the day, the earlier first."
            )
        if self.quiet_hours is not None and not all(0 <= hour < 24 for hour in self.quiet_hours):
            raise PolicyError(
                f"The limit quiet_hours is {self.quiet_hours!r}; it has to be two "
                f"hours of the day from 0 to 23, or None."
            )
        if self.time_zone is not None and zone_named(self.time_zone) is None:
            raise PolicyError(
                f"The limit time_zone is {self.time_zone!r}, which is no IANA name "
                f"(like Europe/Zurich)."
            )

    @staticmethod
    def _refuse_below_zero(name: str, value: float) -> None:
        if not isfinite(value) or value < 0:
            raise PolicyError(
                f"The limit {name} is {value!r}; it has to be a number of at least 0."
            )


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)


def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name; None where there is none of that name.

    >>> zone_named("Europe/Zurich"), zone_named("Mars/Olympus")
    (zoneinfo.ZoneInfo(key='Europe/Zurich'), None)
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder
        return None
