"""Run a command of ``keepwell`` in a process of its own, which begins with its imports done.

Most commands take 1.5 to 4 s of cpu to import what they need, and hundreds of tests run one. Here one
process imports it for all tests of a worker and forks for each command: folder, environment, output
and exit code are those of a program that a person starts. It never runs a command itself; after one it
imports what that one had imported besides. What a test says about imports, or about several programs
at once, starts programs by ``subprocess``.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "keepwell.py"


def run_keepwell(
    *words: str, cwd: Path, columns: int = 200, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command as a person starts it in a folder, in a terminal of so many columns without colour."""
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "words": words,
            "cwd": str(cwd),
            "folder": folder,
            "environment": {
                "PATH": "/usr/bin:/bin",
                "COLUMNS": str(columns),
                "NO_COLOR": "1",
                "HOME": str(cwd),
                "PYTHONPATH": str(ROOT),
                **environment,
            },
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        said, complained = (
            Path(folder, name).read_text(encoding="utf-8", errors="replace")
            for name in ("stdout", "stderr")
        )
    return subprocess.CompletedProcess(["keepwell", *words], code, said, complained)


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # it ends when nothing more can be asked
    return server


def serve() -> None:
    """Fork for each request, and answer with the exit code."""
    importlib.import_module("features.cli.options")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become_command(request)
        _, status = os.waitpid(child, 0)
        modules = Path(request["folder"], "modules")
        names = modules.read_text(encoding="utf-8").splitlines() if modules.exists() else []
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
        _import(names)


def _become_command(request: dict[str, object]) -> None:
    folder, environment = Path(str(request["folder"])), request["environment"]
    assert isinstance(environment, dict)
    assert isinstance(request["words"], list)
    for number, (name, flags) in enumerate(
        [
            (os.devnull, os.O_RDONLY),
            (folder / "stdout", os.O_WRONLY | os.O_CREAT),
            (folder / "stderr", os.O_WRONLY | os.O_CREAT),
        ]
    ):
        os.dup2(os.open(name, flags), number)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(environment)
    options = importlib.import_module("features.cli.options")
    options.out.width = options.err.width = int(environment["COLUMNS"])
    sys.argv = [str(SCRIPT), *request["words"]]
    code = 1
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            sys.stderr.write(f"{exc.code}\n")
    except BaseException:  # noqa: BLE001 - as Python does with what nobody catches
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError):
        (folder / "modules").write_text("\n".join(sys.modules), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import(names: list[str]) -> None:
    """Import what a command imported, so that the next one finds it."""
    for name in names:
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


if __name__ == "__main__":
    serve()
