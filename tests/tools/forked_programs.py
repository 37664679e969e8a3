"""Run a short program in a process of its own, which begins with its imports done.

A program takes 1.5 to 6 s of cpu to import what it needs, and hundreds of tests start one. Here one
process imports it for all tests of a worker and forks for each program: folder, environment, pipes,
signals and exit code are those of a program that was started by itself. That process never runs a
program; before one it imports what stands at its top, and after one what it had imported besides.
What a test says about imports themselves starts programs by ``subprocess``.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
HEADER = 8


class Program:
    """A running program, with what the tests need of ``subprocess.Popen``.

    Args:
        code: what ``python -c`` would be given.
        words: its arguments.
        cwd: the folder it begins in, which is looked in first for imports.
        env: its whole environment; that of the tests by default.
        fresh: packages that it imports itself, from its own folder.
    """

    def __init__(
        self,
        code: str,
        *words: str,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        fresh: Collection[str] = (),
    ) -> None:
        request = {
            "code": code,
            "words": words,
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "fresh": sorted(fresh),
        }
        theirs: list[int] = []
        ours: list[IO[str]] = []
        for mode in ("w", "r", "r"):
            reading, writing = os.pipe()
            theirs.append(reading if mode == "w" else writing)
            ours.append(os.fdopen(writing if mode == "w" else reading, mode, encoding="utf-8"))
        self.stdin, self.stdout, self.stderr = ours
        self.returncode: int | None = None
        try:
            self.pid = int(str(_server().ask(request, theirs)))
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def poll(self) -> int | None:
        """The exit code, the signal's below zero, or None while it runs."""
        if self.returncode is None:
            code = _server().ask({"poll": self.pid})
            self.returncode = None if code is None else int(str(code))
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait for the exit code."""
        until, pause = time.monotonic() + timeout, 0.001
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(pause)
            pause = min(0.05, 1.5 * pause)
        return code

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Close its input, read all that it says, and wait for its end."""
        self.stdin.close()
        complained: list[str] = []
        reader = threading.Thread(target=lambda: complained.append(self.stderr.read()))
        reader.start()
        said = self.stdout.read()
        reader.join()
        self.wait(timeout)
        self.close()
        return said, complained[0]

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def run_program(
    code: str,
    *words: str,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    fresh: Collection[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the arguments are those of ``Program``."""
    program = Program(code, *words, cwd=cwd, env=env, fresh=fresh)
    said, complained = program.communicate()
    return subprocess.CompletedProcess([*words], program.wait(), said, complained)


class _Server:
    """The process that forks, and the way to ask it; it ends when this process does."""

    def __init__(self) -> None:
        self.link, other = socket.socketpair()
        paths = [str(ROOT), str(ROOT / "tests" / "parity"), str(ROOT / "tests" / "tools")]
        with other:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno())],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(paths),
                    "NO_COLOR": "1",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "GIT_PYTHON_REFRESH": "quiet",
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )
        self.turn = threading.Lock()
        atexit.register(self.end)

    def end(self) -> None:
        """Let it end, as nothing more will be asked."""
        self.link.close()
        self.process.wait()

    def ask(self, request: Mapping[str, object], descriptors: Collection[int] = ()) -> object:
        text = json.dumps(request).encode()
        with self.turn:
            socket.send_fds(self.link, [len(text).to_bytes(HEADER)], list(descriptors))
            self.link.sendall(text)
            return json.loads(_read(self.link, int.from_bytes(_read(self.link, HEADER))))


@cache
def _server() -> _Server:
    return _Server()


def _read(link: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        if not (more := link.recv(size - len(text))):
            raise EOFError
        text += more
    return text


def serve(link: socket.socket) -> None:
    """Fork for each program and say how those end, until nobody can ask any more."""
    ended: dict[int, Path] = {}
    while True:
        header, descriptors, _, _ = socket.recv_fds(link, HEADER, 3)
        if not header:
            return
        header += _read(link, HEADER - len(header))
        request = json.loads(_read(link, int.from_bytes(header)))
        learned: list[str] = []
        if "poll" in request:
            answer = _code_of(request["poll"], ended, learned)
        else:
            answer = _start(request, link, descriptors, ended)
        text = json.dumps(answer).encode()
        link.sendall(len(text).to_bytes(HEADER) + text)
        _import(learned)


def _start(
    request: dict[str, object], link: socket.socket, descriptors: list[int], ended: dict[int, Path]
) -> int:
    fresh = request["fresh"]
    assert isinstance(fresh, list)
    _import([name for name in _imports(str(request["code"])) if name.split(".")[0] not in fresh])
    number, name = tempfile.mkstemp()
    os.close(number)
    child = os.fork()
    if child == 0:
        link.close()
        _become(request, descriptors, None if fresh else Path(name))
    for descriptor in descriptors:
        os.close(descriptor)
    ended[child] = Path(name)
    return child


def _code_of(child: int, ended: dict[int, Path], learned: list[str]) -> int | None:
    found, status = os.waitpid(child, os.WNOHANG)
    if found == 0:
        return None
    modules = ended.pop(child)
    learned += modules.read_text(encoding="utf-8").splitlines()
    modules.unlink()
    return os.waitstatus_to_exitcode(status)


def _become(request: dict[str, object], descriptors: list[int], modules: Path | None) -> None:
    env, words, fresh = request["env"], request["words"], request["fresh"]
    assert isinstance(env, dict)
    assert isinstance(words, list)
    assert isinstance(fresh, list)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(env)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.argv = ["-c", *words]
    sys.path[:0] = [str(request["cwd"]), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    for name in [name for name in sys.modules if name.split(".")[0] in fresh]:
        del sys.modules[name]
    if fresh:  # a module that is changed within a second, to one as long, would be found compiled
        sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    code = 1
    try:
        exec(compile(str(request["code"]), "<program>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            sys.stderr.write(f"{exc.code}\n")
    except BaseException:  # noqa: BLE001 - as Python does with what nobody catches
        sys.excepthook(*sys.exc_info())
    if modules is not None:
        with contextlib.suppress(OSError):
            modules.write_text("\n".join(sys.modules), encoding="utf-8")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _imports(code: str) -> list[str]:
    """The modules that are imported at the top of a program."""
    names: list[str] = []
    for line in ast.parse(code).body:
        if isinstance(line, ast.Import):
            names += [each.name for each in line.names]
        elif isinstance(line, ast.ImportFrom) and line.module:
            names.append(line.module)
    return names


def _import(names: list[str]) -> None:
    for name in names:
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):  # it fails in the program too, and says so there
                importlib.import_module(name)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
