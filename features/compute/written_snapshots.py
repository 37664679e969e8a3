"""The list of the snapshots that were written, so that one that is missing or replaced is noticed.

The list names each file with the digest of its content. Before files are written, the list allows the
new content beside the one of before, and afterwards the new one alone. So a process that is killed in
between leaves no file that the list does not allow. Older versions left no list, and a restored backup
has none: what is there then is taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from features.workspace_files import write_atomically

FILE = "written.json"
FORMAT = 1

Digests = tuple[str, ...]
"""The digests that a file may have; none is known of a file that an older version wrote."""


class WrittenSnapshots:
    """The list in one folder of snapshots. Whoever changes it holds the lock of the workspace."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> Mapping[str, Digests] | None:
        """The digests by name of file; None where there is no list that can be understood."""
        try:
            found = json.loads(self.path.read_bytes())
            if found.get("format", FORMAT) != FORMAT:
                return None
            return {str(name): tuple(map(str, some)) for name, some in found["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def replace(self, files: Mapping[str, Digests]) -> None:
        """Write the list anew."""
        content = {"format": FORMAT, "files": {name: list(files[name]) for name in sorted(files)}}
        write_atomically(self.path, json.dumps(content, indent=1).encode())


def also_allowing(
    files: Mapping[str, Digests], new: Iterable[tuple[str, str]]
) -> dict[str, Digests]:
    """A list that allows new contents of files beside those of before.

    >>> also_allowing({"a": ("1",)}, [("a", "2"), ("b", "3")])
    {'a': ('1', '2'), 'b': ('3',)}
    """
    allowed = dict(files)
    for name, digest in new:
        allowed[name] = tuple(dict.fromkeys((*allowed.get(name, ()), digest)))
    return allowed
