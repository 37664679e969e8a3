"""The timeline of an account: its events in words, and outcomes that are read from them.

Joins what the ledger knows with what the lake holds.
"""

__all__ = [
    "contract_outcomes",
    "days",
    "event_cache",
    "ledger_events",
    "plan_draws",
    "sentences",
    "store",
    "usage_outcomes",
]
