"""What is claimed days after it was decided disturbs nobody's rest: asked again by the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from real_server import running
from small_company import AS_OF, event, make_workspace

from experiments.policy.account_state import AccountState, Limits
from experiments.policy.contact.contact_policy import is_contact
from experiments.policy.request import VERSIONS, PolicyInputs
from registry.playbook.playbook import load_playbook
from serving.api.app import create_app
from serving.cli.conformance.api_client import EngineCalls, Reply, calls_to
from serving.cli.conformance.conformance import NotTestableError, granted
from serving.http.ledger_problems import problem_of
from serving.ledger.claims import Claims
from serving.ledger.database.tables import CLAIM_RECORDS
from serving.ledger.errors import (
    CapacityUsedError,
    KeyReusedError,
    NotClaimableError,
    QuietHoursError,
)
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger

BOOK = load_playbook()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)
LEASE = 10 * MINUTE
NOW = datetime(2026, 3, 2, 17, tzinfo=UTC)  # a Monday, noon in New York
NIGHT = datetime(2026, 3, 5, 8, 7, tzinfo=UTC)  # 03:07 there, three days later
MORNING = datetime(2026, 3, 5, 13, tzinfo=UTC)  # 8:00 there


def question(
    *, version: int = 3, zone: str | None = "America/New_York", **limits: Any
) -> dict[str, Any]:
    """A question of noon as each version wrote it."""
    asked = PolicyInputs(
        state=AccountState(account_id="a1", as_of=NOW, attributes={}, features={}, time_zone=zone),
        limits=Limits(**limits),
        history=(),
        as_of=NOW,
        asked_at=NOW,
    ).to_dict()
    lacks = {
        1: ("put_off", "asked_at", "prices"),
        2: ("asked_at", "prices"),
        3: ("prices",),
        4: (),
        5: (),
        6: (),
    }[version]
    return {
        **{name: value for name, value in asked.items() if name not in lacks},
        "version": version,
    }


def decision(asked: dict[str, Any] | None, *, action: str = "success_call") -> Decision:
    return Decision(
        decision_id="d-1",
        account_id="a1",
        decided_at=NOW,
        as_of=NOW,
        action=action,
        expected_value=1.5,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="ab",
        valid_until=NOW + 7 * DAY,
        autonomy=4,
        proposed_by="planner",
        asked_at=NOW,
        inputs=None if asked is None else json.dumps({"question": asked, "shared": "ab"}),
    )


class World:
    """A ledger in which everything goes ahead by itself."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.claims = ledger, Claims(ledger.database)
        self.controls = Controls(ledger.database)
        self.controls.record("level", Scope(), by="boss", reason="trusted", at=NOW, value=4)

    def decide(self, asked: dict[str, Any] | None, **more: str) -> None:
        self.ledger.append_decisions([decision(asked, **more)])

    def claim(self, at: datetime, *, key: str = "k") -> str:
        claim, _ = self.claims.claim("d-1", by="mailer", lease=LEASE, key=key, now=at)
        return claim.claim_id

    def records(self) -> int:
        with self.ledger.database.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(CLAIM_RECORDS)) or 0


@pytest.fixture
def world(ledger_place: Path | str) -> Iterator[World]:
    ledger = Ledger(ledger_place)
    yield World(ledger)
    assert ledger.verify().finding is None
    ledger.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_contact_is_not_claimed_in_the_night_and_is_in_the_morning(
    world: World, version: int
) -> None:
    world.decide(question(version=version))
    with pytest.raises(QuietHoursError) as caught:
        world.claim(NIGHT)
    assert caught.value.detail == (
        "It is 03:07 where they are (America/New_York); nobody is contacted from 20:00 to 8:00. "
        "success_call may be claimed from 2026-03-05 08:00 their time on, which is "
        "2026-03-05 13:00 UTC."
    )
    assert caught.value.retry_after == 4 * 3600 + 53 * 60
    for before, seconds in ((TICK, "1"), (timedelta(seconds=1, milliseconds=400), "2")):
        with pytest.raises(QuietHoursError, match="It is 07:59 where they are") as caught:
            world.claim(MORNING - before)
        assert caught.value.retry_after == int(seconds)
    assert world.records() == 0
    world.claim(MORNING)


def test_what_is_refused_is_refused_to_every_level_that_goes_ahead_by_itself(world: World) -> None:
    world.decide(question())
    for level in (3, 4):
        world.controls.record("level", Scope(), by="boss", reason="x", at=NOW, value=level)
        with pytest.raises(QuietHoursError, match="nobody is contacted from 20:00 to 8:00"):
            world.claim(NIGHT)


def test_the_clock_is_that_of_the_account_and_of_the_limits_only_where_that_is_not_known(
    world: World,
) -> None:
    world.decide(question(zone=None, time_zone="America/New_York", quiet_hours=(22, 4)))
    with pytest.raises(
        QuietHoursError,
        match=r"03:07 where they are .America/New_York.*22:00 to "
        r"4:00.*2026-03-05 04:00 their time.*09:00 UTC",
    ):
        world.claim(NIGHT)


@pytest.mark.parametrize(
    ("asked", "action"),
    [
        (
            question(),
            next(
                a.id
                for a in BOOK.actions
                if a.service_message and a.channel in BOOK.contact_channels
            ),
        ),
        (question(), next(a.id for a in BOOK.actions if a.channel not in BOOK.contact_channels)),
        (question(zone=None), "success_call"),
        (question(zone="Asia/Tokyo", time_zone="America/New_York"), "success_call"),
        (question(quiet_hours=None), "success_call"),
        (question(quiet_hours=(0, 0)), "success_call"),
        (None, "success_call"),
    ],
    ids=[
        "service message",
        "not noticed",
        "no zone known",
        "day where they are",
        "no quiet hours",
        "equal hours",
        "no question kept",
    ],
)
def test_what_disturbs_nobody_is_claimed_at_any_hour(world: World, asked, action: str) -> None:
    world.decide(asked, action=action)
    world.claim(NIGHT)


def test_what_the_playbook_no_longer_has_waits_like_a_contact(world: World) -> None:
    world.decide(question(), action="telegram")
    with pytest.raises(QuietHoursError, match="telegram may be claimed from"):
        world.claim(NIGHT)
    world.claim(MORNING)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({**question(), "version": 7}, "has version 7; this Keepwell reads 1, 2, 3, 4, 5, 6"),
        ({}, "has version None"),
        ({**question(), "limits": {}}, "cannot be read .KeyError: 'quiet_hours'"),
        (question() | {"state": {"time_zone": "Mars/Olympus"}}, "'Mars/Olympus', which is no IANA"),
        (question() | {"limits": {"quiet_hours": [20], "time_zone": None}}, "cannot be read"),
    ],
    ids=["newer", "none", "no hours", "no such zone", "one hour"],
)
def test_where_the_question_can_not_be_read_nobody_knows_and_nothing_goes_ahead(
    world: World, asked, why: str
) -> None:
    world.decide(asked)
    with pytest.raises(
        NotClaimableError, match=f"would disturb their rest is not known.*{why}"
    ) as caught:
        world.claim(NOW)
    step = problem_of(caught.value).next
    assert step.endswith("Ask for a new decision with POST /v1/next-actions.")


def test_what_was_claimed_by_day_is_prolonged_and_reported_in_the_night(world: World) -> None:
    world.decide(question())
    evening = datetime(2026, 3, 5, 0, 59, tzinfo=UTC)  # 19:59 there
    claim = world.claim(evening)
    assert world.claim(NIGHT) == claim  # the same key is the same answer, at any hour
    with pytest.raises(KeyReusedError, match="another request about a claim"):
        world.claims.claim("d-1", by="mailer", lease=HOUR, key="k", now=NIGHT)
    for minutes in (5, 12):
        beaten, _ = world.claims.heartbeat(
            claim, by="mailer", lease=LEASE, key=f"h{minutes}", now=evening + minutes * MINUTE
        )
        assert beaten.state == "claimed"
    done, _ = world.claims.complete(claim, by="mailer", key="c", now=NIGHT)
    assert done.state == "completed"


def test_what_failed_in_the_night_is_free_again_in_the_morning(world: World) -> None:
    world.decide(question())
    claim = world.claim(datetime(2026, 3, 5, 0, 59, tzinfo=UTC))
    world.claims.fail(claim, by="mailer", reason="bounced", key="f", now=NIGHT)
    with pytest.raises(QuietHoursError, match="It is 03:07"):
        world.claim(NIGHT, key="again")
    world.claim(MORNING, key="again")


def test_a_refusal_in_the_night_takes_nothing_of_the_week(world: World) -> None:
    world.decide(question())
    world.controls.record("capacity", Scope(), by="boss", at=NOW, reason="one", value=1)
    with pytest.raises(QuietHoursError, match="It is 03:07"):
        world.claim(NIGHT)
    world.claims.complete(world.claim(MORNING), by="mailer", key="c", now=MORNING)
    world.ledger.append_decisions(
        [Decision(**{**vars(decision(question())), "decision_id": "d-2", "account_id": "a2"})]
    )
    with pytest.raises(CapacityUsedError, match="1 a week"):
        world.claims.claim("d-2", by="mailer", lease=LEASE, key="o", now=MORNING)


class TestOverHttp:
    """A service whose data stand still, asked as an engine does about acct-34, which lies in New
    York and is sent an e-mail once what it would not notice is put off."""

    @pytest.fixture
    def at(self) -> list[datetime]:
        return [datetime(2028, 6, 6, 16, tzinfo=UTC)]  # a Tuesday, noon there

    @pytest.fixture
    def engine(self, tmp_path, store, at) -> Iterator[EngineCalls]:
        workspace = make_workspace(
            tmp_path / "own",
            more=[
                event("acct-34", "account.updated", 1, time_zone="America/New_York"),
                *(
                    event(
                        "acct-34",
                        "action.judged",
                        0,
                        action=action,
                        verdict="snooze",
                        until=(at[0] + DAY).isoformat(),
                    )
                    for action in ("self_repair", "renewal_pack")
                ),
            ],
        )
        app = create_app(workspace, store=store, now=lambda: AS_OF, wall_clock=lambda: at[0])
        with running(app) as address:
            yield calls_to(address, None)
        app.state.service.close()

    def decided(self, engine: EngineCalls) -> str:
        """A decision to contact it, which goes ahead by itself."""
        engine.post(
            "/v1/controls/levels",
            {"level": 4, "reason": "trusted", "by": "boss"},
            idempotency_key="level",
        )
        items = engine.post("/v1/next-actions", {"account_ids": ["acct-34"]}).content["items"]
        assert isinstance(items, list)
        [item] = items
        assert is_contact(BOOK.by_id[item["action"]], BOOK)
        assert item["autonomy"] == 4
        return str(item["decision_id"])

    def test_an_engine_that_comes_in_the_night_is_told_until_when_and_comes_again(self, engine, at):
        name = self.decided(engine)

        def claim() -> Reply:
            return engine.post(
                f"/v1/decisions/{name}/claims",
                {"by": "mailer", "lease_seconds": 600},
                idempotency_key="same",
            )

        at[0] += 2 * DAY + 15 * HOUR  # 03:00 there
        refused = claim()
        assert (refused.status, refused.kind) == (409, "quiet-hours")
        assert refused.headers["retry-after"] == "18000"
        assert refused.headers["content-type"] == "application/problem+json"
        assert "from 2028-06-09 08:00 their time on, which is 2028-06-09 12:00 UTC" in str(
            refused.content["detail"]
        )
        assert refused.content["next"] == (
            "Do not carry it out now. Claim it when the quiet hours are over, after the seconds "
            "of Retry-After."
        )
        assert engine.get(f"/v1/decisions/{name}").content["claims"] == []
        at[0] += timedelta(seconds=int(refused.headers["retry-after"]))
        taken = claim()
        assert taken.status == 201
        at[0] += 15 * HOUR  # the next night: what was answered is answered again
        again = claim()
        assert (again.status, again.content) == (201, taken.content)
        done = engine.post(
            f"/v1/claims/{taken.content['claim_id']}/complete",
            {"by": "mailer"},
            idempotency_key="done",
        )
        assert (done.status, done.content["state"]) == (200, "completed")


def test_the_kind_is_explained_to_people_and_to_programs(client) -> None:
    page = client.get("/problems", headers={"Accept": "text/html"}).text
    assert 'id="quiet-hours"' in page
    assert "Nobody is contacted now where the account is." in page
    paths = client.get("/openapi.json").json()["paths"]
    claiming = paths["/v1/decisions/{decision_id}/claims"]["post"]
    assert "in its quiet hours" in " ".join(claiming["description"].split())


def test_the_conformance_kit_does_not_call_a_night_a_broken_promise() -> None:
    with pytest.raises(NotTestableError, match="/x answered 409: It is 03:07"):
        granted(
            Reply(
                path="/x",
                status=409,
                headers={},
                content={"type": "/problems#quiet-hours", "detail": "It is 03:07"},
            )
        )
