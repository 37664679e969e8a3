"""The shapes of requests and answers on the wire, by subject.

Pydantic models; from them the OpenAPI document is made.
"""

__all__ = [
    "accounts",
    "catalogues",
    "claims",
    "decisions",
    "events",
    "families",
    "outlooks",
    "plans",
    "scores",
    "wire_model",
]
