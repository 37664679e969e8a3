"""What each action causes, by segment and over time, measured on the log of actions.

Every effect carries its interval and its grade of evidence.
"""

__all__ = ["grading", "segments", "weekly_trials", "workspace"]
