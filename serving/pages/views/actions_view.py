"""How recommendations are shown: what, why, worth how much, on what belief."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from experiments.policy.recommend import DO_NOTHING, Basis, Candidate, Recommendation, Withheld
from experiments.policy.value import ActionValue
from experiments.policy.withholding import ON_THE_WALL
from serving.pages.views.autonomy_view import HeldLevel
from serving.pages.views.figures import figure, words
from serving.pages.views.policy_words import (
    cause_words,
    evidence_words,
    refusal_words,
    until_words,
)
from serving.text_format import day, instant, money, number, percent, plain, plural, signed, spoken

CHANNELS: Mapping[str, str] = {
    "email": "e-mail",
    "phone": "phone call",
    "in_app": "in the product",
    "sms": "text message",
    "internal": "inside our company",
}

OWNERS: Mapping[str, str] = {
    "automation": "automatic",
    "csm": "success manager",
    "ceo": "our CEO",
    "billing": "billing",
    "sponsor": "executive sponsor",
}

PLACES: Mapping[Basis, tuple[str, str]] = {
    "urgent": ("First", "a person speaks to them before anything else, whatever it is worth"),
    "due": ("Promised", "due whatever it is worth"),
    "value": ("", "worth after costs, cautiously estimated; ranks the list"),
}
"""What an action's place rests on, to what stands in place of its worth, and what that means."""

GOOD_END: Mapping[str, str] = {"churn": "stay", "expansion": "grow", "none": "help"}
"""Outcome of an action's value to what becomes more likely."""

COME_BACK: Mapping[str, str] = {**GOOD_END, "churn": "come back"}
"""The same for an account that has left."""


@dataclass(frozen=True, kw_only=True)
class ActionView:
    """One recommended action."""

    action_id: str
    name: str
    text: str
    why: str
    worth: str
    how: str
    evidence: str
    by: str
    stands: str  # how far it may go by itself here, and why
    is_stopped: bool
    deadline: str
    look_first: tuple[str, ...]
    is_weighed: bool  # whether its worth is what its place rests on
    worth_title: str
    worth_from: str  # the heading above where the worth comes from
    subjects: tuple[str, ...]  # what else the same conversation is about


@dataclass(frozen=True, kw_only=True)
class WithheldView:
    """One action that was held back."""

    name: str
    why: str
    until: str


def actions_intro(answer: Recommendation) -> Markup | str:
    """What the list is ranked by, or that nothing pays, or that a lot has spoken."""
    if answer.standing is not None and answer.standing.is_held_out:
        until = answer.standing.until
        return (
            f"Drawn by lot to be left alone until "
            f"{'the contract term ends' if until is None else instant(until)}, so that it can "
            f"be measured what our actions do. What is owed to the account is still listed."
        )
    if answer.ranked[0].action_id == DO_NOTHING:
        again, said = answer.look_again_on, (
            "Nothing in the playbook is allowed here now and worth more than it costs, so the "
            "advice is to do nothing{again}."
        )  # fmt: skip
        if again is None:
            return words(said, again="")
        on = figure("look_again_on", answer.account_id, day(again))
        return words(said, again=words(" and to look again on {on}", on=on))
    by_lot = (
        ""
        if answer.lot is None
        else (
            f" Which of the best {len(answer.lot.of)}, worth nearly the same, comes first was drawn by "
            f"lot."
        )
    )
    bases = {candidate.basis for candidate in answer.ranked}
    before = {
        frozenset({"urgent"}): "What a person does first comes first. The others are ranked",
        frozenset({"due"}): "What is promised is listed whatever it costs. The others are ranked",
        frozenset({"urgent", "due"}): (
            "What a person does first comes first, and what is promised is listed whatever it "
            "costs. The others are ranked"
        ),
    }.get(frozenset(bases - {"value"}), "Ranked")
    return (
        f"{before} by a cautious estimate of what each brings in a year, after its costs. "
        f"Doing nothing is one of the choices.{by_lot}"
    )


def action_view(
    candidate: Candidate,
    currency: str,
    held: HeldLevel | None = None,
    *,
    as_of: datetime,
    has_left: bool = False,
) -> ActionView:
    """One candidate in words, with the level that holds for it.

    Args:
        candidate: the action as it is recommended.
        currency: of the workspace.
        held: the level that holds for it; None: none is shown.
        as_of: the moment of the answer, which tells whether a deadline has passed.
        has_left: whether the contract of the account has ended.
    """
    value = candidate.value
    nothing = candidate.action_id == DO_NOTHING
    price = money(value.total_cost, currency)
    if value.hours:
        price += f" ({value.hours:g} hours of work)"
    costs = f"costs of {price}"
    place, title = PLACES[candidate.basis]
    good_end = (COME_BACK if has_left else GOOD_END)[value.outcome]
    how = (
        ""
        if nothing
        else (
            f"The chance to {good_end} rises by {100 * value.uplift:.3g} points × "
            f"{money(value.at_stake, currency)} at stake × {percent(value.margin)} margin, less "
            f"{costs}{_worn(value)}: {money(round(candidate.expected_value), currency)} is "
            f"expected, and {money(round(candidate.cautious_value), currency)} on the cautious "
            f"estimate that ranks the list"
        )
    )
    if place:
        how = f"It is not weighed: it is done whatever it is worth. It costs {price}"
        if value.outcome != "none":
            how += (
                f", and the chance to {good_end} rises by {100 * value.uplift:.3g} points"
                f"{_worn(value)}"
            )
    elif not nothing and value.outcome == "none":
        how = f"Worth {money(value.benefit, currency)} by the playbook, less {costs}"
    if candidate.basis != "value" and value.at_stake == 0:
        how = ""  # nothing is known of what it is worth
    because = cause_words(candidate.because)
    because = f"{candidate.basis_why} {because[:1].upper()}{because[1:]}".strip()
    owner = OWNERS.get(candidate.owner_role, plain(candidate.owner_role))
    channel = CHANNELS.get(candidate.channel, plain(candidate.channel))
    return ActionView(
        action_id=candidate.action_id,
        name=candidate.name,
        text=candidate.text,
        why=spoken(because),
        worth=place or money(round(candidate.cautious_value), currency),
        how=spoken(how),
        evidence=""
        if nothing
        else (
            f"{evidence_words(candidate.evidence, has_left=has_left).rstrip('.')}{_measured_share(candidate)}"
            f"{_interval(value)} (grade {candidate.grade})"
        ),
        by="" if nothing else f"{owner}, {channel}",
        stands="" if held is None else held.sentence,
        is_stopped=held is not None and held.is_stopped,
        deadline=deadline_words(candidate.deadline, as_of),
        look_first=candidate.look_first,
        is_weighed=not place,
        worth_title=title,
        worth_from="What it takes"
        if place
        else f"Where {money(round(candidate.cautious_value), currency)} comes from",
        subjects=tuple(f"{one.name}: {one.text}" for one in candidate.subjects),
    )


def deadline_words(deadline: datetime | None, as_of: datetime) -> str:
    """By when it is to be done, or since when it should have been; "" without a deadline.

    >>> from datetime import UTC, timedelta
    >>> due = datetime(2026, 3, 2, 17, tzinfo=UTC)
    >>> deadline_words(due, due - timedelta(hours=1)), deadline_words(due, due + timedelta(days=9))
    ('by 2 March 2026, 17:00 UTC', 'overdue since 2 March 2026, 17:00 UTC')
    """
    if deadline is None:
        return ""
    return f"{'overdue since' if deadline < as_of else 'by'} {instant(deadline)}"


def _measured_share(candidate: Candidate) -> str:
    """How much of the effect was measured, where some of it was."""
    measured = 1 - candidate.playbook_share
    if round(measured, 2) == 0:
        return ""
    said = f". {percent(measured)} of this is measured, the rest is our estimate"
    belief = candidate.value.belief
    if belief is None or not belief.data_share:
        return said
    return f"{said}, which weighs as much as {number(belief.playbook_cases)} measured cases"


def _worn(value: ActionValue) -> str:
    """What earlier contacts took off, if there were any."""
    if not value.contacts_28d:
        return ""
    return (
        f" ({plural(value.contacts_28d, 'contact')} in four weeks took "
        f"{percent(value.fatigue)} off the effect)"
    )


def _interval(value: ActionValue) -> str:
    """Between what bounds the effect on the odds is believed to lie."""
    belief = value.belief
    if belief is None or value.outcome == "none":
        return ""
    return (
        f". For this account most likely between {signed(100 * belief.low)} and "
        f"{signed(100 * belief.high, ' points')}"
    )


def withheld_view(
    withheld: Withheld, currency: str, *, data_stand_still: bool = False
) -> WithheldView:
    """One held back action, and until when; where the data stand still, by which of the two clocks."""
    until = until_words(withheld.until)
    if withheld.allowed_from is not None:
        until = f"Possible from {instant(withheld.allowed_from)}"
        if data_stand_still and withheld.reason not in ON_THE_WALL:
            until += ", by the dates of the data"
        until += "."
    return WithheldView(
        name=withheld.name,
        why=spoken(refusal_words(withheld.why, currency)),
        until=spoken(until),
    )
