"""What all HTTP answers share, whatever the route: problems, headers, metrics, and limits of load.

``problem_details`` answers refusals (RFC 9457), and ``ledger_problems`` translates errors of the ledger.
``admission`` limits how many requests are worked on at once, and ``early_refusal`` refuses the rest
cheaply. ``server`` holds the connections and the workers.
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
