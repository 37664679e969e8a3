"""The files that belong to the project, as git lists them."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(scope="session")
def tracked_files(pytestconfig) -> list[str]:
    root = pytestconfig.rootpath
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    run = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=root, capture_output=True, text=True, check=True
    )
    return [line for line in run.stdout.splitlines() if (root / line).exists()]
