"""One action of a decision's list, as a decision of its own.

A decision is stored once, with its whole list; what is claimed, approved and reported is one action.
The first of the list is the decision itself. Any other becomes a decision of its own when somebody
first claims, approves or reports it: the same question and the same list, with that action, and with
the decision that it is from. Nothing was drawn about it, so its probability is 1. Functions here take
part in a transaction of the ledger.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.autonomy import level_now
from serving.ledger.database.chain import insert_linked
from serving.ledger.database.tables import DECISIONS
from serving.ledger.errors import NotClaimableError
from serving.ledger.kill_switch import Scope, read_controls


def row_of_action(connection: Connection, decided: sa.Row[Any], action: str | None) -> sa.Row[Any]:
    """The row of an action of the list of a decision: its own row, made if it is not there yet.

    None is the decision's own action.

    Raises:
        NotClaimableError: the list does not hold the action, or only as a subject of another one's
            conversation.
    """
    if action is None or action == decided.action:
        return decided
    first = list_of(decided)
    listed: Sequence[Mapping[str, Any]] = json.loads(decided.eligible)
    found = next((one for one in listed if one["action_id"] == action), None)
    if found is None:
        raise NotClaimableError(_not_listed(action, listed))
    own_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{first}:action:{action}"))
    there = connection.execute(
        sa.select(DECISIONS).where(DECISIONS.c.decision_id == own_id)
    ).one_or_none()
    if there is not None:
        return there
    scope = Scope(action=action, segment=decided.segment, csm=decided.csm)
    level = level_now(read_controls(connection), scope)
    insert_linked(
        connection,
        DECISIONS,
        {
            **dict(decided._mapping),
            "decision_id": own_id,
            "action": action,
            "propensity": 1.0,
            "expected_value": float(found["expected_value"]),
            "autonomy": min(int(found["autonomy"]), level),
            "part_of": first,
            "subjects": subjects_text(found),
        },
    )
    return connection.execute(sa.select(DECISIONS).where(DECISIONS.c.decision_id == own_id)).one()


def list_of(decided: sa.Row[Any]) -> str:
    """The id of the decision whose list an action is from."""
    return str(decided.part_of or decided.decision_id)


def bound_of(decided: sa.Row[Any]) -> int:
    """How far the action of a decision may ever go by itself, whatever was set when it was made.

    A level that a person raises later counts from then on. What was decided while it was stopped is
    logged only, and what was stored without its bound keeps the level it was made at.
    """
    if not decided.autonomy:
        return 0
    for one in json.loads(decided.eligible):
        if one.get("action_id") == decided.action and "autonomy" in one:
            return int(one["autonomy"])
    return int(decided.autonomy)


def subjects_text(candidate: Mapping[str, Any]) -> str | None:
    """The ids of the subjects of a candidate's conversation, as they are stored; None without."""
    ids = [str(one["action_id"]) for one in candidate.get("subjects", ())]
    return json.dumps(ids) if ids else None


def _not_listed(action: str, listed: Sequence[Mapping[str, Any]]) -> str:
    for one in listed:
        if any(subject["action_id"] == action for subject in one.get("subjects", ())):
            return (
                f"{action} is a subject of {one['action_id']} in this decision. Take {one['action_id']}; "
                f"it is done with that."
            )
    names = ", ".join(one["action_id"] for one in listed)
    return f"This decision does not list {action}. It lists {names}."
