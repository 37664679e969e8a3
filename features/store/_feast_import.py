"""Import Feast without its type checks at run time.

When Feast is imported, typeguard rewrites the source of 23 of its classes, to check their arguments:
3.2 of the 4.7 cpu seconds of the import, in every command. For Keepwell, mypy checks these arguments.
A process that imports Feast first, such as the command ``feast``, has the checks.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typeguard


@contextmanager
def without_type_checks() -> Iterator[None]:
    """Classes that are defined inside are not rewritten."""
    names = vars(typeguard)
    original = names["typechecked"]
    names["typechecked"] = _as_written
    try:
        yield
    finally:
        names["typechecked"] = original


def _as_written(target: Any = None, **options: object) -> Any:
    """Replaces ``typeguard.typechecked``, with options or without."""
    return _as_written if target is None else target


if "feast" not in sys.modules:
    with without_type_checks():
        importlib.import_module("feast")
