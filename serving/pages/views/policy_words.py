"""Say on a page, in words for a customer success manager, what the policy says of an action.

The sentences of the policy are stored with every decision, and replay compares them word for word,
so they stay as they are. A page says the same with fewer terms. Pure.
"""

from __future__ import annotations

import math
import re

_PRIOR = re.compile(
    r"Grade \w, (?P<grade>[^:]+): (?P<share>[\d.]+%) (?P<what>.+?), held as firmly as "
    r"(?P<accounts>\d+) accounts would show it\. (?P<basis>.*)"
)
_PRIOR_WORDS = {
    "of those who would leave stay": "of the accounts that would leave, {share} stay because of it",
    "more expand": "{share} more accounts expand",
    "of the times it brings something": "{share} of the times it brings something",
}
_BACK_WORDS = {
    **_PRIOR_WORDS,
    "of those who would leave stay": (
        "of the accounts that would stay away, {share} come back because of it"
    ),
}
"""The same of accounts that have left."""
_NO_STOP = re.compile(r"(?<=[^.!?]) Before that: ")
_BELOW_ZERO = re.compile(r"(?<![\w.,])-(?=\d)")
_RULE = re.compile(r" \((?:at least|at most|above|below|exactly|other than)[^()]*\)")
_CAP = re.compile(
    r"At most (\d+) (.+?) a week for one account, and better ones or earlier ones take them\."
)
_COST = re.compile(r"It costs ([\d.,]+) and brings (-?[\d.,]+) on a cautious count: ")
_SINCE = re.compile(r"\bno ([a-z ]+) for ([\d,.]+ days) \(at most [^()]*\)")
"""A rule that wants something to have happened lately, by the phrase of how long it has not."""
_TERM = re.compile(r"(a term of [^,]+, at least|months of the term: at least) (\d+\.\d+)")
"""Months of a term are counted in days, so a rule leaves them some room."""
_CONSENT = re.compile(r"consent to (.+): (?:other than no|yes)")


def evidence_words(evidence: str, *, has_left: bool = False) -> str:
    """How much an action helps, and how we know; ``has_left``: with an account that has left.

    >>> evidence_words("Grade A, randomised experiment: -2.1 points (-10.0 to +5.9); the lottery 'pilot' "
    ...                "The playbook believed: Grade E, expert prior of the playbook: 12.0% more expand, "
    ...                "held as firmly as 20 accounts would show it. A guess.")
    "Grade A, randomised experiment: −2.1 points (−10.0 to +5.9); the lottery 'pilot'. Before that: our \
estimate (as sure as if of 20 accounts it were known): 12.0% more accounts expand. A guess."
    >>> evidence_words("Grade A, randomised experiment: +11.9 points. The playbook believed: Grade E, "
    ...                "expert prior of the playbook: 12.0% of those who would leave stay, held as "
    ...                "firmly as 20 accounts would show it. A guess.")
    'Grade A, randomised experiment: +11.9 points. Before that: our estimate (as sure as if of 20 \
accounts it were known): of the accounts that would leave, 12.0% stay because of it. A guess.'
    >>> evidence_words("Grade E, expert prior of the playbook: 20.0% of those who would leave stay, "
    ...                "held as firmly as 20 accounts would show it. Asking can help.")
    'Our estimate, not measured yet (as sure as if of 20 accounts it were known): of the accounts \
that would leave, 20.0% stay because of it. Asking can help.'
    """

    def say(found: re.Match[str]) -> str:
        what = (_BACK_WORDS if has_left else _PRIOR_WORDS).get(
            found["what"], "{share} " + found["what"]
        )
        return (
            f"Our estimate, not measured yet (as sure as if of {found['accounts']} accounts it were known): "
            f"{what.format(share=found['share'])}. {found['basis']}"
        )

    said = _PRIOR.sub(say, evidence).replace(
        "The playbook believed: Our estimate, not measured yet", "Before that: our estimate"
    )
    return _NO_STOP.sub(". Before that: ", _BELOW_ZERO.sub("\N{MINUS SIGN}", said))


def note_words(note: str) -> str:
    """A note about the evidence of the whole list.

    >>> note_words("What each action changes is an estimate of the playbook (grade E); none of it "
    ...            "has been measured on these accounts yet.")
    'How much each action helps is our estimate; none of it has been measured on these accounts yet.'
    >>> note_words("No model is in use: the churn probability comes from the health formula.")
    'No model answers for this account: the churn probability comes from the health formula.'
    """
    return note.replace(
        "What each action changes is an estimate of the playbook (grade E)",
        "How much each action helps is our estimate",
    ).replace("No model is in use: ", "No model answers for this account: ")


def is_about_growth(note: str) -> bool:
    """Whether a note is about the chance to grow alone, of which there is none once an account left.

    >>> is_about_growth("No growth score: values count on 4.0% expanding in 90 days.")
    True
    """
    return note.startswith(("No growth score: ", "The growth score "))


def cause_words(because: str) -> str:
    """What brought an action up, without the bounds of the rule, each thing once.

    >>> cause_words("Warning sign: Quiet (no activity for 9 days); no activity for 9 days (at least 7)")
    'Warning sign: Quiet (no activity for 9 days)'
    >>> cause_words("9 days to the renewal (at most 90); no touch with a champion for 6 days (at most 30)")
    '9 days to the renewal; touch with a champion 6 days ago'
    """
    parts: list[str] = []
    for part in _RULE.sub("", _SINCE.sub(r"\1 \2 ago", because)).split("; "):
        if not any(part in earlier for earlier in parts):
            parts.append(part)
    return "; ".join(parts)


def refusal_words(why: str, currency: str) -> str:
    """Why an action is held back.

    >>> refusal_words("They do not want e-mail. Now: consent to e-mail no, other than no is needed.",
    ...               "USD")
    'They do not want e-mail.'
    >>> refusal_words("Nothing is sold until it has one. Now: warning sign: Use has halved.", "USD")
    'Nothing is sold until it has one. Open: Use has halved.'
    >>> refusal_words("At most 3 contacts a week for one account, and better ones or earlier ones take "
    ...               "them.", "USD")
    'The week is full: at most 3 contacts a week for one account, and earlier or better ones come first.'
    >>> refusal_words("It costs 180.00 and brings 63.18 on a cautious count: too little.", "USD")
    'It costs 180 USD and would bring about 63 USD, cautiously estimated: too little.'
    >>> refusal_words("It costs 0.10 and brings -0.04 on a cautious count: too little.", "USD")
    'It costs 0.10 USD and would bring about −0.04 USD, cautiously estimated: too little.'
    >>> refusal_words("Not for this account now: a term of 1 month, at least 2.9 is needed.", "USD")
    'Not for this account now: a term of 1 month, at least 3 is needed.'
    """
    why = _TERM.sub(_whole_months, why)
    why = re.sub(r"(?<=\.) Now: (?!warning sign: ).*\.$", "", why)
    why = why.replace(" Now: warning sign: ", " Open: ").replace("; warning sign: ", "; ")
    why = _CAP.sub(
        r"The week is full: at most \1 \2 a week for one account, and earlier or better ones come "
        r"first.",
        why,
    )
    why = _COST.sub(
        lambda found: (
            f"It costs {_whole(found[1])} {currency} and would bring about {_whole(found[2])} "
            f"{currency}, cautiously estimated: "
        ),
        why,
    )
    return re.sub(r"^One of the (.+?) at a time, and (“.+”) comes first\.$",
                  r"Only one of the \1 at a time; \2 comes first.", why)  # fmt: skip


def until_words(until: str) -> str:
    """When an action is possible again, as a sentence; empty, where the reason says it already.

    >>> until_words("until: churn risk: low or medium"), until_words("until: consent to SMS: other than no")
    ('Possible when: churn risk low or medium.', 'Possible when: they agree to SMS.')
    >>> until_words("until the risk is higher"), until_words("while “Pause” is ahead of it")
    ('Until the risk is higher.', '')
    """
    if not until or until.startswith("while “"):
        return ""
    if not until.startswith("until: "):
        return f"{until[:1].upper()}{until[1:]}."
    parts = _TERM.sub(_whole_months, until).removeprefix("until: ").split("; ")
    return f"Possible when: {'; '.join(map(_condition, parts))}."


def _condition(part: str) -> str:
    if consent := _CONSENT.fullmatch(part):
        return f"they agree to {consent[1]}"
    if part == "legal hold: no":
        return "no legal hold"
    return part.replace(": exactly ", ": ").replace(": ", " ", 1)


def _whole_months(found: re.Match[str]) -> str:
    return f"{found[1]} {math.ceil(float(found[2]))}"


def _whole(amount: str) -> str:
    """An amount of money without its cents, unless it is less than one."""
    value = float(amount.replace(",", ""))
    cents = 0 if value == 0 or abs(value) >= 1 else 2
    return f"{value:,.{cents}f}".replace("-", "\N{MINUS SIGN}")
