"""A workspace of a region stores nothing of another: no event, and no refused row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.events.bounds import Bounds
from features.ingest.run import ingest, ingest_rows
from features.lake.lake import Lake
from features.streaming.offsets import Message, ingest_messages
from features.workspace import Workspace

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def row(number: int, **properties: object) -> dict[str, object]:
    return {
        "account_id": f"account-{number}",
        "kind": "feature.used",
        "occurred_at": "2026-02-01T00:00:00Z",
        "properties": {"name": f"zqname{number}", **properties},
    }


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_events_of_another_region_are_refused_and_not_stored(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "events")
    rows = [row(1, data_region="eu"), row(2, data_region="us"), row(3)]
    summary = ingest_rows(lake, rows, now=NOW, source="api", bounds=Bounds(region="eu"))
    assert summary.events == 2
    refused = lake.quarantined().collect()
    assert refused["reason"].to_list() == [
        "data_region is 'us', and this workspace is of the region 'eu'"
    ]
    assert "zqname2" not in str(refused.rows())
    assert "account-2" not in str(refused.rows())


def test_a_workspace_without_a_region_takes_all(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "events")
    summary = ingest_rows(lake, [row(1, data_region="us")], now=NOW, source="api")
    assert summary.events == 1


@pytest.mark.parametrize("said", ['data_region = "us"', 'data_region = { column = "where" }'])
def test_a_mapping_states_the_region_of_a_table_or_reads_it(tmp_path: Path, said: str) -> None:
    workspace = Workspace(tmp_path / "w", environment={})
    workspace.change_settings(region="eu", complete_until=NOW)
    assert workspace.settings.region == workspace.settings.bounds.region == "eu"
    table = "constants" if "column" not in said else "properties"
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        'name = "crm"\n[tables.use]\nfiles = ["use.csv"]\naccount = "account"\n'
        'occurred_at = "day"\nzone = "UTC"\nkind = "feature.used"\nrecorded_delay = "0s"\n'
        f"[tables.use.{table}]\n{said}\n"
    )
    (tmp_path / "use.csv").write_text("account,day,where\nacme,2026-02-01,us\nbeta,2026-02-01,us\n")
    summary = ingest(workspace, [tmp_path / "use.csv"], mapping)
    assert summary.events == 0
    assert sum(summary.files[0].quarantined.values()) == 2
    assert b"acme" not in everything(workspace.quarantine_dir)


def test_messages_of_a_stream_of_another_region_are_refused_and_not_stored(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "events")
    messages = [
        Message(topic="t", partition=0, offset=number, value=json.dumps(one).encode())
        for number, one in enumerate((row(1, data_region="eu"), row(2, data_region="us")))
    ]
    summary = ingest_messages(lake, messages, group="g", now=NOW, bounds=Bounds(region="eu"))
    assert summary.landed == 1
    assert b"zqname2" not in everything(tmp_path)
    assert "account-2" not in str(lake.quarantined().collect().rows())
