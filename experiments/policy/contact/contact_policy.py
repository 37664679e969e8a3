"""The contact policy: how often and when an account is contacted, by people and programs.

Cool-down of an action, days between two of a family, caps a week (actions, contacts, contacts by a
channel, contacts with one person) and quiet hours. A service message (the first word on an
incident) is owed and counts in none of the caps. Quiet hours use the actual time, all else the time
of the data. Pure: the moments and the history come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.policy.account_state import AccountState, Limits, PastAction
from experiments.policy.contact.quiet_hours import QuietPeriod, quiet_period_at
from experiments.policy.withholding import Refusal
from registry.playbook.actions import Action
from registry.playbook.playbook import Playbook

CAPACITY_WEEK = timedelta(days=7)
"""The rolling week in which caps on contacts and weekly capacities count."""

FOUR_WEEKS = timedelta(days=28)

_MANY = {
    "email": "e-mails",
    "phone": "phone calls",
    "sms": "text messages",
    "meeting": "meetings",
    "session": "sessions",
    "demo": "demonstrations",
    "offer": "offers",
    "contract": "contract changes",
    "survey": "surveys",
    "in_app": "messages in the product",
    "document": "documents",
    "internal": "internal actions",
}


def is_contact(action: Action, playbook: Playbook) -> bool:
    """Whether the account feels the action as a contact that counts."""
    return action.channel in playbook.contact_channels and not action.service_message


def refuse_in_cool_down(
    action: Action, playbook: Playbook, past: Sequence[PastAction], as_of: datetime
) -> Refusal | None:
    """The action's own cool-down, or the days its family keeps between two of its actions."""
    if not past:  # true for most accounts on most days
        return None
    own = _last(past, {action.id})
    wait = timedelta(days=action.cool_down_days)
    if own is not None and as_of < own.at + wait:
        return Refusal(
            stage="contact_policy",
            reason="cool_down",
            allowed_from=own.at + wait,
            why=f"Done on {own.at:%d %B %Y}; at most once in {action.cool_down_days:g} days.",
            until=f"until {own.at + wait:%d %B %Y %H:%M}",
        )
    if action.family is None:
        return None
    family = playbook.families[action.family]
    siblings = playbook.siblings[action.id]
    other = _last(past, siblings)
    wait = timedelta(days=family.apart_days)
    if other is not None and as_of < other.at + wait:
        return Refusal(
            stage="contact_policy",
            reason="one_at_a_time",
            allowed_from=other.at + wait,
            why=f"“{siblings[other.action_id].name}” was done on "
            f"{other.at:%d %B %Y}; {family.name} are {family.apart_days:g} days "
            f"apart.",
            until=f"until {other.at + wait:%d %B %Y %H:%M}",
        )
    return None


def is_conversation(action: Action, playbook: Playbook) -> bool:
    """Whether people of ours speak with people of theirs."""
    rule = playbook.conversation
    return rule is not None and action.channel in rule.channels


def refuse_second_conversation(
    action: Action, playbook: Playbook, past: Sequence[PastAction], as_of: datetime
) -> Refusal | None:
    """The refusal of a conversation so soon after another one."""
    rule = playbook.conversation
    if rule is None or not past or not is_conversation(action, playbook):
        return None
    held = [
        done
        for done in past
        if (other := playbook.by_id.get(done.action_id)) is not None
        and is_conversation(other, playbook)
        and as_of < done.at + timedelta(days=rule.days)
    ]
    if not held:
        return None
    last = max(held, key=lambda done: (done.at, done.action_id))
    free = last.at + timedelta(days=rule.days)
    return Refusal(
        stage="contact_policy",
        reason="one_conversation",
        allowed_from=free,
        until=f"until {free:%d %B %Y %H:%M}",
        why=f"{rule.why} “{playbook.by_id[last.action_id].name}” was on {last.at:%d %B %Y}.",
    )


def quiet_period_of(state: AccountState, limits: Limits, moment: datetime) -> QuietPeriod | None:
    """The quiet hours that an account is in at a moment; None: in none, or unknown."""
    return quiet_period_at(moment, state.time_zone or limits.time_zone, limits.quiet_hours)


def refuse_in_quiet_hours(
    action: Action, playbook: Playbook, state: AccountState, limits: Limits, moment: datetime
) -> Refusal | None:
    """The refusal of a contact during the account's quiet hours."""
    rest = quiet_period_of(state, limits, moment) if is_contact(action, playbook) else None
    if rest is None:
        return None
    return Refusal(
        stage="contact_policy",
        reason="quiet_hours",
        why=rest.why,
        allowed_from=rest.until,
        until=f"until {rest.hours[1]}:00 their time",
    )


@dataclass(frozen=True, kw_only=True)
class _Cap:
    """A cap on something in a week, with the moments that count."""

    what: str
    most: int
    times: list[datetime]


class ContactWeek:
    """The account's contacts of the last seven days, and those that are recommended now."""

    def __init__(
        self,
        playbook: Playbook,
        state: AccountState,
        limits: Limits,
        *,
        past: Iterable[PastAction],
        as_of: datetime,
        is_new: bool,
    ) -> None:
        self._playbook, self._limits, self._as_of = playbook, limits, as_of
        self._people = state.contacts
        contacts = limits.onboarding_contacts_per_week if is_new else limits.contacts_per_week
        self._actions = _Cap(what="actions", most=limits.actions_per_week, times=[])
        self._contacts = _Cap(what="contacts", most=contacts, times=[])
        self._channels: dict[str, _Cap] = {
            channel: _Cap(what=_MANY[channel], most=cap, times=[])
            for channel, cap in limits.channel_caps.items()
        }
        self._persons: dict[str, _Cap] = {}
        self.contacts_lately = 0
        for done in past:
            action = playbook.by_id.get(done.action_id)
            if action is None or action.service_message or done.at > as_of:
                continue
            self.contacts_lately += is_contact(action, playbook) and done.at > as_of - FOUR_WEEKS
            if done.at > as_of - CAPACITY_WEEK:
                self._count(action, done.at, done.contact)

    def refuse_over_cap(self, action: Action, *, is_owed: bool = False) -> Refusal | None:
        """The first cap that leaves no room for the action.

        What ``is_owed`` finds room whatever was before it, but not where the cap is nought: that is
        a tenant who wants no such contacts.
        """
        for cap in self._caps(action, self._person(action)):
            if len(cap.times) >= cap.most and not (is_owed and cap.most):
                return _is_full(cap)
        return None

    def add(self, action: Action) -> None:
        """Count an action that is recommended now."""
        if not action.service_message:
            self._count(action, self._as_of, self._person(action))

    def _count(self, action: Action, at: datetime, person: str | None) -> None:
        for cap in self._caps(action, person):
            cap.times.append(at)

    def _person(self, action: Action) -> str | None:
        return self._people.get(action.addresses, self._people.get("main"))

    def _caps(self, action: Action, person: str | None) -> Iterable[_Cap]:
        if action.service_message:
            return
        if action.channel not in self._playbook.uncapped_channels or self._actions.most == 0:
            yield self._actions
        if not is_contact(action, self._playbook):
            return
        yield self._contacts
        if action.channel in self._channels:
            yield self._channels[action.channel]
        if person is not None:
            yield self._persons.setdefault(
                person,
                _Cap(
                    what="contacts with the same person",
                    most=self._limits.contacts_per_person,
                    times=[],
                ),
            )


def _is_full(cap: _Cap) -> Refusal:
    free = sorted(cap.times)[len(cap.times) - cap.most] + CAPACITY_WEEK if cap.most else None
    until = f"until {free:%d %B %Y %H:%M}" if free else "until the limit is raised"
    return Refusal(
        stage="contact_policy",
        reason="week_is_full",
        allowed_from=free,
        until=until,
        why=f"At most {cap.most} {cap.what} a week for one account, and better ones or "
        f"earlier ones take them.",
    )


def _last(past: Sequence[PastAction], ids: Iterable[str]) -> PastAction | None:
    wanted = frozenset(ids)
    return max(
        (p for p in past if p.action_id in wanted), key=lambda p: (p.at, p.action_id), default=None
    )
