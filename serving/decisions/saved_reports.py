"""The reports of a workspace: which there are, and what is in their files.

A report is a JSON file in the workspace's folder of reports, with an HTML file of the same name
beside it where one was written. Only listed names are ever opened, and no link that leads elsewhere.
One that is damaged is not shown in parts, because a number of a report never stands without its checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.effects.belief import MeasuredEffectsError
from experiments.effects.effects_file import EFFECTS_FILE, read_effects
from features.reloaded_file import Stamp, stamp_of
from features.workspace import Workspace
from features.workspace_files import UnusableStoreError
from registry.integrity.sealed_document import (
    END_OF_PAGE,
    AlteredDocumentError,
    unseal,
    unseal_page,
)
from serving.decisions.saved_plan import NEWEST, SavedPlanError, newest_plan
from serving.problems import UnknownReportError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")

NOT_WRITTEN = "No report of this name has been written in this workspace."


class DamagedReportError(UnusableStoreError):
    """A file of a report cannot be read, was cut short or altered."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report: its name, what it says in one sentence, and where it lies."""

    name: str
    title: str
    headline: str | None
    written_at: datetime
    json_file: Path
    html_file: Path | None

    def content(self) -> dict[str, Any]:
        """What the JSON file holds.

        Raises:
            DamagedReportError: it cannot be read.
        """
        return _content(self.json_file)

    def page(self) -> str:
        """What the HTML file holds.

        Raises:
            DamagedReportError: it cannot be read, or was cut short.
            UnknownReportError: there is none.
        """
        if self.html_file is None:
            raise UnknownReportError(
                "This report was written as JSON only.",
                next_step=f"Read it at /v1/reports/{self.name}.",
            )
        return _page(self.html_file)


def reports_in(folder: Path) -> tuple[Report, ...]:
    """The reports in a folder, newest first; a file that is no report is left out.

    Measured effects lie beside them for the policy, and are no report.
    """
    found = [_report(path) for path in _files_in(folder)]
    return tuple(
        sorted(
            (r for r in found if r is not None), key=lambda r: (r.written_at, r.name), reverse=True
        )
    )


def report_named(folder: Path, name: str) -> Report:
    """One report by its name.

    Raises:
        UnknownReportError: there is none.
        DamagedReportError: it cannot be read.
    """
    for path in _files_in(folder):
        if path.stem == name:
            report = _report(path)
            if report is not None:
                return report
            _content(path)  # says what is wrong
    raise UnknownReportError(NOT_WRITTEN)


class ReportFiles:
    """Looks at the files of reports, effects and the plan; one that did not change is read once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._found: dict[Path, tuple[Stamp | None, str | None]] = {}

    def problem(self) -> str | None:
        """What is wrong with the first file that is damaged, and what to do; None: nothing."""
        folder = self._workspace.reports_dir
        looks: dict[Path, Callable[[Path], object]] = {}
        for path in _files_in(folder):
            looks |= {path: _content, path.with_suffix(".html"): _page}
        looks |= {folder / EFFECTS_FILE: _effects, self._workspace.plans_dir / NEWEST: self._plan}
        before, self._found = self._found, {}
        for path, look in looks.items():
            stamp = stamp_of(path)
            known = before.get(path)
            if stamp is not None and (known is None or known[0] != stamp):
                known = stamp, _said_by(look, path)
            if stamp is not None and known is not None:
                self._found[path] = known
        return next((said for _, said in self._found.values() if said is not None), None)

    def _plan(self, _: Path) -> None:
        try:
            newest_plan(self._workspace)
        except SavedPlanError as error:
            raise DamagedReportError(str(error)) from error


def _effects(path: Path) -> None:
    try:
        read_effects(path.parent)
    except MeasuredEffectsError as error:
        raise DamagedReportError(f"{error} Until then the playbook stands alone.") from error


def _said_by(look: Callable[[Path], object], path: Path) -> str | None:
    try:
        look(path)
    except DamagedReportError as error:
        return str(error)
    except UnknownReportError:
        pass  # a file of somebody else's
    return None


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.glob("*.json"))
        if NAME.fullmatch(path.stem) and path.name != EFFECTS_FILE and _is_within(path, folder)
    ]


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a file lies in the folder itself: every role may read reports, and a link may lead to
    anything that the service can read."""
    return not path.is_symlink() or path.resolve().parent == folder.resolve()


def _report(path: Path) -> Report | None:
    try:
        content = _content(path)
        written = path.stat().st_mtime
    except (OSError, DamagedReportError, UnknownReportError):
        return None
    title, headline = content.get("title"), content.get("headline")
    beside = path.with_suffix(".html")
    return Report(
        name=path.stem,
        title=title if isinstance(title, str) else path.stem.replace("_", " ").replace("-", " "),
        headline=headline if isinstance(headline, str) else None,
        written_at=datetime.fromtimestamp(written, UTC),
        json_file=path,
        html_file=beside if beside.exists() and _is_within(beside, path.parent) else None,
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()  # it can be answered
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise UnknownReportError(NOT_WRITTEN)
    try:
        return unseal(content)
    except AlteredDocumentError as error:
        raise _damaged(path, error) from error


def _page(path: Path) -> str:
    try:
        written = path.read_text(encoding="utf-8")
        if not written.rstrip().endswith(END_OF_PAGE):
            raise ValueError("it was cut short")
        return unseal_page(written)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DamagedReportError:
    said = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
    return DamagedReportError(
        f"The report {path.name} is damaged ({said}). Put it back from a backup, or write it again: "
        f"keepwell report."
    )
