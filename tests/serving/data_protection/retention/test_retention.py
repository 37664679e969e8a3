"""What is older than the rules say has no persons any more, and every figure is what it was."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import polars as pl
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from served_process import Served
from small_company import AS_OF, day, event
from typer.testing import CliRunner

import keepwell
from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import backfill, find_stale_moments
from features.compute.lost_columns import lost_columns
from features.compute.snapshot_store import SnapshotStore
from features.events.schema import Event, events_frame, properties_text
from features.ingest.run import ingest_rows
from features.lake.admission.horizons import FOLDER, applied_horizons
from features.lake.erased_subjects import ErasedSubjects
from features.lake.lake import Lake
from features.lake.parts import sort_by_account
from features.steady_clock import Machine, SteadyClock
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError, hold_lock
from registry.integrity.signing import SigningKey
from registry.store.store import MemoryModelStore
from serving.cli.data_protection.retention import nightly
from serving.data_protection.erasure.holds import Holds
from serving.data_protection.pending_erasures import (
    ErasureLine,
    name_of_key,
    pending_erasures,
    set_pending,
)
from serving.data_protection.retention.nightly import last_run, run_if_due
from serving.data_protection.retention.policy import RetentionError, read_rules
from serving.data_protection.retention.run import RetentionReceipt, run_retention
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import FILE, Endpoint, Message
from serving.webhooks.secret_encryption import SecretEncryption
from training.dataset.labels import LABELS, cohort_rows, label_rows

NOW = AS_OF
DAYS = 150
MOMENTS = tuple(AS_OF - timedelta(days=ago) for ago in (0, 45, 100, 140, 160, 250))
RULES = "".join(
    f'[[keep]]\nwhat = "{what}"\ndays = {days}\nbecause = "art. 6"\n'
    for what, days in (
        ("user.session", DAYS),
        ("feature.used", DAYS),
        ("ticket.created", 200),
        ("custom.letter", 30),
        ("quarantine", 30),
    )
)


def long_use() -> list[Event]:
    """Three people, more or less often, over 390 days; what they wrote; a letter nothing reads."""
    found = []
    for ago in range(1, 390, 3):
        for number, user in enumerate(("ann", "bob", "cyd")):
            if ago % (number + 1):
                continue
            for kind in ("user.session", "feature.used"):
                found.append(
                    Event(
                        event_id=f"{user}-{kind}-{ago}",
                        account_id="acct-05",
                        user_id=f"{user}@example.org",
                        kind=kind,
                        occurred_at=day(ago),
                        recorded_at=day(ago),
                        properties=properties_text({"name": "search", "note": f"by {user}"}),
                    )
                )
    found.append(event("acct-06", "custom.letter", 90, body="dear ann@example.org"))
    found.append(event("acct-06", "custom.letter", 3, body="dear bob"))
    found.append(event("acct-06", "ticket.created", 210, ticket_id="t1", topic="export", text="me"))
    return found


@pytest.fixture
def place(own_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Its parts have many row groups, since retention goes through one at a time."""
    monkeypatch.setattr("features.lake.parts.ROW_GROUP", 20)
    lake = Lake(own_workspace.events_dir, own_workspace.quarantine_dir)
    lake.append(events_frame(long_use()), source="hand", file="long", now=AS_OF)
    refused = {"account_id": "acct-05", "kind": "no.kind", "properties": {"x": "ann@example.org"}}
    ingest_rows(lake, [refused], now=day(60), source="api")
    (own_workspace.root / "retention.toml").write_text(RULES)
    return own_workspace


def keep(place: Workspace, **more: object) -> RetentionReceipt:
    given = {"outbox": place.root / FILE, "now": NOW, "by": "tests", **more}
    return run_retention(place, **given)  # type: ignore[arg-type]


def events_of(place: Workspace) -> pl.DataFrame:
    return Lake(place.events_dir).scan().collect()


def outcomes(place: Workspace) -> dict[str, pl.DataFrame]:
    """What came of each account after each moment, by label: what a training is fitted to."""
    events = Lake(place.events_dir).versions_before(AS_OF).collect()
    found = {}
    for one in LABELS:
        rows = cohort_rows(one, events, MOMENTS)
        frame = label_rows(one, events, rows, known_until=AS_OF).frame
        found[one.name] = frame.sort("as_of", "account_id")
    return found


def by_rule(receipt: RetentionReceipt) -> dict[str, tuple[int, int, int]]:
    return {one.what: (one.changed, one.removed, one.held_back) for one in receipt.rules}


def test_old_rows_lose_who_it_was_and_new_ones_stay(place: Workspace) -> None:
    groups = [pq.ParquetFile(one).num_row_groups for one in place.events_dir.glob("0*-?.parquet")]
    assert max(groups) > 10
    before, counted = events_of(place), by_rule(keep(place, dry_run=True))
    assert events_of(place).equals(before)
    receipt = keep(place, key=SigningKey(secret=b"a key that nobody guesses"))
    assert by_rule(receipt) == counted
    (aged,) = place.events_dir.glob("*-aged-*.parquet")
    rows = pl.read_parquet(aged)
    assert rows["account_id"].is_sorted()  # or an account would not be found in its row groups
    assert sort_by_account(rows)["occurred_at"].equals(rows["occurred_at"])
    after, edge = events_of(place), NOW - timedelta(days=DAYS)
    used = after.filter(pl.col("kind").is_in(["user.session", "feature.used"]))
    old, new = used.filter(pl.col("occurred_at") < edge), used.filter(pl.col("occurred_at") >= edge)
    assert old.height > 100
    assert old["user_id"].null_count() == old.height
    text = repr(old.rows())
    assert "example.org" not in text
    assert '"note"' not in text
    assert '"name": "search"' in text or '"name":"search"' in text
    assert (
        new.select("event_id", "user_id", "properties")
        .sort("event_id")
        .equals(
            before.filter(
                pl.col("kind").is_in(["user.session", "feature.used"]),
                pl.col("occurred_at") >= edge,
            )
            .select("event_id", "user_id", "properties")
            .sort("event_id")
        )
    )
    assert after.filter(pl.col("kind") == "custom.letter").height == 1
    assert counted["custom.letter"] == (0, 1, 0)
    assert counted["quarantine"] == (0, 1, 0)
    assert Lake(place.events_dir).manifest.rows == after.height
    assert {one.touched for one in (keep(place), keep(place))} == {0}
    (file,) = (place.root / FOLDER).glob("receipt-*.json")
    stored = json.loads(file.read_text())
    assert stored["signature"]
    assert [one["because"] for one in stored["rules"]] == ["art. 6"] * 5
    held = b"".join(path.read_bytes() for path in place.root.rglob("*.parquet"))
    assert b"dear ann" not in held


def test_every_figure_of_a_past_moment_is_what_it_was(place: Workspace) -> None:
    """Made again from the aged lake: the same to the bit, also where users were counted."""
    before = backfill(place, MOMENTS)
    labels = outcomes(place)
    stored = {one: SnapshotStore(place.snapshots_dir).read(one) for one in MOMENTS}
    keep(place)
    store = SnapshotStore(place.snapshots_dir)
    assert all(store.read(one).equals(stored[one], null_equal=True) for one in MOMENTS)
    assert find_stale_moments(place, MOMENTS) == ()
    again = backfill(place, MOMENTS)
    assert again.equals(before, null_equal=True)
    assert len(labels) > 1
    for name, rows in outcomes(place).items():
        assert rows.equals(labels[name], null_equal=True), name
    horizons = applied_horizons(place.root)
    lost = lost_columns(load_catalogue(), place.settings.formula, horizons, MOMENTS[3])
    assert "active_users_28d" in lost
    assert "feature_uses_28d" not in lost
    assert lost_columns(load_catalogue(), place.settings.formula, horizons, AS_OF) == frozenset()


def test_what_was_never_computed_is_unknown_and_not_wrong(place: Workspace) -> None:
    moment = AS_OF - timedelta(days=170)
    shutil.copytree(place.root, place.root.with_name("copy"))
    whole = backfill(Workspace(place.root.with_name("copy"), environment={}), [moment])
    keep(place)
    aged = backfill(place, [moment])
    lost = lost_columns(
        load_catalogue(), place.settings.formula, applied_horizons(place.root), moment
    )
    assert aged.drop(*lost).equals(whole.drop(*lost), null_equal=True)
    assert set(aged.select(*lost).null_count().row(0)) == {aged.height}
    acct = whole.filter(pl.col("account_id") == "acct-05")
    assert acct["active_users_28d"][0] > 1


def test_an_old_file_brings_nobody_back(place: Workspace) -> None:
    keep(place)
    before, lake = events_of(place), Lake(place.events_dir, place.quarantine_dir)
    lake.append(events_frame(long_use()), source="hand", file="again", now=AS_OF)
    assert events_of(place).sort("event_id").equals(before.sort("event_id"))
    assert lake.manifest.quarantine == Lake(place.events_dir).manifest.quarantine
    (place.root / "retention.toml").write_text(RULES.replace(f"days = {DAYS}", "days = 300"))
    keep(place)
    assert applied_horizons(place.root)["user.session"].before == NOW - timedelta(days=DAYS)


def test_a_correction_of_an_old_event_stays_one(place: Workspace) -> None:
    lake = Lake(place.events_dir, place.quarantine_dir)
    (old,) = [one for one in long_use() if one.event_id == "ann-feature.used-202"]
    corrected = Event(**{**vars(old), "recorded_at": day(2), "event_count": 4})
    lake.append(events_frame([corrected]), source="hand", file="corrected", now=AS_OF)
    before = backfill(place, MOMENTS)
    keep(place)
    now = lake.as_of(AS_OF).filter(pl.col("event_count") == 4, pl.col("occurred_at") == day(202))
    assert now.collect().height == 1
    at_202 = (pl.col("occurred_at") == day(202), pl.col("kind") == "feature.used")
    versions = events_of(place).filter(pl.col("account_id") == "acct-05", *at_202)
    assert versions["event_id"].n_unique() == 2  # ann's, in two versions, and bob's
    assert versions["event_id"].str.starts_with("aged-").all()
    assert backfill(place, MOMENTS).equals(before, null_equal=True)


def test_who_is_under_a_legal_hold_is_left_out(place: Workspace) -> None:
    Holds(place).add("account", "acct-05", by="counsel", at=NOW, reason="in court")
    receipt = by_rule(keep(place))
    assert receipt["user.session"][0] == 0
    assert receipt["user.session"][2] > 50
    assert receipt["quarantine"] == (0, 0, 1)
    assert receipt["custom.letter"] == (0, 1, 0)
    Holds(place).end("account", "acct-05")
    Holds(place).add("person", "bob@example.org", by="counsel", at=NOW, reason="in court")
    receipt = by_rule(keep(place))
    assert receipt["quarantine"] == (0, 1, 0)
    assert set(events_of(place).filter(pl.col("occurred_at") < day(DAYS))["user_id"]) == {
        None,
        "bob@example.org",
    }


def test_a_hold_on_somebody_whom_the_lake_does_not_name_keeps_refused_rows(
    place: Workspace,
) -> None:
    Holds(place).add("person", "dan@example.org", by="counsel", at=NOW, reason="in court")
    assert by_rule(keep(place))["quarantine"] == (0, 0, 1)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (("user.session", 60), "too few: features count its users over 56 days"),
        (("contract.started", 400), "figures need them for good"),
        (("feature.used", 0), "1 to 36,500 are allowed"),
    ],
)
def test_a_rule_that_would_change_figures_is_refused(
    place: Workspace, rule: tuple[str, int], why: str
) -> None:
    (place.root / "retention.toml").write_text(
        f'[[keep]]\nwhat = "{rule[0]}"\ndays = {rule[1]}\nbecause = "x"\n'
    )
    before = events_of(place)
    with pytest.raises(RetentionError, match=why):
        keep(place)
    assert events_of(place).equals(before)


def test_rules_say_what_is_wrong_with_them(place: Workspace) -> None:
    file = place.root / "retention.toml"
    one = '[[keep]]\nwhat = "custom.x"\ndays = 3\nbecause = "x"\n'
    for text, why in (
        ("[[keep", "is not valid TOML"),
        (one + one, "has a rule already"),
        ('[[keep]]\nwhat = "custom.x"\ndays = 3\n', "lacks `because`"),
        (one.replace("3", '"3"'), "has to be a number"),
    ):
        file.write_text(text)
        with pytest.raises(RetentionError, match=why):
            read_rules(place.root)
    file.unlink()
    assert read_rules(place.root) == ()


def test_messages_that_were_sent_go_and_waiting_ones_stay(place: Workspace) -> None:
    (place.root / "retention.toml").write_text(
        '[[keep]]\nwhat = "messages"\ndays = 30\nbecause = "x"\n'
    )
    outbox = Outbox(place.root / FILE, SecretEncryption(place.root, None))
    outbox.add(Endpoint(name="hook", url="https://example.org", kinds=(), place=0), "s" * 40)
    messages = [
        Message(
            place=number, message_id=f"m{number}", account_id="acct-05", kind="feedback", body="{}"
        )
        for number in (1, 2, 3)
    ]
    outbox.put("hook", messages, after=0, up_to=3, now=day(90).timestamp())
    outbox.mark_failed("hook", messages[0], problem="gone", due_at=None, now=day(60).timestamp())
    outbox.mark_failed("hook", messages[1], problem="gone", due_at=None, now=day(3).timestamp())
    outbox.close()
    assert by_rule(keep(place, dry_run=True)) == {"messages": (0, 1, 0)}
    assert by_rule(keep(place)) == {"messages": (0, 1, 0)}
    assert by_rule(keep(place)) == {"messages": (0, 0, 0)}


def test_old_predictions_and_plans_go(place: Workspace) -> None:
    import os

    rules = "".join(
        f'[[keep]]\nwhat = "{one}"\ndays = 30\nbecause = "x"\n' for one in ("plans", "shadow")
    )
    (place.root / "retention.toml").write_text(rules)
    for name in ("plans/old.json", "plans/new.json", "shadow/churn/old.parquet"):
        path = place.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        if "old" in name:
            os.utime(path, (day(60).timestamp(),) * 2)
        else:
            os.utime(path, (day(3).timestamp(),) * 2)
    assert by_rule(keep(place)) == {"plans": (0, 1, 0), "shadow": (0, 1, 0)}
    assert (place.root / "plans" / "new.json").exists()


def test_a_run_that_was_killed_is_finished_by_the_next(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    before = backfill(place, MOMENTS)
    for where in (
        "features.lake.retention.manifest_json",
        "serving.data_protection.retention.run._fit_snapshots",
    ):
        with monkeypatch.context() as broken:
            broken.setattr(where, killed)
            with pytest.raises(KeyboardInterrupt):
                keep(place)
    assert last_run(place) is None
    keep(place)
    assert "example.org" not in repr(
        events_of(place).filter(pl.col("occurred_at") < day(200)).rows()
    )
    assert backfill(place, MOMENTS).equals(before, null_equal=True)


def test_it_runs_once_a_night_and_in_one_process(place: Workspace) -> None:
    runs: list[datetime] = []

    def at(now: datetime) -> RetentionReceipt | None:
        def run() -> RetentionReceipt:
            runs.append(now)
            return keep(place, now=now)

        return run_if_due(place, run, now=now)

    night = AS_OF + timedelta(hours=2)
    for hours in (0, 1, 5, 20, 23, 24, 25):
        at(night + timedelta(hours=hours))
    assert runs == [night, night + timedelta(hours=24)]
    with hold_lock(place.root / FOLDER, busy="never"):
        assert at(night + timedelta(days=3)) is None
        with pytest.raises(WorkspaceBusyError, match="Another process is applying"):
            keep(place)
    (place.root / "retention.toml").unlink()
    assert at(night + timedelta(days=9)) is None


def test_nothing_is_removed_while_the_clock_has_jumped(place: Workspace) -> None:
    turned = [NOW]
    clock = SteadyClock(Machine(clock=lambda: turned[0]), place.root)
    work = nightly(place, clock)
    turned[0] += timedelta(days=365)
    before = events_of(place)
    assert work() is None
    assert events_of(place).equals(before)
    turned[0] = clock()
    receipt = work()
    assert isinstance(receipt, RetentionReceipt)
    assert receipt.touched > 0


def test_the_service_runs_it_while_it_serves(
    place: Workspace, store: MemoryModelStore, make_client: Callable[..., TestClient]
) -> None:
    from serving.api.app import create_app
    from serving.settings import ServiceSettings

    done: list[RetentionReceipt | None] = []
    app = create_app(
        place,
        store=store,
        now=lambda: AS_OF,
        settings=ServiceSettings(),
        housekeeping=lambda: done.append(run_if_due(place, lambda: keep(place), now=NOW)),
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        end = time.monotonic() + 60
        while not done and time.monotonic() < end:
            assert client.get("/v1/accounts/acct-05/score").status_code == 200
            time.sleep(0.02)
        app.state.service.refresh()
        assert client.get("/v1/accounts/acct-05/score").status_code == 200
    assert done
    assert done[0] is not None
    assert done[0].touched > 0


def test_the_command_says_what_it_removes(place: Workspace) -> None:
    place.change_settings(clock=NOW)
    words = ["retention", "run", "--workspace", str(place.root)]
    dry = CliRunner().invoke(keepwell.app, [*words, "--dry-run"])
    assert "Nothing was changed" in dry.output
    assert "feature.used" in dry.output
    done = CliRunner().invoke(keepwell.app, words)
    assert "Receipt: retention/receipt-" in " ".join(done.output.split())
    (place.root / "retention.toml").unlink()
    none = CliRunner().invoke(keepwell.app, words)
    assert "so all is kept" in " ".join(none.output.split())


@pytest.mark.slow
def test_keepwell_serve_erases_first_and_keeps_house(place: Workspace) -> None:
    """As a process: what a restore left pending is gone before it answers, then retention runs."""
    place.change_settings(clock=NOW)
    erased = ErasedSubjects(place.root)
    line = ErasureLine(
        erasure_id="e1",
        at=NOW.isoformat(),
        kind="account",
        subject=erased.digest("account", "acct-07"),
        key=name_of_key(erased.key),
    )
    set_pending(place, [line])
    service = Served(place)
    try:
        assert httpx.get(f"{service.url}/v1/accounts/acct-07/score", timeout=60).status_code == 404
        assert httpx.get(f"{service.url}/v1/accounts/acct-05/score", timeout=60).status_code == 200
        assert pending_erasures(place) == ()
        until = time.monotonic() + 120
        while last_run(place) is None and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        service.tell()
        service.program.communicate(timeout=120)
    (receipt,) = (place.root / FOLDER).glob("receipt-*.json")
    assert json.loads(receipt.read_text())["by"] == "keepwell serve"
    used = events_of(place).filter(pl.col("kind") == "user.session")
    assert used.filter(pl.col("occurred_at") < day(DAYS))["user_id"].drop_nulls().is_empty()
