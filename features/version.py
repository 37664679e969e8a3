"""The version of Keepwell, as its installed metadata say."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def code_version() -> str:
    """The version of this code, for records and answers; ``not installed`` in a bare checkout."""
    try:
        return version("keepwell")
    except PackageNotFoundError:
        return "not installed"
