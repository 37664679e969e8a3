"""A subject is found and replaced wherever a text names it, and nowhere else."""

from __future__ import annotations

import json

import pytest

from features.events.subject import Subject, SubjectError

NAMED = Subject(
    kind="person", id="anna@example.org", names=("Anna Müller", "a & b"), pseudonym="erased-1"
)
SHORT = Subject(kind="account", id="12", pseudonym="erased-2")

TEXTS = {
    "alone": ("anna@example.org", "erased-1"),
    "in a sentence": ("Ask Anna Müller, today.", "Ask erased-1, today."),
    "another address": ("joanna@example.org", "joanna@example.org"),
    "a longer address": ("anna@example.org.uk@x", "anna@example.org.uk@x"),
    "escaped in JSON": (json.dumps({"csm": "Anna Müller"}), '{"csm": "erased-1"}'),
    "escaped in HTML": ("<b>a &amp; b</b>", "<b>erased-1</b>"),
    "a pseudonym in its place": ("erased-1", "erased-1"),
}


@pytest.mark.parametrize(("text", "without"), TEXTS.values(), ids=TEXTS)
def test_a_name_is_replaced_where_it_is_one(text: str, without: str) -> None:
    assert NAMED.scrub(text) == without
    assert NAMED.is_in(text) == (text != without)
    assert not NAMED.is_in(without)


def test_whatever_is_found_holds_a_needle() -> None:
    for text, without in TEXTS.values():
        if text != without:
            assert any(needle in text for needle in NAMED.needles), text


def test_a_short_name_is_only_the_value_of_a_field_that_names() -> None:
    text = '{"account_id": "12", "seats": "12", "note": "12 seats", "parent":"12"}'
    assert SHORT.scrub(text) == (
        '{"account_id": "erased-2", "seats": "12", "note": "12 seats", "parent":"erased-2"}'
    )
    assert SHORT.scrub_value("12") == "erased-2"
    assert SHORT.scrub_value("120") == "120"


@pytest.mark.parametrize("name", ["", " ", "erased-0123"])
def test_what_names_nobody_is_refused(name: str) -> None:
    with pytest.raises(SubjectError, match="cannot be the id"):
        Subject(kind="person", id=name)
