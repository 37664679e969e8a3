"""The command `keepwell backtest` on a workspace: a table, a file, and readable refusals."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from keepwell_command import run_keepwell
from typer.testing import CliRunner

from features.cli.options import CommandError
from features.compute.backfill import backfill, month_starts
from features.compute.snapshot_store import SnapshotStore
from features.events.schema import EVENT_SCHEMA
from features.lake.lake import Lake
from features.workspace import Workspace
from keepwell import app
from training.backtest.run import BacktestError
from training.backtest.workspace import backtest_workspace, check_reach
from training.dataset.labels import label_named

ROOT = Path(__file__).parents[3]
END = datetime(2023, 6, 1, tzinfo=UTC)


def keepwell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell(*words, cwd=cwd)


@pytest.fixture(scope="module")
def place(small_company, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("back_tested")
    workspace = Workspace(root / "ws")
    company = small_company(n_accounts=160, leaves=0.05)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    lake.append(
        company.events.select(*EVENT_SCHEMA),
        source="test",
        file="events",
        now=company.known_until,
        complete_until=company.known_until,
    )
    workspace.change_settings(complete_until=END)
    backfill(workspace, month_starts(datetime(2022, 2, 1, tzinfo=UTC), END))
    return root


def test_it_prints_tables_and_writes_json(place: Path) -> None:
    done = keepwell(
        "backtest",
        "churn",
        "-w",
        "ws",
        "--origins",
        "2",
        "--capacity",
        "7",
        "--out",
        "report.json",
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "churn: 2 origins",
        "churn within 90 days",
        "Paired difference",
        "The first 7 accounts of every cutoff",
        "by tenure",
        "immature",
        "against the base rate",
    ):
        assert words in done.stdout
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert len(report["origins"]) == 2
    assert report["summary"] in " ".join(done.stdout.split())


def test_bad_input_is_refused_in_a_sentence(place: Path) -> None:
    done = keepwell("backtest", "churn", "--as-of", "2022-05-01", "-w", "ws", cwd=place)
    assert done.returncode == 3
    assert "is not estimable" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("churn", "--capacity", "0"), BacktestError, "A capacity of 0 accounts captures nothing"),
        (
            ("churn", "--origins", "1"),
            BacktestError,
            "A back-test needs at least 2 origins; 1 asked",
        ),
        (
            ("leaving",),
            CommandError,
            "There is no label 'leaving'. Choose one of: churn, expansion",
        ),
        (("renewals",), CommandError, "trial_conversion, renewal."),
        (("renewal", "--origins", "1"), BacktestError, "needs at least 2 origins; 1 asked"),
    ],
    ids=["capacity", "origins", "label", "more of one", "origins of renewals"],
)
def test_words_that_can_not_be_are_refused(place: Path, words, error, said) -> None:
    done = CliRunner().invoke(app, ["backtest", *words, "-w", str(place / "ws")])
    assert isinstance(done.exception, error)
    assert said in str(done.exception)


def test_snapshots_of_older_declarations_are_to_be_made_again(place: Path) -> None:
    workspace = Workspace(place / "ws")
    store = SnapshotStore(workspace.snapshots_dir)
    first = store.moments()[0]
    whole = store.read(first)
    whole.drop("mrr_per_seat").write_parquet(store.path(first))
    try:
        with pytest.raises(BacktestError, match=r"lacks 1 feature\(s\) .* such as mrr_per_seat"):
            backtest_workspace(workspace, "churn", as_of=END, n_origins=2, capacity=5)
    finally:
        whole.write_parquet(store.path(first))


def test_where_the_data_begin_late_nobody_is_sent_to_make_older_snapshots() -> None:
    label, end = label_named("churn"), datetime(2026, 3, 1, tzinfo=UTC)
    cutoffs = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    used = cutoffs[0] - timedelta(days=14)
    with pytest.raises(BacktestError, match=r"there are 1\. Older snapshots would not help, since"):
        check_reach(label, cutoffs, end, used)
    check_reach(label, cutoffs, end, used - timedelta(days=200))  # older ones may help
