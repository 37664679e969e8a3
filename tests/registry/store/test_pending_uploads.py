from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from registry.integrity.signing import SigningKey
from registry.store.pending_uploads import PendingUploadError, PendingUploads
from registry.store.store import MemoryModelStore, TrackingError, TrainingRun

AT = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)


class StoreThatFails(MemoryModelStore):
    """A store whose server goes away at one of its questions, and comes back when told so."""

    def __init__(self, fails_at: str | None = None) -> None:
        super().__init__()
        self.fails_at = fails_at

    def _maybe(self, question: str) -> None:
        if self.fails_at == question:
            raise TrackingError(f"The tracking store could not {question}.")

    def record_run(self, run: TrainingRun) -> str:
        self._maybe("record")
        return super().record_run(run)

    def register(self, label: str, run_id: str) -> int:
        self._maybe("register")
        version = super().register(label, run_id)
        self._maybe("answer after it registered")
        return version


@pytest.fixture
def run(make_linear_bundle):
    return TrainingRun(
        label="churn", name="churn of a test", bundle=make_linear_bundle(), started_at=AT,
        ended_at=AT + timedelta(minutes=1), params={"leaves": 5, "kept": True, "why": "a: b"},
        metrics={"log_loss_90d": 0.25}, tags={"model": "linear"},
        plots={"calibration.png": b"\x89PNG\x00"}, documents={"model_card.md": "# Card – é"},
    )  # fmt: skip


@pytest.fixture
def waiting(tmp_path):
    return PendingUploads(folder=tmp_path / "waiting-runs")


def upload(waiting, store):
    return [(one.label, one.version) for one in waiting.upload(store, by="ann", clock=lambda: AT)]


def test_a_run_that_waited_is_the_run_that_was_kept(waiting, run):
    kept = waiting.read(waiting.save(run))
    assert kept.bundle.fingerprint == run.bundle.fingerprint
    assert replace(kept, bundle=run.bundle) == run


def test_keeping_a_run_twice_keeps_it_once(waiting, run):
    assert waiting.save(run) == waiting.save(run)
    assert len(waiting.places()) == 1


def test_an_upload_registers_the_oldest_first_and_leaves_nothing(waiting, run):
    waiting.save(replace(run, name="newer", started_at=AT + timedelta(hours=1)))
    waiting.save(replace(run, name="older"))
    store = MemoryModelStore()
    assert upload(waiting, store) == [("churn", 1), ("churn", 2)]
    assert [v.run_name for v in store.versions("churn")] == ["older", "newer"]
    assert store.history("churn") == ()
    assert list(waiting.folder.iterdir()) == []
    assert upload(waiting, store) == []


def test_the_calibrated_formula_serves_once_it_is_uploaded(waiting, run):
    store = MemoryModelStore()
    waiting.save(replace(run, label="churn-formula"))
    upload(waiting, store)
    (change,) = store.history("churn-formula")
    assert (change.version, change.by) == (1, "ann")


def test_where_nothing_waits_nothing_is_uploaded(waiting):
    assert upload(waiting, MemoryModelStore()) == []


@pytest.mark.parametrize("fails_at", ["record", "register", "answer after it registered"])
def test_an_upload_that_was_interrupted_goes_on_and_makes_no_version_twice(waiting, run, fails_at):
    store = StoreThatFails(fails_at)
    waiting.save(run)
    with pytest.raises(TrackingError, match=f"could not {fails_at}"):
        upload(waiting, store)
    assert len(waiting.places()) == 1
    store.fails_at = None
    assert upload(waiting, store) == [("churn", 1)]
    assert len(store.versions("churn")) == 1
    assert list(waiting.folder.iterdir()) == []


def test_a_run_that_the_server_lost_meanwhile_is_uploaded_again(waiting, run):
    waiting.save(run)
    with pytest.raises(TrackingError, match="could not register"):
        upload(waiting, StoreThatFails("register"))
    assert upload(waiting, MemoryModelStore()) == [("churn", 1)]


@pytest.mark.parametrize("name", ["run.json", "bundle-bundle.json", "manifest.json"])
def test_a_run_that_was_altered_is_refused_and_the_others_wait(waiting, run, name):
    place = waiting.save(run)
    waiting.save(replace(run, started_at=AT + timedelta(hours=1)))
    (place / name).write_bytes((place / name).read_bytes()[:-9])
    store = MemoryModelStore()
    with pytest.raises(PendingUploadError, match=r"cannot be used: .*the other runs wait unharmed"):
        upload(waiting, store)
    assert store.versions("churn") == ()
    assert len(waiting.places()) == 2


def test_with_a_key_only_signed_runs_are_uploaded(waiting, run):
    keyed = replace(waiting, key=SigningKey(secret=b"a key that nobody guesses"))
    waiting.save(run)
    with pytest.raises(PendingUploadError, match="is not signed"):
        upload(keyed, MemoryModelStore())
    keyed.save(replace(run, started_at=AT + timedelta(hours=1)))
    assert keyed.read(keyed.places()[1]).name == run.name


def test_where_there_is_no_room_to_wait_both_is_said(tmp_path, run):
    (tmp_path / "waiting-runs").write_text("a file where the folder should be")
    with pytest.raises(
        PendingUploadError, match=r"cannot be kept in waiting-runs either: .*Make ro"
    ):
        PendingUploads(folder=tmp_path / "waiting-runs").save(run)
