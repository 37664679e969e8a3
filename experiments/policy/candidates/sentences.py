"""Describe an action that passed every stage: its text, reason and evidence.

Values and words for the ranking of ``recommend.py``; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from experiments.effects.belief import GOOD_OUTCOME, Belief, MeasuredEffects
from experiments.policy.candidates.deadlines import deadline_of
from experiments.policy.candidates.look_again import LookAgain
from experiments.policy.candidates.sequence_steps import DueStep
from experiments.policy.conditions import Facts, label
from experiments.policy.prior_shrinkage import NO_SHRINKAGE, PriorShrinkage
from experiments.policy.recommendation import Basis, Candidate, Withheld
from experiments.policy.value import NOTHING, ActionValue
from experiments.policy.withholding import find_unknown_values
from registry.playbook.actions import GRADES, Action, Prior
from registry.playbook.playbook import Playbook

DO_NOTHING = "do_nothing"
NEEDS_APPROVAL = 2

FULL_SHARE = 0.995
"""From this share on there is no note, because it rounds to all."""

EVIDENCE_NOTE = (
    "What each action changes is an estimate of the playbook (grade E); none of it "
    "has been measured on these accounts yet."
)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A triggered action on its way through the policy."""

    action: Action
    because: str
    raised_at: datetime
    step: DueStep | None


def build_candidate(
    proposal: Proposal,
    value: ActionValue,
    playbook: Playbook,
    facts: Facts,
    workday: tuple[int, int],
    *,
    basis: Basis = "value",
    basis_why: str = "",
) -> Candidate:
    """The action as it is recommended, with the values that a person has to look up first."""
    action, step = proposal.action, proposal.step
    ask = find_unknown_values(action, playbook, facts)
    look = [f"Not known here, look it up first: {label(name)}." for name in ask]
    if action.look_first:
        look.append(action.look_first)
    return Candidate(
        action_id=action.id,
        name=action.name,
        text=step.step.text if step is not None and step.step.text else action.text,
        objective=action.objective,
        channel=action.channel,
        owner_role=action.owner_role,
        because=proposal.because,
        look_first=tuple(look),
        deadline=deadline_of(action, proposal.raised_at, workday),
        autonomy=min(action.max_autonomy, NEEDS_APPROVAL) if look else action.max_autonomy,
        value=value,
        grade=value.belief.grade if value.belief else action.prior.grade,
        evidence=_evidence(action.prior, value.belief),
        playbook_share=value.belief.playbook_share if value.belief else 1.0,
        sequence=step.sequence.id if step is not None else None,
        basis=basis,
        basis_why=basis_why,
    )


def do_nothing(
    chosen: Sequence[Candidate],
    withheld: Sequence[Withheld],
    again: LookAgain | None = None,
    nobody: str = "",
) -> Candidate:
    """The candidate "do nothing", with the reason for its place in the ranking.

    ``again`` is when to look again where nothing is done, ``nobody`` why there is no day for that.
    """
    if chosen:
        because = "Everything listed above is worth more than doing nothing."
    elif any(w.reason == "held_out" for w in withheld):
        because = "Drawn by lot to be left alone until the contract term ends."
    elif not withheld:
        because = "Nothing in this account calls for an action."
    elif any(w.reason == "does_not_pay" for w in withheld):
        because = "Of what could be done, nothing is worth its cost or allowed now."
    else:
        because = "Nothing of what could be done is allowed now."
    return Candidate(
        action_id=DO_NOTHING,
        name="Do nothing",
        text="Leave the account alone for now.",
        objective="retain",
        channel="internal",
        owner_role="automation",
        because=" ".join(filter(None, (because, nobody if again is None else again.sentence))),
        look_first=(),
        deadline=None,
        autonomy=4,
        value=NOTHING,
        grade="E",
        evidence="The measure for all others: no cost, no change.",
        playbook_share=0.0,
        sequence=None,
        look_again_on=None if again is None else again.on,
        look_again_why="" if again is None else again.why,
    )


def _evidence(prior: Prior, belief: Belief | None) -> str:
    what = {
        "churn": "of those who would leave stay",
        "expansion": "more expand",
        "none": "of the times it brings something",
    }[prior.outcome]
    playbook = (
        f"Grade {prior.grade}, {GRADES[prior.grade]}: {prior.mean:.1%} {what}, held as "
        f"firmly as {prior.strength:.0f} accounts would show it. {prior.basis}"
    )
    if belief is None or belief.measured is None or belief.measured_grade is None:
        return playbook
    low, high = belief.measured_low or 0.0, belief.measured_high or 0.0
    where = f" in the segment {belief.segment}" if belief.segment else ""
    risk = (
        ""
        if belief.measured_risk is None
        else (
            f", of whom {belief.measured_risk:.1%} would have "
            f"{'left' if belief.outcome == 'churn' else 'grown'} otherwise"
        )
    )
    return (
        f"Grade {belief.measured_grade}, {GRADES[belief.measured_grade]}: "
        f"{100 * belief.measured:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) measured "
        f"on {belief.n:,} cases{where}{risk}, worth {belief.effective_n:,.0f} in an even "
        f"comparison; {belief.source} The playbook believed: {playbook}"
    )


def describe_evidence(
    proposals: Iterable[Proposal],
    evidence: MeasuredEffects,
    attributes: Mapping[str, str | None],
    shrinkage: PriorShrinkage = NO_SHRINKAGE,
) -> tuple[str, ...]:
    """The note on how much of the answer was measured, or why nothing was."""
    notes = (
        []
        if evidence.problem is None
        else [
            f"What was measured could not be used, so the playbook stands alone: {evidence.problem}"
        ]
    )
    measured = sorted(
        p.action.name
        for p in proposals
        if (good := GOOD_OUTCOME.get(p.action.prior.outcome))
        and evidence.of(p.action.id, good, attributes) is not None
    )
    notes.append(
        EVIDENCE_NOTE
        if not measured
        else (
            f"What these change was measured: {', '.join(measured)}. For the rest it is an estimate "
            f"of the playbook (grade E)."
        )
    )
    if shrinkage.share < FULL_SHARE:
        notes.append(
            f"What {shrinkage.measured} measured action(s) changed is less than the "
            f"playbook promised, so {shrinkage.share:.0%} of its other promises are counted."
        )
    return tuple(notes)
