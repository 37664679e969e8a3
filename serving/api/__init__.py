"""The HTTP API: the application, what routes depend on, and idempotent writes.

The only home of FastAPI routes; no route holds state of its own.
"""

__all__ = ["app"]
