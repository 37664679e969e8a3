"""Each stored file has a format with a version: none is version 1, and a newer one is refused in words."""

from __future__ import annotations

import importlib
import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import keepwell
from experiments.causal.design import Design, read_design, write_design
from experiments.effects.effects_file import read_effects
from experiments.policy.contact.limits_file import read_limits
from features.catalogue.catalogue import FEATURES
from features.cli.options import OWN_PACKAGES, CommandError
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotStore
from features.compute.written_snapshots import WrittenSnapshots
from features.events.subject import Subject
from features.health.formula import read_formulas
from features.lake.admission.horizons import Horizon, applied_horizons, extend_horizons
from features.lake.erased_subjects import ErasedSubjects
from features.steady_clock import read_noted
from features.store._packed_file import PackedFile
from features.store._packed_identity import note_of, replaced
from features.streaming.refresh import AccountRefresh
from features.workspace import Workspace
from registry.bundle.segment_gate import SegmentSwitch, read_switch
from registry.integrity.hashed_folder import read_hashed_folder, write_hashed_folder
from registry.monitoring.figures import newest_figures
from registry.playbook.prices import read_prices
from serving.auth.api_keys import ApiKeys
from serving.data_protection.backup.erasures import known_targets, remember_target
from serving.data_protection.erasure.erase import take_request, under_way
from serving.data_protection.erasure.holds import Holds
from serving.data_protection.pending_erasures import (
    ErasureLine,
    done_erasures,
    note_erasure,
    pending_erasures,
    set_pending,
)
from serving.data_protection.places import PLACES, place_of
from serving.data_protection.retention.nightly import last_run
from serving.data_protection.retention.policy import read_rules
from serving.decisions.company_rules import read_company_rules
from serving.decisions.exploration_settings import read_exploration_settings
from serving.decisions.saved_plan import newest_plan
from serving.ledger.database.noted_head import BLOCK, HeadNoteError, _sum, read_note
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import Endpoint
from serving.scoring.shadow import ShadowFiles
from serving.webhooks.secret_encryption import SecretEncryption
from training.models.tuning._study_journal import FinishedTrial, StudyJournal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FORMATS = {place.path: place.format for place in PLACES if place.format is not None}


@dataclass(frozen=True)
class Stored:
    """One stored file: how it is written and read, and where it states its version."""

    file: str
    write: Callable[[Workspace], object]
    read: Callable[[Workspace], object]
    key: str = "format"


def toml(name: str, read: Callable[[Path], object], text: str = "") -> Stored:
    """A file that people write, and that may say ``format = 1``."""
    return Stored(
        name,
        lambda workspace: (workspace.root / name).write_text(f"format = 1\n{text}"),
        lambda workspace: read(workspace.root),
    )


DESIGN = Design(
    design_id="calls-90d",
    question="Do calls help?",
    action="success_call",
    intervention="calls",
    mechanism="lottery",
    estimand="ITT",
)
LINE = ErasureLine(erasure_id="e1", at=NOW.isoformat(), kind="account", subject="ab")
TRIAL = FinishedTrial(parameters={"a": 1.0}, loss=0.5, by_fold=(0.5,), rounds=3)
SUBJECT = Subject(kind="account", id="acct-01", names=(), pseudonym="forgotten-1")


def study(workspace: Workspace) -> StudyJournal:
    return StudyJournal(path=workspace.root / "studies" / "churn-a.jsonl", key="k")


def write_json(name: str, content: dict[str, object]) -> Callable[[Workspace], None]:
    def write(workspace: Workspace) -> None:
        file = workspace.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))

    return write


def write_erased(workspace: Workspace) -> None:
    ErasedSubjects(workspace.root).add(SUBJECT, at=NOW, erasure="e1")


def demo(workspace: Workspace) -> object:
    record = keepwell._demo_record(workspace, keepwell.World.CRM)
    return record and record["world"]


def rules_text_checked(folder: Path) -> object:
    return read_company_rules(folder, [one.name for one in FEATURES]).alerts.rules


LOOK = {"name": "keepwell_feature_drift", "value": 0.1, "labels": {}}
UNDER_WAY: dict[str, object] = {
    **{"version": 1, "erasure": "e1", "kind": "account", "id": "a", "names": [], "pseudonym": "f"},
    **{"by": "dpo", "approved_by": None, "reason": "17", "at": NOW.isoformat()},
    **{"digest_before": None, "found": {}},
}
REQUEST: dict[str, object] = {"version": 1, "kind": "account", "id": "a", "by": "dpo"}
NOTED: dict[str, object] = {"format": 1, "start": None, "started": 0.0, "reached": 1.0}

OWN_FEATURE = """
[[feature]]
name = "errands_28d"
description = "Errands."
reads = ["custom.errand"]
aggregate = { operation = "count" }
lookback_days = 28
unit = "errands"
phrase = "{value:,.0f} errands in 28 days"
"""

STORED: tuple[Stored, ...] = (
    toml("workspace.toml", lambda at: Workspace(at).settings.tenant, 'tenant = "A"\n'),
    toml("limits.toml", read_limits, "contacts_per_week = 2\n"),
    toml("chance.toml", lambda at: read_exploration_settings(at, "ab"), 'key_id = "k"\n'),
    toml("prices.toml", read_prices),
    toml("rules.toml", rules_text_checked, 'off = ["usage_halved"]\n'),
    toml("features.toml", lambda at: Workspace(at).settings.catalogue.names, OWN_FEATURE),
    toml("retention.toml", read_rules),
    Stored(
        "clock/noted.json",
        write_json("clock/noted.json", NOTED),
        lambda w: read_noted(w.root / "clock" / "noted.json"),
    ),
    Stored(
        "erasures/holds.json",
        lambda w: Holds(w).add("account", "a", by="dpo", at=NOW, reason="case 9"),
        lambda w: Holds(w).all(),
    ),
    Stored(
        "erasures/subjects.json",
        write_erased,
        lambda w: [one.erasure for one in ErasedSubjects(w.root).entries],
        "version",
    ),
    Stored(
        "erasures/under-way.json",
        write_json("erasures/under-way.json", UNDER_WAY),
        lambda w: under_way(w),
        "version",
    ),
    Stored(
        "erasures/request-ab12.json",
        write_json("erasures/request-ab12.json", REQUEST),
        lambda w: {**take_request(w, "ab12", by="counsel"), "version": 1},
        "version",
    ),
    Stored("erasures.jsonl", lambda w: note_erasure(w, LINE), done_erasures, "version"),
    Stored("erasures.pending.jsonl", lambda w: set_pending(w, [LINE]), pending_erasures, "version"),
    Stored(
        "backup.targets.json", lambda w: remember_target(w, "/backups"), known_targets, "version"
    ),
    Stored(
        "retention/horizons.json",
        lambda w: extend_horizons(
            w.root, [Horizon(kind="user.session", before=NOW, rows_stay=True)]
        ),
        lambda w: dict(applied_horizons(w.root)),
        "version",
    ),
    Stored(
        "monitoring/segments.json",
        lambda w: write_json("monitoring/segments.json", json.loads(SegmentSwitch().text()))(w),
        lambda w: read_switch(w.monitoring_dir / "segments.json"),
        "version",
    ),
    Stored(
        "reports/designs/calls-90d.json",
        lambda w: write_design(DESIGN, w.reports_dir / "designs", at=NOW),
        lambda w: read_design(w.reports_dir / "designs" / "calls-90d.json"),
    ),
    Stored(
        "reports/effects.json",
        write_json("reports/effects.json", {"format": 1, "effects": []}),
        lambda w: read_effects(w.reports_dir),
    ),
    Stored("studies/churn-a.jsonl", lambda w: study(w).add(TRIAL), lambda w: study(w).finished()),
    Stored("demo.json", write_json("demo.json", {"format": 1, "world": "crm"}), demo),
)
"""Files of text, each with what it says after it was written and read."""


def stated_otherwise(file: Path, key: str, version: int | None) -> None:
    """Let a file say another version, or none."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".toml":
        line = "" if version is None else f"{key} = {version}\n"
        file.write_text(line + text.removeprefix(f"{key} = 1\n"))
        return
    first, *rest = text.splitlines() if file.suffix == ".jsonl" else [text]
    content: dict[str, Any] = json.loads(first)
    assert content.pop(key, 1) == 1, "the file as it is written states version 1"
    if version is not None:
        content[key] = version
    file.write_text("\n".join([json.dumps(content), *rest]))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", environment={})


@pytest.mark.parametrize("stored", STORED, ids=[one.file for one in STORED])
def test_a_file_without_a_version_has_version_1_and_a_newer_one_is_refused(
    workspace: Workspace, stored: Stored
) -> None:
    workspace.root.mkdir()
    stored.write(workspace)
    file = workspace.root / stored.file
    if not stored.file.endswith(".toml"):
        said = json.loads(file.read_text(encoding="utf-8").splitlines()[0] if file.suffix == ".jsonl"
                          else file.read_text(encoding="utf-8"))  # fmt: skip
        assert said[stored.key] == 1
    plain = stored.read(workspace)
    stated_otherwise(file, stored.key, None)
    without = Workspace(workspace.root, environment={})
    assert stored.read(without) == plain
    stated_otherwise(file, stored.key, 2)
    held = file.read_bytes()
    other = workspace.root.with_name("other")  # of this one the settings that were good are known
    workspace.root.rename(other)
    with pytest.raises(Exception, match="has format version 2, of a newer Keepwell") as refusal:
        stored.read(Workspace(other, environment={}))
    own = type(refusal.value).__module__.split(".")[0] in OWN_PACKAGES
    assert own or isinstance(refusal.value, CommandError)
    assert (other / stored.file).read_bytes() == held


def test_holds_that_were_written_as_a_list_are_read(workspace: Workspace) -> None:
    holds = Holds(workspace)
    holds.add("account", "a", by="dpo", at=NOW, reason="case 9")
    file = workspace.root / "erasures" / "holds.json"
    file.write_text(json.dumps(json.loads(file.read_text())["holds"]))
    assert [one.reason for one in Holds(workspace).all()] == ["case 9"]


def outbox(workspace: Workspace) -> Outbox:
    return Outbox(workspace.root / "webhooks.db", SecretEncryption(workspace.root, None))


def add_webhook(workspace: Workspace) -> None:
    with closing(outbox(workspace)) as opened:
        opened.add(Endpoint(name="hook", url="https://example.org", kinds=(), place=0), "s" * 40)


def webhooks(workspace: Workspace) -> object:
    with closing(outbox(workspace)) as opened:
        return opened.endpoints()


def add_key(workspace: Workspace) -> None:
    with closing(ApiKeys(workspace.root)) as keys:
        keys.create(name="laptop", owner="ann", role="csm", now=NOW)


def keys_of(workspace: Workspace) -> object:
    with closing(ApiKeys(workspace.root)) as keys:
        return [one.name for one in keys.all()]


def waiting_accounts(workspace: Workspace) -> object:
    refresh = AccountRefresh(workspace)
    try:
        with refresh._working() as connection:
            return connection.execute("SELECT * FROM waiting").fetchall()
    finally:
        refresh._disconnect()


SQLITE: dict[str, tuple[Callable[[Workspace], object], Callable[[Workspace], object]]] = {
    "webhooks.db": (add_webhook, webhooks),
    "keys.db": (add_key, keys_of),
    "touched.db": (waiting_accounts, waiting_accounts),
}


def set_version(file: Path, version: int | None = None) -> int:
    with closing(sqlite3.connect(file)) as link:
        found = int(link.execute("PRAGMA user_version").fetchone()[0])
        if version is not None:
            link.execute(f"PRAGMA user_version = {version}")
        return found


@pytest.mark.parametrize("name", SQLITE)
def test_a_database_without_a_version_has_version_1_and_a_newer_one_is_refused(
    workspace: Workspace, name: str
) -> None:
    write, read = SQLITE[name]
    write(workspace)
    file = workspace.root / name
    assert set_version(file) == 1
    plain = read(workspace)
    set_version(file, 0)
    assert read(workspace) == plain
    set_version(file, 2)
    with pytest.raises(Exception, match="has format version 2, of a newer Keepwell"):
        read(workspace)
    assert set_version(file) == 2


def test_a_newer_comparison_of_models_is_refused(workspace: Workspace) -> None:
    files = ShadowFiles(workspace.shadow_dir)
    compared = pl.DataFrame(
        {"as_of": [NOW], "champion_version": [1], "challenger_version": [2], "p": [0.5]}
    )
    stored = files.keep("churn", compared)
    assert files.newest("churn").equals(compared)
    compared.write_parquet(stored)  # as one that states no version
    assert files.newest("churn").equals(compared)
    compared.write_parquet(stored, metadata={"keepwell.format": "2"})
    with pytest.raises(Exception, match="has format version 2, of a newer Keepwell"):
        files.newest("churn")


def test_a_newer_document_of_monitoring_is_left_out_in_words(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    file = "monitoring/as_of_20260301T000000Z/churn.json"
    for content in ({"format": 1, "figures": [LOOK]}, {"figures": [LOOK]}):
        write_json(file, content)(workspace)
        assert [one.value for one in newest_figures(workspace.monitoring_dir)] == [0.1]
    write_json(file, {"format": 2, "figures": [LOOK]})(workspace)
    with caplog.at_level(logging.WARNING):
        assert newest_figures(workspace.monitoring_dir) == ()
    assert "has format version 2, of a newer Keepwell" in caplog.text


@pytest.mark.parametrize("kind", ["model bundle", "waiting run"])
def test_a_newer_folder_with_digests_is_refused(tmp_path: Path, kind: str) -> None:
    write_hashed_folder(tmp_path / "folder", {"a": b"b"}, kind=kind, version=2, key=None)
    with pytest.raises(Exception, match="is of format version 2; this Keepwell reads 1"):
        read_hashed_folder(tmp_path / "folder", kind=kind, version=1)


def test_what_can_be_made_again_is_not_read_in_a_newer_form(workspace: Workspace) -> None:
    store = SnapshotStore(workspace.snapshots_dir)
    frame = pl.DataFrame({"as_of": [NOW], "account_id": ["a"]})
    (path,) = store.write(frame)
    assert pl.read_parquet_metadata(path)["keepwell.format"] == "1"
    frame.write_parquet(path, metadata={"keepwell.format": "2", "keepwell.content": "0" * 32})
    with pytest.raises(DamagedSnapshotError, match=r"version 2, of a newer .* keepwell snapshot"):
        store.read(NOW)
    written = WrittenSnapshots(workspace.snapshots_dir)
    content = json.loads(written.path.read_text())
    written.path.write_text(json.dumps({"files": content["files"]}))
    assert written.read() is not None
    written.path.write_text(json.dumps({**content, "format": 2}))
    assert written.read() is None
    (workspace.root / "retention").mkdir()
    (workspace.root / "retention" / "last-run.json").write_text(json.dumps({"version": 2, "on": 1}))
    assert last_run(workspace) is None


def test_an_online_store_of_another_form_is_emptied_and_its_head_counts_as_none(
    workspace: Workspace,
) -> None:
    packed = PackedFile(workspace.root / "online.db")
    with packed.transaction():
        packed.new_view("accounts")
    packed.close()
    head = note_of(workspace.root / "online.db")
    content = json.loads(head.read_text())
    assert content["format"] == 1
    head.write_text(json.dumps({"id": "of another file", "generation": 9}))
    assert replaced(workspace.root / "online.db") is not None  # no version is version 1
    head.write_text(json.dumps({"format": 2, "id": "of another file", "generation": 9}))
    assert replaced(workspace.root / "online.db") is None
    set_version(workspace.root / "online.db", 3)
    again = PackedFile(workspace.root / "online.db")
    assert again.view("accounts") is None
    again.close()


ELSEWHERE = {
    "workspace.format": "tests/workspaces/test_formats.py",
    "events/manifest.json": "tests/workspaces/test_formats.py",
    "ledger.db": "tests/serving/ledger/database",
    "ledger.head": "test_a_newer_head_of_a_ledger_is_refused",
    "plans/*": "test_a_newer_plan_is_refused",
    "health_formula.toml": "test_a_newer_health_formula_is_refused",
    "artifacts/**/bundle/*": "test_a_newer_folder_with_digests_is_refused",
    "waiting-runs/**": "test_a_newer_folder_with_digests_is_refused",
    "shadow/**": "test_a_newer_comparison_of_models_is_refused",
    "monitoring/as_of_*/*.json": "test_a_newer_document_of_monitoring_is_left_out_in_words",
    "world/**": "features/ingest reads its mapping as any other",
}
"""Places with tests of their own."""


def test_each_format_of_the_list_is_tried() -> None:
    tried = {
        place.path
        for name in (*(one.file for one in STORED), *SQLITE)
        if (place := place_of(name)) is not None
    }
    refused = {path for path, one in FORMATS.items() if one.newer == "refused"}
    assert refused - tried - set(ELSEWHERE) == set()
    assert tried - refused == set()


def test_a_newer_head_of_a_ledger_is_refused(workspace: Workspace) -> None:
    workspace.root.mkdir()
    content = json.dumps([2, 7, "ab", None, "", "what a newer Keepwell notes as well"]).encode()
    workspace.ledger_head.write_bytes((_sum(content) + b" " + content).ljust(BLOCK - 1) + b"\n")
    with pytest.raises(HeadNoteError, match="is damaged, or of a newer Keepwell"):
        read_note(workspace.ledger_head)


def test_a_newer_plan_is_refused(workspace: Workspace) -> None:
    write_json("plans/newest.json", {"format": 2})(workspace)
    with pytest.raises(Exception, match="has format version 2, of a newer Keepwell"):
        newest_plan(workspace)


def test_a_newer_health_formula_is_refused() -> None:
    with pytest.raises(Exception, match="has format version 2, of a newer Keepwell"):
        read_formulas("format = 2\n", "health_formula.toml")


@pytest.mark.parametrize("path", FORMATS)
def test_the_list_states_the_version_that_the_code_goes_by(path: str) -> None:
    form = FORMATS[path]
    if form.version is None:
        assert form.newer in ("by its library", "not read")
        return
    module, _, name = form.declared_in.partition(":")
    assert getattr(importlib.import_module(module), name) == form.version
    assert form.stated


def test_each_file_has_a_format_but_for_drafts_locks_and_secrets() -> None:
    without = {place.kind for place in PLACES if place.format is None}
    assert without == {"draft", "lock", "secret"}
