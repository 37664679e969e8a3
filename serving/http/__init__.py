"""What HTTP answers have in common: problems (RFC 9457), headers, metrics, concurrency limit.

``ledger_problems`` says which problem each error of the ledger is.

Knows no route.
"""

__all__ = [
    "concurrency_limit",
    "headers",
    "ledger_problems",
    "metrics",
    "problem_details",
    "server",
]
