"""Two sources that count their customers from 1 are kept apart, or refused; never merged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.ingest.mapped_tables import MappingError
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MAPPING = """
name = "{name}"
{prefix}
complete_until = 2026-03-01T00:00:00Z

[tables.accounts]
files = ["accounts.csv"]
kind = "account.updated"
account = "id"
occurred_at = "since"
recorded_delay = "0s"
event_id = "row"
user = "owner"
properties = {{ name = "company", parent = "parent" }}
zone = "UTC"
"""


class Exports:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "w", environment={})

    def ingest(
        self,
        source: str,
        companies: dict[str, str],
        *,
        prefix: str = "",
        names: bool = True,
        day: int = 1,
    ) -> None:
        """An export that begins on a day; each numbers its rows from there, as others do."""
        folder = self.folder / source
        folder.mkdir(exist_ok=True)
        lines = ["row,id,since,company,parent,owner"]
        for number, (name, company) in enumerate(companies.items(), day):
            parent = next(iter(companies)) if number > day else ""
            lines.append(f"{number},{name},2026-01-{number:02},{company},{parent},ann")
        (folder / "accounts.csv").write_text("\n".join(lines) + "\n")
        stated = f'account_prefix = "{prefix}"' if prefix else ""
        mapping = folder / "mapping.toml"
        text = MAPPING.format(name=source, prefix=stated)
        mapping.write_text(text if names else text.replace('name = "company", ', ""))
        ingest(self.workspace, [folder], mapping, now=NOW)

    @property
    def rows(self) -> list[dict[str, object]]:
        lake = Lake(self.workspace.events_dir, self.workspace.quarantine_dir)
        return lake.scan().sort("account_id").collect().rows(named=True)

    @property
    def names(self) -> dict[str, str]:
        """The newest name of each account."""
        return {
            row["account_id"]: name
            for row in sorted(self.rows, key=lambda row: row["recorded_at"])
            if (name := json.loads(row["properties"]).get("name"))
        }


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    found = Exports(tmp_path)
    found.ingest("east", {"1": "Acme", "2": "Bolt", "3": "Cask"})
    return found


def test_other_companies_under_the_same_ids_are_refused_and_nothing_is_written(
    exports: Exports,
) -> None:
    before = exports.rows
    with pytest.raises(MappingError) as error:
        exports.ingest("west", {"1": "Zorn", "2": "Yak", "4": "Xeno"})
    assert "2 of 2 account ids that 'west' shares" in str(error.value)
    assert "1 is 'Acme' in the workspace and 'Zorn' here" in str(error.value)
    assert 'account_prefix = "west-"' in str(error.value)
    assert exports.rows == before


def test_with_a_prefix_they_are_kept_apart_with_their_people_parents_and_events(
    exports: Exports,
) -> None:
    exports.ingest("west", {"1": "Zorn", "2": "Yak"}, prefix="west-")
    rows = {row["account_id"]: row for row in exports.rows}
    assert list(rows) == ["1", "2", "3", "west-1", "west-2"]
    assert len({row["event_id"] for row in rows.values()}) == 5
    assert json.loads(rows["west-2"]["properties"]) == {"name": "Yak", "parent": "west-1"}
    assert "parent" not in json.loads(rows["west-1"]["properties"])
    assert json.loads(rows["2"]["properties"])["parent"] == "1"
    assert (rows["west-1"]["user_id"], rows["1"]["user_id"]) == ("west-ann", "ann")
    before = exports.rows
    exports.ingest("west", {"1": "Zorn", "2": "Yak"}, prefix="west-")  # again: nothing new
    assert exports.rows == before


def test_another_export_of_the_same_companies_is_taken(exports: Exports) -> None:
    exports.ingest("billing", {"1": "ACME", "2": "Bolt", "3": "Barrel"}, day=11)  # one was renamed
    assert exports.names == {"1": "ACME", "2": "Bolt", "3": "Barrel"}


def test_a_source_may_rename_its_own_companies(exports: Exports) -> None:
    exports.ingest("east", {"1": "Other", "2": "Names", "3": "Now"}, day=11)
    assert exports.names == {"1": "Other", "2": "Names", "3": "Now"}


def test_the_same_companies_under_other_names_are_taken_without_the_names(exports: Exports) -> None:
    legal = {"1": "Zorn Holding", "2": "Yak Holding"}
    with pytest.raises(MappingError, match="leave `name` out of the properties"):
        exports.ingest("legal", legal)
    exports.ingest("legal", legal, names=False, day=11)
    assert exports.names == {"1": "Acme", "2": "Bolt", "3": "Cask"}
    assert len(exports.rows) == 5
