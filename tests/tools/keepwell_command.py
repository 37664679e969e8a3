"""Run a command of ``keepwell`` in a process of its own, which begins with its imports done.

Most commands take 1.5 to 4 s of cpu to import what they need, and hundreds of tests run one. What a
test says about imports, or about several programs at once, starts programs by ``subprocess``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from forked_programs import ROOT, run_program

COMMAND = """
import os
import runpy
from features.cli import options

options.out.width = options.err.width = int(os.environ["COLUMNS"])
runpy.run_path("SCRIPT", run_name="__main__")
""".replace("SCRIPT", str(ROOT / "keepwell.py"))


def run_keepwell(
    *words: str, cwd: Path, columns: int = 200, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command as a person starts it in a folder, in a terminal of so many columns without colour."""
    return run_program(
        COMMAND,
        *words,
        cwd=cwd,
        env={
            "PATH": "/usr/bin:/bin",
            "COLUMNS": str(columns),
            "NO_COLOR": "1",
            "HOME": str(cwd),
            "PYTHONPATH": str(ROOT),
            **environment,
        },
    )
