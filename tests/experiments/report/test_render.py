from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from causal_worlds import event_world

from experiments.causal.power import ExperimentCandidate
from experiments.report.render import report_html, report_json, write_report
from experiments.report.report import Report, build_report, no_intervention_report

CALL = ExperimentCandidate(
    action="success_call",
    name="Success call",
    eligible="running contracts",
    n_eligible=614,
    cost_per_account=60.0,
    prior_effect=0.03,
    base_rate=0.078,
)


@pytest.fixture(scope="module")
def report() -> Report:
    world = event_world(np.random.default_rng(3), accounts=900)
    return build_report(
        world.events,
        world.features,
        world.designs,
        as_of=world.as_of,
        costs={"success_call": 5.0},
        currency="USD",
        rng=np.random.default_rng(0),
    )


@pytest.fixture(scope="module")
def nothing() -> Report:
    return no_intervention_report(
        as_of=datetime(2023, 4, 1, tzinfo=UTC),
        currency="USD",
        candidates=[CALL],
        base_rate_sentence="458 of 5,866 left.",
    )


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)  # a no-break space is white space too


class Outline(HTMLParser):
    """Open tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = plain(" ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "line", "circle", "rect"}:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_and_calls_nobody(report: Report, nothing: Report) -> None:
    for page in (report_html(report), report_html(nothing)):
        outline = Outline(page)
        assert outline.open == []
        assert outline.addresses == []
        assert "script" not in page
        assert (
            re.findall(r"https?://[^\s\"']+", page.replace("http://www.w3.org/2000/svg", "")) == []
        )
        assert "url(" not in page


def test_the_page_says_first_what_leadership_asks(report: Report) -> None:
    text = Outline(report_html(report)).text
    headline = plain(report.actions[0].headline)
    assert text.index(headline) < text.index("Can it be trusted?")
    assert text.index("Evidence: grade A") < text.index("Can it be trusted?")
    for words in (
        "95% interval",
        "Counted as “saves”",
        "What would change our mind",
        "Were the groups alike?",
        "Could each account have been in the other group?",
        "By lottery",
        "By people's judgement",
        "before outcomes were read",
    ):
        assert words in text


@pytest.mark.parametrize("kind", ["report", "nothing"])
def test_percentages_are_written_in_one_way(kind: str, request: pytest.FixtureRequest) -> None:
    text = Outline(report_html(request.getfixturevalue(kind))).text
    assert re.findall(r"\d+%", text)
    assert re.findall(r".{20}\d %", text) == []


def test_every_number_goes_with_its_checks(report: Report) -> None:
    text = Outline(report_html(report)).text
    for result in report.actions[0].results:
        for check in result.checks:
            assert plain(check.explanation) in text
        assert f"{result.counts.n_trials:,}" in text


def test_a_silenced_result_shows_no_claim(report: Report) -> None:
    (action,) = report.actions
    first = action.results[0]
    failed = replace(
        first,
        verdict="unknown",
        is_claimed=False,
        headline="No effect is claimed. Balance: the arms differ.",
    )
    silenced = replace(
        report,
        actions=(
            replace(
                action,
                verdict="unknown",
                grade=None,
                headline=failed.headline,
                results=(failed,),
                agreement=None,
            ),
        ),
    )
    text = Outline(report_html(silenced)).text
    assert f"Not known: {action.title} No effect is claimed." in text  # the card names it
    assert plain(first.headline) not in text
    assert "The numbers below are shown for inspection only." in text
    assert plain(first.money.sentence) not in text


def test_without_interventions_the_page_names_the_cheapest_experiment(nothing: Report) -> None:
    text = Outline(report_html(nothing)).text
    assert "No interventions were logged." in text
    assert nothing.experiment_sentence is not None
    assert plain(nothing.experiment_sentence) in text
    assert "458 of 5,866 left." in text
    bare = no_intervention_report(as_of=nothing.as_of, currency="USD", candidates=[])
    assert (
        "No action of the playbook could be drawn by lot today" in Outline(report_html(bare)).text
    )


def test_words_of_the_data_can_not_become_markup(report: Report) -> None:
    (action,) = report.actions
    wild = "<b onload=x>&\"'"
    result = replace(
        action.results[0],
        segments=tuple(replace(item, segment=wild) for item in action.results[0].segments),
    )
    page = report_html(
        replace(report, title=wild, actions=(replace(action, headline=wild, results=(result,)),))
    )
    assert "<b onload" not in page
    assert Outline(page).open == []


def test_the_json_holds_every_number_and_no_nan(report: Report, nothing: Report) -> None:
    content = json.loads(report_json(report))
    assert content["schema"] == 1
    assert content["headline"] == report.headline
    assert content["as_of"] == report.as_of.isoformat()
    found = content["actions"][0]["results"][0]
    assert found["churn"]["estimate"]["estimate"] == (
        report.actions[0].results[0].churn.estimate.estimate
    )
    assert found["design"]["digest"] == report.actions[0].results[0].design.digest
    assert {check["verdict"] for check in found["checks"]} <= {"passed", "failed", "not_applicable"}
    assert "NaN" not in report_json(report)
    assert json.loads(report_json(nothing))["experiment"]["k"] == nothing.experiment.k  # type: ignore[union-attr]


def test_files_are_swapped_whole(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    page, data = write_report(report, folder, name="calls")
    assert (page.name, data.name) == ("calls.html", "calls.json")
    assert sorted(path.name for path in folder.iterdir()) == ["calls.html", "calls.json"]
    before = page.read_text(encoding="utf-8")
    write_report(report, folder, name="calls")
    assert page.read_text(encoding="utf-8") == before
