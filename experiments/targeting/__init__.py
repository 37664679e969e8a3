"""Decide which account gets which action, from the file of a randomised trial.

Reports whether decisions by account brought more on held-out trials than one action for all.
"""

__all__ = ["decisions", "lottery_file"]
