"""The schema of an event, the rules an event must pass, and when it is visible.

Everything that Keepwell knows of an account is an event of this schema.
"""

__all__ = [
    "bounds",
    "provenance",
    "schema",
    "subject",
    "text_buffers",
    "validation",
    "visibility",
]
