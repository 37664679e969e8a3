"""Propose a health formula from the tenant's own churn, judged on later rows beside the written one.

Nothing here adopts it: a person does.
"""

__all__ = ["proposal", "report", "workspace"]
