"""An erasure names what learned from an account, models and measured effects, until it is made again."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from small_company import AS_OF

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.effects.effects_file import EFFECTS_FILE, write_effects
from features.compute.snapshot_store import SnapshotStore
from features.events.subject import Subject
from features.workspace import Workspace
from registry.bundle.bundle import ModelBundle
from registry.store.store import MemoryModelStore
from serving.data_protection.erasure.trained_on import effects_measured_with, models_trained_on

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


@pytest.mark.parametrize("days", [0, -1])
def test_effects_are_named_that_were_measured_while_the_account_was_there(
    own_workspace: Workspace, days: int
) -> None:
    first = SnapshotStore(own_workspace.snapshots_dir).moments()[0]
    effect = ActionEffect(
        action_id="success_call", segment=None, estimate=0.05, standard_error=0.01, n=120,
        effective_n=100.0, grade="C", measured_from=first - 90 * DAY, measured_to=first + days * DAY,
        source="a log", outcome="retention", horizon_days=90, low=0.03, high=0.07, why="",
        untouched_risk=0.2,
    )  # fmt: skip
    write_effects(MeasuredEffects(effects=(effect,)), own_workspace.reports_dir)
    said = effects_measured_with(own_workspace, ACCOUNT)
    assert len(said) == (days == 0)
    if said:
        assert said[0].startswith(f"the measured effects of success_call, up to {first:%Y-%m-%d}, ")
        assert "among 120 cases" in said[0]
        assert said[0].endswith("keepwell effects")
    (own_workspace.reports_dir / EFFECTS_FILE).write_text("{", encoding="utf-8")
    assert "cannot be said" in effects_measured_with(own_workspace, ACCOUNT)[0]
    assert effects_measured_with(own_workspace, Subject(kind="person", id="ann@example.org")) == ()
