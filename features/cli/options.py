"""Options, printing and exit codes that all commands of ``keepwell`` share.

Exit codes: 0 done; 1 a fault of Keepwell, or a check found a problem; 2 the command line is wrong; 3 the
input or the state does not allow the command; 4 another process is writing to the workspace, try again.
The module is in `features`, because all packages with commands may import that one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from features.cli.terminal import Terminal, as_shown
from features.steady_clock import Machine, SteadyClock
from features.workspace import SETTINGS_FILE, TRACKING_VARIABLE, Workspace
from features.workspace_files import WorkspaceBusyError, shut_to_others

FAULT, FOUND, REFUSED, BUSY = 1, 1, 3, 4
OWN_PACKAGES = ("features", "registry", "training", "experiments", "serving")

log = logging.getLogger("keepwell")
out = Terminal()
err = Terminal(stderr=True)


class CommandError(Exception):
    """The command cannot be carried out."""


def require_workspace(folder: Path) -> Path:
    """The folder of a workspace, which must exist.

    Raises:
        CommandError: it does not; the message ends in what to do.
    """
    if not folder.is_dir():
        raise CommandError(
            f"There is no workspace {folder.absolute()}. Make one with `make run` or `keepwell "
            f"ingest`, or name another with --workspace."
        )
    Workspace(folder).refuse_newer()
    return shut_workspace(folder)


def shut_workspace(folder: Path) -> Path:
    """The folder of a workspace, shut to everybody but its owner; any other folder is left alone."""
    try:
        is_empty = not any(folder.iterdir())
        is_own = is_empty or (folder / SETTINGS_FILE).is_file()
        if is_own and shut_to_others(folder) and not is_empty:
            log.warning(
                "other users of this machine could open the workspace %s; now its owner alone can",
                folder,
            )
    except FileNotFoundError:
        pass  # it is made by the command
    except OSError as error:
        log.warning(
            "other users of this machine can open the workspace %s (%s). Let its owner shut it: "
            "chmod -R go= %s",
            folder,
            error.strerror,
            folder,
        )
    return folder


def _workspace_option(check: Callable[[Path], Path]) -> Any:
    return typer.Option(
        "--workspace",
        "-w",
        help="The folder that holds everything of one company.",
        envvar="KEEPWELL_WORKSPACE",
        callback=check,
    )


InWorkspace = Annotated[Path, _workspace_option(require_workspace)]
"""A workspace that must be there: every command that does not make one takes this."""

AnyWorkspace = Annotated[Path, _workspace_option(shut_workspace)]
"""A workspace that the command makes, or that it can do without."""

AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        formats=["%Y-%m-%d"],
        help="The moment asked about, 00:00 UTC of that day; where the data end, by default.",
    ),
]
DEFAULT_WORKSPACE = Path(".keepwell/crm")


def run(command: Callable[[], object]) -> None:
    """Run the whole command line; an error becomes one readable paragraph and an exit code."""
    wants_traceback = "--traceback" in sys.argv
    if wants_traceback:
        sys.argv.remove("--traceback")
    try:
        command()
    except WorkspaceBusyError as error:
        _fail(error, BUSY, wants_traceback)
    except OSError as error:
        _fail(error, REFUSED, wants_traceback)
    except Exception as error:  # noqa: BLE001 - the outermost rim: nothing above could catch it
        own = type(error).__module__.split(".")[0] in OWN_PACKAGES
        _fail(error, REFUSED if own else FAULT, wants_traceback)


@contextmanager
def show_progress(words: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of a step and how long it took; in a file, one line for each step."""
    began = datetime.now(UTC)
    if not out.is_terminal:
        out.print(f"{words} …")
    with out.status(f"{words} …") as status:

        def say(step: str, done: int, total: int) -> None:
            status.update(Text(as_shown(f"{words}: {step} ({done}/{total}) …")))

        yield say
    seconds = (datetime.now(UTC) - began).total_seconds()
    out.print(Text.assemble(("✓", "green"), f" {as_shown(words)} ", (f"({seconds:.1f} s)", "dim")))


def plural(number: int, thing: str) -> str:
    """A number with its noun.

    >>> plural(1, "account"), plural(1234, "account")
    ('1 account', '1,234 accounts')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def start_of_day(day: datetime) -> datetime:
    """The start of a day in UTC."""
    return day.replace(tzinfo=UTC)


def moment_of(place: Workspace, as_of: datetime | None) -> datetime:
    """The start of the given day, or the current moment of the workspace."""
    return place.now(None if as_of is None else start_of_day(as_of))


def steady_clock(place: Workspace) -> SteadyClock:
    """The time of a workspace, which runs on steadily where the clock of the machine jumps."""
    return SteadyClock(Machine(clock=lambda: datetime.now(UTC)), place.root)


def time_of(place: Workspace) -> datetime:
    """The moment now, by which leases, keys and deadlines of a workspace go."""
    clock = steady_clock(place)
    if clock.problem is not None:
        log.warning("%s", clock.problem)
    return clock()


def models_address(place: Workspace) -> str:
    """The MLflow address of the models of a workspace.

    Raises:
        CommandError: the environment names no database of MLflow.
    """
    uri = os.environ.get(TRACKING_VARIABLE)
    if uri is None:
        return place.tracking_uri
    if "://" not in uri:
        raise CommandError(
            f"{TRACKING_VARIABLE} is {uri!r}, which is no address. Write "
            f"sqlite:////full/path/mlflow.db, or the address of an MLflow server."
        )
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists():
        raise CommandError(
            f"{TRACKING_VARIABLE} names {file}, and there is no such file. Name the "
            f"mlflow.db of the workspace whose models shall be used."
        )
    return place.tracking_uri


def read_text_file(file: Path, wanted: str) -> str:
    """The text of a file that a person wrote.

    Raises:
        CommandError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}. Name {wanted}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{file} is not text in UTF-8 (byte {error.start}). Save it as UTF-8 and try again."
        ) from error


def _fail(error: Exception, code: int, wants_traceback: bool) -> NoReturn:
    if wants_traceback:
        err.print_exception()
    elif code == FAULT:
        err.print(
            f"Keepwell failed: {type(error).__name__}: {error}. That is a fault of Keepwell; "
            f"run the command again with --traceback to see where.",
            markup=False,
        )
    else:
        err.print(str(error), markup=False, highlight=False)
    sys.exit(code)
