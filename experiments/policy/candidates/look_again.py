"""When to look at an account again that is left alone now, and why then.

The first that lies ahead of: the days before its renewal and after its start that the playbook
names, the day from which
a person may do again what is held back, and the days that the chance to leave looks ahead. All moments
are on the time of the data. Pure; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.policy.conditions import Facts
from experiments.policy.recommendation import Withheld
from experiments.policy.withholding import ON_THE_WALL
from experiments.randomisation.holdout import HoldoutStatus
from registry.playbook.playbook import Playbook

AUTOMATION = "automation"
"""The owner of what a program does, to which nobody has to attend."""

WITHOUT_CONTRACT = ("none", "ended")

A_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class LookAgain:
    """The day to look again, and what it is about then."""

    on: datetime
    why: str

    @property
    def sentence(self) -> str:
        """Both, as a sentence."""
        return f"Look again on {_day(self.on)}, {self.why}."


def when_to_look_again(
    playbook: Playbook,
    facts: Facts,
    withheld: Iterable[Withheld],
    *,
    asked_at: datetime,
    standing: HoldoutStatus | None = None,
) -> LookAgain | None:
    """The next day on which something can be done for the account that is not done now.

    None for an account without a contract, and with a playbook that says nothing of it. Whoever was drawn
    by lot to be left alone is looked at when that ends.

    Args:
        playbook: the playbook.
        facts: of the account.
        withheld: what is held back now.
        asked_at: the actual time of the question, by which snoozes and quiet hours end.
        standing: of the holdout.
    """
    rules = playbook.look_again
    if rules is None or facts.values.get("contract_status") in WITHOUT_CONTRACT:
        return None
    if standing is not None and standing.is_held_out and standing.until is not None:
        return LookAgain(on=standing.until, why="when the time that was drawn by lot is over")
    latest = LookAgain(on=facts.as_of + timedelta(days=rules.at_most_days), why=rules.at_most_why)
    ahead = (
        *_before_renewal(playbook, facts),
        *_after_start(playbook, facts),
        *_allowed_then(playbook, facts, withheld, asked_at),
    )
    return min((latest, *ahead), key=lambda one: (one.on, one.why))


def why_nobody_looks(playbook: Playbook, facts: Facts) -> str:
    """Why an account without a contract has no day to look again; empty where it may have one."""
    status = facts.values.get("contract_status")
    if playbook.look_again is None or status not in WITHOUT_CONTRACT:
        return ""
    return playbook.look_again.nobody.get(str(status), "")


def _before_renewal(playbook: Playbook, facts: Facts) -> Iterator[LookAgain]:
    days = facts.values.get("days_to_renewal")
    if playbook.look_again is None or not isinstance(days, float):
        return
    renewal = facts.values_as_of + timedelta(days=days)
    for step in playbook.look_again.before_renewal:
        on = renewal - timedelta(days=step.days)
        if on - facts.as_of >= A_DAY:
            before = f"{step.days:.0f} days before" if step.days else "the day of"
            yield LookAgain(on=on, why=f"{before} its renewal of {_day(renewal)}, {step.why}")


def _after_start(playbook: Playbook, facts: Facts) -> Iterator[LookAgain]:
    days = facts.values.get("tenure_days")
    if playbook.look_again is None or not isinstance(days, float):
        return
    for step in playbook.look_again.after_start:
        on = facts.values_as_of + timedelta(days=step.days - days)
        if on - facts.as_of >= A_DAY:
            yield LookAgain(on=on, why=f"{step.days:.0f} days after its start, {step.why}")


def _allowed_then(
    playbook: Playbook, facts: Facts, withheld: Iterable[Withheld], asked_at: datetime
) -> Iterator[LookAgain]:
    """What a person may do again on a day that is known."""
    for one in withheld:
        action = playbook.by_id.get(one.action_id)
        if action is None or action.owner_role == AUTOMATION or one.allowed_from is None:
            continue
        now = asked_at if one.reason in ON_THE_WALL else facts.as_of
        if one.allowed_from > now:
            yield LookAgain(
                on=facts.as_of + (one.allowed_from - now), why=f"when “{one.name}” is possible"
            )


def _day(moment: datetime) -> str:
    return f"{moment:%-d %B %Y}"
