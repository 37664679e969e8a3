"""A company's own actions, sequences and answers to warning signs, put into the playbook.

They stand in ``rules.toml`` of a workspace, in the form of ``actions.toml`` and ``sequences.toml``. An
entry with the id of a shipped one changes the keys that it names; another id is a new entry. What is
named in ``off`` is never proposed. A warning sign of their own brings up the actions under its
``responses``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from registry.playbook.actions import ID, OWN_SOURCE, PlaybookError
from registry.toml_table import Table, TableError

TABLES = ("action", "sequence", "alert")
"""The lists of tables in ``rules.toml``."""

NEW_ACTION: Mapping[str, Any] = {
    "source": OWN_SOURCE,
    "ours": [],
    "reversible": True,
    "audience": "everybody",
}
NEW_PRIOR: dict[str, Any] = {"grade": "E", "strength": 20, "basis": "Our own guess."}
NEW_SEQUENCE: Mapping[str, Any] = {"source": OWN_SOURCE, "ours": []}


def put_in(
    actions: dict[str, Any], sequences: dict[str, Any], own: Mapping[str, Any]
) -> frozenset[str]:
    """Change the values of the two files of the playbook by those of ``rules.toml``.

    Returns what is switched off: ids of actions, sequences or warning signs.

    Raises:
        PlaybookError: an entry has no id, an id twice, or something is off that is not there.
    """
    shipped = {
        "action": [dict(one) for one in actions["action"]],
        "sequence": [dict(one) for one in sequences["sequence"]],
    }
    actions["action"] = _merged("action", shipped["action"], own, NEW_ACTION)
    sequences["sequence"] = _merged("sequence", shipped["sequence"], own, NEW_SEQUENCE)
    by_id = {one["id"]: one for one in actions["action"]}
    for alert in _entries("alert", own):
        for name in _texts(alert, "responses", f"alert {alert['id']!r}"):
            if name not in by_id:
                raise PlaybookError(
                    f"alert {alert['id']!r} is answered by {name!r}, and there is no such "
                    f"action.{_near(name, by_id)}"
                )
            triggers = by_id[name].setdefault("triggers", [])
            if (trigger := f"alert {alert['id']}") not in triggers:
                by_id[name]["triggers"] = [*triggers, trigger]
    off = frozenset(_texts(own, "off", "rules.toml"))
    before = _stepped(sequences)
    _switch_off(actions, sequences, off)
    return off | (before - _stepped(sequences))  # nothing else brings these up


def _merged(
    kind: str, shipped: list[dict[str, Any]], own: Mapping[str, Any], new: Mapping[str, Any]
) -> list[dict[str, Any]]:
    by_id = {one["id"]: one for one in shipped}
    for entry in _entries(kind, own):
        before = by_id.get(entry["id"])
        prior = entry.get("prior")
        if before is None:
            changed = {**new, **entry}
            prior = (NEW_PRIOR if kind == "action" else {}) | (prior or {})
        else:
            changed = {**before, **entry}
            prior = {**before.get("prior", {}), **(prior or {})}
        by_id[entry["id"]] = changed | ({"prior": prior} if prior else {})
    return list(by_id.values())


def _switch_off(actions: dict[str, Any], sequences: dict[str, Any], off: frozenset[str]) -> None:
    """Nothing brings up an action that is off, and no account is in a sequence that is."""
    kept = []
    for sequence in sequences["sequence"]:
        steps = [step for step in sequence["steps"] if step["action"] not in off]
        if sequence["id"] not in off and steps:
            kept.append({**sequence, "steps": steps})
    sequences["sequence"] = kept
    for one in actions["action"]:
        if one["id"] in off:
            one["triggers"] = one["due"] = []
            one.pop("promise", None)


def _stepped(sequences: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(step["action"] for one in sequences["sequence"] for step in one["steps"])


def _entries(kind: str, own: Mapping[str, Any]) -> list[dict[str, Any]]:
    found, seen = own.get(kind, []), set()
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise PlaybookError(f"Write each {kind} as a table: [[{kind}]].")
    for number, one in enumerate(found, 1):
        name = one.get("id")
        if name is None:
            raise PlaybookError(f"{kind} number {number} has no `id`. Give it one.")
        if not isinstance(name, str) or not ID.fullmatch(name):
            raise PlaybookError(
                f"{kind} {name!r}: an id is lower-case words joined by underscores. Give it such a one."
            )
        if not isinstance(one.get("prior", {}), Mapping):
            raise PlaybookError(
                f"{kind} {name!r}: `prior` has to be a table such as {{ mean = 0.1 }}, not "
                f"{one['prior']!r:.60}."
            )
        steps = one.get("steps", [{"action": ""}])
        if not steps:
            raise PlaybookError(
                f"{kind} {name!r}: it needs steps. To switch it off, name it in `off`."
            )
        if not isinstance(steps, list) or not all(
            isinstance(step, Mapping) and isinstance(step.get("action"), str) for step in steps
        ):
            raise PlaybookError(
                f"{kind} {name!r}: each of its `steps` has to be a table that names an `action`."
            )
        if name in seen:
            raise PlaybookError(f"{kind} {name!r} stands twice. Keep one.")
        seen.add(name)
    return [dict(one) for one in found]


def _texts(values: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = values.get(key, ())
    try:  # one text counts as a list of one, as where warning signs are read
        return Table({key: [found] if isinstance(found, str) else found}, where).texts(key)
    except TableError as exc:
        raise PlaybookError(str(exc)) from exc


def _near(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, 1)
    return f" Did you mean {near[0]!r}?" if near else ""
