"""Every block of commands of a tutorial or a how-to runs, in the order of its page.

As a reader would: in a folder with both sample worlds as `make run` leaves them, a copy for each
page. What cannot run says so directly above its block, with the reason.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WORLDS = ("crm", "simulated")
BLOCK = re.compile(
    r"(?P<comments>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
MOST_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block and what the comments above it say."""

    language: str
    text: str
    comments: dict[str, str]


def blocks_of(page: Path) -> list[Block]:
    return [
        Block(
            language=found["language"],
            text=found["text"],
            comments=dict(re.findall(r"<!-- ([a-z1 ]+): (.*?) -->", found["comments"])),
        )
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def is_run(block: Block) -> bool:
    return block.language == "sh" and "not run" not in block.comments


PAGES = {
    page.relative_to(DOCS).as_posix(): page
    for folder in ("tutorials", "how-to")
    for page in sorted((DOCS / folder).glob("*.md"))
    if any(is_run(block) for block in blocks_of(page))
}


def environment() -> dict[str, str]:
    own = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both worlds as `make run` leaves them, made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()  # of one worker, where there are several
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place = shared / "worlds_of_docs"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for world in WORLDS:
            made = place / ".keepwell" / world
            if not made.exists():
                draft = place / f"draft-{world}"
                shutil.rmtree(draft, ignore_errors=True)
                subprocess.run(
                    ["keepwell", "demo", "--workspace", draft, "--world", world, "--no-serve"],
                    cwd=place, env=environment(), check=True, capture_output=True, timeout=600,
                )  # fmt: skip
                with serving(str(draft), place, free_port()):
                    pass  # `make run` ends with the service, which makes the ledger
                made.parent.mkdir(exist_ok=True)
                draft.rename(made)
    return place


@contextmanager
def serving(workspace: str, folder: Path, port: int) -> Iterator[None]:
    process = subprocess.Popen(
        ["keepwell", "serve", "--workspace", workspace, "--port", str(port)],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(MOST_SECONDS):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, "the service ended"
                time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def run(block: Block, folder: Path, port: int) -> None:
    text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", text],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=MOST_SECONDS,
        check=False,
    )  # fmt: skip
    allowed = {0, 1} if "may end with 1" in block.comments else {0}
    assert done.returncode in allowed, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_in_their_order(page: str, worlds: Path, tmp_path: Path) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    for world in WORLDS:
        if world in text or world == "crm":
            shutil.copytree(worlds / ".keepwell" / world, tmp_path / ".keepwell" / world)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    port = free_port()
    for block in blocks_of(PAGES[page]):
        if name := block.comments.get("file"):
            written = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(written, encoding="utf-8")
        elif is_run(block) and (workspace := block.comments.get("with service")):
            with serving(workspace, tmp_path, port):
                run(block, tmp_path, port)
        elif is_run(block):
            run(block, tmp_path, port)


def test_what_is_not_run_says_why() -> None:
    silent = [
        f"{name}: {block.text.splitlines()[0]}"
        for name, page in PAGES.items()
        for block in blocks_of(page)
        if len(block.comments.get("not run", "a reason that is long enough")) < 12
    ]
    assert silent == []
