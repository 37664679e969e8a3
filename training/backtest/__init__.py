"""Replay past moments: compare what the models would have predicted then with what happened.

Judges ranking, level, groups and a team's capacity; and any file of scores (`score_judge`).
"""

__all__ = ["report", "score_judge", "score_report", "score_tables", "workspace"]
