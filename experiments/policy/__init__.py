"""Rank the actions for one account: eligible, expected net value, limits.

Pure: the state of an account and the evidence in, a ranking with reasons out.
"""

__all__ = [
    "account_state",
    "contact",
    "exploration",
    "recommend",
    "request",
    "value",
    "withholding",
]
