"""What HTTP answers have in common: problems (RFC 9457), headers, metrics, concurrency limit.

Knows no route.
"""

__all__ = ["concurrency_limit", "headers", "metrics", "problem_details"]
