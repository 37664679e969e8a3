"""The journal of a tuning study, from which a stopped study is resumed.

The first line is the key of the study (data, space, seed) and the version of the format; a journal
with another key is started anew. The file is replaced in one step after every trial, so after a
kill all finished trials are there. A study that has ended leaves no journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from features.format_version import newer_format

FORMAT = 1


class NewerStudyError(ValueError):
    """A newer Keepwell left a journal here."""


@dataclass(frozen=True, kw_only=True)
class FinishedTrial:
    """The result of a trial: its loss, or where it was stopped."""

    parameters: Mapping[str, float]
    loss: float
    by_fold: tuple[float, ...]  # after each number of trees of each fold
    rounds: int | None  # None: stopped early


@dataclass(frozen=True, kw_only=True)
class StudyJournal:
    """The journal of one study in one file."""

    path: Path
    key: str

    def finished(self) -> tuple[FinishedTrial, ...]:
        """The trials that were finished before, in their order.

        Raises:
            NewerStudyError: a newer Keepwell wrote the journal.
        """
        if not self.path.exists():
            return ()
        first, *lines = self.path.read_bytes().split(b"\n")
        header = _parsed(first)
        newer = newer_format(header.get("format"), newest=FORMAT, what=f"studies/{self.path.name}")
        if newer is not None:
            raise NewerStudyError(f"{newer} Or remove that file: the search then starts anew.")
        if header.get("study") != self.key:
            self.path.unlink()
            return ()
        return tuple(
            FinishedTrial(**{**told, "by_fold": tuple(told["by_fold"])})
            for told in map(json.loads, filter(None, lines))
        )

    def add(self, trial: FinishedTrial) -> None:
        """Save a finished trial, before the next one begins."""
        before = self.finished()
        lines = [self._header, *(json.dumps(asdict(one)).encode() for one in (*before, trial))]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        with draft.open("wb") as file:
            file.write(b"\n".join([*lines, b""]))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)

    def close(self) -> None:
        """End the study; the next one starts anew."""
        self.path.unlink(missing_ok=True)

    @property
    def _header(self) -> bytes:
        return json.dumps({"study": self.key, "format": FORMAT}).encode()


def _parsed(header: bytes) -> dict[str, object]:
    try:
        found = json.loads(header)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
