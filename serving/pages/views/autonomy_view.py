"""What is stopped and how far actions may go by themselves, in words.

The level that holds for an action in a segment, and why: a person set it, a guardrail lowered it,
the action may never go further, or nobody set one. Pure; ``serving.ledger.autonomy`` says what
holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.policy.recommend import Candidate
from registry.playbook.actions import Action
from serving.ledger.autonomy import LEVELS, SUGGESTED, UNSET_LEVEL, ceiling, level_now
from serving.ledger.kill_switch import Control, Scope, stop_of, stops
from serving.ledger.pending_approvals import DecisionAnswer
from serving.pages.frame import Notice
from serving.text_format import day, instant, plain, who

GUARDRAIL_BY = "keepwell"
"""Who a control says set it where a guardrail lowered a level."""


@dataclass(frozen=True, kw_only=True)
class HeldLevel:
    """The level that holds now, in words, and why it is that one."""

    level: int
    words: str
    why: str
    is_stopped: bool = False

    @property
    def sentence(self) -> str:
        """Both as one line.

        >>> HeldLevel(level=2, words="needs approval", why="set by Ann").sentence
        'Needs approval: set by Ann.'
        """
        why = f": {self.why.rstrip('.')}" if self.why else ""
        return f"{self.words[:1].upper()}{self.words[1:]}{why}."


@dataclass(frozen=True, kw_only=True)
class StopLine:
    """One thing that is stopped."""

    what: str
    who: str
    why: str


@dataclass(frozen=True, kw_only=True)
class LevelLine:
    """One level that was set or lowered, for which actions and where."""

    action: str
    where: str
    words: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Within:
    """Segments and CSMs of the accounts that a caller reaches; None: all there are."""

    segments: Collection[str | None]
    csms: Collection[str | None]

    def sees(self, scope: Scope) -> bool:
        """Whether a control concerns any of these accounts.

        >>> ann = Within(segments={"mid"}, csms={"ann"})
        >>> ann.sees(Scope(action="call")), ann.sees(Scope(csm="bob"))
        (True, False)
        """
        return (scope.segment is None or scope.segment in self.segments) and (
            scope.csm is None or scope.csm in self.csms
        )


def held_level(
    controls: Sequence[Control],
    scope: Scope,
    names: Mapping[str, str],
    *,
    highest: int = max(LEVELS),
    bound: str = "this action never runs by itself",
) -> HeldLevel:
    """The level that holds for a scope now, and why.

    Args:
        controls: every control in the order in which they were given.
        scope: the action, the segment and the CSM that are asked about.
        names: actions' names by id.
        highest: how far the action may ever go.
        bound: why it may go no further.
    """
    stop = stop_of(controls, scope)
    if stop is not None:
        return HeldLevel(
            level=0,
            words="is stopped",
            is_stopped=True,
            why=f"{who(stop.by)} stopped {scope_words(stop.scope, names)} on "
            f"{day(stop.at)}: {stop.reason}",
        )
    level = level_now(controls, scope)
    if highest < level:
        return HeldLevel(level=highest, words=LEVELS[highest], why=bound)
    by = level_set_by(controls, scope)
    if by is None:
        return HeldLevel(level=UNSET_LEVEL, words=LEVELS[UNSET_LEVEL], why="")
    return HeldLevel(level=level, words=LEVELS[level], why=_set_by(by))


def standing_of(
    ranked: Iterable[Candidate],
    controls: Sequence[Control] | None,
    actions: Mapping[str, Action],
    *,
    segment: str | None,
    csm: str | None,
) -> dict[str, HeldLevel]:
    """How far each recommended action may go for one account now, by action.

    Without controls (None: they cannot be read) nothing goes beyond a suggestion.
    """
    names = {one.id: one.name for one in actions.values()}
    found = {}
    for candidate in ranked:
        action = actions.get(candidate.action_id)
        if action is None:  # doing nothing asks nobody
            continue
        if controls is None:
            found[action.id] = HeldLevel(
                level=SUGGESTED,
                words=LEVELS[SUGGESTED],
                why=("what is stopped and allowed cannot be read now"),
            )
            continue
        highest, bound = ceiling(action), "this action never runs by itself"
        if candidate.autonomy < highest:
            highest, bound = candidate.autonomy, "there is something to look up first"
        scope = Scope(action=action.id, segment=segment, csm=csm)
        held = held_level(controls, scope, names, highest=highest, bound=bound)
        stop = stop_of(controls, scope)
        if stop is not None and stop.scope.action is None:  # a notice says it of all of them
            held = replace(held, why="as said at the top of this page")
        found[action.id] = held
    return found


def with_answers(
    held: Mapping[str, HeldLevel], answers: Mapping[str, DecisionAnswer]
) -> dict[str, HeldLevel]:
    """The same, where an action was answered already: by whom, and for how long that holds.

    What is stopped stays stopped, whatever was answered before.
    """
    return {
        action: level
        if level.is_stopped or action not in answers
        else replace(level, words=_answer_words(answers[action]), why=_answer_why(answers[action]))
        for action, level in held.items()
    }


def _answer_words(one: DecisionAnswer) -> str:
    done = {"rejected": "declined", "executed": "carried out"}.get(one.answer, one.answer)
    return f"{done} by {who(one.by)}"


def _answer_why(one: DecisionAnswer) -> str:
    if one.answer == "approved":
        return f"on {day(one.at)}; it may be carried out until {instant(one.until)}"
    if one.answer == "claimed":
        return f"they work on it until {instant(one.until)}"
    return f"on {day(one.at)}"


def stop_notices(
    controls: Sequence[Control] | None, names: Mapping[str, str], within: Within | None
) -> tuple[Notice, ...]:
    """What is stopped for these accounts whatever the action, before any number is read."""
    every_action = [c for c in controls or () if c.scope.action is None]
    return tuple(
        Notice(
            title=f"Stopped: {line.what[:1].lower()}{line.what[1:]}",
            text=f"{line.why} ({line.who}). It is still recommended; no program carries it out.",
        )
        for line in stop_lines(every_action, names, within)
    )


def level_set_by(controls: Iterable[Control], scope: Scope) -> Control | None:
    """The control that sets the level of a scope: the narrowest, and of those the newest."""
    found = [
        (sum(part is not None for part in vars(control.scope).values()), number, control)
        for number, control in enumerate(controls)
        if control.kind == "level" and control.scope.holds(scope) and control.value is not None
    ]
    return max(found, key=lambda one: one[:2])[2] if found else None


def scope_words(scope: Scope, names: Mapping[str, str]) -> str:
    """What a control is about, with the names that people know.

    >>> scope_words(Scope(action="tips_email", segment="mid_market"), {"tips_email": "Tips"})
    '“Tips” in the segment mid market'
    >>> scope_words(Scope(), {}), scope_words(Scope(csm="ann"), {})
    ('everything', 'everything for the accounts of ann')
    """
    what = (
        "everything"
        if scope.action is None
        else f"“{names.get(scope.action, plain(scope.action))}”"
    )
    where = f" in the segment {plain(scope.segment)}" if scope.segment is not None else ""
    return what + where + (f" for the accounts of {scope.csm}" if scope.csm is not None else "")


def stop_lines(
    controls: Sequence[Control], names: Mapping[str, str], within: Within | None
) -> tuple[StopLine, ...]:
    """What is stopped now, of what concerns the accounts that are reached; the newest first."""
    found = []
    for stop in reversed(stops(controls)):
        if within is None or within.sees(stop.scope):
            what = scope_words(stop.scope, names)
            found.append(
                StopLine(
                    what=what[:1].upper() + what[1:],
                    why=stop.reason,
                    who=f"{who(stop.by)}, {instant(stop.at)}",
                )
            )
    return tuple(found)


def level_lines(
    controls: Sequence[Control], actions: Mapping[str, Action], within: Within | None
) -> tuple[LevelLine, ...]:
    """The levels that a person set or a guardrail lowered, as they hold now, by action."""
    names = {one.id: one.name for one in actions.values()}
    scopes = dict.fromkeys(c.scope for c in controls if c.kind == "level")
    lines = []
    for scope in scopes:
        if within is not None and not within.sees(scope):
            continue
        action = actions.get(scope.action or "")
        held = held_level(
            controls, scope, names, highest=max(LEVELS) if action is None else ceiling(action)
        )
        lines.append(
            LevelLine(
                action=(
                    "Every action"
                    if scope.action is None
                    else names.get(scope.action, plain(scope.action))
                ),
                where=_where(scope),
                words=held.words,
                why=held.why,
            )
        )
    return tuple(
        sorted(lines, key=lambda one: (one.action != "Every action", one.action, one.where))
    )


def _where(scope: Scope) -> str:
    parts = [plain(scope.segment)] if scope.segment is not None else []
    parts += [f"accounts of {scope.csm}"] if scope.csm is not None else []
    return ", ".join(parts) or "everywhere"


def _set_by(control: Control) -> str:
    if control.by == GUARDRAIL_BY:
        return f"lowered on {day(control.at)}: {control.reason}"
    return f"set by {who(control.by)} on {day(control.at)}: {control.reason}"
