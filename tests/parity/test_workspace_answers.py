"""The comparison of two sets of answers finds what differs, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from workspace_answers import Answers, Words, differences, report_of

BEFORE: Answers = {
    "score": {
        "a": {"churn_probability": 0.25, "reasons": [{"feature": "seats"}], "mrr": None},
        "b": {"churn_probability": 1 / 3, "reasons": [], "mrr": 100},
    },
    "page accounts": {"/accounts/a": {"status": 200, "words": ["Likely to leave", "25 %"]}},
}


def changed(kind: str, asked: str, **fields: Any) -> Answers:
    after = copy.deepcopy(BEFORE)
    after[kind][asked].update(fields)
    return after


@pytest.mark.parametrize(
    "fields", [{}, {"churn_probability": 1 / 3 + 1e-11}, {"mrr": 100.0}, {"decision_id": "another"}]
)
def test_what_agrees_is_no_difference(fields: dict[str, Any]) -> None:
    assert differences(BEFORE, changed("score", "b", **fields)) == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"churn_probability": 1 / 3 + 1e-8}, ".churn_probability"),
        ({"churn_probability": None}, ".churn_probability"),
        ({"mrr": True}, ".mrr"),
        ({"mrr": "100"}, ".mrr"),
        ({"new": None}, ".new"),
        ({"reasons": [{"feature": "seats"}]}, ".reasons[]"),
    ],
)
def test_what_differs_is_found_with_its_place(fields: dict[str, Any], where: str) -> None:
    (found,) = differences(BEFORE, changed("score", "b", **fields))
    assert (found.kind, found.asked, found.field) == ("score", "b", where)


def test_not_a_number_agrees_with_itself_alone() -> None:
    nan = {"score": {"a": {"x": float("nan")}}}
    assert differences(nan, nan) == []
    assert len(differences(nan, {"score": {"a": {"x": 0.0}}})) == 1


def test_an_answer_that_is_missing_or_new_is_one_difference() -> None:
    less: Answers = {"page accounts": BEFORE["page accounts"], "score": {"a": BEFORE["score"]["a"]}}
    for before, after in ((BEFORE, less), (less, BEFORE)):
        (found,) = differences(before, after)
        assert (found.kind, found.asked, found.field) == ("score", "b", "")


def test_a_line_more_on_a_page_is_no_difference_of_the_lines_after_it() -> None:
    after = changed("page accounts", "/accounts/a", words=["New", "Likely to leave", "25 %"])
    (found,) = differences(BEFORE, after)
    assert found.after == '"New"'


def test_the_report_counts_by_kind_and_field() -> None:
    after = changed("score", "b", mrr=7)
    after["score"]["a"]["mrr"] = 8
    text = report_of(differences(BEFORE, after))
    assert text.startswith("2 differences.")
    assert "score: 2\n  .mrr: 2\n    a: null → 8\n    b: 100 → 7" in text
    assert report_of([]) == "No difference."


def test_the_words_of_a_page_are_those_that_people_read() -> None:
    page = Words(
        '<link href="/a.css"><style>p {}</style><p title="why">Likely  to\nleave</p>'
        '<svg><rect x="1" fill="red" width="20"/></svg><img src="/models/x.png">'
    )
    assert page.words == ["[title] why", "Likely to leave"]
    assert page.shapes == ["rect width=20 x=1"]
    assert page.pictures == ["/models/x.png"]
