"""The rules of the playbook about groups of actions: guards, urgencies, conversations, families, stages,
the coming renewal.

Each is an entry of ``actions.toml``. Reads text into values; decides nothing about any account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from registry.playbook.actions import (
    Action,
    Channel,
    Objective,
    PlaybookError,
    Role,
    read_condition,
    read_conditions,
    read_name,
)
from registry.playbook.condition_grammar import Condition
from registry.toml_table import Table


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A condition on groups of actions, with the sentence that explains why one is held back.

    It concerns an action that is listed, or whose objective, channel or owner is, while ``only_if``
    holds. ``until`` says in words what would end it, where the condition is too long to read.
    """

    objectives: tuple[str, ...]
    channels: tuple[str, ...]
    owners: tuple[str, ...]
    only_if: Condition | None
    condition: Condition
    why: str
    actions: tuple[str, ...] = ()
    until: str = ""

    def concerns(self, action: Action) -> bool:
        """Whether this action is in one of the groups."""
        return (
            action.id in self.actions
            or action.objective in self.objectives
            or action.channel in self.channels
            or action.owner_role in self.owners
        )


@dataclass(frozen=True, kw_only=True)
class Urgency:
    """A situation in which a person speaks to the account before anything else is done.

    While one of ``when`` holds, the first of ``first`` that is allowed leads the list, whatever it
    is worth. ``talk`` says what else the conversation may be about; None: anything.
    """

    name: str
    when: tuple[Condition, ...]
    first: tuple[str, ...]
    why: str
    talk: Talk | None = None


@dataclass(frozen=True, kw_only=True)
class Talk:
    """What a conversation is about beside its first subject: some objectives and actions, at most
    so many; all others wait."""

    objectives: tuple[str, ...]
    actions: tuple[str, ...]
    most: int
    why: str

    def fits(self, action_id: str, objective: str) -> bool:
        """Whether an action may be a subject."""
        return action_id in self.actions or objective in self.objectives


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """The channels by which people speak with an account: one conversation in ``days``.

    Those that would be had together become one with several subjects, at most ``most_subjects``
    beside the first.
    """

    channels: frozenset[str]
    days: float
    most_subjects: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """Actions that stand in for each other: one at a time, and some days apart."""

    id: str
    name: str
    order: Literal["cheapest", "value"]
    apart_days: float


@dataclass(frozen=True, kw_only=True)
class LookAgainStep:
    """So many days before the renewal, or after the start, an account is looked at again, and why."""

    days: float
    why: str


@dataclass(frozen=True, kw_only=True)
class LookAgainRules:
    """When to look again at an account that is left alone: days before its renewal or after its start,
    and at the latest.

    ``nobody`` says, by the status of an account without a contract, why nobody has to.
    """

    before_renewal: tuple[LookAgainStep, ...]
    after_start: tuple[LookAgainStep, ...]
    at_most_days: float
    at_most_why: str
    nobody: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the customer's life; the first whose conditions all hold is the account's."""

    name: str
    conditions: tuple[Condition, ...]


def read_guard(table: Table) -> Guard:
    """One guard from its table."""
    guard = Guard(
        objectives=_words(table, "objectives", get_args(Objective)),
        channels=_words(table, "channels", get_args(Channel)),
        owners=_words(table, "owners", get_args(Role)),
        only_if=read_condition(table.text("only_if"), table.where)
        if table.has("only_if")
        else None,
        condition=read_condition(table.text("condition"), table.where),
        why=table.text("why"),
        actions=table.texts("actions", ()),
        until=table.text("until", ""),
    )
    table.end()
    return guard


def read_urgency(table: Table) -> Urgency:
    """One situation that comes first, from its table."""
    urgency = Urgency(
        name=table.text("name"),
        when=read_conditions(table, "when"),
        first=table.texts("first"),
        why=table.text("why"),
        talk=_talk(table.table("talk")) if table.has("talk") else None,
    )
    table.end()
    return urgency


def _talk(table: Table) -> Talk:
    talk = Talk(
        objectives=_words(table, "objectives", get_args(Objective)),
        actions=table.texts("actions", ()),
        most=table.whole("most", least=0),
        why=table.text("why"),
    )
    table.end()
    return talk


def read_conversation(table: Table) -> Conversation:
    """What counts as a conversation, from its table."""
    conversation = Conversation(
        channels=frozenset(_words(table, "channels", get_args(Channel))),
        days=table.number("days", least=0),
        most_subjects=table.whole("most_subjects", least=0),
        why=table.text("why"),
    )
    table.end()
    return conversation


def read_look_again(table: Table) -> LookAgainRules:
    """When to look at an account again, from its table."""
    rules = LookAgainRules(
        before_renewal=_look_again_steps(table.tables("before_renewal")),
        after_start=_look_again_steps(table.tables("after_start", ())),
        at_most_days=table.number("at_most_days", least=1),
        at_most_why=table.text("at_most_why"),
        nobody=_sentences(table.table("nobody")) if table.has("nobody") else {},
    )
    table.end()
    return rules


def _look_again_steps(tables: Iterable[Table]) -> tuple[LookAgainStep, ...]:
    steps = []
    for table in tables:
        steps.append(LookAgainStep(days=table.number("days", least=0), why=table.text("why")))
        table.end()
    return tuple(steps)


def _sentences(table: Table) -> dict[str, str]:
    found = {name: table.text(name) for name in table.names()}
    table.end()
    return found


def read_family(table: Table) -> Family:
    """One family from its table."""
    order = table.word("order", ("cheapest", "value"))
    family = Family(
        id=read_name(table, "id"),
        name=table.text("name"),
        order="cheapest" if order == "cheapest" else "value",
        apart_days=table.number("apart_days", least=0),
    )
    table.end()
    return family


def read_stage(table: Table) -> Stage:
    """One stage from its table."""
    stage = Stage(name=read_name(table, "name"), conditions=read_conditions(table, "conditions"))
    table.end()
    return stage


def _words(table: Table, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    words = table.texts(key, ())
    for word in words:
        if word not in allowed:
            raise PlaybookError(
                f"{table.where}: {word!r} in `{key}`; allowed are {', '.join(allowed)}."
            )
    return words
