"""What needs approval, what is stopped and how far actions may go; one click approves or declines."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import pytest

from experiments.policy.recommend import DO_NOTHING, Withheld
from registry.playbook.playbook import load_playbook
from serving.auth.roles import caller_of
from serving.ledger.kill_switch import Scope
from serving.ledger.pending_approvals import pending_decisions
from serving.pages.approvals_page import approvals_page
from serving.recommendations.recommend import decide

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
HTML = {"Accept": "text/html"}
keys = itertools.count()


class Company:
    """The service, asked as several people."""

    def __init__(self, client, now):
        self.client, self.now = client, now
        self.service = client.app.state.service
        self.secrets = {}

    def join(self, owner, role, **more):
        self.secrets[owner] = {
            "X-API-Key": self.service.keys.create(
                name=owner, owner=owner, role=role, now=self.now, **more
            ).secret
        }

    def as_(self, owner):
        return self.secrets.get(owner, {})

    def decide(self, account="acct-01", *, by=None):
        [item] = self.client.post(
            "/v1/next-actions", json={"account_ids": [account]}, headers=self.as_(by)
        ).json()["items"]
        assert item["action"] != DO_NOTHING
        return {**item, "name": item["ranked"][0]["name"]}

    def set(self, what, body, *, by=None):
        answer = self.client.post(
            f"/v1/controls/{what}",
            json={"reason": "trusted", **body},
            headers={"Idempotency-Key": f"c-{next(keys)}", **self.as_(by)},
        )
        assert answer.status_code == 201, answer.text

    def page(self, *, by=None, path="/approvals"):
        answer = self.client.get(path, headers={**HTML, **self.as_(by)})
        assert answer.status_code == 200, answer.text
        return answer.text

    def say(self, decision_id, verdict, *, by=None, **form):
        return self.client.post(
            f"/decisions/{decision_id}/approvals",
            follow_redirects=False,
            headers={**FORM, **self.as_(by)},
            content=urlencode({"verdict": verdict, **form}),
        )

    def waiting(self):
        return pending_decisions(
            self.service.ledger.database,
            now=self.service.wall_clock(),
            accounts=self.service.portfolio.by_id,
        )


class Clock:
    """The service's moment, moved by hand."""

    def __init__(self, at):
        self.at = at

    def __call__(self):
        return self.at


@pytest.fixture
def clock(as_of):
    return Clock(as_of)


@pytest.fixture
def company(own_workspace, store, make_client, clock):
    return Company(make_client(own_workspace, store, now=clock), clock.at)


@pytest.fixture
def team(company):
    """With keys: ann asks, bob approves, rita reads."""
    for owner, role in (
        ("root", "admin"),
        ("ann", "engine"),
        ("bob", "approver"),
        ("rita", "reader"),
    ):
        company.join(owner, role)
    return company


def buttons(page):
    return re.findall(r'<button[^>]* name="verdict" value="([a-z]+)">', page)


def test_where_nothing_waits_it_says_so(company):
    page = company.page()
    assert "Nothing needs approval now." in page
    assert "One comes here when somebody asks for it to be carried out" in page
    assert buttons(page) == []
    assert "Every action needs approval." in page


def section(page, start, end):
    return " ".join(
        unescape(re.sub(r"<[^>]+>", " ", page)).partition(start)[2].partition(end)[0].split()
    )


def test_an_approver_reads_what_it_is_worth_why_and_the_chance_as_the_account_page_says_them(team):
    item = team.decide(by="ann")
    waits = team.page(by="bob")
    account = team.page(by="bob", path=f"/accounts/{item['account_id']}")
    named = re.compile(
        r'data-figure="((?:cautious_value|churn_probability_90d):[^"]*)"[^>]*>([^<]+)<'
    )
    shown, there = dict(named.findall(waits)), dict(named.findall(account))
    assert f"churn_probability_90d:{item['account_id']}" in shown
    assert shown.items() <= there.items()
    line = section(waits, item["name"], "Asked for by")
    first = section(section(account, "Next actions", "Timeline"), item["name"], "Held back")
    cost = item["ranked"][0]["cost"] + item["ranked"][0]["hours_cost"]
    assert line.partition("Why ")[2].partition(" Chance to leave")[0] in first
    assert f"costs of {cost:,.0f}" in line or f"costs of {cost:,.2f}" in line


def test_an_approver_says_yes_with_one_click_and_it_is_gone_from_the_page(team):
    item = team.decide(by="ann")
    page = team.page(by="bob")
    assert item["name"] in page
    assert "Asked for by ann" in page
    assert buttons(page) == ["approved", "rejected"]
    answer = team.say(item["decision_id"], "approved", by="bob", reason=" looks right ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")
    assert "Nothing needs approval now." in team.page(by="bob")
    [kept] = team.client.get(
        f"/v1/decisions/{item['decision_id']}", headers=team.as_("bob")
    ).json()["approvals"]
    assert (kept["verdict"], kept["by"], kept["reason"]) == ("approved", "bob", "looks right")


def test_declining_is_kept_with_its_reason_and_can_not_be_turned_round(team):
    item = team.decide(by="ann")
    assert team.say(item["decision_id"], "rejected", by="bob", reason="no").status_code == 303
    again = team.say(item["decision_id"], "approved", by="bob")
    assert again.status_code == 409
    assert "was rejected by bob" in again.text


def test_the_same_click_twice_is_one_word(team):
    item = team.decide(by="ann")
    for _ in range(2):
        assert team.say(item["decision_id"], "approved", by="bob").status_code == 303
    assert team.service.ledger.verify().finding is None
    assert (
        len(
            team.client.get(f"/v1/decisions/{item['decision_id']}", headers=team.as_("bob")).json()[
                "approvals"
            ]
        )
        == 1
    )


def test_who_asked_for_it_is_offered_no_approval_and_is_refused_one(team):
    team.join("carl", "admin")
    item = team.decide(by="carl")
    page = team.page(by="carl")
    assert buttons(page) == ["rejected"]
    assert "You asked for this yourself, so somebody else has to approve it." in page
    refused = team.say(item["decision_id"], "approved", by="carl")
    assert refused.status_code in (403, 409)
    assert "asked for this decision" in refused.text
    assert buttons(team.page(by="bob")) == ["approved", "rejected"]


def test_a_reader_sees_what_waits_and_may_say_nothing(team):
    item = team.decide(by="ann")
    page = team.page(by="rita")
    assert item["name"] in page
    assert "Only an approver can approve or decline here." in page
    assert buttons(page) == []
    assert team.say(item["decision_id"], "approved", by="rita").status_code == 403
    assert len(team.waiting()) == 1


def test_who_has_no_name_gives_one(company):
    item = company.decide()
    assert 'name="by"' in company.page()
    assert company.say(item["decision_id"], "approved", by=None).status_code in (403, 409)
    assert (
        company.client.post(
            f"/decisions/{item['decision_id']}/approvals",
            headers=FORM,
            follow_redirects=False,
            content=urlencode({"verdict": "approved", "by": "bob"}),
        ).status_code
        == 303
    )


def test_a_form_of_another_site_is_refused(company):
    item = company.decide()
    answer = company.client.post(
        f"/decisions/{item['decision_id']}/approvals",
        content="verdict=approved&by=bob",
        headers={**FORM, "Origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert len(company.waiting()) == 1


@pytest.mark.parametrize(
    "content", ["", "verdict=maybe", "verdict=approved&by=" + "x" * 3000, "verdict=%ff"]
)
def test_a_form_that_says_nothing_clear_is_told_so(company, content):
    item = company.decide()
    answer = company.client.post(
        f"/decisions/{item['decision_id']}/approvals", headers=FORM, content=content
    )
    assert answer.status_code == 422
    assert "Go back and send it again." in answer.text
    assert len(company.waiting()) == 1


def test_a_decision_that_is_not_there_or_beyond_reach_is_not_found(team):
    assert team.say("none", "approved", by="bob").status_code == 404
    item = team.decide("acct-03", by="ann")  # of emea
    team.join("far", "approver", territories=("apac",))
    assert team.say(item["decision_id"], "approved", by="far").status_code == 404
    assert item["name"] not in team.page(by="far").partition('<h2 id="levels">')[0]


def test_only_the_newest_of_the_same_asked_by_the_same_waits(company, clock):
    ids = []
    for _ in range(3):
        ids.append(company.decide()["decision_id"])
        clock.at += timedelta(hours=1)
    assert len(set(ids)) == 3
    assert [one.decision_id for one in company.waiting()] == ids[-1:]


class TestWhatIsAnswered:
    """One answer is for every decision on the action that was asked for before it."""

    @pytest.mark.parametrize(
        ("verdict", "words"), [("approved", "Approved by bob: on"), ("rejected", "Declined by bob")]
    )
    def test_an_older_decision_does_not_wait_again(self, team, clock, verdict, words):
        older = team.decide("acct-03", by="ann")
        clock.at += timedelta(hours=1)
        newer = team.decide("acct-03", by="ann")
        assert older["decision_id"] != newer["decision_id"]
        assert older["action"] == newer["action"]
        assert team.say(newer["decision_id"], verdict, by="bob").status_code == 303
        assert team.waiting() == ()
        page = team.page(by="bob", path="/accounts/acct-03")
        assert "Needs approval: " + newer["name"] not in page
        assert words in page

    def test_a_decision_that_was_asked_for_afterwards_waits(self, team, clock):
        declined = team.decide("acct-03", by="ann")
        team.say(declined["decision_id"], "rejected", by="bob")
        clock.at += timedelta(hours=1)
        again = team.decide("acct-03", by="ann")
        assert [one.decision_id for one in team.waiting()] == [again["decision_id"]]

    def test_what_a_program_works_on_says_so_until_its_lease_is_over(self, team, clock):
        item = team.decide("acct-03", by="ann")
        team.say(item["decision_id"], "approved", by="bob")
        claimed = team.client.post(
            f"/v1/decisions/{item['decision_id']}/claims",
            json={"lease_seconds": 600},
            headers={"Idempotency-Key": "claim", **team.as_("ann")},
        )
        assert claimed.status_code == 201, claimed.text
        page = team.page(by="bob", path="/accounts/acct-03")
        assert "Claimed by ann: they work on it until 1 March 2026, 00:10 UTC." in page
        clock.at += timedelta(minutes=10)
        assert "Approved by bob: on" in team.page(by="bob", path="/accounts/acct-03")
        assert team.waiting() == ()


class TestWhatWaits:
    def test_what_was_done_or_declined_or_ran_out_waits_no_more(self, company):
        database = company.service.ledger.database
        reach = company.service.portfolio.by_id
        done, over = company.decide("acct-01"), company.decide("acct-02")
        company.client.post(
            f"/v1/decisions/{done['decision_id']}/outcomes",
            json={"kind": "declined", "reason": "no"},
            headers={"Idempotency-Key": "d"},
        )
        [left] = company.waiting()
        assert left.decision_id == over["decision_id"]
        later = left.valid_until
        assert pending_decisions(database, now=later, accounts=reach) == ()
        assert pending_decisions(
            database, now=later - timedelta(microseconds=1), accounts=["acct-02"]
        ) == (left,)
        assert pending_decisions(database, now=company.now, accounts=["acct-01"]) == ()

    @pytest.mark.parametrize(("level", "waits"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 0)])
    def test_the_level_of_now_decides_who_waits_for_whom(self, company, level, waits):
        company.set("levels", {"level": 4})
        item = company.decide()
        company.set("levels", {"level": level})
        found = company.waiting()
        expected = waits if item["autonomy"] >= 2 else 0
        assert len(found) == min(expected, 1 if item["autonomy"] >= min(level, 2) else 0)

    def test_what_is_stopped_waits_for_nobody(self, company):
        company.decide()
        company.set("stop", {})
        assert company.waiting() == ()


class TestWhatIsStopped:
    def test_a_stop_is_on_every_page_where_it_matters(self, company):
        item = company.decide("acct-03")
        company.set("stop", {"reason": "Prices were wrong"})
        assert "<strong>Everything</strong> <span>Prices were wrong</span>" in company.page()
        for path in ("/", "/accounts/acct-03"):
            assert "Stopped: everything." in company.page(path=path)
        assert "Is stopped: as said at the top of this page." in company.page(
            path="/accounts/acct-03"
        )
        company.set("resume", {})
        company.set("stop", {"action": item["action"], "reason": "Wrong text"})
        page = company.page(path="/accounts/acct-03")
        assert "Stopped: everything" not in page
        assert f"stopped “{item['name']}” on" in page
        assert "Wrong text" in page

    def test_a_lowered_level_says_so_in_the_table_and_at_the_action(self, company):
        item = company.decide("acct-03")
        company.set("levels", {"level": 1, "action": item["action"], "reason": "Too many"})
        page = company.page()
        assert "is for a person to do" in page
        assert "trusted" not in page
        account = company.page(path="/accounts/acct-03")
        assert "Is for a person to do: set by somebody without a key on " in account

    def test_a_level_can_be_looked_up(self, company):
        page = company.page(path="/approvals?action=tips_email&segment=mid")
        name = load_playbook().by_id["tips_email"].name
        assert (f"“{name}” in mid. Needs approval.") in re.sub(r"\s+", " ", page)
        call = company.page(path="/approvals?action=success_call")
        assert "Is for a person to do: this action never runs by itself" in call
        assert company.page(path="/approvals?action=sing&segment=") == company.page(
            path="/approvals"
        )

    def test_a_csm_is_told_only_of_what_concerns_their_accounts(self, team):
        team.join("csm-0", "csm")
        team.set("stop", {"csm": "csm-1", "reason": "on leave"}, by="root")
        assert "on leave" not in team.page(by="csm-0")
        assert "on leave" in team.page(by="rita")


def test_the_account_says_what_waits_and_for_whom(team):
    item = team.decide("acct-03", by="ann")
    page = team.page(by="bob", path="/accounts/acct-03")
    assert f"Needs approval: {item['name']} (asked for by ann)." in page


def test_what_was_put_off_since_is_told_to_who_approves(team):
    team.join("csm-0", "admin")
    item = team.decide("acct-03", by="ann")
    team.client.post(
        f"/v1/decisions/{item['decision_id']}/feedback",
        headers=team.as_("csm-0"),
        json={"verdict": "snooze", "reason": "On leave", "snooze_until": "2026-03-15T00:00:00Z"},
    )
    page = team.page(by="bob")
    assert "csm-0 put this off until 15 March 2026: On leave." in page
    assert "What it is worth is of when it was asked for." in page


def test_what_is_no_longer_recommended_says_why(team):
    item = team.decide("acct-03", by="ann")
    team.decide("acct-01", by="ann")
    score = team.service.portfolio.by_id["acct-03"]
    [one] = decide(team.service, [score])
    gone = replace(
        one.recommendation,
        ranked=one.recommendation.ranked[-1:],
        withheld=(
            Withheld(
                action_id=item["action"], name="", because="", stage="contact_policy",
                reason="cool_down", why="Done four days ago.", until="", allowed_from=None,
            ),
        ),
    )  # fmt: skip
    page = approvals_page(
        team.waiting(), (), team.service.portfolio, caller=caller_of("k", "reader"),
        actions=load_playbook().by_id, put_off={}, answers={"acct-03": gone}, asked=Scope(), tenant="t",
    )  # fmt: skip
    notes = {line.href: line.notes for line in page.waiting}
    assert any(
        "It is held back now: Done four days ago." in one for one in notes["/accounts/acct-03"]
    )
    assert notes["/accounts/acct-01"][0] == "It is no longer among the next actions of the account."


def test_while_the_ledger_is_away_the_page_says_when_to_come_back(company):
    file = company.service.workspace.ledger_db
    company.service.ledger.close()
    for one in file.parent.glob("ledger.db*"):
        one.unlink()
    file.mkdir()
    answer = company.client.get("/approvals", headers=HTML)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    page = company.client.get("/accounts/acct-03", headers=HTML)
    assert page.status_code == 200
    assert "what is stopped and allowed cannot be read now" in page.text
