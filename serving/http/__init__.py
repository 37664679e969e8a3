"""What HTTP answers have in common: problems (RFC 9457), headers, metrics, admission.

``ledger_problems`` says which problem each error of the ledger is.

Knows no route.
"""

__all__ = [
    "admission",
    "early_refusal",
    "headers",
    "ledger_problems",
    "metrics",
    "probe",
    "problem_details",
    "request_body",
    "server",
    "shared_metrics",
]
