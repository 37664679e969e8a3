"""``keepwell`` on a machine whose clock is turned while it runs, by libfaketime.

What libfaketime answers to processes is another wall clock; for how long the machine has run stays
what it is, and so do the times of files, as where somebody sets the clock of a real machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from forked_programs import ROOT
from served_process import free_port

LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
SECONDS_TO_START = 120.0

SERVE = """
import runpy
import sys
import serving.api.app

serving.api.app.create_app.__kwdefaults__["refresh_seconds"] = 1.0
sys.argv[0] = "keepwell"
runpy.run_path("SCRIPT", run_name="__main__")
""".replace("SCRIPT", str(ROOT / "keepwell.py"))
"""``keepwell``, whose service looks at its clock more often than it usually does."""

SLEEP = """
import select
import time

time.sleep = lambda seconds: select.select([], [], [], max(0.0, seconds))
"""
"""libfaketime measures a sleep until a moment of the clock that it leaves alone by the other clock, and
``time.sleep`` is such a sleep: it would fail. So it is another kind of sleep here."""


class FakedClock:
    """A clock that processes see, and that is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self._modules = folder / "modules"
        self._modules.mkdir()
        (self._modules / "sitecustomize.py").write_text(SLEEP)
        self.turn(timedelta(0))

    def turn(self, by: timedelta) -> None:
        """Let the clock be so far from the real one, for processes that run too."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{by.total_seconds():+.0f}\n")
        beside.replace(self._file)

    def processes_below(self) -> list[psutil.Process]:
        """The workers of the service that is served."""
        found = []
        for one in psutil.Process(self._served).children():
            with contextlib.suppress(psutil.Error):  # it has ended
                if "serve" in one.cmdline():
                    found.append(one)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What lets a process see it."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def start(self, root: Path, *words: str, **options: object) -> subprocess.Popen[str]:
        """A command that sees this clock, about the workspace at ``root``."""
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, *words, "--workspace", str(root)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(root.parent),
                "COLUMNS": "200",
                "NO_COLOR": "1",
                "PYTHONPATH": f"{ROOT}:{self._modules}",
                **self.environment,
            },
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def run(self, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command says that sees this clock."""
        program = self.start(root, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, problem = program.communicate(timeout=SECONDS_TO_START)
        return subprocess.CompletedProcess(words, program.returncode, said, problem)

    @contextmanager
    def served(self, root: Path, *more: str) -> Iterator[str]:
        """The address of the service of a workspace, which sees this clock, until the block ends."""
        port = free_port()
        with (root.parent / f"{root.name}.log").open("a") as log:
            words = ("serve", "--port", str(port), *more)
            program = self.start(root, *words, stdout=log, stderr=log)
            self._served = program.pid
            try:
                _wait(f"http://127.0.0.1:{port}", program)
                yield f"http://127.0.0.1:{port}"
            finally:
                if program.poll() is None:
                    os.kill(program.pid, signal.SIGTERM)
                    try:
                        program.wait(timeout=SECONDS_TO_START)
                    finally:
                        program.kill()


def _wait(address: str, program: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while program.poll() is None and time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz", timeout=30).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"it does not serve (ended with {program.poll()})")
