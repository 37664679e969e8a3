"""Find the actions of a playbook that the account's state triggers.

Many actions share a trigger, and most conditions hold for few accounts. So each distinct condition
is evaluated once, and only the actions of conditions that hold are considered. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from experiments.policy.conditions import CompiledCondition, Facts, compile_condition
from experiments.policy.derived_values import DerivedValues
from registry.playbook.actions import Action
from registry.playbook.playbook import Playbook


@dataclass(frozen=True, kw_only=True)
class Triggers:
    """The distinct triggers of a playbook, by their text, and the positions of the actions of
    each."""

    actions: tuple[Action, ...]
    tests: tuple[tuple[str, CompiledCondition], ...]
    places: Mapping[str, tuple[int, ...]]

    def find_triggered_actions(self, facts: Facts, due: Collection[str] = ()) -> list[Action]:
        """The actions with a trigger that holds (an unknown one does not) or with a due step, in
        the playbook's order."""
        found = {
            place for text, test in self.tests if test(facts) is True for place in self.places[text]
        }
        if due:
            found.update(place for place, action in enumerate(self.actions) if action.id in due)
        return [self.actions[place] for place in sorted(found)]


def triggers_of(playbook: Playbook) -> Triggers:
    """The triggers of a playbook, computed once."""
    return _TRIGGERS.of(playbook)


def _triggers(playbook: Playbook) -> Triggers:
    actions = playbook.actions
    tests: dict[str, CompiledCondition] = {}
    places: dict[str, list[int]] = {}
    for place, action in enumerate(actions):
        for condition in action.triggers:
            tests.setdefault(condition.text, compile_condition(condition))
            places.setdefault(condition.text, []).append(place)
    return Triggers(
        actions=actions,
        tests=tuple(tests.items()),
        places={text: tuple(found) for text, found in places.items()},
    )


_TRIGGERS = DerivedValues(_triggers)
