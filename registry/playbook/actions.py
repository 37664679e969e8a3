"""The actions of the playbook: what can be done for an account, declared once as data.

An action says what to do, for whom, what it costs, who does it, how often it may be repeated and
what we believe it changes. The actions are in ``actions.toml``; every field listed there under
``ours`` is a judgement of this project and not a fact of the playbooks it was drawn from. Reads
text into values; decides nothing about any account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, cast, get_args

from registry.playbook.condition_grammar import Condition, ConditionError, parse_condition
from registry.toml_table import Table

Objective = Literal["retain", "expand", "adopt", "advocate", "recover", "onboard"]
Channel = Literal[
    "email",
    "phone",
    "in_app",
    "sms",
    "meeting",
    "session",
    "demo",
    "document",
    "offer",
    "contract",
    "survey",
    "internal",
]
Role = Literal[
    "automation", "csm", "ceo", "support", "billing", "sales", "marketing", "product", "sponsor"
]
AffectedOutcome = Literal["churn", "expansion", "none"]
Promise = Literal["plan", "protocol"]
Grade = Literal["A", "B", "C", "D", "E"]

GRADES: Mapping[str, str] = {
    "A": "randomised experiment",
    "B": "natural experiment",
    "C": "observational, checks passed",
    "D": "prior from a similar action",
    "E": "expert prior of the playbook",
}

Audience = Literal["contracts", "orders", "everybody"]
"""Whom an action is for: accounts with contracts, those that leave by ordering or using nothing, or both."""

NO_USE = "no_use"
"""How accounts without contracts leave, as the settings of a workspace call it."""

ALWAYS_OURS = ("cost_usd", "hours", "cool_down_days", "max_autonomy", "prior")
"""No source states these for any action, so every action has to list them under ``ours``."""

ID = re.compile(r"[a-z][a-z0-9_]*")
"""Lower-case words joined by underscores."""
_CITATION = re.compile(r"[a-z-]+#[a-z0-9-]+(, [a-z-]+#[a-z0-9-]+)*")
"""Document and heading of ``docs/sources.md``: ``plans#high-risk-protocol``."""
_FORMER_CITATION = re.compile(r"\d{3}:\d+(-\d+)?(, (\d{3}:)?\d+(-\d+)?)*")
"""Document and lines, as decisions of older workspaces hold them; they can still be replayed."""


class PlaybookError(ValueError):
    """The playbook's data contradict themselves or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The effect that we believe an action has, and how sure we are.

    ``mean`` is relative: with ``churn`` the share of the churn probability that goes away (0.1:
    one in ten of those who would have left stays), with ``expansion`` the share by which the
    expansion probability rises, with ``none`` the chance that the action is worth its
    ``worth_usd``. ``strength`` counts like that many accounts of which it were known what the action did
    for each (with ``churn``: that would have left, and stayed or not).
    """

    outcome: AffectedOutcome
    mean: float
    strength: float
    grade: Grade
    basis: str

    @property
    def deviation(self) -> float:
        """Standard deviation of a beta distribution with this mean and strength.

        >>> prior = Prior(outcome="churn", mean=0.2, strength=15, grade="E", basis="a guess")
        >>> round(prior.deviation, 3)
        0.1
        """
        share = min(abs(self.mean), 1.0)
        return sqrt(share * (1 - share) / (self.strength + 1))


@dataclass(frozen=True, kw_only=True)
class Sale:
    """What an offer sells, and its own chance, from which its value follows.

    ``what`` names an entry of the price list of the workspace: ``next_plan`` (the one above the
    account's), ``this_plan`` (the account's own) or the name of an add-on. ``chance`` is the
    probability that an account which fits takes it within 90 days if nobody offers it; where it is
    None, ``share_of_growth`` times the account's own chance to expand is.
    """

    what: str
    chance: float | None
    share_of_growth: float | None


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something we can do for an account.

    ``cost_mrr_share`` is what it gives away, in months of MRR (a first month at half price: 0.5),
    and ``take_up`` the share of accounts that accept and so cost it. ``deadline_hours`` runs from
    the trigger, in working hours where ``business_hours`` says so. ``addresses`` is the role of
    the person that it reaches ("sponsor"; "main": whoever is there). ``max_autonomy``: 1 a person
    does it, 2 a person approves it, 3 a person may stop it, 4 automatic. While one of ``due`` holds
    it is a promise (of the account's plan, or of a protocol of ours): it is not weighed against its
    cost, and caps leave it alone. ``sells`` is what it offers for money, if anything. ``audience`` says
    whether it fits accounts with contracts or without; others never see it.
    """

    id: str
    name: str
    objective: Objective
    channel: Channel
    owner_role: Role
    triggers: tuple[Condition, ...]
    eligibility: tuple[Condition, ...]
    cost_usd: float
    cost_mrr_share: float
    take_up: float
    hours: float
    cool_down_days: float
    deadline_hours: float | None
    business_hours: bool
    max_autonomy: int
    reversible: bool
    service_message: bool
    addresses: str
    family: str | None
    worth_usd: float
    prior: Prior
    text: str
    look_first: str
    source: str
    ours: tuple[str, ...]
    due: tuple[Condition, ...] = ()
    promise: Promise | None = None
    sells: Sale | None = None
    audience: Audience = "contracts"

    def is_for(self, leaves_by: str | None) -> bool:
        """Whether it fits accounts that leave in this way; None: not known, as with contracts."""
        return self.audience == "everybody" or (self.audience == "orders") == (leaves_by == NO_USE)

    def as_row(self) -> dict[str, object]:
        """The action as a flat row for the API and for tables."""
        return {
            "id": self.id,
            "name": self.name,
            "objective": self.objective,
            "channel": self.channel,
            "owner_role": self.owner_role,
            "text": self.text,
            "look_first": self.look_first or None,
            "triggers": [condition.text for condition in self.triggers],
            "eligibility": [condition.text for condition in self.eligibility],
            "due": [condition.text for condition in self.due],
            "promised_by": self.promise,
            "sells": None if self.sells is None else self.sells.what,
            "cost_usd": self.cost_usd,
            "cost_mrr_share": self.cost_mrr_share,
            "take_up": self.take_up,
            "hours": self.hours,
            "cool_down_days": self.cool_down_days,
            "deadline_hours": self.deadline_hours,
            "max_autonomy": self.max_autonomy,
            "reversible": self.reversible,
            "addresses": self.addresses,
            "audience": self.audience,
            "family": self.family,
            "worth_usd": self.worth_usd,
            "effect_on": self.prior.outcome,
            "effect_mean": self.prior.mean,
            "effect_strength": self.prior.strength,
            "evidence": self.prior.grade,
            "evidence_meaning": GRADES[self.prior.grade],
            "basis": self.prior.basis,
            "source": self.source,
            "ours": list(self.ours),
        }


def read_action(table: Table) -> Action:
    """One action from its table; what is missing, unknown or out of range is an error."""
    identifier = read_name(table, "id")
    table.where = f"Action {identifier!r}"
    action = Action(
        id=identifier,
        name=table.text("name"),
        objective=cast(Objective, table.word("objective", get_args(Objective))),
        channel=cast(Channel, table.word("channel", get_args(Channel))),
        owner_role=cast(Role, table.word("owner_role", get_args(Role))),
        triggers=read_conditions(table, "triggers", ()),
        eligibility=read_conditions(table, "eligible", ()),
        cost_usd=table.number("cost_usd", least=0),
        cost_mrr_share=table.number("cost_mrr_share", 0, least=0),
        take_up=table.number("take_up", 1, least=0, most=1),
        hours=table.number("hours", least=0),
        cool_down_days=table.number("cool_down_days", least=0),
        deadline_hours=table.optional_number("deadline_hours", least=0),
        business_hours=table.flag("business_hours", False),
        max_autonomy=table.whole("max_autonomy", least=1, most=4),
        reversible=table.flag("reversible"),
        service_message=table.flag("service_message", False),
        addresses=read_name(table, "addresses") if table.has("addresses") else "main",
        family=read_name(table, "family") if table.has("family") else None,
        worth_usd=table.number("worth_usd", 0, least=0),
        prior=_prior(table.table("prior")),
        text=table.text("text"),
        look_first=table.text("look_first", ""),
        source=table.text("source"),
        ours=table.texts("ours"),
        due=read_conditions(table, "due", ()),
        promise=cast(Promise, table.word("promise", get_args(Promise)))
        if table.has("promise")
        else None,
        sells=_sale(table.table("sells")) if table.has("sells") else None,
        audience=cast(Audience, table.word("audience", get_args(Audience), "contracts")),
    )
    table.end()
    _check(action)
    return action


def read_name(table: Table, key: str) -> str:
    """An identifier: lower-case words joined by underscores."""
    value = table.text(key)
    if not ID.fullmatch(value):
        raise PlaybookError(
            f"{table.where}: `{key}` is {value!r}; write lower-case words joined by underscores."
        )
    return value


def read_condition(text: str, where: str) -> Condition:
    """A condition; an error names the place where it stands."""
    try:
        return parse_condition(text)
    except ConditionError as exc:
        raise PlaybookError(f"{where}: {exc}") from exc


def read_conditions(
    table: Table, key: str, default: tuple[str, ...] | None = None
) -> tuple[Condition, ...]:
    """A list of conditions."""
    return tuple(read_condition(text, table.where) for text in table.texts(key, default))


def _prior(table: Table) -> Prior:
    prior = Prior(
        outcome=cast(AffectedOutcome, table.word("outcome", get_args(AffectedOutcome))),
        mean=table.number("mean", least=-1, most=1),
        strength=table.number("strength", least=1),
        grade=cast(Grade, table.word("grade", get_args(Grade))),
        basis=table.text("basis"),
    )
    table.end()
    return prior


def _sale(table: Table) -> Sale:
    sale = Sale(
        what=read_name(table, "what"),
        chance=table.number("chance", least=0, most=1) if table.has("chance") else None,
        share_of_growth=table.number("share_of_growth", least=0, most=1)
        if table.has("share_of_growth")
        else None,
    )
    table.end()
    if (sale.chance is None) == (sale.share_of_growth is None):
        raise PlaybookError(
            f"{table.where}: say either the `chance` of the offer or its `share_of_growth`."
        )
    return sale


OWN_SOURCE = "own"
"""The source of what a company declared itself; it needs no heading, and marks nothing as ours."""


def _check(action: Action) -> None:
    if action.source != OWN_SOURCE:
        _check_source(action)
    costly = action.channel in ("offer", "contract") or action.owner_role == "ceo"
    if costly and action.max_autonomy > 2:
        raise PlaybookError(
            f"Action {action.id!r}: offers, contract changes and the CEO's word "
            f"need a person's approval; `max_autonomy` is at most 2."
        )
    if bool(action.due) != (action.promise is not None):
        raise PlaybookError(
            f"Action {action.id!r}: `due` says when it is promised and `promise` by what; one "
            f"without the other says nothing."
        )
    if action.sells is not None and action.prior.outcome != "expansion":
        raise PlaybookError(
            f"Action {action.id!r}: it sells something, so its prior has to be about expansion."
        )
    if action.prior.outcome == "none" and action.worth_usd == 0:
        raise PlaybookError(
            f"Action {action.id!r}: with no effect on churn or expansion it needs "
            f"a `worth_usd`, else it can never be recommended."
        )


def _check_source(action: Action) -> None:
    """See that a source is named, and that all that no source states is marked."""
    if not (_CITATION.fullmatch(action.source) or _FORMER_CITATION.fullmatch(action.source)):
        raise PlaybookError(
            f"Action {action.id!r}: the source {action.source!r} has to be document and heading of "
            f"docs/sources.md, like plans#high-risk-protocol or plans#trial-day-1, epics#alerts."
        )
    unmarked = [field for field in ALWAYS_OURS if field not in action.ours]
    if unmarked:
        raise PlaybookError(
            f"Action {action.id!r}: no source states {', '.join(unmarked)}; list them under `ours`."
        )
    unknown = [
        field
        for field in action.ours
        if field not in Action.__dataclass_fields__ and field != "eligible"
    ]
    if unknown:
        raise PlaybookError(
            f"Action {action.id!r}: `ours` names {', '.join(unknown)}, which an "
            f"action does not have."
        )
