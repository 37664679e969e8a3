"""The team of a week: CSMs, pools, budgets and the care owed to tiers.

A team is a TOML file, so that it can be reviewed and kept beside the workspace. Pure.

>>> team = read_team('''
... [[csm]]
... id = "ann"
... hours = 30
... ''')
>>> team.csms[0].skills
('csm',)
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from registry.playbook.actions import Channel, Role
from registry.toml_table import Table, TableError

ROLES: tuple[str, ...] = get_args(Role)
CHANNELS: tuple[str, ...] = get_args(Channel)

HOURS_OF_A_WEEK = 168.0
MOST_HOURS_OF_A_POOL = 1e6
MOST_ACCOUNTS = 1e9


class PlanningError(ValueError):
    """A plan cannot be made of what was given."""


@dataclass(frozen=True, kw_only=True)
class Csm:
    """A customer success manager (CSM): hours of the week, and what may be done with them.

    A CSM acts for the accounts that name them, and takes over accounts without a CSM in
    ``territories`` (none listed: anywhere). ``skills`` are the owner roles of actions.
    """

    id: str
    hours: float
    skills: tuple[str, ...] = ("csm",)
    territories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Hours that several people share: they act for any account of ``territories``."""

    id: str
    hours: float
    skills: tuple[str, ...]
    territories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Money of the week for actions by certain channels, in the currency of the workspace."""

    id: str
    amount: float
    channels: tuple[str, ...] = ()
    territories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Care:
    """At least this many accounts of a service tier get an action this week, worth it or not."""

    tier: str
    accounts: int


@dataclass(frozen=True, kw_only=True)
class Team:
    """The limits of a week's plan. Actions of roles that nobody has are left out, and named."""

    csms: tuple[Csm, ...] = ()
    pools: tuple[Pool, ...] = ()
    budgets: tuple[Budget, ...] = ()
    care: tuple[Care, ...] = ()
    actions_per_account: int = 1

    def __post_init__(self) -> None:
        if not self.csms and not self.pools:
            raise PlanningError(
                "The team has no CSM and no pool, so there are no hours to "
                "plan. List each with its hours of the week."
            )
        _once("CSM or pool", [*(m.id for m in self.csms), *(p.id for p in self.pools)])
        _once("budget", [budget.id for budget in self.budgets])
        _once("tier of care", [care.tier for care in self.care])
        everybody: tuple[Csm | Pool, ...] = (*self.csms, *self.pools)
        for who in everybody:
            most = HOURS_OF_A_WEEK if isinstance(who, Csm) else MOST_HOURS_OF_A_POOL
            if not 0 <= who.hours <= most:
                raise PlanningError(
                    f"{who.id!r} has {who.hours:g} hours this week; give a number "
                    f"from 0 to {most:g}."
                )
            unknown = sorted(set(who.skills) - set(ROLES))
            if unknown or not who.skills:
                raise PlanningError(
                    f"{who.id!r} has the skills {', '.join(unknown) or 'none'}; "
                    f"skills are owner roles of actions: {', '.join(ROLES)}."
                )
        for budget in self.budgets:
            if not 0 <= budget.amount < float("inf"):
                raise PlanningError(
                    f"Budget {budget.id!r} is {budget.amount:g}; give an amount of at least 0."
                )
            unknown = sorted(set(budget.channels) - set(CHANNELS))
            if unknown:
                raise PlanningError(
                    f"Budget {budget.id!r} names the channels "
                    f"{', '.join(unknown)}; known are {', '.join(CHANNELS)}."
                )
        for care in self.care:
            if care.accounts < 0:
                raise PlanningError(
                    f"The care of tier {care.tier!r} is {care.accounts} accounts; "
                    f"give a number of at least 0."
                )
        if self.actions_per_account < 1:
            raise PlanningError(
                f"actions_per_account is {self.actions_per_account}; at least one "
                f"action a week has to be possible."
            )


def read_team(text: str, where: str = "The team") -> Team:
    """The team of a TOML text; what is missing, unknown or out of range is an error.

    Raises:
        PlanningError: the message names the error and its place.
    """
    try:
        table = Table(tomllib.loads(text), where)
        team = Team(
            csms=tuple(_csm(each) for each in table.tables("csm", ())),
            pools=tuple(_pool(each) for each in table.tables("pool", ())),
            budgets=tuple(_budget(each) for each in table.tables("budget", ())),
            care=tuple(_care(each) for each in table.tables("care", ())),
            actions_per_account=table.whole("actions_per_account", 1, most=MOST_ACCOUNTS),
        )
        table.end()
    except tomllib.TOMLDecodeError as exc:
        raise PlanningError(f"{where} is not valid TOML: {exc}") from exc
    except TableError as exc:
        raise PlanningError(str(exc)) from exc
    return team


def _csm(table: Table) -> Csm:
    csm = Csm(
        id=table.text("id"),
        hours=table.number("hours"),
        skills=table.texts("skills", ("csm",)),
        territories=table.texts("territories", ()),
    )
    table.end()
    return csm


def _pool(table: Table) -> Pool:
    pool = Pool(
        id=table.text("id"),
        hours=table.number("hours"),
        skills=table.texts("skills"),
        territories=table.texts("territories", ()),
    )
    table.end()
    return pool


def _budget(table: Table) -> Budget:
    budget = Budget(
        id=table.text("id"),
        amount=table.number("amount"),
        channels=table.texts("channels", ()),
        territories=table.texts("territories", ()),
    )
    table.end()
    return budget


def _care(table: Table) -> Care:
    care = Care(tier=table.text("tier"), accounts=table.whole("accounts", most=MOST_ACCOUNTS))
    table.end()
    return care


def _once(what: str, names: Iterable[str]) -> None:
    names = list(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PlanningError(f"The {what} {', '.join(map(repr, twice))} is listed twice. Keep one.")
