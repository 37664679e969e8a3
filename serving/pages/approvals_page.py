"""The page of what waits for a person, what is stopped, and how far actions
may go by themselves. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from experiments.policy.contact.snooze import Snooze
from registry.playbook.actions import Action
from serving.auth.roles import Caller
from serving.ledger.autonomy import LEVELS, UNSET_LEVEL, ceiling
from serving.ledger.kill_switch import Control, Scope
from serving.ledger.pending_approvals import PendingDecision
from serving.pages.frame import Frame, Option
from serving.pages.views.account_links import account_href, name_of
from serving.pages.views.autonomy_view import (
    LevelLine,
    StopLine,
    Within,
    held_level,
    level_lines,
    stop_lines,
)
from serving.scoring.portfolio import Portfolio
from serving.text_format import day, instant, money, plain, plural, who

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
    if asked.action is not None and asked.action in actions:
        held = held_level(controls, asked, names, highest=ceiling(actions[asked.action]))
        where = f" in {plain(asked.segment)}" if asked.segment is not None else ""
        answer = f"“{names[asked.action]}”{where}. {held.sentence}"
    may = "approve" in caller.permissions
    return ApprovalsPage(
        frame=Frame(title="Approvals", section="approvals", tenant=tenant),
        intro=_intro(waiting, may),
        waiting=tuple(
            _line(one, portfolio, caller, actions, put_off.get(one.account_id, ()))
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
        levels=level_lines(controls, actions, within),
        elsewhere=f"Everywhere else an action {LEVELS[UNSET_LEVEL]}.",
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


def _line(
    one: PendingDecision,
    portfolio: Portfolio,
    caller: Caller,
    actions: Mapping[str, Action],
    put_off: Sequence[Snooze],
) -> WaitingLine:
    action = actions.get(one.action)
    name = action.name if action is not None else plain(one.action)
    account = name_of(one.account_id, portfolio)
    may = "approve" in caller.permissions
    own = one.asked_by is not None and caller.owner == one.asked_by
    notes = [
        f"{snooze.by} put this off until {day(snooze.until)}"
        f"{f': {snooze.reason}' if snooze.reason else ''}."
        for snooze in put_off
        if snooze.action_id == one.action
    ]
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
        worth=money(round(one.expected_value), one.currency),
        asked=f"Asked for by {who(one.asked_by)}, {instant(one.asked_at)}",
        waits=waits,
        notes=tuple(notes),
        form_href=f"/decisions/{quote(one.decision_id, safe='')}/approvals",
        may_approve=may and not own,
        may_decline=may,
        label=f"Approve or decline {name} for {account}",
    )
