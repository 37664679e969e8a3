"""Look for leakage in a training set: features that know the future.

Each finding names the feature, the rows and the next step.
"""

__all__ = ["readiness", "readiness_report", "report", "workspace"]
