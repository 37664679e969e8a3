"""A workspace that may only be read, and a disk that is full: scores are served all the same."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from served_workspace import served
from store_degradation import SECONDS_TO_ANSWER, check_recovered, degraded, wait_until_degraded


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted at a folder; skips where this machine does not let the tests do it."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this user may not mount, so no disk can be made full or read-only here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_workspace_that_may_only_be_read_serves_scores(workspace):
    with mounted(workspace, "--bind", str(workspace)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(workspace)], check=True)
        with served(workspace) as service:
            statuses = service.statuses(seconds=SECONDS_TO_ANSWER)
            assert statuses["score"] == statuses["healthz"] == 200
            assert statuses["events"] == 503


def test_a_disk_that_is_full_serves_scores_and_goes_on_when_there_is_room(untouched, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        root = disk / "full"
        shutil.copytree(untouched, root)
        with served(root) as service:
            check_recovered(service)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            wait_until_degraded(service, "disk")
            assert "No space left on device" in degraded(service)["disk"]
            statuses = service.statuses(seconds=SECONDS_TO_ANSWER)
            assert statuses["score"] == statuses["page"] == statuses["healthz"] == 200
            assert 500 not in statuses.values()
            ballast.unlink()
            check_recovered(service)
