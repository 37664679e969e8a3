"""Who may ask what: API keys, roles, territories, and the gate in front of every route.

A route that declares no role is refused.
"""

__all__ = ["access_review", "api_keys", "failed_attempts", "gate", "roles", "write_rate"]
