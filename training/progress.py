"""How a long step reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, how far it is and how far it goes."""


def no_progress(step: str, done: int, total: int) -> None:
    """Report to nobody."""
