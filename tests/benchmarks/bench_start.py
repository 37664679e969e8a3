"""The start of the service with many accounts: until it lives, and until all are scored.

``KEEPWELL_BENCH_WORKSPACE`` is a finished workspace, such as that of ``make run``; its accounts are
copied under other ids until there are ``KEEPWELL_BENCH_ACCOUNTS``, 20,000 by default.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import polars as pl
import psutil
import pytest
from interleaved import ROOT, write_section
from served_process import free_port

from features.compute.snapshot_store import SnapshotStore
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "20000"))
ROUNDS = 5
GOAL_SECONDS = 10


def with_many_accounts(root: Path) -> Workspace:
    """A copy of the workspace whose newest snapshots have as many accounts."""
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        pytest.skip("KEEPWELL_BENCH_WORKSPACE names no finished workspace")
    shutil.copytree(given, root)
    workspace = Workspace(root, environment={})
    snapshots = SnapshotStore(workspace.snapshots_dir)
    for moment in snapshots.moments()[-6:]:  # the newest, and those that it is compared with
        one = snapshots.read(moment)
        copies = [
            one.with_columns(pl.col("account_id") + (f"-{n}" if n else ""))
            for n in range(-(-ACCOUNTS // one.height))
        ]
        newest = pl.concat(copies).head(ACCOUNTS)
        snapshots.write(newest, digest=snapshots.digest(moment) or "")
    WorkspaceFeatures(workspace).publish(newest)
    return workspace


def start(workspace: Workspace) -> Mapping[str, float]:
    """Seconds until the service lives and until it is ready, and the cpu seconds up to then."""
    port, began, found = free_port(), time.monotonic(), {}
    words = ("serve", "--workspace", str(workspace.root), "--port", str(port))
    program = subprocess.Popen([sys.executable, str(ROOT / "keepwell.py"), *words])
    process = psutil.Process(program.pid)
    while "readyz" not in found and time.monotonic() < began + 300:
        for path in ("healthz", "readyz"):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=60).status_code == 200:
                    found.setdefault(path, time.monotonic() - began)
        time.sleep(0.02)
    used = process.cpu_times()
    program.terminate()
    program.wait(60)
    return {**found, "cpu": used.user + used.system}


def test_the_service_starts_with_many_accounts(tmp_path: Path) -> None:
    workspace = with_many_accounts(tmp_path / "w")
    start(workspace)  # compiled
    rounds = [start(workspace) for _ in range(ROUNDS)]
    lines = [
        f"| {what} | {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f}) |"
        for what, name in (
            ("`/healthz` answers, s", "healthz"),
            ("`/readyz` answers 200, s", "readyz"),
            ("cpu until then, s", "cpu"),
        )
        for values in [[one[name] for one in rounds]]
    ]
    write_section(
        "The start with many accounts",
        "\n".join(
            [
                f"`keepwell serve` with {ACCOUNTS:,} accounts, models and reasons, {ROUNDS} starts (goal: "
                f"ready in {GOAL_SECONDS} s).",
                "",
                "| | median (least to most) |",
                "|---|---|",
                *lines,
                "",
                f"Load average {psutil.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
            ]
        ),
    )
    assert all("readyz" in one for one in rounds)
