"""Find the actions of a playbook that something about the account triggers.

Many actions have a trigger in common, and most of what is asked holds for few accounts. So each
distinct condition is asked once, and only the actions of those that hold are looked at. Pure.
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
    """The distinct triggers of a playbook, by their text, and the places of the actions that each
    brings up."""

    actions: tuple[Action, ...]
    tests: tuple[tuple[str, CompiledCondition], ...]
    places: Mapping[str, tuple[int, ...]]

    def find_triggered_actions(self, facts: Facts, due: Collection[str] = ()) -> list[Action]:
        """The actions of which a trigger holds (what cannot be told does not) or a step is due,
        in the playbook's order."""
        found = {
            place for text, test in self.tests if test(facts) is True for place in self.places[text]
        }
        if due:
            found.update(place for place, action in enumerate(self.actions) if action.id in due)
        return [self.actions[place] for place in sorted(found)]


def triggers_of(playbook: Playbook) -> Triggers:
    """The triggers of a playbook, found once."""
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
