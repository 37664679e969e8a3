"""What is kept of each timeline is what reading its events anew says, at whatever moment."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.events.schema import Event, properties_text
from features.workspace import Workspace
from serving.decisions.decision_record import (
    POLICY_KINDS,
    PolicyFacts,
    facts_of_events,
    policy_facts,
)
from serving.timeline.event_cache import AccountCache
from serving.timeline.store import TimelineStore

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SAID: tuple[tuple[str, dict[str, str]], ...] = (
    ("trial.started", {}),
    ("contract.started", {}),
    ("contract.renewed", {}),
    ("contract.cancelled", {"reason": "price"}),
    ("incident.opened", {}),
    ("action.executed", {"action": "success_call", "decision_id": "d1"}),
    ("action.declined", {"action": "success_call", "reason": "no"}),
    ("action.outcome", {"action": "success_call", "decision_id": "d1", "outcome": "accepted"}),
    ("consent.updated", {"channel": "email", "state": "given"}),
    ("consent.updated", {"channel": "email", "state": "withdrawn"}),
    ("account.updated", {"time_zone": "Asia/Tokyo"}),
    ("account.updated", {"legal_hold": "yes"}),
    ("account.updated", {"time_zone": "Mars/Olympus", "legal_hold": "no"}),
    ("contact.changed", {"role": "sponsor", "state": "joined"}),
    ("contact.changed", {"role": "sponsor", "state": "left"}),
    ("feature.used", {}),
)
ACCOUNTS = [f"acct-{number}" for number in range(12)]


def event(number: int, chance: random.Random, at: datetime) -> Event:
    kind, said = SAID[chance.randrange(len(SAID))]
    return Event(
        event_id=f"e-{number}",
        account_id=chance.choice(ACCOUNTS),
        kind=kind,
        user_id=chance.choice([None, "u1", "u2"]),
        occurred_at=at - timedelta(minutes=chance.randrange(3, 300)),
        recorded_at=at - timedelta(minutes=chance.randrange(3)),
        properties=properties_text(said),
    )


def anew(store: TimelineStore, accounts: list[str], as_of: datetime) -> dict[str, PolicyFacts]:
    return policy_facts(store.of_kinds(POLICY_KINDS, account_ids=accounts, as_of=as_of))


def told(facts: dict[str, PolicyFacts]) -> dict[str, PolicyFacts]:
    """Without those of whom nothing is told."""
    return {
        name: one
        for name, one in facts.items()
        if one != PolicyFacts(moments={}, consents={}, history={})
    }


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_is_what_reading_anew_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    workspace = Workspace(tmp_path, environment={})
    store, other = TimelineStore(workspace), TimelineStore(workspace)
    kept = AccountCache(
        store.event_cache(POLICY_KINDS), facts_of_events, most=4 if seed % 2 else 50
    )
    assert kept.of(ACCOUNTS, as_of=NOW) == {}
    for batch in range(12):
        at = NOW + timedelta(minutes=10 * batch)
        numbers = {chance.randrange(90) for _ in range(chance.randrange(1, 20))}
        store.append([event(n, chance, at) for n in sorted(numbers)], now=at)
        for _ in range(6):
            accounts = chance.sample(ACCOUNTS, chance.choice([1, 2, 12]))
            as_of = NOW + timedelta(minutes=chance.randrange(-5, 10 * batch + 8))
            assert told(kept.of(accounts, as_of=as_of)) == told(anew(other, accounts, as_of))


def test_a_correction_of_an_event_is_seen_at_once(tmp_path: Path) -> None:
    store = TimelineStore(Workspace(tmp_path, environment={}))
    kept = AccountCache(store.event_cache(POLICY_KINDS), facts_of_events)

    def said(zone: str, at: datetime) -> None:
        store.append(
            [
                Event(
                    event_id="e",
                    account_id="a",
                    kind="account.updated",
                    occurred_at=NOW,
                    recorded_at=at,
                    properties=properties_text({"time_zone": zone}),
                )
            ],
            now=at,
        )

    hour = timedelta(hours=1)
    said("Asia/Tokyo", NOW)
    assert kept.of(["a"], as_of=NOW + 2 * hour)["a"].time_zone == "Asia/Tokyo"
    said("Europe/Zurich", NOW + hour)
    zones = [kept.of(["a"], as_of=NOW + hours * hour)["a"].time_zone for hours in (2, 1, 0)]
    assert zones == ["Europe/Zurich", "Asia/Tokyo", None]


def test_many_accounts_are_read_like_each_of_them(tmp_path: Path) -> None:
    chance = random.Random(1)
    workspace = Workspace(tmp_path, environment={})
    store = TimelineStore(workspace)
    many = [f"acct-{number}" for number in range(150)]
    store.append(
        [
            Event(
                event_id=f"e-{n}",
                account_id=name,
                kind="consent.updated",
                occurred_at=NOW,
                recorded_at=NOW,
                properties=properties_text(
                    {"channel": chance.choice(["email", "sms"]), "state": "given"}
                ),
            )
            for n, name in enumerate(many * 2)
        ],
        now=NOW,
    )
    as_of = NOW + timedelta(hours=1)
    at_once = AccountCache(store.event_cache(POLICY_KINDS), facts_of_events).of(
        [*many, "nobody"], as_of=as_of
    )
    one_by_one = AccountCache(TimelineStore(workspace).event_cache(POLICY_KINDS), facts_of_events)
    assert set(at_once) == set(many)
    assert at_once == {k: v for name in many for k, v in one_by_one.of([name], as_of=as_of).items()}
