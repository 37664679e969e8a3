"""The state of the running service: the parts of one workspace, opened once.

Scores are refreshed when events, models or settings change.
"""

__all__ = ["refresh", "service_state", "store_conditions", "store_rebuild", "watched_stores"]
