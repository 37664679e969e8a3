"""What ``keepwell init`` asks about a proposal; without a person, the answers are those proposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from features.setup.proposal import Proposal, with_answer

MOST_DAYS, MOST_MONEY = 3_650, 1e9


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: what is asked, what is proposed, and what an answer changes.

    ``answered`` raises ``ValueError`` with a sentence where an answer cannot be used.
    """

    text: str
    proposed: Callable[[Proposal], str]
    answered: Callable[[Proposal, str], Proposal]
    applies: Callable[[Proposal], bool] = lambda proposal: True


def _until(proposal: Proposal, answer: str) -> Proposal:
    try:
        day = datetime.strptime(answer.strip(), "%Y-%m-%d")  # noqa: DTZ007 - the zone is the file's
    except ValueError as exc:
        raise ValueError(f"{answer!r} is no day. Write it as 2024-07-01.") from exc
    return with_answer(proposal, complete_until=day)


def _window(proposal: Proposal, answer: str) -> Proposal:
    try:
        days = int(answer)
    except ValueError:
        days = 0
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"{answer!r} is no number of days from 1 to {MOST_DAYS}.")
    return with_answer(proposal, window_days=days)


def _pays(proposal: Proposal, answer: str) -> Proposal:
    if not answer.strip():
        return proposal
    try:
        amount = float(answer)
    except ValueError:
        amount = 0.0
    if not 0 < amount < MOST_MONEY:
        raise ValueError(
            f"{answer!r} is no amount of money above 0. Leave it empty if it is not known."
        )
    return with_answer(proposal, pays=amount)


QUESTIONS: tuple[Question, ...] = (
    Question(
        text="What do you call this source?",
        proposed=lambda proposal: proposal.name,
        answered=lambda proposal, answer: with_answer(
            proposal, name=answer.strip() or proposal.name
        ),
    ),
    Question(
        text="Up to which day are the exports whole?",
        proposed=lambda proposal: (
            f"{proposal.complete_until:%Y-%m-%d}" if proposal.complete_until else ""
        ),
        answered=_until,
    ),
    Question(
        text="A table says who left, and not when. Within how many days after that day did they leave?",
        proposed=lambda proposal: str(proposal.window_days),
        answered=_window,
        applies=lambda proposal: proposal.asks_for_window,
    ),
    Question(
        text="No column holds money. What does a customer pay a month, on average? Leave it empty if unknown",
        proposed=lambda proposal: "" if proposal.pays is None else f"{proposal.pays:g}",
        answered=_pays,
        applies=lambda proposal: proposal.asks_for_money,
    ),
)
"""All questions, in order. The folder is asked before them, because they need what is in it."""
