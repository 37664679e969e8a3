"""The declarations of every file that a workspace stores, by theme; ``places`` joins them to one list.

A line says what the files hold, whose data these are, who writes them, their format and version, and
whether a backup holds them. A new store is a new line here.
"""

__all__ = [
    "data_files",
    "decision_files",
    "declaration",
    "drafts",
    "model_files",
    "protection_files",
    "settings_files",
]
