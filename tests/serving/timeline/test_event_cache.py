"""What is kept in memory is what the lake holds, whatever was appended, corrected or merged."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.events.schema import Event, events_frame, properties_text
from features.lake.lake import Lake
from serving.timeline.event_cache import EventCache

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = ("consent.updated", "account.updated")


def event(number: int, chance: random.Random, at: datetime) -> Event:
    return Event(
        event_id=f"e-{number}",
        account_id=f"acct-{chance.randrange(40):02d}",
        kind=chance.choice([*KINDS, "feature.used"]),
        occurred_at=NOW - timedelta(days=9),
        recorded_at=at,
        properties=properties_text({"value": chance.random()}),
    )


def plainly(lake: Lake, accounts: list[str]) -> pl.DataFrame:
    return (
        lake.scan()
        .filter(pl.col("kind").is_in(KINDS) & pl.col("account_id").is_in(accounts))
        .collect()
    )


@pytest.mark.parametrize("many", [1, 3, 40], ids=["one", "few", "many"])
def test_what_is_kept_is_what_the_lake_holds(tmp_path: Path, many: int) -> None:
    chance, lake = random.Random(many), Lake(tmp_path / "events")
    kept = EventCache(lake, KINDS)
    accounts = [f"acct-{n:02d}" for n in range(many)]
    assert kept.events(accounts).is_empty()
    for batch in range(14):
        at = NOW + timedelta(minutes=batch)
        numbers = {chance.randrange(120) for _ in range(30)}  # some correct what came before
        lake.append(
            events_frame([event(n, chance, at) for n in sorted(numbers)]),
            source="s",
            file="f",
            now=at,
        )
        found = kept.events([*accounts, "nobody"])
        assert_frame_equal(found, plainly(lake, accounts), check_row_order=False)
    assert found["superseded_at"].is_not_null().any()
    assert len(found) > 2


def test_a_part_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, lake = random.Random(1), Lake(tmp_path / "events")
    lake.append(
        events_frame([event(n, chance, NOW) for n in range(50)]), source="s", file="f", now=NOW
    )
    kept = EventCache(lake, KINDS)
    before = kept.events(["acct-01"])
    for part in (tmp_path / "events").glob("**/*.parquet"):
        part.unlink()
    assert_frame_equal(kept.events(["acct-01"]), before)
