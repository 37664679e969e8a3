"""Everything that a workspace holds about a subject, as one JSON file, with the place of each entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from features.workspace_files import write_atomically
from serving.data_protection.erasure.database_erasers import events_written_by
from serving.data_protection.erasure.erasers import ERASERS
from serving.data_protection.erasure.protocol import SubjectRequest

FORMAT, VERSION = "keepwell.export", 1


def export_subject(at: SubjectRequest, file: Path) -> Mapping[str, int]:
    """Write everything that is held about a subject; the number of entries by place.

    The file is only readable by its owner. It names others where an entry does (who approved a
    decision, say): whoever hands it out looks at that first.
    """
    at = replace(at, written=events_written_by(at))
    held = {place.name: [dict(one) for one in place.held(at)] for place in ERASERS}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": at.subject.kind,
        "id": at.subject.id,
        "further_names": list(at.subject.names),
        "made_at": at.at.isoformat(),
        "held": {name: rows for name, rows in held.items() if rows},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, default=_shown)
    write_atomically(file, text.encode("utf-8", errors="replace"))
    file.chmod(0o600)
    return {name: len(rows) for name, rows in held.items()}


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value.isoformat() if isinstance(value, date) else str(value)
