"""Check that a playbook engine keeps its promises, against a running service.

Used by `keepwell conformance`.
"""

__all__ = ["api_client", "conformance"]
