"""Format numbers, money and moments for pages and reasons.

One form each, so that a page, a reason and a report never differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NOT_KNOWN = "not known"

INTERVAL_COVERS = (
    "The 95% interval is about all accounts with a score like this one: the "
    "share of them that really leaves (or grows) lies in it 95 times out of 100. "
    "It does not say how certain the score of this one account is."
)
"""What a probability's interval promises, and what it does not."""

PRIOR_INTERVAL = (
    "Little or nothing was learned from your data yet. The interval says how far off the stated yearly "
    "rate and our guess about health may be; the average is that rate, moved by those who left."
)
"""The same of a prior."""

TIER_COVERS = (
    "Of the chance to leave within 90 days, in multiples of what is usual. A renewal that is further "
    "ahead is no part of it."
)
"""What a risk tier is about."""

KEYS_OF_NOBODY: Mapping[str, str] = {
    "embedded": "somebody without a key",
    "environment": "whoever has the shared key",
}
"""What stands in records where nobody is named, in words."""

LEAST_SHARE = 0.00005
"""A share below it would be written as none, which it is not."""

NOUNS = (
    "order",
    "account",
    "action",
    "alert",
    "answer",
    "champion",
    "change",
    "contact",
    "day",
    "deployment",
    "error",
    "failure",
    "feature",
    "goal",
    "hour",
    "incident",
    "integration",
    "invoice",
    "login",
    "milestone",
    "minute",
    "month",
    "movement",
    "nudge",
    "point",
    "post",
    "recipe",
    "recommendation",
    "renewal",
    "request",
    "review",
    "role",
    "seat",
    "second",
    "session",
    "sign",
    "sponsor",
    "step",
    "ticket",
    "time",
    "training",
    "unit",
    "user",
    "use",
    "week",
)
IRREGULAR: Mapping[str, str] = {
    "people": "person",
    "retries": "retry",
    "touches": "touch",
    "person-days": "person-day",
    "use cases": "use case",
    "sponsors or champions": "sponsor or champion",
    "sessions and uses": "session or use",
}
SINGULAR: Mapping[str, str] = {**{f"{noun}s": noun for noun in NOUNS}, **IRREGULAR}
ONE_OF_MANY = re.compile(
    rf"(?<![\d.,])(1 (?:open )?(?:[a-z]+ )?)({'|'.join(sorted(SINGULAR, key=len, reverse=True))})\b"
    r"( are\b| were\b)?"
)
"""A one before a counted noun, perhaps with a word in between."""

ARE_ONE = {" are": " is", " were": " was"}

BEFORE_NO_BOUND = r"(?! \((?:at|above|below|exactly|other) )"
"""A number with the bound of a rule behind it, such as "0 days to the renewal (at most 90)", stays."""

PAST_AND_TODAY: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern + BEFORE_NO_BOUND), words)
    for pattern, words in (
        (r"(?<![\w.,])-(\d+ days) to (the [a-z ]+)", r"\2 was \1 ago"),
        (r"\b0 days ago\b", "today"),
        (r"\bin 0 days\b", "today"),
        (r"\b0 days to the renewal\b", "renews today"),
        (r"\b0 days to (the last day of notice)\b", r"today is \1"),
        (r"\b0 days left of the trial\b", "the trial ends today"),
        (r"\bno ([a-z ]+) for 0 days\b", r"\1 today"),
        (r"\bnobody logged in for 0 days\b", "somebody logged in today"),
        (r"\bnothing of a sponsor for 0 days\b", "heard of a sponsor today"),
        (r"\bworst open invoice 0 days overdue\b", "no invoice a day overdue"),
        (r"\ban invoice is 0 days overdue\b", "an invoice fell due today"),
        (r" 0(?:\.0)? days after ", " on the same day as "),
        (r"\b(customer|account) for 0 days\b", r"\1 since today"),
        (r" on 0 days\b", " on no day"),
        (r" (on|in) 0 of the ", r" \1 none of the "),
        (r"(?<![\d.,])(1 features? used in the last \d+ days) were\b", r"\1 was"),
        (r" used 0 times ", " not used "),
        (r"[+-]0 ([a-z]+) against (?=the )", r"as many \1 as in "),
        (r"^0 of ", "none of "),
        (r"^0(?:\.0)? (?=[a-z](?![^(]*\(at ))|^0% (?=discount)", "no "),
    )
)
"""What people say instead of a number that came out as zero, or of days below it."""

NEEDS_WORDS = re.compile(r"(?<!\d)[01](?:\.0)?%? |[-+]\d")
"""What stands in every text that any of these patterns finds; most texts have none of it."""


def money(amount: float | None, currency: str) -> str:
    """An amount with its currency.

    >>> money(12340.4, "USD"), money(-3.2, "EUR"), money(None, "USD")
    ('12,340 USD', '−3.20 EUR', 'not known')
    """
    if amount is None:
        return NOT_KNOWN
    digits = 0 if abs(amount) >= 100 or amount == round(amount) else 2
    return f"{amount + 0.0:,.{digits}f} {currency}".replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    """A share of one as a percentage, finer where it is small.

    >>> percent(0.1234), percent(0.0123), percent(0.0004), percent(None)
    ('12%', '1.2%', '0.04%', 'not known')
    >>> percent(0.00004), percent(-0.00004), percent(0)
    ('under 0.01%', '0%', '0%')
    """
    if share is None:
        return NOT_KNOWN
    size = abs(share)
    if size == 0 or size >= 0.0995:
        return f"{share:.0%}"
    if size < LEAST_SHARE:
        return "under 0.01%" if share > 0 else "0%"
    return f"{share:.1%}" if size >= 0.001 else f"{share:.2%}"


def percent_range(low: float | None, high: float | None) -> str:
    """
    >>> percent_range(0.051, 0.123)
    '5.1% to 12%'
    """
    if low is None or high is None:
        return NOT_KNOWN
    return f"{percent(low)} to {percent(high)}"


def signed(value: float, unit: str = "") -> str:
    """A difference with its sign.

    >>> signed(2.14, " points"), signed(-0.32), signed(0.004)
    ('+2.1 points', '−0.3', '0.0')
    """
    rounded = round(value, 1)
    if rounded == 0:
        return f"0.0{unit}"
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}"
    return f"{sign}{abs(rounded):,.1f}{unit}"


def number(value: float | None) -> str:
    """A plain number, without digits that say nothing.

    >>> number(3.0), number(0.4567), number(12345.6), number(None)
    ('3', '0.46', '12,346', 'not known')
    """
    if value is None:
        return NOT_KNOWN
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def day(moment: datetime | None) -> str:
    """
    >>> day(datetime(2023, 4, 1, tzinfo=UTC))
    '1 April 2023'
    """
    return NOT_KNOWN if moment is None else f"{moment.astimezone(UTC):%-d %B %Y}"


def instant(moment: datetime | None) -> str:
    """
    >>> instant(datetime(2023, 4, 1, 9, 5, tzinfo=UTC))
    '1 April 2023, 09:05 UTC'
    """
    return NOT_KNOWN if moment is None else f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def age(span: timedelta | None) -> str:
    """How long ago something was, in the largest whole unit.

    >>> age(timedelta(days=3, hours=2)), age(timedelta(hours=1)), age(timedelta(seconds=20))
    ('3 days', '1 hour', 'less than a minute')
    """
    if span is None:
        return NOT_KNOWN
    seconds = int(span.total_seconds())
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return plural(seconds // size, name)
    return "less than a minute"


def plural(count: int, noun: str, several: str | None = None) -> str:
    """
    >>> plural(1, "account"), plural(1200, "account"), plural(2, "day off", "days off")
    ('1 account', '1,200 accounts', '2 days off')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {several or noun + 's'}"


def capitalised(text: str) -> str:
    """
    >>> capitalised("MRR is 80% of before"), capitalised("no activity for 3 days")
    ('MRR is 80% of before', 'No activity for 3 days')
    """
    return text[:1].upper() + text[1:]


def inside_sentence(text: str) -> str:
    """A sentence's opening in small letters, unless it is an abbreviation.

    >>> inside_sentence("No activity for 3 days"), inside_sentence("MRR is 80% of before")
    ('no activity for 3 days', 'MRR is 80% of before')
    """
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


@lru_cache(maxsize=4_096)
def spoken(text: str) -> str:
    """A phrase with numbers in it as people say it, where one came out as one or zero.

    >>> spoken("no activity for 1 days"), spoken("1 different features used, 21 errors")
    ('no activity for 1 day', '1 different feature used, 21 errors')
    >>> spoken("last active 0 days ago"), spoken("no activity for 0 days")
    ('last active today', 'activity today')
    >>> spoken("-8 days to the last day of notice"), spoken("0 days to the renewal (at most 90)")
    ('the last day of notice was 8 days ago', '0 days to the renewal (at most 90)')
    >>> spoken("0 renewals so far"), spoken("search used 0 times in the last 28 days")
    ('no renewals so far', 'search not used in the last 28 days')
    """
    if NEEDS_WORDS.search(text) is None:
        return text
    for pattern, words in PAST_AND_TODAY:
        text = pattern.sub(words, text)
    return ONE_OF_MANY.sub(lambda m: f"{m[1]}{SINGULAR[m[2]]}{ARE_ONE.get(m[3], '')}", text)


def who(by: str | None) -> str:
    """Who is written down as having done something, where a key and not a person stands there.

    >>> who("ann"), who("embedded"), who("environment"), who(None)
    ('ann', 'somebody without a key', 'whoever has the shared key', 'somebody')
    """
    return KEYS_OF_NOBODY.get(by, by) if by else "somebody"


def plain(name: str) -> str:
    """A name from data as words.

    >>> plain("small_business"), plain("call-made")
    ('small business', 'call made')
    """
    return name.replace("_", " ").replace("-", " ").replace(".", " ").strip()
