"""Random playbooks, accounts, histories, limits and teams, and plain checks of
what the policy makes of them.

The checks are written from the rules and not from the code: each asks of a finished answer whether
it breaks a rule, with loops and comparisons, however slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.policy.account_state import AccountState, Limits, PastAction
from experiments.policy.contact.snooze import Snooze
from experiments.policy.exploration import chance_for
from experiments.policy.recommendation import Recommendation
from experiments.policy.request import PolicyInputs
from experiments.randomisation.holdout import HoldoutStatus
from experiments.randomisation.keyed_draw import Exploration, LotteryKey
from registry.playbook.actions import Action, Prior
from registry.playbook.condition_grammar import parse_condition
from registry.playbook.conflicts import Conflict
from registry.playbook.group_rules import Conversation, Family, Guard, Urgency
from registry.playbook.playbook import Playbook, load_playbook

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CHANNELS = ("email", "phone", "sms", "survey", "internal", "in_app", "offer")
CONTACTS = ("email", "phone", "sms", "survey", "offer")
OBJECTIVES = ("retain", "expand", "advocate", "adopt")
ROLES = ("csm", "support", "automation")
ZONES = ("America/New_York", "Asia/Kolkata", "UTC", None)
WIDE = Exploration(closeness=0.95, whole_up_to_mrr=50_000.0, none_above_mrr=60_000.0, off=("off",))
KEY = LotteryKey(key_id="random", secret=b"\x07" * 32)

Oracle = Callable[[AccountState], bool | None]


def value(name: str) -> Callable[[AccountState], Any]:
    """A figure, a word or a flag of an account, None where it is not known."""
    return lambda a: {
        **a.features,
        **a.attributes,
        "mrr": a.mrr,
        "health_score": a.health_score,
        "legal_hold": a.legal_hold,
        "sms": a.consents.get("sms"),
    }.get(name)


def told(name: str, test: Callable[[Any], bool], unknown: bool | None = None) -> Oracle:
    """Whether a test holds of what is known, and the answer where nothing is."""
    return lambda a: unknown if value(name)(a) is None else test(value(name)(a))


CONDITIONS: Mapping[str, Oracle] = {
    "mrr >= 500": told("mrr", lambda v: v >= 500),
    "health_score < 40": told("health_score", lambda v: v < 40),
    "health_score >= 40 or unknown": told("health_score", lambda v: v >= 40, True),
    "severe_tickets_open == 0 or ask": told("severe_tickets_open", lambda v: v == 0, True),
    "tickets_90d > 3": told("tickets_90d", lambda v: v > 3),
    "contract_status == active": told("contract_status", lambda v: v == "active"),
    "region in emea, apac": told("region", lambda v: v in ("emea", "apac")),
    "legal_hold == no or unknown": told("legal_hold", lambda v: not v, True),
    "consent_sms == yes": told("sms", lambda v: bool(v)),
    "alert usage_halved": lambda a: "usage_halved" in a.alerts,
    "no alert cancel_intent": lambda a: "cancel_intent" not in a.alerts,
}
"""Conditions of the playbook's grammar beside what they mean."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A random playbook and a random question to it."""

    book: Playbook
    inputs: PolicyInputs

    def answer(self) -> Recommendation:
        """What the policy says."""
        return self.inputs.answer(self.book)


def random_playbook(rng: np.random.Generator) -> Playbook:
    """Some actions, guards, families and conflicts; conflicts go one way, so in no circle."""
    families = {
        name: Family(
            id=name,
            name=name,
            order=str(rng.choice(["cheapest", "value"])),
            apart_days=float(rng.choice([0, 7, 30])),
        )
        for name in ("offers", "calls")
    }
    actions = tuple(_action(rng, number, families) for number in range(int(rng.integers(3, 12))))
    guards = tuple(
        Guard(
            objectives=(str(rng.choice(OBJECTIVES)),),
            channels=(str(rng.choice(CHANNELS)),),
            owners=(),
            only_if=None,
            condition=parse_condition(str(rng.choice([*CONDITIONS]))),
            why="It is a rule.",
        )
        for _ in range(int(rng.integers(0, 4)))
    )
    conflicts = tuple(
        Conflict(
            actions=(actions[high].id,),
            objectives=(),
            to_actions=(actions[low].id,),
            to_objectives=(),
            days=float(rng.choice([0, 14])),
            why="Not beside each other.",
        )
        for low, high in sorted(
            {
                tuple(sorted(pair))
                for pair in rng.integers(
                    0, len(actions), size=(int(rng.integers(0, 7)), 2)
                ).tolist()
                if pair[0] != pair[1]
            }
        )
    )
    return replace(
        load_playbook(),
        actions=actions,
        sequences=(),
        guards=guards,
        families=families,
        conflicts=conflicts,
        contact_channels=frozenset(CONTACTS),
        uncapped_channels=frozenset({"internal"}) if rng.random() < 0.5 else frozenset(),
        conversation=Conversation(
            channels=frozenset({"phone"}), days=7, most_subjects=2, why="One talk a week."
        )
        if rng.random() < 0.5
        else None,
        urgencies=(
            Urgency(
                name="Urgent",
                when=(parse_condition("alert usage_halved"),),
                first=tuple(str(rng.choice([a.id for a in actions])) for _ in range(2)),
                why="It is urgent.",
            ),
        )
        if rng.random() < 0.5
        else (),
    )


def _action(rng: np.random.Generator, number: int, families: Mapping[str, Family]) -> Action:
    outcome = str(rng.choice(["churn", "expansion", "none"]))
    texts = [*CONDITIONS]
    is_promise = rng.random() < 0.15
    return replace(
        load_playbook().actions[0],
        id=f"act_{number}",
        name=f"Act {number}",
        objective=str(rng.choice(OBJECTIVES)),
        channel=str(rng.choice(CHANNELS)),
        owner_role=str(rng.choice(ROLES)),
        triggers=tuple(parse_condition(str(t)) for t in rng.choice(texts, size=rng.integers(1, 4))),
        eligibility=tuple(
            parse_condition(str(t)) for t in rng.choice(texts, size=rng.integers(0, 3))
        ),
        cost_usd=float(rng.choice([0, 1, 50])),
        cost_mrr_share=float(rng.choice([0, 0, 0.5])),
        take_up=0.3,
        hours=float(rng.choice([0, 0.5, 1, 3])),
        cool_down_days=float(rng.choice([0, 7, 30])),
        deadline_hours=None,
        max_autonomy=int(rng.integers(1, 5)),
        reversible=bool(rng.random() < 0.8),
        service_message=bool(rng.random() < 0.1),
        addresses=str(rng.choice(["main", "sponsor"])),
        family=str(rng.choice([*families])) if rng.random() < 0.5 else None,
        worth_usd=200.0 if outcome == "none" else 0.0,
        due=(parse_condition(str(rng.choice(texts))),) if is_promise else (),
        promise=("plan" if rng.random() < 0.5 else "protocol") if is_promise else None,
        prior=Prior(
            outcome=outcome,
            mean=float(rng.uniform(-0.05, 0.3)),
            strength=float(rng.integers(1, 80)),
            grade="E",
            basis="A guess.",
        ),
    )


def random_question(rng: np.random.Generator, book: Playbook, account_id: str) -> Question:
    """One account with a history, limits, evidence and chance."""

    def maybe(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    hours = float(rng.integers(0, 48))
    as_of = NOON + timedelta(hours=hours)
    asked_at = None if hours % 2 else as_of + timedelta(days=700, hours=hours * 7 % 24)
    wall = asked_at or as_of  # the clock on the wall, years after the data
    state = AccountState(
        account_id=account_id,
        as_of=NOON,
        mrr=maybe(None, 0.0, 20.0, 900.0, 8_000.0, 40_000.0, 45_000.0),
        churn_probability=maybe(None, 0.0, 0.1, 0.6, 1.0),
        expansion_probability=maybe(None, 0.0, 0.2, 0.9),
        expected_amount=maybe(None, 300.0),
        is_before_churn=maybe(True, False),
        health_score=maybe(None, 20.0, 40.0, 90.0),
        score_source=maybe("model", "none"),
        features={
            "severe_tickets_open": maybe(None, 0.0, 2.0),
            "tickets_90d": maybe(None, 1.0, 9.0),
        },
        attributes={
            "contract_status": maybe("active", "active", "trial", "ended", None),
            "region": maybe("emea", "apac", "amer", None),
            "segment": maybe("smb", "off"),
        },
        alerts=tuple(a for a in ("usage_halved", "cancel_intent") if rng.random() < 0.3),
        consents=maybe({}, {"sms": True}, {"sms": False}),
        contacts=maybe({}, {"main": "u1"}, {"main": "u1", "sponsor": "u2"}),
        time_zone=maybe(*ZONES),
        legal_hold=maybe(None, None, False, True),
    )
    history = tuple(
        PastAction(
            action_id=maybe(*book.actions).id,
            at=as_of - timedelta(days=float(rng.choice([-1, 0, 1, 6.9, 7, 20, 40]))),
            outcome=maybe(None, "done", "declined", "not_done"),
            contact=maybe(None, "u1"),
        )
        for _ in range(int(rng.integers(0, 6)))
    )
    limits = Limits(
        actions_per_week=int(rng.integers(0, 9)),
        contacts_per_week=int(rng.integers(0, 6)),
        onboarding_contacts_per_week=int(rng.integers(0, 6)),
        contacts_per_person=int(rng.integers(0, 5)),
        channel_caps={c: int(rng.integers(0, 3)) for c in CONTACTS if rng.random() < 0.5},
        tolerance=float(rng.choice([0, 10])),
        caution=float(rng.choice([0, 0.5, 2])),
        fatigue=float(rng.choice([0, 0.05, 1])),
        quiet_hours=maybe(None, (20, 8), (12, 14)),
        time_zone=maybe(None, "Europe/Berlin"),
    )
    effects = tuple(
        ActionEffect(
            action_id=action.id,
            segment=maybe(None, "smb"),
            estimate=estimate,
            standard_error=error,
            n=500,
            effective_n=200.0,
            grade=maybe("A", "C", "E"),
            measured_from=NOON - timedelta(days=300),
            measured_to=NOON,
            source="A test.",
            outcome=maybe("retention", "expansion"),
            horizon_days=90,
            low=estimate - 1.96 * error,
            high=estimate + 1.96 * error,
            why="A test.",
        )
        for action in book.actions
        if rng.random() < 0.3
        for estimate, error in [(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(0.001, 0.1)))]
    )
    asked = PolicyInputs(
        state=state,
        limits=limits,
        history=history,
        as_of=as_of,
        asked_at=asked_at,
        evidence=MeasuredEffects(effects=effects),
        chance=maybe(None, chance_for(WIDE, KEY, account_id, period="2026-W10")),
        standing=maybe(
            None,
            None,
            *(
                HoldoutStatus(
                    is_held_out=held,
                    until=None,
                    propensity=0.1 if held else 0.9,
                    lottery_id="holdout",
                    key_id="random",
                )
                for held in (True, False)
            ),
        ),
    )
    return Question(
        book=book,
        inputs=replace(
            asked,
            put_off=tuple(
                Snooze(
                    action_id=maybe(*book.actions).id,
                    by="ann",
                    at=wall - timedelta(days=maybe(-2, -1, 0, 3)),
                    until=wall + timedelta(days=maybe(-1, 0, 2)),
                )
                for _ in range(maybe(0, 0, 1, 2))
            ),
        ),
    )


def breaches(question: Question, answer: Recommendation) -> list[str]:
    """Every rule that an answer breaks, in words."""
    book, asked = question.book, question.inputs
    state, limits, as_of = asked.state, asked.limits, asked.as_of
    wall = asked.asked_at or as_of
    actions = {action.id: action for action in book.actions}
    names = [c.action_id for c in answer.ranked if c.action_id != "do_nothing"]
    joined = [one.action_id for c in answer.ranked for one in c.subjects]
    done = [p for p in asked.history if p.at <= as_of and p.outcome != "not_done"]
    found = []

    def feels(action: Action) -> bool:
        return action.channel in CONTACTS and not action.service_message

    if answer.ranked[-1].action_id != "do_nothing":
        found.append("doing nothing does not compete")
    everything = [*names, *joined, *(w.action_id for w in answer.withheld)]
    if len(everything) != len(set(everything)):
        found.append("an action is there twice")
    basis = {c.action_id: c for c in answer.ranked}
    for name in (*names, *joined):
        action = actions[name]
        rules = [
            c.text
            for g in book.guards
            if action.objective in g.objectives or action.channel in g.channels
            for c in [g.condition]
        ]
        if any(
            CONDITIONS[text](state) is not True
            for text in (*rules, *(c.text for c in action.eligibility))
        ):
            found.append(f"{action.id} is not eligible")
        if not any(CONDITIONS[c.text](state) is True for c in action.triggers):
            found.append(f"{action.id} was not brought up")
        if any(
            p.action_id == action.id and as_of - p.at < timedelta(days=action.cool_down_days)
            for p in done
        ):
            found.append(f"{action.id} is in its cool-down")
        if any(
            p.action_id == action.id
            and wall < p.until
            and p.at - wall <= timedelta(days=1)  # clocks differ
            for p in asked.put_off
        ):
            found.append(f"{action.id} was put off")
        if action.family and any(
            actions[p.action_id].family == action.family
            and p.action_id != action.id
            and as_of - p.at < timedelta(days=book.families[action.family].apart_days)
            for p in done
        ):
            found.append(f"{action.id} is too near to one of its family")
        zone = state.time_zone or limits.time_zone
        if limits.quiet_hours and zone and feels(action):
            hour, (begins, ends) = wall.astimezone(ZoneInfo(zone)).hour, limits.quiet_hours
            quiet = begins <= hour < ends if begins < ends else hour >= begins or hour < ends
            if quiet:
                found.append(f"{action.id} disturbs their rest")
        candidate = basis.get(name)
        is_weighed = candidate is not None and candidate.basis == "value"
        if is_weighed and not candidate.cautious_value > limits.tolerance:
            found.append(f"{action.id} does not pay")
        is_due = any(CONDITIONS[c.text](state) is True for c in action.due)
        if (
            candidate is not None
            and candidate.basis == "due"
            and not candidate.subjects
            and not is_due
        ):
            found.append(f"{action.id} is not due")
        for conflict in book.conflicts:
            if action.id in conflict.actions and (
                set(conflict.to_actions) & {*names, *joined}
                or any(
                    p.action_id in conflict.to_actions
                    and as_of - p.at < timedelta(days=conflict.days)
                    for p in done
                )
            ):
                found.append(f"{action.id} does not give way")
        harm = [
            e
            for e in asked.evidence.effects
            if e.action_id == action.id
            and e.grade != "E"
            and e.high < 0
            and e.segment in (None, state.attributes["segment"])
        ]
        if len(harm) == 1 and -harm[0].estimate + 1.645 * harm[0].standard_error > 0.02:
            found.append(f"{action.id} was measured to harm")
        if candidate is not None and (
            candidate.autonomy > action.max_autonomy
            or (candidate.look_first and candidate.autonomy > 2)
        ):
            found.append(f"{action.id} may do too much by itself")
    families = [actions[n].family for n in (*names, *joined) if actions[n].family]
    if len(families) != len(set(families)):
        found.append("two of one family")
    weighed = [number for number, name in enumerate(names) if basis[name].basis == "value"]
    crowd = names[: max(weighed, default=-1) + 1]
    found += _caps(question, crowd, {names[number] for number in weighed}, done, feels)
    values = [basis[names[number]].cautious_value for number in weighed]
    if answer.lot is None and values != sorted(values, reverse=True):
        found.append("a list that is not in the order of its values")
    found += _conversations(question, answer, names, done)
    if (
        answer.standing
        and answer.standing.is_held_out
        and not all(
            actions[n].service_message or (actions[n].promise == "plan" and basis[n].basis == "due")
            for n in names
        )
    ):
        found.append("an account of the holdout is not left alone")
    if not 0 < answer.propensity <= 1:
        found.append("a propensity that is none")
    if answer.lot:
        in_all = sum(answer.lot.propensity for _ in answer.lot.of)
        if abs(in_all - 1) > 1e-9 or answer.lot.drawn[0] != names[0]:
            found.append("a lot that does not add up")
        if state.attributes["segment"] == "off" or not set(answer.lot.of) <= set(names):
            found.append("a lot outside the safe set")
    return found


def _conversations(
    question: Question, answer: Recommendation, names: list[str], done: list[PastAction]
) -> list[str]:
    """One conversation at a time, and none so soon after another, but for what is due."""
    rule, as_of = question.book.conversation, question.inputs.as_of
    if rule is None:
        return []
    actions = {action.id: action for action in question.book.actions}
    talks = [
        c for c in answer.ranked if c.action_id in names and actions[c.action_id].channel == "phone"
    ]
    held = any(
        actions[p.action_id].channel == "phone" and as_of - p.at < timedelta(days=7) for p in done
    )
    found = ["two conversations"] if len(talks) > 1 else []
    found += [f"{c.action_id} comes too soon" for c in talks if held and c.basis != "due"]
    found += ["subjects of no talk" for c in answer.ranked if c.subjects and c not in talks]
    return found


def _caps(
    question: Question,
    names: list[str],
    weighed: set[str],
    done: list[PastAction],
    feels: Callable[[Action], bool],
) -> list[str]:
    book, asked = question.book, question.inputs
    state, limits = asked.state, asked.limits
    actions = {action.id: action for action in book.actions}
    week = [p for p in done if p.at > asked.as_of - timedelta(days=7)]

    def person(action: Action) -> str | None:
        return state.contacts.get(action.addresses) or state.contacts.get("main")

    is_new = state.attributes["contract_status"] == "trial"
    caps: list[tuple[str, int, Callable[[Action], bool], Callable[[PastAction], bool]]] = [
        (
            "actions",
            limits.actions_per_week,
            lambda a: not a.service_message and a.channel not in book.uncapped_channels,
            lambda p: True,
        ),
        (
            "contacts",
            limits.onboarding_contacts_per_week if is_new else limits.contacts_per_week,
            feels,
            lambda p: True,
        ),
    ]
    caps += [
        (
            channel,
            cap,
            lambda a, c=channel: feels(a) and a.channel == c,  # type: ignore[misc]
            lambda p: True,
        )
        for channel, cap in limits.channel_caps.items()
    ]
    for who in ("u1", "u2"):
        new = [n for n in names if feels(actions[n]) and person(actions[n]) == who]
        old = [p for p in week if feels(actions[p.action_id]) and p.contact == who]
        if weighed & set(new) and len(new) + len(old) > limits.contacts_per_person:
            caps.append((who, -1, feels, lambda p: True))
    return [
        f"more {what} than the cap"
        for what, cap, counts, _ in caps
        if any(counts(actions[n]) for n in weighed)
        and (new_ones := sum(counts(actions[n]) for n in names))
        and new_ones + sum(counts(actions[p.action_id]) for p in week) > cap
    ]
