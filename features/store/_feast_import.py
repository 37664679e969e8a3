"""Import Feast without the checks of types that it makes at run time.

Feast has typeguard rewrite the source of 23 of its classes when it is imported, to check what they
are given: 3.2 of the 4.7 cpu seconds that the import takes, in every command. What Keepwell gives
them is checked by mypy. Whoever imports Feast first, such as the command ``feast``, has the checks.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typeguard


@contextmanager
def without_checks() -> Iterator[None]:
    """Classes that are made in here are left as they were written."""
    names = vars(typeguard)
    original = names["typechecked"]
    names["typechecked"] = _as_written
    try:
        yield
    finally:
        names["typechecked"] = original


def _as_written(target: Any = None, **options: object) -> Any:
    """In place of ``typeguard.typechecked``, with options or without."""
    return _as_written if target is None else target


if "feast" not in sys.modules:
    with without_checks():
        importlib.import_module("feast")
