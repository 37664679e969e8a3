"""What every test may rely on: a browser and servers, or a reason, and a soak run that goes on."""

from __future__ import annotations

import gc
import os
import shutil
import time
from pathlib import Path

import pytest
from changed_tests import changed_files, distances
from hypothesis import HealthCheck, settings

# How fast an example runs says how busy the machine is, and nothing about the code.
settings.register_profile("keepwell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keepwell")


# A tenth of the cpu seconds went into looking for garbage among ten thousand tests and what they
# import. Circles of garbage are still found, later.
gc.set_threshold(20_000, 20, 20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resume",
        type=Path,
        metavar="FILE",
        help="leave out tests that FILE lists as passed; add those that pass now",
    )
    parser.addoption(
        "--changed",
        metavar="REVISION",
        help="only tests that what differs from REVISION can touch, nearest first",
    )
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="start no test after this many seconds, and say how many were left out",
    )


NEAREST = pytest.StashKey[dict[Path, int]]()
STARTED = pytest.StashKey[float]()
LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STARTED] = time.monotonic()
    config.stash[LEFT_OUT] = []
    since: str | None = config.getoption("--changed")
    if since is not None:
        root = config.rootpath
        config.stash[NEAREST] = distances(root, changed_files(root, since))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    nearest = config.stash.get(NEAREST, None)
    if nearest is None or collection_path.is_dir():
        return None
    return True if collection_path not in nearest else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    budget: float | None = item.config.getoption("--budget")
    if budget is None or time.monotonic() - item.config.stash[STARTED] < budget:
        return None
    item.config.stash[LEFT_OUT].append(item.nodeid)
    return True


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.write_line(
            f"{len(left_out):,} tests that are further from the change were not started in "
            f"{config.getoption('--budget'):g} s; `make test` runs them."
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (nearest := config.stash.get(NEAREST, None)) is not None:
        items[:] = sorted(
            (item for item in items if item.path in nearest), key=lambda item: nearest[item.path]
        )
    record: Path | None = config.getoption("--resume")
    if record is None or not record.exists():
        return
    passed = set(record.read_text(encoding="utf-8").splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = yield
    record: Path | None = item.config.getoption("--resume")
    if record is not None and report.when == "call" and report.passed:
        with record.open("a", encoding="utf-8") as lines:
            lines.write(f"{item.nodeid}\n")
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    nothing_near = session.config.getoption("--changed") is not None
    if nothing_near and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
    record: Path | None = session.config.getoption("--resume")
    finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if record is not None and finished:
        record.unlink(missing_ok=True)  # all passed: the next soak starts afresh


PROGRAMS = {
    "browser": ("chromium", "chromedriver"),
    "redis": ("redis-server",),
    "spark": ("java",),
    "postgres": ("initdb", "pg_ctl"),
}
"""By marker: what a test drives, and Debian has in the packages of .ci/apt-packages.txt."""

FOLDERS = os.pathsep.join(
    [
        os.environ.get("PATH", ""),  # Debian has the server's off the path
        *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
    ]
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, programs in PROGRAMS.items():
        if item.get_closest_marker(marker) is None:
            continue
        missing = [name for name in programs if shutil.which(name, path=FOLDERS) is None]
        if not missing:
            continue
        reason = f"{' and '.join(missing)} not found; see .ci/apt-packages.txt"
        if os.environ.get(f"KEEPWELL_REQUIRE_{marker.upper()}") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
