"""A process that is killed at any moment loses nothing it acknowledged, and does nothing twice.

Each life of the process is a fork that decides, claims and completes with several threads, says on
a pipe what it was answered, and is killed a random time after a random number of answers. The next
life sends again what was not answered, with the same keys, as engines do.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import PostgresServer

from serving.ledger.claims import Claims
from serving.ledger.database.tables import CLAIM_RECORDS, DECISIONS, OUTCOMES
from serving.ledger.errors import LedgerError
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIVES, SOAK = 12, 1_000
THREADS = 3
MOST_ACKNOWLEDGED = 25
LONGEST_WAIT = 0.03  # seconds after what was waited for


def decision(name: str) -> Decision:
    return Decision(
        decision_id=name,
        account_id=f"acct-{name}",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.5,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="ab",
        valid_until=NOW + timedelta(days=7),
        segment="small",
        autonomy=4,
        proposed_by="planner",
    )


def live(place: Path | str, said: int, life: int) -> None:
    """One life: decide, claim and complete, and say what was acknowledged, until it is killed."""
    ledger = Ledger(place)
    claims = Claims(ledger.database)

    def work(thread: int) -> None:
        chance = random.Random(life * THREADS + thread)
        # work of the life before is sent again first; half of it is everybody's
        earlier = [f"{max(life - 1, 0)}-{other}-{n}" for n in range(40) for other in range(THREADS)]
        chance.shuffle(earlier)
        for name in (*earlier[:20], *(f"{life}-{thread}-{n}" for n in range(10_000))):
            with contextlib.suppress(LedgerError):
                ledger.append_decisions([decision(name)])
                os.write(said, f"decided {name}\n".encode())
                engine = f"engine-{chance.randrange(2)}"
                claim, _ = claims.claim(
                    name, by=engine, lease=timedelta(hours=1), key=f"claim {name} {engine}", now=NOW
                )
                os.write(said, f"claimed {name} {engine}\n".encode())
                claims.complete(claim.claim_id, by=engine, key=f"done {name} {engine}", now=NOW)
                os.write(said, f"completed {name} {engine}\n".encode())

    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,), daemon=True).start()
    signal.pause()


def a_life_and_its_end(place: Path | str, life: int, chance: random.Random) -> list[str]:
    """What was acknowledged before the kill."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            live(place, writing, life)
        finally:
            os._exit(1)
    os.close(writing)
    heard = b""
    for_long = chance.randrange(MOST_ACKNOWLEDGED)  # 0: maybe while the ledger is being opened
    while heard.count(b"\n") < for_long:
        assert select.select([reading], [], [], 60)[0], "nothing was acknowledged for a minute"
        heard += os.read(reading, 65_536)
    time.sleep(chance.random() * LONGEST_WAIT)
    os.kill(child, signal.SIGKILL)
    while more := os.read(reading, 65_536):
        heard += more
    os.close(reading)
    os.waitpid(child, 0)
    return heard.decode().split("\n")[:-1]


def kill_again_and_again(place: Path | str, lives: int, *, least: int) -> str:
    """Kill so many lives, look at what they left, and say how much it was."""
    with contextlib.closing(Ledger(place)) as ledger:
        Controls(ledger.database).record(
            "level", Scope(), by="boss", reason="trusted", at=NOW, value=4
        )
    chance = random.Random(lives)
    heard = [
        line.split() for life in range(lives) for line in a_life_and_its_end(place, life, chance)
    ]
    acknowledged = Counter(words[0] for words in heard)
    assert acknowledged["completed"] >= least, acknowledged
    with contextlib.closing(Ledger(place)) as ledger:
        verified = ledger.verify()
        assert verified.finding is None
        with ledger.database.reading() as connection:
            stored = set(connection.scalars(sa.select(DECISIONS.c.decision_id)))
            executed = Counter(
                connection.scalars(
                    sa.select(OUTCOMES.c.decision_id).where(OUTCOMES.c.kind == "executed")
                )
            )
            completed = Counter(
                connection.scalars(
                    sa.select(CLAIM_RECORDS.c.decision_id).where(
                        CLAIM_RECORDS.c.kind == "completed"
                    )
                )
            )
            by = {
                (row.decision_id, row.by, row.kind)
                for row in connection.execute(
                    sa.select(CLAIM_RECORDS.c.decision_id, CLAIM_RECORDS.c.by, CLAIM_RECORDS.c.kind)
                )
            }
    lost = {words[1] for words in heard} - stored
    lost |= {words[1] for words in heard if words[0] == "completed"} - set(executed)
    lost |= {
        words[1]
        for words in heard
        if words[0] in ("claimed", "completed") and (words[1], words[2], words[0]) not in by
    }
    twice = [name for name, times in (executed + completed).items() if times > 2]
    claimed_twice = [
        name
        for name, times in Counter(name for name, _, kind in by if kind == "claimed").items()
        if times > 1
    ]
    assert (lost, twice, claimed_twice) == (set(), [], [])
    assert executed == completed
    return (
        f"{lives} kills, acknowledged {dict(acknowledged)}, {len(stored)} decisions, "
        f"{verified.records} records"
    )


def test_a_killed_process_loses_nothing_and_does_nothing_twice(ledger_place: Path | str) -> None:
    kill_again_and_again(ledger_place, LIVES, least=LIVES // 2)


@pytest.mark.slow
def test_a_thousand_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "ledger.db", SOAK, least=SOAK // 2)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_thousand_kills_on_postgresql_lose_nothing_either(
    postgres: PostgresServer,
) -> None:
    kill_again_and_again(postgres.database(), SOAK, least=SOAK // 2)
