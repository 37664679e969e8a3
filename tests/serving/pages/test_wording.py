"""No page says a number or a name as no person writes it."""

from __future__ import annotations

import re

import pytest
from believable.wording import ODD, odd_wordings, pages_of_accounts, tells_use_twice
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue.catalogue import FEATURES
from serving import text_format
from serving.text_format import spoken

NAMES = frozenset(feature.name for feature in FEATURES)
EXAMPLES = {
    "no days, instead of today": "the renewal is in 0 days",
    "days below zero": "-8 days to the last day of notice",
    "zero with a sign": "moved by −0.0 points",
    "one of many": "1 open invoices",
    "a value of a program": "health is nan",
    "two stops": "The contract has ended..",
    "more digits than a person reads": "0.123456 of the uses",
    "a move by nothing": "0.3% → 0.3% (0.0 points)",
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_is_found(kind):
    assert [found for found, _ in odd_wordings(f"<p>{EXAMPLES[kind]}</p>")] == [kind]


def test_what_is_usual_is_not_odd():
    usual = "None of 7, 10 days ago, 1 day, −0.5 points, 1,700.00 USD; see prices.toml, in 1.0 days (…)."
    assert list(odd_wordings(f"<p>{usual}</p>", NAMES)) == []


def test_the_pages_of_all_accounts_read_as_a_person_writes(client):
    pages = list(pages_of_accounts(client))
    odd = [(address, *found) for address, page in pages for found in odd_wordings(page, NAMES)]
    assert odd == []
    assert [address for address, page in pages if tells_use_twice(page)] == []


@pytest.mark.parametrize("address", ["/models", "/approvals", "/reports", "/problems"])
def test_other_pages_read_so_too(client, address):
    page = client.get(address, headers={"Accept": "text/html"}).text
    assert list(odd_wordings(page)) == []


PIECES = (
    *("0", "1", "10", "0.0", "1.0", "-8", "+0", "0%", "2,1", " ", " ", "(", "at most 3)"),
    *("in", "on", "of the", "against the", "days", "days ago", "days after", "days to the renewal"),
    *("no visits for", "account for", "discount", "users", "used", "times", "open invoices", "are"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(["", " "]))
def test_a_text_that_needs_no_words_for_its_numbers_is_seen_at_once(pieces, between):
    text = between.join(pieces)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text_format, "NEEDS_WORDS", re.compile(""))
        slowly = spoken(text)
    assert spoken(text) == slowly
