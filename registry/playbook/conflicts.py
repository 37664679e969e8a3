"""Conflicts between actions: which give way to which, at the same time and soon after.

A conflict has a direction: the actions of one group give way to those of another. The directions
must not form a cycle, because all of its actions would then be held back at once; a cycle is an
error that names it. Reads text into values; knows no account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from registry.playbook.actions import Action, Objective, PlaybookError
from registry.toml_table import Table


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Actions that give way to others, while those are recommended and ``days`` after them.

    A group is named by its actions, its objectives, or both.
    """

    actions: tuple[str, ...]
    objectives: tuple[str, ...]
    to_actions: tuple[str, ...]
    to_objectives: tuple[str, ...]
    days: float
    why: str

    def concerns(self, action: Action) -> bool:
        """Whether this action is one that gives way."""
        return action.id in self.actions or action.objective in self.objectives

    def favours(self, action: Action) -> bool:
        """Whether this action is one that the others give way to."""
        return action.id in self.to_actions or action.objective in self.to_objectives


@dataclass(frozen=True, kw_only=True)
class ConflictOfAction:
    """One conflict as it concerns an action: the actions to which it gives way."""

    conflict: Conflict
    to: frozenset[str]


def read_conflict(table: Table) -> Conflict:
    """One conflict from its table."""
    conflict = Conflict(
        actions=table.texts("actions", ()),
        objectives=_objectives(table, "objectives"),
        to_actions=table.texts("to_actions", ()),
        to_objectives=_objectives(table, "to_objectives"),
        days=table.number("days", 0, least=0),
        why=table.text("why"),
    )
    table.end()
    if not (conflict.actions or conflict.objectives):
        raise PlaybookError(f"{table.where}: nothing gives way. List `actions` or `objectives`.")
    if not (conflict.to_actions or conflict.to_objectives):
        raise PlaybookError(
            f"{table.where}: it says not to what. List `to_actions` or `to_objectives`."
        )
    return conflict


def conflicts_by_action(
    actions: Iterable[Action], conflicts: Iterable[Conflict]
) -> dict[str, tuple[ConflictOfAction, ...]]:
    """The conflicts of each action; actions to which others give way come first.

    Raises:
        PlaybookError: the directions form a cycle.
    """
    actions, conflicts = tuple(actions), tuple(conflicts)
    gives = {
        action.id: tuple(
            ConflictOfAction(
                conflict=conflict,
                to=frozenset(other.id for other in actions if conflict.favours(other)),
            )
            for conflict in conflicts
            if conflict.concerns(action)
        )
        for action in actions
    }
    waiting = {
        name: frozenset[str]().union(*(way.to for way in ways)) for name, ways in gives.items()
    }
    ordered: dict[str, tuple[ConflictOfAction, ...]] = {}
    while waiting:
        free = sorted(name for name, to in waiting.items() if to.isdisjoint(waiting))
        if not free:
            raise PlaybookError(
                f"The conflicts lead in a circle: {_circle(waiting)}. Each would "
                f"give way to the next and none would be left; remove one "
                f"direction."
            )
        for name in free:
            ordered[name] = gives[name]
            del waiting[name]
    return ordered


def _circle(waiting: Mapping[str, frozenset[str]]) -> str:
    """A cycle among actions that all wait for one of them."""
    path = [min(waiting)]
    while path[-1] not in path[:-1]:
        path.append(min(waiting[path[-1]] & waiting.keys()))
    return " gives way to ".join(repr(name) for name in path[path.index(path[-1]) :])


def _objectives(table: Table, key: str) -> tuple[str, ...]:
    names = table.texts(key, ())
    unknown = [name for name in names if name not in get_args(Objective)]
    if unknown:
        raise PlaybookError(
            f"{table.where}: `{key}` names {', '.join(unknown)}; allowed are "
            f"{', '.join(get_args(Objective))}."
        )
    return names
