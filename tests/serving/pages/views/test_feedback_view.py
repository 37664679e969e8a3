"""On the page of an account one click says what a person thinks, and the page shows it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from serving.ledger.feedback import Feedback
from serving.pages.views.feedback_view import MOST_SHOWN, feedback_line, feedback_view

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}


def said(verdict: str, **words: object) -> Feedback:
    return Feedback(
        **{
            "feedback_id": "f",
            "decision_id": "d",
            "account_id": "a",
            "action": "success_call",
            "verdict": verdict,
            "reason": None,
            "snooze_until": None,
            "by": "ann",
            "at": NOW,
            **words,
        }
    )


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (said("agree"), "ann agreed to Success call, 1 March 2026"),
        (
            said("disagree", reason="on leave", action="gone"),
            "ann disagreed with gone, 1 March 2026: on leave",
        ),
        (
            said("snooze", reason="on leave", snooze_until=datetime(2026, 3, 15, tzinfo=UTC)),
            "ann put off Success call until 15 March 2026, 1 March 2026: on leave",
        ),
        (
            said("agree", heard_at=datetime(2028, 5, 2, tzinfo=UTC)),
            "ann agreed to Success call, 2 May 2028",
        ),
    ],
)
def test_what_was_said_is_a_sentence(one, line):
    assert feedback_line(one, {"success_call": "Success call"}) == line


def test_the_newest_are_shown_and_no_form_to_who_may_not():
    view = feedback_view(None, [said("agree")] * 9, {}, clock=NOW)
    assert (view.action, view.put_off) == ("", "")
    assert len(view.earlier) == MOST_SHOWN


def test_doing_nothing_is_agreed_to_or_not_but_never_put_off():
    assert not feedback_view("do_nothing", (), {}, clock=NOW).put_off
    assert feedback_view("success_call", (), {}, clock=NOW).put_off == (
        "Not for two weeks (until 15 March 2026)"
    )


def click(client, verdict: str, *, account: str = "acct-01", **more: object):
    page = client.get(f"/accounts/{account}", headers={"Accept": "text/html"}).text
    [action] = re.findall(r'name="action" value="([^"]+)"', page)
    return client.post(
        f"/accounts/{account}/feedback",
        headers=FORM,
        follow_redirects=False,
        content=urlencode({"verdict": verdict, "action": action, **more}),
    )


@pytest.mark.parametrize(
    ("verdict", "reason", "shown"),
    [
        ("agree", "", "somebody without a key agreed to"),
        ("disagree", "They <left>", "They &lt;left&gt;"),
        ("snooze", "on leave", "until 15 March 2026"),
    ],
)
def test_one_click_is_kept_and_shown(own_client, verdict, reason, shown):
    answer = click(own_client, verdict, reason=reason)
    assert (answer.status_code, answer.headers["location"]) == (303, "/accounts/acct-01#next")
    assert shown in own_client.get("/accounts/acct-01").text
    assert own_client.app.state.service.ledger.counts() == (1, 0)


def test_disagreeing_without_a_reason_is_told_and_nothing_is_stored(own_client):
    answer = click(own_client, "disagree", reason="  ")
    assert answer.status_code == 422
    assert "needs its `reason`" in answer.text
    assert own_client.app.state.service.ledger.counts() == (0, 0)


def test_a_form_of_another_site_is_refused(own_client):
    answer = own_client.post(
        "/accounts/acct-01/feedback",
        content="verdict=agree",
        headers={**FORM, "Origin": "https://evil.example"},
    )
    assert answer.status_code == 403


def test_a_reader_sees_no_form(own_client):
    new = own_client.app.state.service.keys.create(name="r", owner="bob", role="reader", now=NOW)
    page = own_client.get("/accounts/acct-01", headers={"X-API-Key": new.secret}).text
    assert 'class="say"' not in page


def test_where_the_data_stand_still_the_date_says_by_which_calendar_it_is():
    view = feedback_view("success_call", (), {}, clock=NOW, data_stand_still=True)
    assert view.put_off == "Not for two weeks (until 15 March 2026 by today’s calendar)"
