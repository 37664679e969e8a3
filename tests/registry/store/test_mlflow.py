from __future__ import annotations

import logging
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from forked_programs import Program, run_program

from registry.bundle.bundle import BundleError
from registry.integrity.signing import SigningKey
from registry.store.mlflow import QUIET, MlflowModelStore
from registry.store.store import NoChampionError, TrackingError, TrainingRun, UnknownModelError

AT = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow migrates an empty database through all its history: seconds, so once a session."""
    database = tmp_path_factory.getbasetemp() / "empty-mlflow" / "mlflow.db"
    if not database.exists():
        MlflowModelStore(f"sqlite:///{database}")._client.search_experiments()
    return database


def store_in(folder: Path) -> MlflowModelStore:
    return MlflowModelStore(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture
def home(tmp_path, empty_database):
    folder = tmp_path / "work space #ü"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def store(home):
    return store_in(home)


@pytest.fixture
def training_run(make_linear_bundle):
    def make(seed=0, label="churn", **changes):
        given = {
            "label": label, "name": f"run {seed}", "bundle": make_linear_bundle(seed),
            "started_at": AT - timedelta(minutes=5), "ended_at": AT, "params": {"trials": 30},
            "metrics": {"log_loss_90d": 0.2}, "tags": {"candidate": "logistic"},
            "plots": {"calibration.png": b"\x89PNG"}, "documents": {"model_card.md": "# Card"},
        }  # fmt: skip
        return TrainingRun(**{**given, **changes})

    return make


@pytest.fixture
def two_versions(store, training_run):
    for seed in (1, 2):
        store.register("churn", store.record_run(training_run(seed)))
    store.promote("churn", 1, evidence={}, by="ann", at=AT)
    return store


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ── what MLflow's own screens show ─────────────────────────────────────────────────────────────


def test_a_run_shows_its_numbers_its_origin_and_its_pictures(store, training_run):
    run = training_run()
    run_id = store.record_run(run)
    seen = store._client.get_run(run_id)
    assert seen.info.run_name == "run 0"
    assert seen.info.status == "FINISHED"
    assert seen.info.start_time == 1769937900000
    assert seen.info.end_time == 1769938200000
    assert seen.data.params == {"trials": "30"}
    assert seen.data.metrics == {"log_loss_90d": 0.2}
    bundle = run.bundle
    expected = {
        "candidate": "logistic", "keepwell.label": "churn",
        "keepwell.fingerprint": bundle.fingerprint, "keepwell.data": "abc",
        "keepwell.feature_contract": bundle.contract.fingerprint,
        "keepwell.as_of": "2026-01-31T00:00:00+00:00", "keepwell.code_version": "0.1.0",
    }  # fmt: skip
    assert {k: v for k, v in seen.data.tags.items() if not k.startswith("mlflow.")} == expected
    listed = {item.path for item in store._client.list_artifacts(run_id)}
    assert listed == {"bundle", "plots", "model_card.md", "feature_contract.json"}


def test_a_version_is_described_as_its_run_is(store, training_run):
    described = training_run(tags={"mlflow.note.content": "May serve."})
    version = store.register("churn", store.record_run(described))
    kept = store._client.get_model_version("keepwell-churn", str(version))
    assert kept.description == "May serve."


def test_nothing_is_written_outside_the_workspace_folder(home, training_run, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    store = store_in(home)
    store.register("churn", store.record_run(training_run()))
    assert files(elsewhere) == set()
    assert {path.split("/")[0] for path in files(home)} == {"mlflow.db", "artifacts"}


def test_aliases_are_mlflows_own(two_versions):
    aliases = two_versions._client.get_registered_model("keepwell-churn").aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {
        "champion": 1,
        "challenger": 2,
    }
    two_versions.promote("churn", 2, evidence={}, by="ann", at=AT)
    aliases = two_versions._client.get_registered_model("keepwell-churn").aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {"champion": 2}


# ── a folder that moves ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_workspace_in_another_place_goes_on_there(
    two_versions, training_run, home, tmp_path, how
):
    two_versions.register(
        "churn-formula", two_versions.record_run(training_run(9, "churn-formula"))
    )
    before = files(home)
    there = tmp_path / "other" / "place"
    there.parent.mkdir()
    (shutil.move if how == "moved" else shutil.copytree)(home, there)
    store = store_in(there)
    assert store.champion("churn").fingerprint == training_run(1).bundle.fingerprint
    run_id = store.record_run(training_run(3))
    assert store.register("churn", run_id) == 3
    assert (there / "artifacts" / "keepwell-churn" / run_id).is_dir()
    if how == "copied":
        assert files(home) == before
    else:
        assert not home.exists()


def test_mlflows_own_screens_follow_the_move(two_versions, training_run, home, tmp_path):
    two_versions.record_run(training_run(9, "churn-formula"))
    home.rename(tmp_path / "there")
    there = (tmp_path / "there").as_uri()
    store = store_in(tmp_path / "there")
    store.versions("churn")
    with sqlite3.connect(tmp_path / "there" / "mlflow.db") as link:
        addresses = {
            address
            for table, column in [("experiments", "artifact_location"), ("runs", "artifact_uri"),
                                  ("model_versions", "source")]
            for (address,) in link.execute(f"SELECT {column} FROM {table}")
            if "keepwell" in address
        }  # fmt: skip
    link.close()
    assert len(addresses) == 2 + 3 + 2
    assert all(address.startswith(f"{there}/artifacts/keepwell-churn") for address in addresses)
    assert store._client.get_experiment("0").artifact_location == f"{there}/artifacts/Default"
    run_id = store.versions("churn")[0].run_id
    assert store._client.list_artifacts(run_id, "plots")[0].path == "plots/calibration.png"


def test_a_database_that_may_only_be_read_still_serves_after_a_move(
    two_versions, training_run, home, tmp_path
):
    """As on a read-only mount: the addresses stay, and the bundle is found beside the database."""
    home.rename(tmp_path / "there")
    read_only = MlflowModelStore(f"sqlite:///{tmp_path / 'there' / 'mlflow.db'}")
    with sqlite3.connect(tmp_path / "there" / "mlflow.db") as link:
        link.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON experiments "
            "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        )
    link.close()
    assert read_only.champion("churn").fingerprint == training_run(1).bundle.fingerprint


def test_artifacts_may_be_kept_elsewhere(home, training_run, tmp_path):
    store = MlflowModelStore(f"sqlite:///{home / 'mlflow.db'}", tmp_path / "big disk")
    store.register("churn", store.record_run(training_run()))
    assert files(home) == {"mlflow.db"}
    assert store.load("churn", 1).fingerprint == training_run().bundle.fingerprint


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────


def test_reading_where_nothing_was_trained_creates_nothing(tmp_path):
    store = store_in(tmp_path)
    assert store.versions("churn") == ()
    with pytest.raises(NoChampionError):
        store.champion("churn")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("name", ["100%", "why?"])
def test_a_folder_that_mlflow_can_not_name_is_refused(tmp_path, training_run, name):
    with pytest.raises(TrackingError, match="Move the workspace to a folder without them"):
        store_in(tmp_path / name).record_run(training_run())
    assert files(tmp_path) == set()


def test_a_folder_that_can_not_be_made_is_an_error_in_words(tmp_path, training_run):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"could not be opened: .*file"):
        store_in(tmp_path / "file" / "workspace").record_run(training_run())


def test_a_database_appears_complete_and_alone(tmp_path):
    store_in(tmp_path / "new")._client.search_experiments()
    assert files(tmp_path) == {"new/mlflow.db"}


def test_only_the_draft_of_a_database_is_written_in_a_hurry(tmp_path):
    from sqlalchemy import Engine, create_engine, event

    found = set()

    def look(connection):
        link = connection.connection.dbapi_connection
        file = link.execute("PRAGMA database_list").fetchone()[2]
        [(level,)] = link.execute("PRAGMA synchronous").fetchall()
        found.add((str(Path(file).relative_to(tmp_path)).startswith(".mlflow-"), level))
        if not file.endswith("other.db"):  # a ledger, say, which another thread opens meanwhile
            other = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
            with other.begin():
                pass
            other.dispose()

    event.listen(Engine, "begin", look)
    try:
        store_in(tmp_path)._client.search_experiments()
    finally:
        event.remove(Engine, "begin", look)
    assert found == {(True, 0), (False, 2)}


def test_an_altered_bundle_is_refused(two_versions, home):
    run_id = two_versions.versions("churn")[0].run_id
    arrays = home / "artifacts" / "keepwell-churn" / run_id / "artifacts" / "bundle" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated or altered"):
        two_versions.champion("churn")


def test_a_bundle_that_was_replaced_by_a_whole_one_is_refused(two_versions, home):
    first, second = (
        home / "artifacts" / "keepwell-churn" / v.run_id / "artifacts" / "bundle"
        for v in two_versions.versions("churn")
    )
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(BundleError, match="not the one that was registered"):
        two_versions.champion("churn")


def test_a_deleted_bundle_is_refused(two_versions, home):
    shutil.rmtree(home / "artifacts")
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        two_versions.champion("churn")


def test_with_a_key_only_signed_bundles_are_used(home, two_versions, training_run):
    """What was kept before there was a key, or with another, is refused; what is new goes on."""
    uri, key = f"sqlite:///{home / 'mlflow.db'}", SigningKey(secret=b"sixteen bytes 16")
    keyed = MlflowModelStore(uri, key=key)
    with pytest.raises(BundleError, match=r"is not signed, .* Train the model again, or roll"):
        keyed.champion("churn")
    signed = keyed.register("churn", keyed.record_run(training_run(3)))
    assert keyed.load("churn", signed).fingerprint == training_run(3).bundle.fingerprint
    assert two_versions.load("churn", signed).fingerprint == training_run(3).bundle.fingerprint
    other = MlflowModelStore(uri, key=SigningKey(secret=b"another 16 bytes"))
    with pytest.raises(BundleError, match="was not signed with the key"):
        other.load("churn", signed)
    for file in (path for path in home.rglob("*") if path.is_file()):
        assert key.secret not in file.read_bytes()


def test_a_run_that_did_not_finish_is_not_registered(store, training_run):
    run_id = store.record_run(training_run())
    store._client.set_terminated(run_id, "KILLED")
    with pytest.raises(UnknownModelError, match="no finished run"):
        store.register("churn", run_id)


def test_a_file_that_is_no_database_is_an_error_in_words(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database" * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db could not be read: file is not a data"):
        store_in(tmp_path).versions("churn")


def test_a_server_that_is_away_is_an_error_in_words_without_the_password():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    store = MlflowModelStore(f"http://ann:secret@127.0.0.1:{port}")
    with pytest.raises(
        TrackingError, match=rf"tracking store http://127\.0\.0\.1:{port} could not list the vers"
    ) as raised:
        store.versions("churn")
    assert "secret" not in str(raised.value)
    assert "KEEPWELL_TRACKING_URI" in str(raised.value)


def test_a_refusal_of_mlflow_is_an_error_in_words(store, training_run):
    with pytest.raises(TrackingError, match=r"could not keep the run: .*keep!well"):
        store.record_run(training_run(params={"keep!well": 1}))


def test_mlflow_is_asked_to_be_quiet_before_it_is_imported(two_versions):
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert QUIET.keys() <= os.environ.keys()
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.INFO)


# ── a process that dies ────────────────────────────────────────────────────────────────────────

PROMOTE_UNTIL_KILLED = """
import os, signal, sys, time
from datetime import UTC, datetime
from registry.store.mlflow import MlflowModelStore
import mlflow  # once, so that each child starts at once

def promote_for_ever(uri, started):
    store = MlflowModelStore(uri)
    version = store.champion_version("churn").version
    while True:
        version = 3 - version
        store.promote("churn", version, evidence={"big": "x" * 9000}, by="ann",
                      at=datetime(2026, 2, 2, tzinfo=UTC))
        os.write(started, b"x")

for line in sys.stdin:
    reading, started = os.pipe()
    child = os.fork()
    if child == 0:
        promote_for_ever(sys.argv[1], started)
    os.read(reading, 1)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading), os.close(started)
    print("killed", flush=True)
"""


def kill_promotions(store: MlflowModelStore, home: Path, attempts: int, seed: int) -> int:
    """How many records were left without a move; the state is checked after every kill."""
    rng = random.Random(seed)
    promoter = Program(PROMOTE_UNTIL_KILLED, f"sqlite:///{home / 'mlflow.db'}")
    interrupted = 0
    for _ in range(attempts):
        known = len(store.history("churn"))
        promoter.stdin.write(f"{rng.uniform(0, 0.3)}\n")
        promoter.stdin.flush()
        assert promoter.stdout.readline() == "killed\n"
        history, champion = store.history("churn"), store.champion_version("churn").version
        assert history[-1].version == champion
        assert (
            store.champion("churn").fingerprint == store.versions("churn")[champion - 1].fingerprint
        )
        assert len(history) > known
        assert all(one.version != two.version for one, two in pairwise(history))
        interrupted = len(store._records("churn")) - len(history)
    promoter.communicate()
    return interrupted


def test_a_killed_promotion_leaves_the_old_champion_or_the_new(two_versions, home):
    kill_promotions(two_versions, home, attempts=2, seed=1)
    target = two_versions.history("churn")[-2].version
    assert two_versions.rollback("churn", by="eve", at=AT).version == target


@pytest.mark.slow
def test_many_killed_promotions_leave_the_old_champion_or_the_new(two_versions, home):
    assert kill_promotions(two_versions, home, attempts=150, seed=2) > 0


# ── several at once ────────────────────────────────────────────────────────────────────────────

PROMOTE_ON_SIGNAL = """
import sys
from datetime import UTC, datetime
from registry.store.mlflow import MlflowModelStore
from registry.store.store import ChampionChangedError
store, version = MlflowModelStore(sys.argv[1]), int(sys.argv[2])
known = len(store.history("churn"))
print("ready", flush=True)
sys.stdin.readline()
try:
    store.promote("churn", version, evidence={}, by=f"promoter {version}",
                  at=datetime(2026, 2, 2, tzinfo=UTC), known_changes=known)
    print("won", flush=True)
except ChampionChangedError as error:
    print(error, flush=True)
"""


def test_of_promotions_at_once_one_wins_and_the_others_are_told(two_versions, training_run, home):
    two_versions.register("churn", two_versions.record_run(training_run(3)))
    promoters = [
        Program(PROMOTE_ON_SIGNAL, f"sqlite:///{home / 'mlflow.db'}", str(version))
        for version in (2, 3)
    ]
    for promoter in promoters:
        assert promoter.stdout.readline() == "ready\n"
    for promoter in promoters:
        promoter.stdin.write("go\n")
        promoter.stdin.flush()
    told = [promoter.communicate()[0].strip() for promoter in promoters]
    assert told.count("won") == 1
    winner = told.index("won") + 2
    assert two_versions.champion_version("churn").version == winner
    lost = [text for text in told if text != "won"]
    assert all(f"promoter {winner} made version {winner} serve" in text for text in lost)
    assert [change.version for change in two_versions.history("churn")] == [1, winner]


# ── a disk that is full ────────────────────────────────────────────────────────────────────────

PROMOTE_WITHIN = """
import resource, sys
from datetime import UTC, datetime
from registry.store.mlflow import MlflowModelStore
from registry.store.store import TrackingError
uri, *limits = sys.argv[1:]
store = MlflowModelStore(uri)
history = store.history("churn")
for limit in map(int, limits):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.promote("churn", 2, evidence={"big": "x" * 50_000}, by="ann",
                      at=datetime(2026, 2, 2, tzinfo=UTC), known_changes=len(history))
        print("promoted", flush=True)
        break
    except TrackingError as error:
        print(error, flush=True)
"""


def test_a_full_disk_in_a_promotion_leaves_the_old_champion(two_versions, training_run, home):
    """The kernel refuses to let any file grow beyond a limit; the limit rises until it is enough.

    Below the database's size its journal or its pages cannot be written; at its size the record
    finds no room.
    """
    size = (home / "mlflow.db").stat().st_size
    limits = [0, 512, 1024, 4096, 5000, 9000, 16_384, size // 2, size, size + 4096, size + 16_384]
    done = run_program(PROMOTE_WITHIN, f"sqlite:///{home / 'mlflow.db'}", *map(str, limits))
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == len(limits)
    assert all("could not change the champion" in text for text in told)
    assert "Traceback" not in done.stderr
    store = store_in(home)
    assert [change.version for change in store.history("churn")] == [1]
    assert store.champion("churn").fingerprint == training_run(1).bundle.fingerprint
    # with room again it goes on, and nothing of what failed is left in the way
    store.promote("churn", 2, evidence={}, by="ann", at=AT, known_changes=1)
    assert store.champion("churn").fingerprint == training_run(2).bundle.fingerprint
    assert store.rollback("churn", by="ann", at=AT).version == 1


def test_a_disk_that_is_full_between_record_and_move_leaves_the_old_champion(two_versions, home):
    """The record fits into the database's free pages and the move does not get its journal."""
    with sqlite3.connect(home / "mlflow.db") as link:
        link.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON registered_model_aliases "
            "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        )
    link.close()
    with pytest.raises(TrackingError, match=r"could not change the champion: .*disk is full"):
        two_versions.promote("churn", 2, evidence={}, by="ann", at=AT)
    assert len(two_versions._records("churn")) == 2
    assert [change.version for change in store_in(home).history("churn")] == [1]
    with sqlite3.connect(home / "mlflow.db") as link:
        link.execute("DROP TRIGGER full")
    link.close()
    two_versions.promote("churn", 2, evidence={}, by="ann", at=AT)
    assert [change.version for change in store_in(home).history("churn")] == [1, 2]


def test_a_damaged_challenger_is_never_made_champion(two_versions, home):
    run_id = two_versions.versions("churn")[1].run_id
    folder = home / "artifacts" / "keepwell-churn" / run_id / "artifacts" / "bundle"
    (folder / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match="truncated or altered"):
        two_versions.promote("churn", 2, evidence={}, by="ann", at=AT)
    assert two_versions.champion_version("churn").version == 1


def test_nobody_rolls_back_to_a_damaged_version(two_versions, home):
    two_versions.promote("churn", 2, evidence={}, by="ann", at=AT)
    run_id = two_versions.versions("churn")[0].run_id
    folder = home / "artifacts" / "keepwell-churn" / run_id / "artifacts" / "bundle"
    (folder / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match="truncated or altered"):
        two_versions.rollback("churn", by="ann", at=AT)
    assert [change.version for change in two_versions.history("churn")] == [1, 2]


# ── a server ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_tracking_server_keeps_models_too(tmp_path, training_run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
               "--artifacts-destination", str(tmp_path / "server")]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **QUIET})
    try:
        store = MlflowModelStore(f"http://127.0.0.1:{port}")
        _wait_for(port)
        version = store.register("churn", store.record_run(training_run(4)))
        store.promote("churn", version, evidence={"gain": 0.1}, by="ann", at=AT)
        assert store.champion("churn").fingerprint == training_run(4).bundle.fingerprint
        assert store.history("churn")[0].evidence == {"gain": 0.1}
        with pytest.raises(UnknownModelError, match="no finished run"):
            store.register("churn", "0" * 32)
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    import time

    for _ in range(960):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.25)
    raise TimeoutError("The tracking server did not start within four minutes.")
