"""No byte of forty texts that are nowhere else is left where they were planted in every place.

The workspace is served while it forgets. What is compressed is looked at as well.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from canary_world import (
    ACCOUNT,
    NOW,
    OF_ACCOUNT,
    OF_PERSON,
    PERSON,
    World,
    account_events,
    canary,
)
from small_company import AS_OF

from features.compute.backfill import backfill
from features.events.subject import Subject
from features.store.feast import WorkspaceFeatures
from registry.integrity.signing import SigningKey
from serving.data_protection.erasure.erase import (
    begin_erasure,
    count_places,
    finish_erasure,
    is_signed,
    under_way,
)
from serving.data_protection.erasure.erasers import ERASERS, NOT_SEARCHED_PATHS
from serving.data_protection.erasure.exports import export_subject
from serving.data_protection.places import PLACES, files_of
from serving.ledger.ledger import Ledger


def test_no_byte_of_an_account_is_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert {canary(n) for n in OF_ACCOUNT} <= world.canaries()
    with caplog.at_level(logging.DEBUG):
        world.erase(Subject(kind="account", id=ACCOUNT))
        world.client.get("/portfolio")
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()
    assert not [n for n in OF_ACCOUNT if canary(n) in caplog.text]
    world.client.app.state.service.refresh()  # type: ignore[attr-defined]  # it does so by itself soon
    assert world.client.get(f"/v1/accounts/{ACCOUNT}").status_code == 404
    assert world.client.get("/v1/accounts/acct-05").status_code == 200
    with closing(Ledger(world.workspace.ledger_db)) as ledger:
        verified = ledger.verify()
    assert verified.finding is None
    assert [one.about for one in verified.redactions] == ["account"]


def test_no_byte_of_a_person_is_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert {canary(n) for n in OF_PERSON} <= world.canaries()
    before = WorkspaceFeatures(world.workspace).online(["acct-05", "acct-06"])
    with caplog.at_level(logging.DEBUG):
        world.erase(Subject(kind="person", id=PERSON))
    assert {canary(n) for n in OF_PERSON} & world.canaries() == set()
    assert PERSON not in caplog.text
    after = WorkspaceFeatures(world.workspace).online(["acct-05", "acct-06"])
    numbers = [name for name, dtype in before.schema.items() if dtype == pl.Float64]
    assert before.select(numbers).equals(after.select(numbers), null_equal=True)
    assert after["csm"][1].startswith("erased-")
    fresh = backfill(world.workspace, [AS_OF]).filter(pl.col("account_id") == "acct-05")
    stored = before.filter(pl.col("account_id") == "acct-05")
    assert fresh.select(numbers).equals(stored.select(numbers), null_equal=True)


def held_in(file: Path) -> object:
    """The bytes of a file; of a database its rows."""
    if not (content := file.read_bytes()).startswith(b"SQLite format 3"):
        return content
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        return list(database.iterdump())


def test_a_dry_run_counts_and_changes_nothing(world: World) -> None:
    world.client.app.state.service.close()  # type: ignore[attr-defined]  # it writes now and then
    root = world.workspace.root

    def contents() -> dict[str, object]:
        """But for the note of the head; whoever opens a database may move its log into it."""
        apart = ("-shm", "-wal", "ledger.head")
        names = [name for name, _ in files_of(root) if not name.endswith(apart)]
        return {name: held_in(root / name) for name in names}

    before = contents()
    found = count_places(world.at(Subject(kind="account", id=ACCOUNT)))
    after = contents()
    assert [name for name in {*before, *after} if before.get(name) != after.get(name)] == []
    for name in ("events", "snapshots", "online features", "ledger", "outbox", "files"):
        assert found[name] > 0, name


def test_an_export_holds_what_is_held_with_its_places(world: World, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    export_subject(world.at(Subject(kind="account", id=ACCOUNT)), file)
    text = file.read_text(encoding="utf-8")
    missing = {n for n in OF_ACCOUNT - {28} if canary(n) not in text}  # a draft by its name only
    assert missing == set()
    assert {"events", "ledger", "outbox", "snapshots"} <= set(json.loads(text)["held"])
    assert file.stat().st_mode & 0o077 == 0


def test_the_receipt_is_signed_and_names_nobody(world: World) -> None:
    key = SigningKey(secret=b"a key that nobody guesses")
    world.erase(Subject(kind="account", id=ACCOUNT, names=(canary(2),)), key)
    (file,) = (world.workspace.root / "erasures").glob("receipt-*.json")
    assert is_signed(file, key)
    content = json.loads(file.read_text())
    assert ACCOUNT not in file.read_text()
    assert content["found"]["events"] == len(account_events()) + 1
    file.write_text(json.dumps({**content, "by": "nobody"}))
    assert not is_signed(file, key)


@pytest.mark.parametrize("stopped_after", range(len(ERASERS) + 1))
def test_an_erasure_that_was_killed_between_places_is_finished(
    world: World, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    if stopped_after % 4 and not os.environ.get("KEEPWELL_SOAK"):
        pytest.skip("every fourth place; all of them in make soak")
    at = world.at(Subject(kind="account", id=ACCOUNT))
    steps: list[str] = []

    def killed(name: str) -> None:
        if len(steps) == stopped_after:
            raise KeyboardInterrupt
        steps.append(name)

    with pytest.raises(KeyboardInterrupt):
        finish_erasure(at, begin_erasure(at), clock=lambda: NOW, progress=killed)
    journal = under_way(world.workspace)
    assert journal is not None, "it says that it is not finished"
    again = world.at(journal.subject)
    assert finish_erasure(again, journal, clock=lambda: NOW).left == {}
    assert under_way(world.workspace) is None
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()


def test_half_a_journal_of_a_killed_erasure_goes_at_once(world: World) -> None:
    """Other drafts go when nobody has written to them for a minute."""
    draft = world.workspace.root / "erasures" / ".under-way.json.4711.tmp"
    draft.parent.mkdir(exist_ok=True)
    draft.write_text(f'{{"id": "{ACCOUNT}"')
    world.erase(Subject(kind="account", id=ACCOUNT))
    assert not draft.exists()
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()


def test_every_file_of_the_world_with_canaries_has_its_place(world: World) -> None:
    assert [name for name, place in files_of(world.workspace.root) if place is None] == []


def test_every_place_about_somebody_can_be_searched_and_erased() -> None:
    covered = {path for place in ERASERS for path in place.paths} | set(NOT_SEARCHED_PATHS)
    assert {place.path for place in PLACES if place.about != "nobody"} - covered == set()
    assert covered - {place.path for place in PLACES} == set()
    assert len({place.name for place in ERASERS}) == len(ERASERS)
