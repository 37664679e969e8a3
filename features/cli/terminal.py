"""A console on which a text from data is only a text.

Rich reads ``[bold]`` as markup and ``:bomb:`` as an emoji, and passes escape sequences on. A name of an
account, a file or an error may hold any of them, and must neither colour, hide nor overwrite a line.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from features.cli.log_lines import visible


class Terminal(Console):
    """A console without markup and emoji, which shows control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **how: Any) -> Text:
        """The text as it is shown: of control characters, only the ends of lines and tabs are left."""
        return super().render_str(as_shown(text), **how)


def as_shown(text: str) -> str:
    r"""The text with control characters written as escapes, its lines apart.

    >>> as_shown("two\nlines\x1b[2J")
    'two\nlines\\x1b[2J'
    """
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))
