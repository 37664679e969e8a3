"""A PostgreSQL of the tests' own: a temporary folder, a free port, a user other than root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDERS = (
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    os.environ.get("PATH", ""),
)
"""Where Debian has the programs of the server, which are not on the path."""


def program(name: str) -> str | None:
    """The path of one of PostgreSQL's programs; None where it is not installed."""
    return shutil.which(name, path=os.pathsep.join(FOLDERS))


class PostgresServer:
    """One server; ``stop`` and ``start`` are what a restart or a failure looks like."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self._made = 0

    def start(self) -> None:
        self._control(
            "start",
            "-w",
            "-l",
            str(self.folder / "log"),
            "-o",
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
            f"-c max_connections=60 -k {self.folder}",
        )

    def stop(self, mode: str = "immediate") -> None:
        self._control("stop", "-w", "-m", mode)

    def database(self) -> str:
        """The address of a new, empty database."""
        self._made += 1
        name = f"ledger_{self._made}"
        self._as_user(
            "psql",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-d",
            "postgres",
            "-c",
            f"CREATE DATABASE {name} TEMPLATE template0",
            user_name=True,
        )
        return f"postgresql://keepwell@127.0.0.1:{self.port}/{name}"

    def make(self) -> None:
        self._as_user(
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-A",
            "trust",
            "-U",
            "keepwell",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )

    def _control(self, *words: str) -> None:
        self._as_user("pg_ctl", "-D", str(self.folder / "data"), *words)

    def _as_user(self, name: str, *words: str, user_name: bool = False) -> None:
        found = program(name)
        assert found is not None
        given = ["-U", "keepwell"] if user_name else []
        user, environment = server_user()
        done = subprocess.run(
            [found, *given, *words],
            user=user,
            group=None if user is None else server_group(user),
            extra_groups=None if user is None else [],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def server_user() -> tuple[str | None, dict[str, str]]:
    """Who runs the server: ourselves, or where we are root, somebody who is not."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    if os.getuid() != 0:
        return None, environment
    names = {entry.pw_name for entry in pwd.getpwall()}
    return ("postgres" if "postgres" in names else "nobody"), environment


def server_group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that ends, with its folder, when the block does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="keepwell-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user, _ = server_user()
        if user is not None:
            shutil.chown(folder, user, server_group(user))
        server = PostgresServer(folder, port)
        server.make()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test may have stopped it
                server.stop()
