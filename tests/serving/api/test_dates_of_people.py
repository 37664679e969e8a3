"""What people's calendars say ends by the clock of the service, also where the data stand still."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from small_company import AS_OF, event, make_workspace

from experiments.planning.team import Pool, Team
from experiments.policy.contact.snooze import MOST_AHEAD, Snooze
from experiments.policy.recommendation import Withheld
from experiments.policy.request import PolicyInputs
from features.workspace import Workspace
from registry.playbook.playbook import load_playbook
from registry.store.store import MemoryModelStore
from serving.cli.next_actions import actions
from serving.ledger.database.timestamps import MOST_SET_BACK
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.replay.replay import replay, shared_digest
from serving.ledger.snoozes import note_event
from serving.pages.views.actions_view import withheld_view
from serving.recommendations.candidate_policy import candidate_policy, replay_with_candidate
from serving.recommendations.plans import plan_as_of
from serving.recommendations.snapshot import decisions_as_of, recommendations_as_of

NOON = datetime(2028, 6, 6, 12, tzinfo=UTC)  # a Tuesday, 27 months after the newest data
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
ROLES = tuple({action.owner_role for action in load_playbook().actions})


@dataclass
class Company:
    """A service whose data stand still while its clock runs."""

    client: TestClient
    workspace: Workspace
    store: MemoryModelStore
    at: list[datetime]

    def first(self, account: str = "acct-01") -> dict[str, Any]:
        [item] = self.client.post("/v1/next-actions", json={"account_ids": [account]}).json()[
            "items"
        ]
        return dict(item)

    def put_off(self, item: dict[str, Any], until: datetime) -> dict[str, Any]:
        said = self.client.post(
            f"/v1/decisions/{item['decision_id']}/feedback",
            json={
                "verdict": "snooze",
                "reason": "On leave",
                "by": "csm-1",
                "snooze_until": until.isoformat(),
            },
        )
        return {**said.json(), "status": said.status_code}

    def replayed(self, item: dict[str, Any]) -> str | None:
        ledger = self.client.app.state.service.ledger  # type: ignore[attr-defined]
        decision = ledger.decision(item["decision_id"])
        return replay(decision, ledger.shared_input(shared_digest(decision))).difference

    def question(self, item: dict[str, Any]) -> dict[str, Any]:
        ledger = self.client.app.state.service.ledger  # type: ignore[attr-defined]
        return dict(json.loads(ledger.decision(item["decision_id"]).inputs)["question"])


@pytest.fixture(scope="module")
def awake_by_day(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose second account has a time zone; tests write to copies of it."""
    more = [event("acct-02", "account.updated", 1, time_zone="UTC")]
    return make_workspace(tmp_path_factory.mktemp("awake") / "made", more=more)


@pytest.fixture
def company(
    awake_by_day: Workspace,
    tmp_path: Path,
    store: MemoryModelStore,
    make_client: Callable[..., TestClient],
) -> Company:
    shutil.copytree(awake_by_day.root, tmp_path / "own")
    workspace, at = Workspace(tmp_path / "own", environment={}), [NOON]
    return Company(
        client=make_client(workspace, store, wall_clock=lambda: at[0]),
        workspace=workspace,
        store=store,
        at=at,
    )


def held(item: dict[str, Any], action: str) -> dict[str, Any] | None:
    return next((one for one in item["withheld"] if one["action"] == action), None)


class TestPutOff:
    def test_it_ends_at_its_date_while_the_data_stand_still(self, company):
        before, until = company.first(), NOON + 3 * DAY
        said = company.put_off(before, until)
        assert (said["at"], said["heard_at"]) == (
            AS_OF.isoformat().replace("+00:00", "Z"),
            "2028-06-06T12:00:00Z",
        )
        for moment, waits in ((NOON, True), (until - MINUTE, True), (until, False)):
            company.at[0] = moment
            item = company.first()
            assert (held(item, before["action"]) is not None) is waits
            assert (before["action"] == item["action"]) is not waits
            assert item["decided_at"] == AS_OF.isoformat().replace("+00:00", "Z")
            assert company.replayed(item) is None
            assert company.question(item)["asked_at"] == moment.isoformat()

    def test_what_is_said_names_its_day_and_its_end_by_the_calendar(self, company):
        before = company.first()
        company.put_off(before, NOON + 3 * DAY)
        waits = held(company.first(), before["action"])
        assert waits is not None
        assert (waits["reason"], waits["allowed_from"]) == ("put_off", "2028-06-09T12:00:00Z")
        assert waits["why"] == "csm-1 put this off on 6 June 2028: “On leave”."
        page = company.client.get("/accounts/acct-01").text
        assert "Possible from 9 June 2028, 12:00 UTC.</em>" in page
        assert "until 9 June 2028, 6 June 2028: On leave" in page

    @pytest.mark.parametrize(
        ("until", "said"),
        [
            (
                AS_OF + DAY,
                "2026-03-02 00:00 UTC has passed: by the clock of this service it is "
                "2028-06-06 12:00 UTC; give a moment that lies ahead",
            ),
            (NOON, "2028-06-06 12:00 UTC has passed"),
            (
                NOON + 366 * DAY + MINUTE,
                "2029-06-07 12:01 UTC is more than 366 days ahead of the clock "
                "of this service, 2028-06-06 12:00 UTC; give 2029-06-07 12:00 "
                "UTC at the latest",
            ),
        ],
        ids=["after the data only", "now", "over a year"],
    )
    def test_a_date_is_past_or_too_far_by_the_clock_of_the_service(self, company, until, said):
        answer = company.put_off(company.first(), until)
        assert answer["status"] == 422
        assert answer["errors"][0]["where"] == "snooze_until"
        assert said in answer["errors"][0]["message"]
        assert held(company.first(), company.first()["action"]) is None

    def test_a_date_without_a_time_zone_is_refused_by_name(self, company):
        item = company.first()
        answer = company.client.post(
            f"/v1/decisions/{item['decision_id']}/feedback",
            json={"verdict": "snooze", "reason": "x", "snooze_until": "2028-06-20T00:00:00"},
        )
        assert answer.status_code == 422
        assert [one["where"] for one in answer.json()["errors"]] == ["snooze_until"]
        assert "the time has no zone" in answer.text

    def test_one_click_is_two_weeks_of_the_calendar_and_says_until_when(self, company):
        page = company.client.get("/accounts/acct-01", headers={"Accept": "text/html"}).text
        assert "Not for two weeks (until 20 June 2028 by today’s calendar)" in page
        [action] = re.findall(r'name="action" value="([^"]+)"', page)
        answer = company.client.post(
            "/accounts/acct-01/feedback",
            headers=FORM,
            follow_redirects=False,
            content=urlencode({"verdict": "snooze", "action": action, "reason": "on leave"}),
        )
        assert answer.status_code == 303
        assert (
            "until 20 June 2028, 6 June 2028: on leave"
            in company.client.get("/accounts/acct-01").text
        )
        waits = held(company.first(), action)
        assert waits is not None
        assert waits["allowed_from"] == "2028-06-20T12:00:00Z"

    def test_approvals_show_it_until_its_date_only(self, company):
        item = company.first()
        company.put_off(item, NOON + 3 * DAY)
        for days, shown in ((2, True), (4, False)):
            company.at[0] = NOON + days * DAY
            page = company.client.get("/approvals", headers={"Accept": "text/html"}).text
            assert f"Approve or decline {item['ranked'][0]['name']}" in page
            assert ("csm-1 put this off until 9 June 2028: On leave." in page) is shown

    def test_actions_plans_and_candidates_do_the_same(self, company):
        before, until = company.first(), NOON + 3 * DAY
        company.put_off(before, until)
        assert company.client.app.state.service.deliver()
        pool = Team(pools=(Pool(id="service", hours=500.0, skills=ROLES),), actions_per_account=9)

        def planned(asked_at: datetime) -> bool:
            week = plan_as_of(company.workspace, company.store, AS_OF, pool, asked_at=asked_at)
            offers = {
                *week.actions.select("account_id", "action_id").iter_rows(),
                *week.waiting.select("account_id", "action_id").iter_rows(),
            }
            return ("acct-01", before["action"]) in offers

        def ranked(asked_at: datetime | None) -> bool:
            [one] = [
                one
                for one in recommendations_as_of(
                    company.workspace, company.store, AS_OF, asked_at=asked_at
                )["accounts"]
                if one["account_id"] == "acct-01"
            ]
            return before["action"] in {c["action_id"] for c in one["ranked"]}

        assert [planned(until - MINUTE), planned(until)] == [False, True]
        assert [ranked(until - MINUTE), ranked(until)] == [False, True]
        assert ranked(None)  # asked as of then: nobody had put anything off
        waits, again = company.first(), candidate_policy(actions=None, limits=None)
        company.at[0] = until
        back = company.first()
        chosen = replay_with_candidate(
            company.client.app.state.service.ledger.database,
            [waits["decision_id"], back["decision_id"]],
            again,
        )
        assert chosen == {
            waits["decision_id"]: waits["action"],
            back["decision_id"]: before["action"],
        }

    def test_a_plan_over_the_api_does_the_same(self, company):
        before = company.first()
        company.put_off(before, NOON + 3 * DAY)
        team = {
            "pools": [{"id": "service", "hours": 500, "skills": list(ROLES)}],
            "actions_per_account": 9,
            "most_waiting": 1000,
        }

        def offers() -> bool:
            plan = company.client.post("/v1/plans", json=team).json()
            return any(
                one["account_id"] == "acct-01" and one["action_id"] == before["action"]
                for one in (*plan["actions"], *plan["waiting"])
            )

        assert not offers()
        company.at[0] = NOON + 3 * DAY
        assert offers()


class TestQuietHours:
    """Of acct-02, whose clock is UTC: quiet from 20 to 8."""

    NIGHT = NOON + 9 * HOUR + 7 * MINUTE

    def quiet(self, company) -> set[str]:
        return {
            one["action"]
            for one in company.first("acct-02")["withheld"]
            if one["reason"] == "quiet_hours"
        }

    def test_a_night_ends_while_the_data_stand_still_at_midnight(self, company):
        assert AS_OF.hour == 0
        assert self.quiet(company) == set()
        company.at[0] = self.NIGHT
        assert self.quiet(company)
        item = company.first("acct-02")
        [waits] = [one for one in item["withheld"] if one["reason"] == "quiet_hours"][:1]
        assert waits["why"].startswith("It is 21:07 where they are (UTC)")
        assert waits["allowed_from"] == "2028-06-07T08:00:00Z"
        assert company.replayed(item) is None

    def test_asked_again_in_the_same_night_it_is_one_decision_and_another_by_day(self, company):
        ids = []
        for moment in (NOON, NOON + HOUR, self.NIGHT, self.NIGHT + HOUR, NOON + 20 * HOUR + MINUTE):
            company.at[0] = moment
            ids.append(company.first("acct-02")["decision_id"])
        assert ids[0] == ids[1] != ids[2] == ids[3] != ids[4]
        for decision_id in ids:
            assert company.replayed({"decision_id": decision_id}) is None
        assert company.question({"decision_id": ids[3]})["asked_at"] == self.NIGHT.isoformat()


def test_a_decision_of_before_replays_to_the_bit_on_what_it_was_judged_on(company):
    company.at[0] = TestQuietHours.NIGHT
    item = company.first("acct-02")
    ledger = company.client.app.state.service.ledger
    decision = ledger.decision(item["decision_id"])
    stored = json.loads(decision.inputs)
    del stored["question"]["asked_at"]
    stored["question"] |= {
        "version": 2,
        "put_off": [
            {
                "action_id": item["action"],
                "until": (AS_OF + DAY).isoformat(),
                "by": "ann",
                "at": AS_OF.isoformat(),
                "reason": None,
            }
        ],
    }
    common = json.loads(ledger.shared_input(shared_digest(decision)))
    then = (
        PolicyInputs.from_dict(stored["question"])
        .answer(load_playbook(), phrases=common["phrases"], alert_words=common["alert_words"])
        .to_dict()
    )
    assert {w["reason"] for w in then["withheld"]} >= {"put_off", "quiet_hours"}  # at midnight
    kept = replace(
        decision,
        eligible=tuple(json.loads(json.dumps(then["ranked"]))),
        withheld=tuple(json.loads(json.dumps(then["withheld"]))),
        inputs=json.dumps(stored),
    )
    assert replay(kept, ledger.shared_input(shared_digest(decision))).difference is None
    stored["question"] |= {"version": 3, "asked_at": NOON.isoformat()}
    assert (
        replay(
            replace(kept, inputs=json.dumps(stored)), ledger.shared_input(shared_digest(decision))
        ).difference
        is not None
    )


def test_what_was_heard_by_a_clock_that_is_ahead_counts_at_once_and_is_one_decision(company):
    before, heard_at = company.first(), NOON + 2 * HOUR
    FeedbackRecords(company.client.app.state.service.ledger.database).record(
        before["decision_id"],
        NewFeedback(verdict="snooze", snooze_until=NOON + 3 * DAY, reason="On leave"),
        by="ann",
        key=None,
        now=AS_OF,
        heard_at=heard_at,
    )
    ids = set()
    for moment in (NOON, NOON + MINUTE, NOON + HOUR, heard_at, heard_at + MINUTE):
        company.at[0] = moment
        item = company.first()
        assert held(item, before["action"]) is not None
        assert company.replayed(item) is None
        ids.add(item["decision_id"])
    assert len(ids) == 1
    assert [one["at"] for one in company.question(item)["put_off"]] == [heard_at.isoformat()]


def test_the_page_of_the_api_says_what_goes_by_the_clock_of_the_service(company):
    said = " ".join(company.client.get("/openapi.json").json()["info"]["description"].split())
    [by_the_clock] = re.findall(r"between exports\. (.*) go by the clock of the service", said)
    assert "put off until a date" in by_the_clock
    assert "quiet hours" in by_the_clock
    assert "as_of" not in by_the_clock


def test_how_far_a_clock_may_be_ahead_is_one_bound():
    assert MOST_AHEAD == MOST_SET_BACK


def test_an_event_of_before_the_clock_was_kept_is_dated_as_it_was():
    said = {"action": "call", "verdict": "snooze", "until": NOON.isoformat()}
    found: dict[str, Snooze] = {}
    note_event(found, said, AS_OF)
    assert found["call"].at == AS_OF
    note_event(found, {**said, "heard_at": (NOON - DAY).isoformat()}, AS_OF)
    assert found["call"].at == NOON - DAY
    note_event(found, {**said, "heard_at": "2028-06-05", "reason": "unread"}, AS_OF)
    assert found["call"].reason is None


@pytest.mark.parametrize(
    ("reason", "stands", "words"),
    [
        ("put_off", True, "Possible from 6 June 2028, 12:00 UTC."),
        ("quiet_hours", True, "Possible from 6 June 2028, 12:00 UTC."),
        ("cool_down", True, "Possible from 6 June 2028, 12:00 UTC, by the dates of the data."),
        ("cool_down", False, "Possible from 6 June 2028, 12:00 UTC."),
    ],
)
def test_where_the_data_stand_still_a_date_says_by_which_clock(reason, stands, words):
    waits = Withheld(
        action_id="a",
        name="A",
        because="x",
        stage="contact_policy",
        reason=reason,
        why="y",
        until="z",
        allowed_from=NOON,
    )
    assert withheld_view(waits, "USD", data_stand_still=stands).until == words


def test_the_commands_go_by_the_clock_of_the_machine_unless_a_moment_is_given(tmp_path):
    now, out = datetime.now(UTC), tmp_path / "actions.json"
    own = make_workspace(
        tmp_path / "own",
        more=[
            event(
                account,
                "action.judged",
                0,
                action=action.id,
                verdict="snooze",
                by="ann",
                heard_at=(now - DAY).isoformat(),
                until=(now + hours * HOUR).isoformat(),
            )
            for account, hours in (("acct-00", 9), ("acct-01", -9))
            for action in load_playbook().actions
        ],
    )

    def put_off(as_of: datetime | None) -> set[str]:
        actions(out, as_of=as_of, workspace=own.root)
        return {
            one["account_id"]
            for one in json.loads(out.read_text())["accounts"]
            for waits in one["withheld"]
            if waits["reason"] == "put_off"
        }

    assert put_off(None) == {"acct-00"}
    assert put_off(AS_OF) == set()  # then nobody had put anything off


def test_without_a_clock_of_its_own_a_question_is_asked_when_it_is_about(company):
    [one] = [
        one
        for one in decisions_as_of(company.workspace, company.store, AS_OF)
        if one.score.account_id == "acct-01"
    ]
    assert one.decision.asked_at is None
