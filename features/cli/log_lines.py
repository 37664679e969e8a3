"""How commands and the service write their log: one record, one line, whatever texts it holds.

Names of accounts, properties of events and messages of errors come from outside. A line break in
one of them must not look like a record of its own, nor a control character move the cursor of who
reads it.
"""

from __future__ import annotations

import logging
import re
import time
from types import TracebackType

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line, steer a terminal, turn the direction of writing or are half a pair."""


class LogLines(logging.Formatter):
    """``2026-03-01T12:00:00Z WARNING keepwell.serving: what happened``, in UTC.

    Lines of a traceback follow, each behind two blanks.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record, its texts on that line."""
        return visible(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The lines of a traceback, each set in, so that none looks like a record."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {visible(line)}" for line in lines)


def visible(text: str) -> str:
    r"""The text with control characters written as escapes.

    >>> visible("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def write_log_lines() -> None:
    """Let all loggers that have no handler of their own write warnings to the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
