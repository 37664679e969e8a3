"""The reports of a workspace: which there are, and their files.

A report is a JSON file in the workspace's folder of reports, with an HTML file of the same name
beside it where one was written. Only listed names are ever opened.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from experiments.effects.effects_file import EFFECTS_FILE
from serving.problems import UnknownReportError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report: its name, what it says in one sentence, and where it lies."""

    name: str
    title: str
    headline: str | None
    written_at: datetime
    json_file: Path
    html_file: Path | None


def reports_in(folder: Path) -> tuple[Report, ...]:
    """The reports in a folder, newest first; a file that is no report is left out.

    Measured effects lie beside them for the policy, and are no report.
    """
    if not folder.is_dir():
        return ()
    found = [
        _report(path)
        for path in sorted(folder.glob("*.json"))
        if NAME.fullmatch(path.stem) and path.name != EFFECTS_FILE
    ]
    return tuple(
        sorted(
            (r for r in found if r is not None), key=lambda r: (r.written_at, r.name), reverse=True
        )
    )


def report_named(folder: Path, name: str) -> Report:
    """One report by its name.

    Raises:
        UnknownReportError: there is none.
    """
    for report in reports_in(folder):
        if report.name == name:
            return report
    raise UnknownReportError("No report of this name has been written in this workspace.")


def _report(path: Path) -> Report | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = path.stat().st_mtime
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    title, headline = content.get("title"), content.get("headline")
    beside = path.with_suffix(".html")
    return Report(
        name=path.stem,
        title=title if isinstance(title, str) else path.stem.replace("_", " ").replace("-", " "),
        headline=headline if isinstance(headline, str) else None,
        written_at=datetime.fromtimestamp(written, UTC),
        json_file=path,
        html_file=beside if beside.exists() else None,
    )
