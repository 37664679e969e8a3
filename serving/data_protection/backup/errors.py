"""The errors of backups; each says what is wrong and what helps."""

from __future__ import annotations


class BackupError(Exception):
    """A backup cannot be made, read or restored."""


class MissingObjectError(BackupError):
    """The target does not hold an object of this name."""


class DamagedBackupError(BackupError):
    """What the target holds is not what was written."""
