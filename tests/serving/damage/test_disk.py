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


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own at a folder, which may only be read once its file system finds an error.

    Yields the file that lets it find one.
    """
    image = folder.with_name("disk.img")
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-e", "remount-ro", str(image)], check=True)
    folder.mkdir()
    with mounted(folder, "-o", "loop", str(image)):
        (folder / "lost+found").rmdir()
        found = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(folder)], capture_output=True, text=True, check=True
        )
        yield Path("/sys/fs/ext4") / Path(found.stdout.strip()).name / "trigger_fs_error"


@pytest.mark.skipif(
    shutil.which("mkfs.ext4") is None, reason="no disk can be made without mkfs.ext4"
)
def test_a_disk_that_may_only_be_read_from_some_moment_serves_scores_and_loses_nothing(
    untouched, tmp_path
):
    root = tmp_path / "served"
    with small_disk(root) as trigger:
        if not trigger.exists():
            pytest.skip("this kernel does not let a file system be told of an error")
        shutil.copytree(untouched, root, dirs_exist_ok=True)
        subprocess.run(["sync", "--file-system", str(root)], check=True)  # what is served is not
        with served(root) as service:
            check_recovered(service)
            taken = service.ask("next-actions").json()["items"][0]["decision_id"]
            trigger.write_text("1")
            with pytest.raises(OSError, match="Read-only"):
                (root / "written").touch()
            wait_until_degraded(service, "disk")
            assert (
                "(Read-only file system). Look for a fault of the disk" in degraded(service)["disk"]
            )
            statuses = service.statuses(seconds=SECONDS_TO_ANSWER)
            assert {name for name, status in statuses.items() if status != 200} == {
                "events",
                "stop",
            }
            again = service.ask("next-actions").json()["items"][0]["decision_id"]
            assert again == taken, "what is stored already is answered"
            with service.client(SECONDS_TO_ANSWER) as client:
                other = client.post("/v1/next-actions", json={"account_ids": ["acct-06"]}).json()
            assert (other["items"][0]["decision_id"], other["items"][0]["autonomy"]) == (None, 1)
            for answer in (service.ask("events"), service.ask("stop")):
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) > 0
        subprocess.run(["umount", str(root)], check=True)
        image = root.with_name("disk.img")
        subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
        subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
        with served(root) as service:
            check_recovered(service)
            with service.client() as client:
                assert client.get(f"/v1/decisions/{taken}").status_code == 200
