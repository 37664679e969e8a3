"""An erasure names the models that learned from an account, until they are trained again."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from small_company import AS_OF

from features.compute.snapshot_store import SnapshotStore
from features.events.subject import Subject
from features.workspace import Workspace
from registry.bundle.bundle import ModelBundle
from registry.store.store import MemoryModelStore
from serving.data_protection.erasure.trained_on import models_trained_on

ACCOUNT = Subject(kind="account", id="acct-05")
DAY = timedelta(days=1)


@pytest.fixture
def trained_at(own_workspace: Workspace, churn_bundle: ModelBundle) -> datetime:
    """When the churn model was trained; the account was in two snapshots before, and in one after."""
    snapshots = SnapshotStore(own_workspace.snapshots_dir)
    frame = snapshots.read(AS_OF)
    for moment in snapshots.moments():
        snapshots.remove(moment)
    at = churn_bundle.metadata.as_of
    others = pl.col("account_id") != ACCOUNT.id
    for moment, rows in ((at - 60 * DAY, frame), (at - 30 * DAY, frame), (at + DAY, frame),
                         (at - 90 * DAY, frame.filter(others))):  # fmt: skip
        snapshots.write(rows.with_columns(as_of=pl.lit(moment, pl.Datetime("us", "UTC"))))
    return at


def test_versions_are_named_that_saw_snapshots_of_an_account(
    own_workspace: Workspace, store: MemoryModelStore, trained_at: datetime
) -> None:
    found = {one.label: one for one in models_trained_on(own_workspace, store, ACCOUNT)}
    churn = found["churn"]
    assert (churn.version, churn.moments, churn.serves) == (1, 2, True)
    assert churn.as_of == trained_at.isoformat()
    assert churn.words == (
        f"churn version 1 of {trained_at:%Y-%m-%d} (serves) learned from up to 2 rows of this account; "
        f"a training from now on has none: keepwell train churn"
    )


def test_once_the_account_is_in_no_snapshot_before_it_a_model_is_not_named(
    own_workspace: Workspace, store: MemoryModelStore, trained_at: datetime
) -> None:
    snapshots = SnapshotStore(own_workspace.snapshots_dir)
    for moment in snapshots.moments():
        if moment < trained_at:
            frame = snapshots.read(moment)
            snapshots.write(frame.filter(pl.col("account_id") != ACCOUNT.id))
    assert "churn" not in {one.label for one in models_trained_on(own_workspace, store, ACCOUNT)}


def test_no_model_learned_from_a_person_or_from_nobody(
    own_workspace: Workspace, store: MemoryModelStore, trained_at: datetime
) -> None:
    for subject in (
        Subject(kind="account", id="nobody"),
        Subject(kind="person", id="ann@example.org"),  # no model reads anything of a person
    ):
        assert models_trained_on(own_workspace, store, subject) == ()
