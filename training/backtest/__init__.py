"""Replay past moments: compare what the models would have predicted then with what happened.

Judges ranking, level, groups and a team's capacity.
"""

__all__ = ["report", "workspace"]
