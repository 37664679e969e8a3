"""The ledger: decisions, claims, approvals, outcomes and stops, append-only and hash-chained.

Knows no HTTP.
"""

__all__ = [
    "approvals",
    "autonomy",
    "claims",
    "database",
    "errors",
    "feedback",
    "kill_switch",
    "ledger",
    "pending_approvals",
    "replay",
    "reported_outcomes",
    "snoozes",
    "stores",
]
