"""What a first and a second backup of a workspace take, and a restore: seconds, cpu and bytes.

``python -m pytest -m bench -s tests/benchmarks/bench_backup.py`` measures the workspace in
``KEEPWELL_WORKSPACE``, which is the CRM sample of ``make run`` by default.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.workspace import Workspace
from serving.data_protection.backup.make import make_backup
from serving.data_protection.backup.restore import RestoreOptions, restore
from serving.data_protection.backup.target import FolderTarget

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIMES = 5


def measured(work: Callable[[int], object]) -> str:
    """Medians of wall and cpu seconds."""
    wall, cpu = [], []
    for number in range(TIMES):
        began, used = time.perf_counter(), time.process_time()
        work(number)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return f"{statistics.median(wall):.2f} s, {statistics.median(cpu):.2f} s of cpu"


@pytest.mark.bench
@pytest.mark.parametrize("key", [None, "a key of the benchmark"])
def test_backups_of_a_workspace(tmp_path: Path, key: str | None) -> None:
    root = Path(os.environ.get("KEEPWELL_WORKSPACE", ".keepwell/crm"))
    if not root.is_dir():
        pytest.skip(f"{root} is not there; make run makes it")
    shutil.copytree(root, tmp_path / "workspace")
    workspace = Workspace(tmp_path / "workspace")
    targets = [FolderTarget(tmp_path / f"target-{number}") for number in range(TIMES)]
    first = measured(lambda number: make_backup(workspace, targets[number], now=NOW, key=key))
    made = make_backup(workspace, FolderTarget(tmp_path / "again"), now=NOW, key=key)
    again = measured(
        lambda number: make_backup(
            workspace, targets[number], now=NOW + timedelta(hours=1), key=key
        )
    )
    back = measured(
        lambda number: restore(
            targets[number],
            Workspace(tmp_path / f"restored-{number}"),
            RestoreOptions(),
            key=key,
            now=NOW,
        )
    )
    print(
        f"\n{'encrypted' if key else 'plain'}: {made.backup.manifest.bytes / 1e6:.1f} MB in "
        f"{len(made.backup.manifest.files)} files\n  first   {first}, "
        f"{made.bytes_added / 1e6:.1f} MB stored\n  second  {again}, 0 MB stored\n  restore {back}"
    )
