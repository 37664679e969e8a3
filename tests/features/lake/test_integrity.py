"""A file of the lake that is missing, cut short or altered is noticed, and nothing is built on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from features.events.schema import Event, events_frame
from features.lake.deduplication.key_index import keys_path
from features.lake.integrity import reading
from features.lake.lake import Lake
from features.lake.manifest import MANIFEST, LakeDamagedError, MissingPartError
from features.workspace_files import UnwritableError, writing_to

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def append(lake: Lake, day: int) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
    one = Event(
        event_id=f"e{day}",
        account_id="a",
        kind="user.session",
        occurred_at=at,
        recorded_at=at,
        quantity=60.0,
    )
    lake.append(events_frame([one]), source="test", file="made", now=NOW)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """A lake of three parts."""
    lake = Lake(tmp_path / "events")
    for day in range(3):
        append(lake, day)
    return lake


def names(lake: Lake) -> set[str]:
    return {path.name for path in lake.folder.iterdir()}


def flip(path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_lost_manifest_loses_no_event(lake):
    path = lake.folder / MANIFEST
    whole, before = path.read_bytes(), names(lake) - {MANIFEST}
    path.unlink()
    for _ in range(2):  # in this process, which has read it, and in one that has not
        with pytest.raises(LakeDamagedError, match=r"manifest.json .* is gone, and 3 of the files"):
            append(lake, 9)
        lake = Lake(lake.folder)
    assert names(lake) == before
    path.write_bytes(whole)
    append(lake, 9)
    assert lake.scan().collect().height == 4


@pytest.mark.parametrize("back", [1, 2])
def test_an_older_manifest_loses_no_event(lake, back):
    path = lake.folder / MANIFEST
    older = path.read_bytes()
    for day in range(back):
        append(lake, 10 + day)
    before, newer = names(lake), path.read_bytes()
    path.write_bytes(older)
    with pytest.raises(LakeDamagedError, match=r"older one \(generation 3\) than was read before"):
        append(lake, 20)
    assert names(lake) == before
    assert lake.last_good_manifest.generation == 3 + back  # readers go on
    path.write_bytes(newer)
    append(lake, 20)
    assert lake.scan().collect().height == 4 + back


def test_another_process_notices_an_older_manifest_by_the_files_beside_it(lake, tmp_path):
    older = (lake.folder / MANIFEST).read_bytes()
    append(lake, 10)
    append(lake, 11)
    elsewhere = lake.folder.rename(tmp_path / "elsewhere")  # which this process has not read
    (elsewhere / MANIFEST).write_bytes(older)
    with pytest.raises(LakeDamagedError, match=r"generation 3\) than the files beside it \(5\)"):
        append(Lake(elsewhere), 20)
    assert len(list(elsewhere.glob("*.parquet"))) == 5


def test_no_bit_of_a_manifest_changes_unnoticed(lake):
    path = lake.folder / MANIFEST
    whole = path.read_bytes()
    numbers = [place for place, byte in enumerate(whole) if chr(byte).isdigit()]
    for place in numbers[:: max(1, len(numbers) // 40)]:
        flip(path, place)  # a digit becomes another one: it is JSON still
        with pytest.raises(LakeDamagedError, match="is damaged"):
            lake.manifest  # noqa: B018
        path.write_bytes(whole)
    assert lake.manifest.rows == 3


def test_no_bit_of_a_part_changes_unnoticed(lake):
    part = lake.folder / lake.manifest.parts[1]
    whole = part.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        flip(part, place)
        with pytest.raises(LakeDamagedError, match=f"{part.name} .* not the file that was written"):
            lake.scan()
        part.write_bytes(whole)
    assert lake.scan().collect().height == 3


def test_nothing_is_written_beside_a_part_that_is_gone(lake):
    (lake.folder / lake.manifest.parts[0]).unlink()
    with pytest.raises(MissingPartError, match=r"000001-0.parquet of .* is gone"):
        append(lake, 9)
    with pytest.raises(FileNotFoundError):  # as readers wait for who merges the files they read
        lake.scan()


def test_an_altered_key_index_is_made_again(lake):
    index = keys_path(lake.folder / lake.manifest.parts[0])
    whole = index.read_bytes()
    flip(index, 3)
    append(lake, 0)
    assert lake.scan().collect().height == 3  # the event is known still
    assert index.read_bytes() == whole


def test_a_lake_of_an_older_version_is_read_and_written(lake):
    path = lake.folder / MANIFEST
    older = json.loads(path.read_text())
    del older["digests"], older["checksum"]
    path.write_text(json.dumps(older))
    append(lake, 9)
    assert set(lake.manifest.digests) == {"000004-3.parquet", "000004-3.keys"}
    assert lake.scan().collect().height == 4


def test_what_polars_cannot_read_is_said_of_the_lake(lake):
    odd = lake.folder / "x.parquet"
    odd.write_bytes(b"PAR1")
    refused = pytest.raises(LakeDamagedError, match=r"A file of .* cannot be read")
    with refused, reading(lake.folder):
        pl.read_parquet(odd)


def test_a_full_disk_is_a_sentence(tmp_path):
    with (
        pytest.raises(UnwritableError, match="cannot be written: No space left on device"),
        writing_to(tmp_path),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(ValueError, match="other"), writing_to(tmp_path):
        raise ValueError("other")
