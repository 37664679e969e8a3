"""The lots of a week's plan are on record, chained and on the timelines: everybody, once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from small_company import AS_OF

from experiments.causal.interventions import assignments, propose_designs
from experiments.planning.options import OFFER_SCHEMA
from experiments.planning.plan import Plan, make_plan
from experiments.planning.team import Csm, Team
from experiments.planning.ties_by_lot import CapacityLottery
from experiments.randomisation.keyed_draw import LotteryKey
from features.workspace import Workspace
from serving.decisions.exploration_settings import CHANCE_FILE
from serving.ledger.ledger import Ledger
from serving.ledger.stores.plan_draws import record_draws
from serving.problems import BusyError
from serving.timeline.plan_draws import deliver_draws, draws_of, store_plan_draws
from serving.timeline.sentences import sentence
from serving.timeline.store import TimelineStore

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
WEEK = "2026-W10"
VALUES = {"a": 200.0, "b": 104.0, "c": 102.0, "d": 101.0, "e": 80.0}


def plan(*more: str, hours: float = 3.0, week: str = WEEK) -> Plan:
    """Two of b, c, d (and of ``more``) are drawn for the last hours of ann."""
    values = {**VALUES, **dict.fromkeys(more, 103.0)}
    offers = pl.DataFrame(
        [
            {
                "account_id": name,
                "action_id": "success_call",
                "family": None,
                "role": "csm",
                "channel": "phone",
                "value": value,
                "hours": 1.0,
                "cost": 0.0,
                "csm": "ann",
                "territory": "north",
                "tier": None,
            }
            for name, value in values.items()
        ],
        schema=OFFER_SCHEMA,
    )
    return make_plan(
        offers,
        Team(csms=(Csm(id="ann", hours=hours),)),
        lottery=CapacityLottery(
            key=LotteryKey(key_id="2026", secret=bytes(32)),
            week=week,
            closeness=dict.fromkeys(values, 0.1),
        ),
    )


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_place)) as opened:
        yield opened


@pytest.fixture
def timelines(tmp_path: Path) -> Iterator[TimelineStore]:
    with closing(TimelineStore(Workspace(tmp_path / "w"))) as opened:
        yield opened


def keep(
    ledger: Ledger, timelines: TimelineStore, made: Plan, *, at: datetime = MONDAY, week: str = WEEK
) -> int:
    return store_plan_draws(
        ledger, timelines, made, week=week, at=at, made_by="keepwell plan team.toml"
    )


def decided(timelines: TimelineStore) -> pl.DataFrame:
    return timelines.of_kinds(
        ("action.decided",), account_ids=list("abcdefgh"), as_of=MONDAY + timedelta(days=30)
    )


def test_everybody_who_took_part_is_on_record_with_the_odds(ledger, timelines) -> None:
    made = plan()
    (lot,) = made.lots
    assert keep(ledger, timelines, made) == 3
    rows = assignments(decided(timelines))
    assert rows["account_id"].to_list() == ["b", "c", "d"]
    assert set(rows.filter("is_treated")["account_id"]) == set(lot.draw.drawn)
    assert rows["propensity"].to_list() == [2 / 3] * 3
    assert set(rows["intervention"]) == {"last_hours_success_call"}
    [design] = propose_designs(decided(timelines), as_of=MONDAY + timedelta(days=30), snapshots=[])
    assert (design.mechanism, design.action) == ("lottery", "success_call")
    assert ledger.verify().records == 3


def test_a_plan_without_a_lot_records_nothing(ledger, timelines) -> None:
    assert keep(ledger, timelines, plan(hours=9.0)) == 0
    assert ledger.verify().records == 0


def test_the_first_draw_of_a_week_stands(ledger, timelines) -> None:
    assert keep(ledger, timelines, plan()) == 3
    assert keep(ledger, timelines, plan(), at=MONDAY + timedelta(hours=1)) == 0
    assert keep(ledger, timelines, plan("f", "g"), at=MONDAY + timedelta(hours=2)) == 0
    assert decided(timelines).height == 3
    later = MONDAY + timedelta(days=7)
    assert keep(ledger, timelines, plan(week="2026-W11"), at=later, week="2026-W11") == 3
    assert assignments(decided(timelines)).height == 6


def test_what_the_timelines_lack_comes_with_the_next_plan(ledger, timelines, monkeypatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise BusyError("Others are writing.")

    monkeypatch.setattr(timelines, "append", busy)
    assert keep(ledger, timelines, plan()) == 3
    monkeypatch.undo()
    assert decided(timelines).is_empty()
    assert keep(ledger, timelines, plan()) == 0
    assert decided(timelines).height == 3
    assert deliver_draws(ledger, timelines, now=MONDAY) == 0


def test_a_draw_that_was_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as opened:
        record_draws(opened.database, draws_of(plan(), week=WEEK, at=MONDAY, made_by="x"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER plan_draws_no_update")
        connection.execute("UPDATE plan_draws SET arm = 'offered'")
    with closing(Ledger(path)) as opened:
        found = opened.verify().finding
    assert found is not None
    assert (found.change, found.table) == ("altered", "plan_draws")


def test_a_person_reads_what_a_lot_decided() -> None:
    said = {"action": "success_call", "arm": "not_offered"}
    assert sentence("action.decided", said, 0.5, "USD") == (
        "Not drawn by lot for success call this week"
    )
    assert sentence("action.decided", {**said, "arm": "offered"}, 0.5, "USD") == (
        "Keepwell recommended success call"
    )


def test_a_plan_over_http_is_recorded_where_it_is_kept(
    make_client,
    own_workspace,
    store,
    monkeypatch,
) -> None:
    (own_workspace.root / CHANCE_FILE).write_text(
        'key_id = "2026"\nlast_hours = true\n', encoding="utf-8"
    )
    client = make_client(own_workspace, store, lottery_key="ab" * 32)
    service = client.app.state.service
    monkeypatch.setattr("serving.api.routes.plans.make_plan", lambda *_, **__: plan())
    body = {"csms": [{"id": "ann", "hours": 3}]}
    asked = client.post("/v1/plans", json=body).json()
    assert (len(asked["lots"]), asked["draws_recorded"]) == (1, 0)
    assert client.post("/v1/plans", json={**body, "keep": True}).json()["draws_recorded"] == 3
    assert client.post("/v1/plans", json={**body, "keep": True}).json()["draws_recorded"] == 0
    events = service.timelines.of_kinds(
        ("action.decided",), account_ids=list("abcde"), as_of=AS_OF + timedelta(days=1)
    )
    assert sorted(events["account_id"]) == ["b", "c", "d"]
    assert {json.loads(said)["chance"] for said in events["properties"]} == {"last_hours"}
