"""Looking at the champions of a workspace: what is written, what survives, who reads it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from keepwell_command import run_keepwell
from typer.testing import CliRunner

from features.cli.options import CommandError
from features.compute.backfill import backfill, month_starts
from features.events.schema import Event, events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from keepwell import app
from registry.bundle.calibration import Calibration
from registry.bundle.segment_gate import (
    EVERYONE,
    SWITCH_FILE,
    SegmentSwitchError,
    read_switch,
    segment_key,
)
from registry.monitoring.figures import FIGURES, newest_figures
from registry.store.mlflow import MlflowModelStore
from registry.store.store import TrainingRun
from serving.recommendations.snapshot import scores_as_of
from training.monitor.run import MonitorError
from training.monitor.workspace import folder_of, monitor_workspace
from training.pipeline.workspace import train_workspace

ROOT = Path(__file__).parents[3]
TRAINED = datetime(2023, 1, 1, tzinfo=UTC)
END = datetime(2023, 6, 1, tzinfo=UTC)
SMALL = segment_key("small")


def telemetry(company) -> list[Event]:
    """What the small company's contracts come with: use that falls with the risk, and segments."""
    rng = np.random.default_rng(5)
    told = []
    for number, risk in enumerate(company.risk):
        account, start = f"a{number:03}", datetime(2022, 1, 1, tzinfo=UTC)
        told.append(
            Event(
                account_id=account,
                kind="account.updated",
                occurred_at=start,
                recorded_at=start,
                event_id=f"{account}-s",
                properties=json.dumps({"segment": "small" if number % 2 else "mid"}),
            )
        )
        for week in range(74):
            at = start + timedelta(days=7 * week, hours=5)
            used = rng.poisson(np.exp(2.5 - 0.6 * risk))
            if used:
                told.append(
                    Event(
                        account_id=account,
                        kind="feature.used",
                        occurred_at=at,
                        recorded_at=at,
                        event_count=int(used),
                        event_id=f"{account}-{week}",
                        properties=json.dumps({"name": "search"}),
                    )
                )
    return told


@pytest.fixture(scope="module")
def made(small_company, tmp_path_factory) -> Path:
    """A workspace whose champion was trained half-way, with two champions of churn to choose from:
    version 1 as it was trained, version 2 promises far too much."""
    workspace = Workspace(tmp_path_factory.mktemp("watched") / "ws", environment={})
    company = small_company(n_accounts=300, months=18, leaves=0.045)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    for name, events in (("contracts", company.events), ("use", events_frame(telemetry(company)))):
        lake.append(events, source="test", file=name, now=END, complete_until=END)
    workspace.change_settings(complete_until=END)
    backfill(workspace, month_starts(datetime(2022, 2, 1, tzinfo=UTC), END))
    store = MlflowModelStore(workspace.tracking_uri)
    (result,) = train_workspace(
        workspace,
        ("churn",),
        store=store,
        as_of=TRAINED,
        trials=0,
        seed=1,
        clock=lambda: TRAINED,
        by=None,
    )
    kept = result.bundle.calibration
    boasting = replace(
        result.bundle,
        calibration=Calibration(
            horizons=kept.horizons,
            slope=kept.slope,
            draws=kept.draws,
            intercepts=tuple(a + 1.5 for a in kept.intercepts),
        ),
    )
    run = TrainingRun(
        label="churn", name="boasting", bundle=boasting, started_at=TRAINED, ended_at=TRAINED
    )
    store.register("churn", store.record_run(run))
    return workspace.root


@pytest.fixture
def place(made, tmp_path) -> Workspace:
    return Workspace(shutil.copytree(made, tmp_path / "ws"), environment={})


def champion(place: Workspace, version: int) -> MlflowModelStore:
    store = MlflowModelStore(place.tracking_uri)
    store.promote("churn", version, evidence={}, by="ann", at=TRAINED)
    return store


def look(place: Workspace, store: MlflowModelStore, as_of: datetime):
    (watched,) = monitor_workspace(place, ("churn",), store=store, as_of=as_of)
    return watched


def keepwell(place: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    return run_keepwell(*words, "-w", "ws", cwd=place.root.parent, columns=400)


def test_the_command_tells_keeps_and_exits_by_what_it_found(place):
    champion(place, 1)
    done = keepwell(place, "monitor")
    said = done.stdout
    assert done.returncode in (0, 1), done.stderr
    assert (done.returncode == 0) == ("Nothing needs a person." in said), said
    assert "churn version 1, trained on what was known on 2023-01-01" in said
    assert "- Features: " in said
    assert "- Within 30 days: " in said
    assert "immature" in said or "Within 90 days" in said
    assert "- Before labels mature: " in said
    assert "- Everyone: the model answers; " in said
    assert "expansion: no version was promoted" in said
    folder = folder_of(place, END)
    document = json.loads((folder / "churn.json").read_text(encoding="utf-8"))
    assert document["model"] == "churn version 1"
    assert document["lines"][0] in said
    for name in ("features", "scores", "calibration"):
        assert (folder / f"churn_{name}.png").read_bytes().startswith(b"\x89PNG")
    figures = (place.monitoring_dir / "keepwell.prom").read_text(encoding="utf-8")
    for name in FIGURES:
        assert f"# HELP {name} " in figures
    ratio = next(one["ratio"]["value"] for one in document["matured"] if one["horizon"] == 30)
    assert f'keepwell_observed_over_expected{{horizon_days="30",label="churn"}} {ratio}' in figures


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("churn", "--as-of", "2022-12-01"), 3, "Look at it as of a later day"),
        (("happiness",), 2, "happiness"),
    ],
    ids=["before the training", "no such label"],
)
def test_what_can_not_be_looked_at_is_one_paragraph(place, words, code, said):
    champion(place, 1)
    done = keepwell(place, "monitor", *words)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_where_nothing_was_promoted_there_is_nothing_to_look_at(place):
    champion(place, 1)
    done = CliRunner().invoke(app, ["monitor", "expansion", "-w", str(place.root)])
    assert isinstance(done.exception, CommandError)
    assert str(done.exception).startswith(
        "expansion: no version was promoted, so there is nothing to look at. Promote one "
        "(keepwell models promote expansion"
    )


def test_a_switch_that_can_not_be_read_is_not_overwritten(place):
    champion(place, 1)
    place.monitoring_dir.mkdir()
    (place.monitoring_dir / SWITCH_FILE).write_text("{", encoding="utf-8")
    done = CliRunner().invoke(app, ["monitor", "churn", "-w", str(place.root)])
    assert isinstance(done.exception, SegmentSwitchError)
    assert "does not say which segments a model may answer for" in str(done.exception)
    assert (place.monitoring_dir / SWITCH_FILE).read_text(encoding="utf-8") == "{"


def test_a_model_that_promises_too_much_is_withheld_at_the_second_look_and_the_formula_answers(
    place,
):
    store = champion(place, 2)
    file = place.monitoring_dir / SWITCH_FILE
    fingerprint = store.champion("churn").fingerprint
    first = look(place, store, datetime(2023, 4, 1, tzinfo=UTC))
    assert {one.key: one.finding for one in first.seen.segments}[EVERYONE] == "worse"
    assert "(look 1 of 2 towards being withheld)" in " ".join(first.lines)
    assert read_switch(file).withheld(fingerprint) == {}
    again = look(place, store, datetime(2023, 4, 1, tzinfo=UTC))  # nothing new is known
    assert read_switch(file).withheld(fingerprint) == {}
    assert again.seen == first.seen
    second = look(place, store, datetime(2023, 6, 1, tzinfo=UTC))
    assert "- Everyone: WITHHELD since 2023-06-01; worse: " in " ".join(second.lines)
    assert second.needs_person
    held = [
        s
        for s in scores_as_of(place, store, datetime(2023, 6, 1, tzinfo=UTC))
        if not s.has_left and s.attributes.get("contract_status") == "active"
    ]
    assert {s.source for s in held} == {"health_formula"}
    (why,) = {s.degraded for s in held}
    assert "For every account the model is withheld since 2023-06-01: of" in why
    assert "as many as promised happened" in why or "above that of the health formula" in why


def test_a_good_model_goes_on(place):
    store = champion(place, 1)
    for month in (4, 5, 6):
        watched = look(place, store, datetime(2023, month, 1, tzinfo=UTC))
    assert (
        read_switch(place.monitoring_dir / SWITCH_FILE).withheld(
            store.champion("churn").fingerprint
        )
        == {}
    )
    assert not [key for key in watched.seen.alarms if key == EVERYONE]


def test_what_was_interrupted_is_completed_and_counts_no_look_twice(place):
    store = champion(place, 2)
    april = datetime(2023, 4, 1, tzinfo=UTC)
    place.monitoring_dir.mkdir()
    folder_of(place, april).write_bytes(b"")  # pictures cannot be written here
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        look(place, store, april)
    switch = (place.monitoring_dir / SWITCH_FILE).read_bytes()  # what protects is there
    folder_of(place, april).unlink()
    assert look(place, store, april).files
    assert (place.monitoring_dir / SWITCH_FILE).read_bytes() == switch
    assert newest_figures(place.monitoring_dir)


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from features.workspace_files import write_atomically
from registry.bundle.segment_gate import EVERYONE, Look, SegmentSwitch
switch, at = SegmentSwitch(), datetime(2026, 1, 1, tzinfo=UTC)
while True:
    at += timedelta(days=1)
    look = Look(finding="worse", known_to=at, because="x" * 20_000)
    switch = switch.looked("model", {EVERYONE: look}, at=at)
    write_atomically(Path(sys.argv[1]), switch.text().encode())
    print("written", flush=True)
"""


def test_a_kill_between_writes_leaves_the_old_switch_or_the_new_one(tmp_path):
    file = tmp_path / SWITCH_FILE
    for wait in np.random.default_rng(2).uniform(0, 0.02, 8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        (state,) = read_switch(file).of("model").values()
        assert state.known_to is not None


def test_a_moment_before_the_training_is_refused(place):
    store = champion(place, 1)
    with pytest.raises(MonitorError, match="Look at it as of a later day"):
        look(place, store, datetime(2022, 12, 1, tzinfo=UTC))
    assert not place.monitoring_dir.exists()


def test_of_a_champion_that_can_not_be_read_only_that_is_said(place):
    store = champion(place, 1)
    run_id = store.versions("churn")[0].run_id
    bundle = place.root / "artifacts" / "keepwell-churn" / run_id / "artifacts" / "bundle"
    (bundle / "bundle.json").write_text("{}", encoding="utf-8")
    watched = look(place, MlflowModelStore(place.tracking_uri), END)
    assert watched.seen is None
    assert watched.needs_person
    assert "the champion cannot be looked at, and does not score either" in watched.lines[0]
