"""What every test may rely on: a browser and servers, or a reason, and a soak run that goes on."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import time
from pathlib import Path

import pytest
from changed_tests import changed_files, distances
from hypothesis import HealthCheck, settings
from numba.core.caching import NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

# How fast an example runs says how busy the machine is, and nothing about the code. `make soak` asks
# every property of many more examples.
settings.register_profile(
    "keepwell", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("keepwell"), max_examples=400)
settings.load_profile("keepwell")


# A tenth of the cpu seconds went into looking for garbage among ten thousand tests and what they
# import. Circles of garbage are still found, later.
gc.set_threshold(20_000, 20, 20)

# Short programs in a JVM: what its second compiler and its collector threads cost is never earned
# back. Spark's tests and the commands that they start read this.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


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
    if hasattr(config, "workerinput"):
        compile_each_kernel_once(config.rootpath / ".pytest_cache" / "kernels")
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
    if (workers := getattr(config, "workerinput", {}).get("workercount", 1)) > 1:
        items[:] = shared_set_ups_first(items, workers)
    record: Path | None = config.getoption("--resume")
    if record is None or not record.exists():
        return
    passed = set(record.read_text(encoding="utf-8").splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def compile_each_kernel_once(folder: Path) -> None:
    """Let one worker compile a kernel while the others wait and then load it from the disk.

    In a new checkout all workers would compile all kernels, which takes each of them 40 s of cpu.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compile_or_load = Dispatcher.compile

    def compile_alone(dispatcher: Dispatcher, signature: object) -> object:
        if isinstance(dispatcher._cache, NullCache):
            return compile_or_load(dispatcher, signature)
        code = dispatcher.py_func.__code__
        name = f"{Path(code.co_filename).stem}.{code.co_name}"
        # numba's own lock first: of two threads, neither may wait with what the other one needs
        with global_compiler_lock, (folder / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return compile_or_load(dispatcher, signature)

    Dispatcher.compile = compile_alone


def shared_set_ups_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in an order in which no worker makes a set-up again that another one has made.

    Each worker begins with an equal part of the list, and one that is done takes tests from the end
    of another's part. So files whose tests share a set-up are dealt out first, whole, and tests that
    stand alone fill up the ends of the parts.
    """
    together: dict[Path, list[pytest.Item]] = {}
    for item in items:
        together.setdefault(item.path, []).append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    alone: list[pytest.Item] = []
    for tests in together.values():
        if any(map(_shares_set_up, tests)):
            min(parts, key=len).extend(tests)
        else:
            alone += tests
    ordered: list[pytest.Item] = []
    for place, part in enumerate(parts):
        equal = (len(items) - len(ordered)) // (workers - place)  # as pytest-xdist parts the list
        room = max(0, equal - len(part))
        ordered += [*part, *alone[:room]]
        alone = alone[room:]
    return ordered


def _shares_set_up(item: pytest.Item) -> bool:
    """Whether a fixture of a test is made once for its file or for all files."""
    known = getattr(item, "_fixtureinfo", None)
    found = {} if known is None else known.name2fixturedefs
    return any(one.scope in ("module", "class") for made in found.values() for one in made)


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
    "faketime": ("faketime",),
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
