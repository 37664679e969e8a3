"""The page of what waits for a person, what is stopped, and how far actions
may go by themselves. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from experiments.policy.contact.snooze import Snooze
from experiments.policy.recommend import Candidate, Recommendation
from registry.playbook.actions import Action
from registry.store.approval import person
from serving.auth.roles import Caller
from serving.leaving_words import words_of
from serving.ledger.autonomy import LEVELS, UNSET_LEVEL, ceiling
from serving.ledger.kill_switch import Control, Scope
from serving.ledger.pending_approvals import PendingDecision
from serving.pages.frame import Frame, Option
from serving.pages.views.account_links import account_href, name_of
from serving.pages.views.actions_view import action_view
from serving.pages.views.autonomy_view import (
    LevelLine,
    StopLine,
    Within,
    held_level,
    level_lines,
    stop_lines,
)
from serving.pages.views.figures import (
    AT_RENEWAL,
    BASE_RATE,
    CHURN_AT_90,
    figure,
    percent_figures,
    words,
)
from serving.scoring.portfolio import Portfolio
from serving.scoring.score import TIER_HORIZON_DAYS, AccountScore
from serving.text_format import capitalised, day, instant, money, percent, plain, plural, who

MOST_SHOWN = 50
MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class WaitingLine:
    """One decision that waits, and what the reader may say to it."""

    href: str
    account: str
    action: str
    text: str
    worth: str
    worth_title: str
    figure: str  # the name of the worth, where it is one; as on the account's page
    why: str
    how: str  # where its worth comes from
    chance: Markup | str  # to leave, as it is now
    deadline: str  # by when it is to be done, or since when it should have been
    asked: str
    waits: str
    notes: tuple[str, ...]
    form_href: str
    may_approve: bool
    may_decline: bool
    label: str


@dataclass(frozen=True, kw_only=True)
class ApprovalsPage:
    """What needs approval, what is stopped and how far actions may go, as a page."""

    frame: Frame
    intro: str
    waiting: tuple[WaitingLine, ...]
    left_out: str
    asks_name: bool
    stopped: tuple[StopLine, ...]
    levels: tuple[LevelLine, ...]
    elsewhere: str
    actions: tuple[Option, ...]
    segments: tuple[Option, ...]
    answer: str


def approvals_page(
    waiting: Sequence[PendingDecision],
    controls: Sequence[Control],
    portfolio: Portfolio,
    *,
    caller: Caller,
    actions: Mapping[str, Action],
    put_off: Mapping[str, Sequence[Snooze]],
    answers: Mapping[str, Recommendation],
    asked: Scope,
    tenant: str,
) -> ApprovalsPage:
    """The page as one caller may see it.

    Args:
        waiting: what waits on accounts within reach.
        controls: every control in the order in which they were given.
        portfolio: the accounts within reach.
        caller: who reads it.
        actions: the playbook's actions by id.
        put_off: what is put off, by account.
        answers: what is recommended now, by account: what the page of each account shows too.
        asked: the action and the segment whose level is asked for; nothing where none is.
        tenant: the company whose service it is.
    """
    segments = sorted(
        {
            segment
            for score in portfolio.scores
            if (segment := score.attributes.get("segment")) is not None
        }
    )
    within = (
        None
        if caller.reach is None
        else Within(
            segments=segments, csms={score.attributes.get("csm") for score in portfolio.scores}
        )
    )
    names = {one.id: one.name for one in actions.values()}
    answer = ""
    is_known = asked.segment is None or asked.segment in segments
    if asked.action is not None and asked.action in actions and is_known:
        held = held_level(controls, asked, names, highest=ceiling(actions[asked.action]))
        where = f" in {plain(asked.segment)}" if asked.segment is not None else ""
        answer = f"“{names[asked.action]}”{where}. {held.sentence}"
    may = "approve" in caller.permissions
    levels = level_lines(controls, actions, within)
    return ApprovalsPage(
        frame=Frame(title="Approvals", section="approvals", tenant=tenant),
        intro=_intro(waiting, may),
        waiting=tuple(
            _line(
                one,
                portfolio,
                caller,
                actions,
                put_off.get(one.account_id, ()),
                answers.get(one.account_id),
            )
            for one in waiting[:MOST_SHOWN]
        ),
        left_out=(
            f"{plural(len(waiting) - MOST_SHOWN, 'other')}, each expected to bring no more "
            f"than these."
            if len(waiting) > MOST_SHOWN
            else ""
        ),
        asks_name=caller.owner is None,
        stopped=stop_lines(controls, names, within),
        levels=levels,
        elsewhere=f"{'Everywhere else an' if levels else 'Every'} action {LEVELS[UNSET_LEVEL]}.",
        actions=tuple(
            Option(value=one.id, text=one.name, is_chosen=one.id == asked.action)
            for one in sorted(actions.values(), key=lambda one: one.name)
        ),
        segments=tuple(
            Option(value=one, text=plain(one), is_chosen=one == asked.segment) for one in segments
        ),
        answer=answer,
    )


def describe_waiting(waiting: Sequence[PendingDecision], names: Mapping[str, str]) -> str:
    """What needs approval on one account, in a sentence; empty where nothing does."""
    if not waiting:
        return ""
    what = ", ".join(
        f"{names.get(one.action, plain(one.action))} (asked for by {who(one.asked_by)})"
        for one in waiting[:MOST_NAMED]
    )
    more = f" and {plural(len(waiting) - MOST_NAMED, 'other')}" if len(waiting) > MOST_NAMED else ""
    return f"Needs approval: {what}{more}."


def _intro(waiting: Sequence[PendingDecision], may: bool) -> str:
    if not waiting:
        return "Nothing needs approval now."
    what = f"{plural(len(waiting), 'action')}, those expected to bring most first."
    return what if may else f"{what} Only an approver can approve or decline here."


def _as_of_now(action_id: str, answer: Recommendation | None) -> Candidate | None:
    """The action as it is recommended now; None where it is not."""
    ranked = () if answer is None else answer.ranked
    return next((candidate for candidate in ranked if candidate.action_id == action_id), None)


def _why_no_longer(action_id: str, answer: Recommendation | None) -> str:
    """Why an action that waits is not recommended any more."""
    if answer is not None:
        for candidate in answer.ranked:
            if action_id in {subject.action_id for subject in candidate.subjects}:
                return f"It is now part of “{candidate.name}”."
        for withheld in answer.withheld:
            if withheld.action_id == action_id:
                return f"It is held back now: {withheld.why}"
    return "It is no longer among the next actions of the account."


def _chance(score: AccountScore | None) -> Markup | str:
    """The chance to leave as it is now, and that at the renewal where it is later."""
    at = None if score is None else score.churn_at(score.risk_days)
    if score is None or at is None or at.probability is None:
        return ""
    name = score.account_id
    said = words(
        "{what}: {chance} ({interval}; average of all accounts: {average})",
        what=words_of(score.leaving).chance,
        average=figure(BASE_RATE, name, percent(at.base_rate)),
        chance=figure(CHURN_AT_90, name, percent(at.probability)),
        interval=percent_figures(CHURN_AT_90, name, at.low, at.high),
    )
    renewal, days = score.at_renewal, score.features.get("days_to_renewal") or 0.0
    if renewal is None or days < TIER_HORIZON_DAYS:
        return said
    return said + words(
        "; at its renewal in {days}: {chance}{usual}",
        days=plural(round(days), "day"),
        usual=""
        if score.usual_at_renewal is None
        else f" ({percent(score.usual_at_renewal)} is usual with a contract like this)",
        chance=figure(AT_RENEWAL, name, percent(renewal.probability)),
    )


def _line(
    one: PendingDecision,
    portfolio: Portfolio,
    caller: Caller,
    actions: Mapping[str, Action],
    put_off: Sequence[Snooze],
    answer: Recommendation | None,
) -> WaitingLine:
    action = actions.get(one.action)
    name = action.name if action is not None else plain(one.action)
    account = name_of(one.account_id, portfolio)
    may = "approve" in caller.permissions
    own = one.asked_by is not None and person(caller.owner or "") == person(one.asked_by)
    notes = [
        f"{snooze.by} put this off until {day(snooze.until)}"
        f"{f': {snooze.reason}' if snooze.reason else ''}."
        for snooze in put_off
        if snooze.action_id == one.action
    ]
    now = _as_of_now(one.action, answer)
    score = portfolio.by_id.get(one.account_id)
    shown = (
        None
        if now is None or answer is None
        else action_view(
            now,
            one.currency,
            as_of=answer.as_of,
            has_left=score is not None and score.has_left,
        )
    )
    if shown is None:
        if not notes:
            notes.append(_why_no_longer(one.action, answer))
        notes.append("What it is worth is of when it was asked for.")
    if may and own:
        notes.append("You asked for this yourself, so somebody else has to approve it.")
    waits = (
        f"valid until {instant(one.valid_until)}"
        if one.goes_ahead_at is None
        else f"goes ahead by itself at {instant(one.goes_ahead_at)} unless somebody declines"
    )
    return WaitingLine(
        href=account_href(one.account_id),
        account=account,
        action=name,
        text=action.text if action is not None else "",
        worth=money(round(one.expected_value), one.currency) if shown is None else shown.worth,
        worth_title="expected value after costs" if shown is None else shown.worth_title,
        figure=f"cautious_value:{one.action} for {one.account_id}"
        if shown is not None and shown.is_weighed
        else "",
        why="" if shown is None else shown.why,
        how="" if shown is None else shown.how,
        chance=_chance(score),
        deadline=f"{capitalised(shown.deadline)}, by the dates of the data"
        if shown is not None and shown.deadline
        else "",
        asked=f"Asked for by {who(one.asked_by)}, {instant(one.asked_at)}",
        waits=waits,
        notes=tuple(notes),
        form_href=f"/decisions/{quote(one.decision_id, safe='')}/approvals",
        may_approve=may and not own,
        may_decline=may,
        label=f"Approve or decline {name} for {account}",
    )
