"""Protect the data of a workspace: backups, erasures, and rules of how long data are kept.

All of them go by one list, ``places``, which names every file of a workspace and its format
(``stored_files``). ``pending_erasures`` lists
what a restored workspace still has to erase, and ``safety_switches`` applies again what was switched off.
"""

__all__ = [
    "backup",
    "erasure",
    "given_secrets",
    "pending_erasures",
    "places",
    "retention",
    "safety_switches",
    "stored_files",
]
