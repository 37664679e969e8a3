"""Answer ``/metrics`` for all workers: each writes its figures to a shared folder.

Prometheus reaches whichever worker takes the connection. That worker answers with its own figures of now
and with those of the others, which are at most ``SHARE_SECONDS`` old. Every line has the label
``worker``, so a worker that is replaced starts a new series and no counter runs backwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from features.workspace_files import write_atomically

SHARE_SECONDS = 2.0

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+.*)")


class SharedMetrics:
    """The figures of worker ``number`` beside those of the others in a folder."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    def leave(self, text: bytes) -> None:
        """Leave this worker's figures for the others."""
        write_atomically(self._folder / f"{self._number}.prom", text)

    def together(self, own: bytes) -> bytes:
        """The figures of all workers, given this one's own."""
        texts = {
            int(file.stem): file.read_text(encoding="utf-8")
            for file in self._folder.glob("*.prom")
            if file.stem.isdigit()
        }
        texts[self._number] = own.decode()
        return merged(sorted(texts.items())).encode()


def merged(texts: Iterable[tuple[int, str]]) -> str:
    """Texts in Prometheus' format as one, each line labelled with its worker.

    >>> print(merged([(1, "# TYPE a counter\\na 1.0\\n"), (2, "# TYPE a counter\\na{b=\\"c\\"} 2.0\\n")]))
    # TYPE a counter
    a{worker="1"} 1.0
    a{b="c",worker="2"} 2.0
    <BLANKLINE>
    """
    heads: dict[str, list[str]] = {}
    lines: dict[str, list[str]] = {}
    for number, text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif (found := _SAMPLE.fullmatch(line)) is not None:
                labels = ",".join(filter(None, (found["labels"], f'worker="{number}"')))
                lines.setdefault(family, []).append(f"{found['name']}{{{labels}}} {found['value']}")
    return "".join(
        f"{line}\n" for family in heads for line in (*heads[family], *lines.get(family, ()))
    )
