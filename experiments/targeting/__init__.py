"""Decide which account gets which action, from the file of a randomised trial.

Says whether telling accounts apart brought more on held-out trials.
"""

__all__ = ["decisions", "lottery_file"]
