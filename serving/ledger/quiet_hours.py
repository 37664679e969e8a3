"""Quiet hours at the moment at which a decision is claimed.

They were checked when the decision was made, which may be days ago. Time zone and hours are those
of the stored question; the moment is by the clock of the service.
"""

from __future__ import annotations

import json
from datetime import datetime
from math import ceil
from typing import Any

import sqlalchemy as sa

from experiments.policy.contact.contact_policy import is_contact
from experiments.policy.contact.quiet_hours import QuietPeriod
from experiments.policy.request import stored_quiet_period
from registry.playbook.playbook import load_playbook
from serving.ledger.errors import QuietHoursError, UnreadableQuestionError


def check_not_quiet(decided: sa.Row[Any], clock: datetime) -> None:
    """See that a decision disturbs nobody where the account is, by the clock of the service.

    Service messages and what the account does not notice go ahead, and so does what nobody knows
    the zone of. An action that the playbook no longer has may be a contact, and waits like one.

    Raises:
        QuietHoursError: nobody is contacted there now; the message and ``retry_after`` say until when.
        UnreadableQuestionError: the stored question cannot be read, so that nobody knows.
    """
    action = load_playbook().by_id.get(decided.action)
    if decided.inputs is None or (action is not None and not is_contact(action, load_playbook())):
        return
    rest = _rest(decided, clock)
    if rest is not None:
        raise QuietHoursError(
            f"{rest.why} {decided.action} may be claimed from "
            f"{rest.until.astimezone(rest.zone):%Y-%m-%d %H:%M} their time on, which is "
            f"{rest.until:%Y-%m-%d %H:%M} UTC.",
            retry_after=max(1, ceil((rest.until - clock).total_seconds())),
        )


def _rest(decided: sa.Row[Any], clock: datetime) -> QuietPeriod | None:
    try:
        return stored_quiet_period(json.loads(decided.inputs).get("question", {}), clock)
    except ValueError as exc:
        raise UnreadableQuestionError(
            f"Whether {decided.action} would disturb their rest is not known: {exc}"
        ) from exc
