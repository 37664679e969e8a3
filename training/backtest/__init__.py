"""Replay past moments: what would have been said then, and what came true.

Judges ranking, level, groups and a team's capacity.
"""

__all__ = ["report", "workspace"]
