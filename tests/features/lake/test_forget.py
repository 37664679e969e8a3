"""A subject leaves the lake with every byte, the rest stays as it was, and no export brings it back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.events.schema import Event, events_frame, properties_text
from features.events.subject import Subject
from features.ingest.run import ingest_rows
from features.lake.erased_subjects import ERASED, ErasedSubjects
from features.lake.forget import LakeSubjects
from features.lake.lake import Lake

NOW = datetime(2026, 3, 1, tzinfo=UTC)
READ = {"feature.used": ("name",), "account.updated": ("csm", "segment")}


def event(number: int, account: str, *, user: str | None = None, **more: object) -> Event:
    kind = str(more.pop("kind", "feature.used"))
    recorded = more.pop("recorded_at", None) or NOW - timedelta(days=number)
    return Event(
        event_id=str(more.pop("event_id", f"e-{account}-{number}")),
        account_id=account,
        user_id=user,
        kind=kind,
        occurred_at=NOW - timedelta(days=number),
        recorded_at=recorded,  # type: ignore[arg-type]
        properties=properties_text(more),  # type: ignore[arg-type]
    )


def company() -> list[Event]:
    return [
        *(event(n, "zq-gone", user="zq-ann", name="search") for n in range(1, 5)),
        *(event(n, "stays", user="zq-ann", name="search", note="zqwritten") for n in range(1, 4)),
        *(event(n, "stays", user="bob", name="export") for n in range(5, 9)),
        event(20, "stays", kind="account.updated", csm="zq-ann", parent="zq-gone", segment="mid"),
        event(30, "stays", kind="action.declined", action="call", by="zq-ann", reason="zqwritten"),
    ]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "events")
    lake.append(events_frame(company()), source="hand", file="a", now=NOW)
    corrected = event(2, "zq-gone", user="zq-ann", name="share", recorded_at=NOW)
    lake.append(events_frame([corrected]), source="hand", file="b", now=NOW)
    ingest_rows(lake, [{"account_id": "zq-gone", "kind": "no.kind"}], now=NOW, source="api")
    ingest_rows(lake, [{"account_id": "other", "kind": "no.kind"}], now=NOW, source="api")
    return lake


def everything(folder: Path) -> bytes:
    """The bytes of all files, and the content of those that are compressed."""
    held = b""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            held += path.name.encode() + path.read_bytes()
            if path.suffix == ".parquet":
                held += repr(pl.read_parquet(path).rows()).encode()
    return held


def subjects(lake: Lake) -> LakeSubjects:
    return LakeSubjects(lake, READ)


def test_an_account_goes_with_its_corrections_and_its_refused_rows(lake: Lake, tmp_path: Path):
    before = lake.manifest
    assert before.superseded
    refused = lake.quarantined().collect().height
    assert b"zq-gone" in everything(tmp_path)
    account = Subject(kind="account", id="zq-gone", pseudonym="erased-1")
    held = subjects(lake).held(account)
    assert (held.events.height, held.quarantined.height) == (6, 1)

    assert subjects(lake).erase(account, grace_seconds=0) == 7

    assert b"zq-gone" not in everything(tmp_path)
    after = lake.manifest
    assert lake.scan().select(pl.len()).collect().item() == after.rows == before.rows - 5
    parents = lake.scan().filter(pl.col("properties").str.contains("parent")).collect()
    assert json.loads(parents[0, "properties"])["parent"] == "erased-1"
    assert lake.quarantined().collect().height == refused - 1
    assert subjects(lake).held(account).rows == 0


def test_what_is_left_has_the_fingerprint_of_a_lake_that_never_knew_the_account(
    lake: Lake, tmp_path: Path
):
    subjects(lake).erase(
        Subject(kind="account", id="zq-gone", pseudonym="erased-1"), grace_seconds=0
    )
    plain = Lake(tmp_path / "plain" / "events")
    rows = lake.scan().drop("superseded_at").collect()
    plain.append(rows, source="hand", file="a", now=NOW)
    assert plain.manifest.fingerprint == lake.manifest.fingerprint
    assert plain.manifest.events == lake.manifest.events


def test_a_person_becomes_one_pseudonym_and_every_count_stays(lake: Lake, tmp_path: Path):
    def counts() -> list[tuple[object, ...]]:
        return sorted(
            lake.scan()
            .group_by("account_id", "kind")
            .agg(pl.col("event_count").sum(), pl.col("user_id").n_unique(), pl.len())
            .collect()
            .rows()
        )

    before = counts()
    person = Subject(kind="person", id="zq-ann", pseudonym="erased-2")
    subjects(lake).erase(person, grace_seconds=0)
    assert counts() == before
    held = everything(tmp_path)
    assert b"zq-ann" not in held
    assert b"zqwritten" not in held
    users = set(lake.scan().collect()["user_id"].to_list())
    assert users == {"erased-2", "bob", None}
    named = lake.scan().filter(pl.col("user_id") == "erased-2").collect()
    assert all(one.startswith("erased-") for one in named["event_id"])
    assert lake.scan().filter(pl.col("superseded_at").is_not_null()).collect().height == 1


def test_a_refused_event_whose_text_a_person_wrote_goes_too(lake: Lake, tmp_path: Path) -> None:
    """Keepwell's own events name nobody: the ledger knows who wrote the reason of an outcome."""
    rows = [
        {"event_id": name, "account_id": "stays", "kind": "no.kind", "properties": {"reason": text}}
        for name, text in (("outcome-1", "zqwritten"), ("outcome-2", "zqothers"))
    ]
    ingest_rows(lake, rows, now=NOW, source="keepwell")
    person = Subject(kind="person", id="zq-ann", pseudonym="erased-2")
    at = LakeSubjects(lake, READ, written=("outcome-1",))
    assert at.held(person).quarantined.height == 1
    at.erase(person, grace_seconds=0)
    held = everything(tmp_path)
    assert b"zqwritten" not in held
    assert b"zqothers" in held
    assert at.held(person).rows == 0


def test_a_killed_erasure_leaves_the_lake_of_before_and_is_done_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    account = Subject(kind="account", id="zq-gone", pseudonym="erased-1")
    before = lake.manifest

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("features.lake.forget.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            subjects(lake).erase(account, grace_seconds=0)
    assert lake.manifest == before
    assert subjects(lake).held(account).rows == 7
    with monkeypatch.context() as broken:
        broken.setattr("features.lake.forget.time.sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            subjects(lake).erase(account, grace_seconds=0)
    assert b"zq-gone" in everything(tmp_path)  # the old files are still there
    subjects(lake).erase(account, grace_seconds=0)
    assert b"zq-gone" not in everything(tmp_path)


def test_the_same_export_does_not_bring_an_erased_subject_back(lake: Lake, tmp_path: Path):
    erased = ErasedSubjects(tmp_path)
    account = Subject(kind="account", id="zq-gone", names=("Gone Ltd",))
    person = Subject(kind="person", id="zq-ann")
    for one in (account, person):
        subjects(lake).erase(one, grace_seconds=0)
        erased.add(one, at=NOW, erasure="1")
    rows = lake.manifest.rows
    summary = lake.append(events_frame(company()), source="hand", file="a", now=NOW)
    assert summary.files[0].left_out == {ERASED: 7}
    assert lake.manifest.rows == rows
    assert b"zq-ann" not in everything(tmp_path)
    assert b"zq-gone" not in everything(tmp_path)


def test_the_list_of_the_erased_holds_no_name_and_lets_one_in_again(lake: Lake, tmp_path: Path):
    erased = ErasedSubjects(tmp_path)
    erased.add(Subject(kind="account", id="zq-gone", names=("Gone Ltd",)), at=NOW, erasure="1")
    for path in erased.folder.iterdir():
        assert b"zq-gone" not in path.read_bytes()
        assert b"Gone" not in path.read_bytes()
        assert path.name != "subjects.secret" or path.stat().st_mode & 0o077 == 0
    assert set(erased.among("account", ["zq-gone", "Gone Ltd", "stays"])) == {"zq-gone", "Gone Ltd"}
    assert erased.among("person", ["zq-gone"]) == {}
    assert not erased.allow("account", "stays")
    assert erased.allow("account", "zq-gone")
    assert erased.entries == ()


def test_short_ids_are_not_looked_for_in_free_text(tmp_path: Path):
    lake = Lake(tmp_path / "events")
    events = [event(1, "12", name="12"), event(1, "13", name="12", parent="12")]
    lake.append(events_frame(events), source="hand", file="a", now=NOW)
    subjects(lake).erase(Subject(kind="account", id="12", pseudonym="erased-1"), grace_seconds=0)
    left = lake.scan().collect()
    assert left["account_id"].to_list() == ["13"]
    assert json.loads(left[0, "properties"])["parent"] == "erased-1"
