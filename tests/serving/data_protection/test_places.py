"""Every file that a workspace holds is in the list of places, and no line of the list is idle."""

from __future__ import annotations

import tarfile
from functools import cached_property
from pathlib import Path

import pytest
from damage_table import STORES
from fastapi.testclient import TestClient

from features.workspace import Workspace
from serving.data_protection.places import PLACES, files_of, place_of
from serving.data_protection.retention.policy import KEEP_PLACES
from serving.data_protection.stored_files.declaration import SQLITE_SUFFIXES

WORKSPACES = Path(__file__).parents[2] / "workspaces"

MADE_ELSEWHERE = {
    "erasures/subjects.json": "erasures/subjects.json",  # keepwell erase
    "erasures/subjects.secret": "erasures/subjects.secret",
    "erasures/holds.json": "erasures/holds.json",  # keepwell erase hold
    "erasures/under-way.json": "erasures/under-way.json",  # of an erasure that was killed
    "erasures/request-*.json": "erasures/request-ab12.json",  # where a second person is needed
    "erasures/receipt-*.json": "erasures/receipt-ab12.json",
    "clock/noted.json": "clock/noted.json",  # keepwell serve
    "health_formula.toml": "health_formula.toml",  # keepwell health adopt
    "ledger.head": "ledger.head",  # with the first commit of a newer Keepwell
    "prices.toml": "prices.toml",  # the CRM sample
    "demo.json": "demo.json",
    "workspace.format": "workspace.format",  # since 0.2
    ".backup/*/**": ".backup/x1y2z3_4/ledger.db",
    "erasures.jsonl": "erasures.jsonl",  # keepwell erase
    "erasures.pending.jsonl": "erasures.pending.jsonl",  # keepwell restore
    "backup.targets.json": "backup.targets.json",  # keepwell backup
    "snapshots/written.json": "snapshots/written.json",  # keepwell snapshot, since 0.2
    "online.head": "online.head",  # with the first rows of a newer Keepwell
    "retention.toml": "retention.toml",
    "rules.toml": "rules.toml",  # written by hand
    "features.toml": "features.toml",  # written by hand
    "retention/horizons.json": "retention/horizons.json",  # keepwell retention run
    "retention/last-run.json": "retention/last-run.json",
    "retention/receipt-*.json": "retention/receipt-ab12.json",
    "reviews.secret": "reviews.secret",  # keepwell keys review --out
    "world/**": "world/events/mapping.toml",
    "studies/*": "studies/churn.jsonl",  # of a training that was stopped
    "waiting-runs/**": "waiting-runs/20260101T000000000000-churn-ab/run.json",
    "events/.spool/**": "events/.spool/1/0.arrow",
    "**.*.tmp": "plans/.newest.json.4711.tmp",
    "**.*-????????/**": "waiting-runs/.20260101T000000000000-churn-ab-x1y2z3_4/run.json",
    "**.secret.*": "keys.secret.0a1b2c3d",
}
"""By place: a file of it that no workspace of these tests holds."""


def names_of_a_used_workspace() -> list[str]:
    """Served, trained, reported, monitored, planned, with keys and a webhook."""
    with tarfile.open(WORKSPACES / "before_rooms.tar.xz") as archive:
        return [
            member.name.removeprefix("workspace/")
            for member in archive.getmembers()
            if member.isfile() and member.name.startswith("workspace/")
        ]


def test_every_file_of_a_used_workspace_has_its_place() -> None:
    names = names_of_a_used_workspace()
    assert len(names) > 100
    assert [name for name in names if place_of(name) is None] == []


def test_every_file_of_a_workspace_that_is_served_has_its_place(
    own_client: TestClient, own_workspace: Workspace
) -> None:
    with own_client as client:
        assert client.post("/v1/next-actions", json={"limit": 3}).status_code in (200, 201)
    found = dict(files_of(own_workspace.root))
    assert [name for name, place in found.items() if place is None] == []
    assert "ledger.db" in found


def test_every_place_is_used() -> None:
    names = [*names_of_a_used_workspace(), *MADE_ELSEWHERE.values()]
    used = {place.path for name in names if (place := place_of(name)) is not None}
    assert {place.path for place in PLACES} - used == set()


@pytest.mark.parametrize(("path", "name"), MADE_ELSEWHERE.items())
def test_a_place_covers_the_file_that_is_named_for_it(path: str, name: str) -> None:
    place = place_of(name)
    assert place is not None
    assert place.path == path


def test_what_a_workspace_offers_as_a_path_has_a_place() -> None:
    workspace = Workspace(Path("/w"))
    for name, member in vars(Workspace).items():
        if isinstance(member, property | cached_property):
            path = getattr(workspace, name, None)
            if isinstance(path, Path) and path != workspace.root:
                below = path.relative_to(workspace.root).as_posix()
                is_known = place_of(below) or any(
                    one.path.startswith(f"{below}/") for one in PLACES
                )
                assert is_known, f"Workspace.{name} is {below}, of which no place is declared"


RETAINED = {
    "quarantine": "quarantine/*.parquet",
    "messages": "webhooks.db",
    "shadow": "shadow/**",
    "plans": "plans/*",
}


def test_what_rules_of_retention_can_name_is_a_place_with_data_of_somebody() -> None:
    assert set(RETAINED) == set(KEEP_PLACES)
    about = {place.path: place.about for place in PLACES}
    assert [path for path in RETAINED.values() if about[path] == "nobody"] == []


def test_what_is_damaged_on_purpose_is_a_place() -> None:
    for row in STORES:
        name = row.file.replace("*", "x").replace("as_of_x", "as_of_20260101T000000Z")
        assert place_of(name) is not None, row.store


def test_a_file_that_nobody_declared_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for name in ("events/notes.txt", "ledger.db.old", "ledger.db-wal"):
        (tmp_path / name).touch()
    found = {name: place and place.path for name, place in files_of(tmp_path)}
    assert found == {"events/notes.txt": None, "ledger.db.old": None, "ledger.db-wal": "ledger.db"}


def test_a_link_that_leads_out_of_a_folder_of_the_workspace_has_no_place(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "w", tmp_path / "secret.json"
    (root / "reports").mkdir(parents=True)
    elsewhere.write_text("{}", encoding="utf-8")
    (root / "reports" / "own.json").write_text("{}", encoding="utf-8")
    (root / "reports" / "linked.json").symlink_to(elsewhere)
    (root / "reports" / "again.json").symlink_to("own.json")
    (root / "ledger.db").symlink_to(elsewhere)
    found = {name: place is not None for name, place in files_of(root)}
    assert found == {
        "ledger.db": True,
        "reports/again.json": True,
        "reports/linked.json": False,
        "reports/own.json": True,
    }


def test_what_is_lost_or_secret_is_treated_so() -> None:
    """What cannot be rebuilt is in every backup, a secret only in an encrypted one."""
    for place in PLACES:
        if place.kind in ("draft", "lock"):
            assert place.in_backup == "never", place.path
        elif place.kind == "secret":
            assert place.in_backup == "if encrypted", place.path
        elif place.rebuilt_by is None:
            assert place.in_backup == "always", place.path
    assert not any(place.path.endswith(SQLITE_SUFFIXES) for place in PLACES)
