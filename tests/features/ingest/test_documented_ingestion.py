"""What the documents say about ingestion is done here as they say it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.ingest.mapped_tables import MappingError
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.lake.quarantine import QUARANTINE_SCHEMA
from features.workspace import Workspace
from features.workspace_files import WorkspaceError

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "use-your-own-tables.md").read_text(
    encoding="utf-8"
)


def fenced(language: str) -> str:
    """The first block of a language on the page: one whole example."""
    block, *_ = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(block)


TABLE = fenced("csv")
MAPPING = fenced("toml")
LINES = [line for line in MAPPING.splitlines() if line]


def ingest_with(folder: Path, mapping: str, table: str = TABLE):
    exports = folder / "exports"
    exports.mkdir(parents=True)
    (exports / "logins.csv").write_text(table)
    (folder / "mapping.toml").write_text(mapping)
    workspace = Workspace(folder / ".keepwell" / "acme", environment={})
    return ingest(workspace, [exports], folder / "mapping.toml"), workspace


def test_the_mapping_of_the_page_takes_its_table(tmp_path):
    summary, workspace = ingest_with(tmp_path, MAPPING)
    assert (summary.read, summary.landed) == (3, 3)
    assert workspace.settings.complete_until == datetime(2024, 6, 1, tzinfo=UTC)
    events = Lake(workspace.events_dir).scan().collect().sort("occurred_at")
    assert events["account_id"].to_list() == ["acme", "acme", "zeta"]
    assert events["user_id"].to_list() == ["ann", "bob", "eve"]
    assert events["quantity"].to_list() == [1800, 600, 2400]
    assert set(events["kind"]) == {"user.session"}


@pytest.mark.parametrize("line", LINES, ids=lambda line: re.split(r" = |\]", line)[0])
def test_a_key_is_required_if_and_only_if_the_page_says_so(tmp_path, line):
    try:
        landed = ingest_with(tmp_path, MAPPING.replace(line, ""))[0].landed
    except (MappingError, WorkspaceError):
        landed = 0
    assert (landed == 0) == ("# required" in line)


def test_the_quarantine_can_be_listed_as_documented(tmp_path, monkeypatch):
    ingest_with(tmp_path, MAPPING, TABLE.replace("2024-05-29 10:30", "yesterday"))
    monkeypatch.chdir(tmp_path)
    first, last = fenced("python").strip().split("\n\n")
    known: dict[str, object] = {}
    exec(first, known)
    listed = eval(last, known)
    assert isinstance(listed, pl.DataFrame)
    assert listed.select("file", "line", "reason").rows() == [
        ("logins.csv", 3, "occurred_at is no time")
    ]
    assert "yesterday" in listed["raw"][0]


def test_the_columns_of_the_quarantine_are_those_documented():
    [said] = re.findall(r"with the columns (.*?):\n", PAGE, flags=re.DOTALL)
    assert re.findall(r"`(\w+)`", said) == [*QUARANTINE_SCHEMA]


CONTRACTS = """
name = "shop"
complete_until = 2024-06-01T00:00:00Z
zone = "UTC"
[tables.contracts]
type = "contract_periods"
files = ["contracts.csv"]
account = "company"
start = "from"
end = "to"
mrr = "price"
""".strip()


@pytest.mark.parametrize("key", ["account", "start", "end", "mrr", "zone"])
def test_the_required_keys_of_contract_periods_are_those_documented(tmp_path, key):
    [row] = re.findall(r'^\| `type = "contract_periods"`.*$', PAGE, flags=re.MULTILINE)
    assert f"**`{key}`**" in row
    (tmp_path / "contracts.csv").write_text("company,from,to,price\na,2024-01-01,2025-01-01,10\n")
    (tmp_path / "m.toml").write_text(CONTRACTS)
    workspace = Workspace(tmp_path / "workspace", environment={})
    assert ingest(workspace, [tmp_path / "contracts.csv"], tmp_path / "m.toml").landed == 1
    (tmp_path / "m.toml").write_text(
        "\n".join(line for line in CONTRACTS.splitlines() if not line.startswith(f"{key} = "))
    )
    with pytest.raises(MappingError, match=rf"\b{key}\b"):
        ingest(workspace, [tmp_path / "contracts.csv"], tmp_path / "m.toml")
