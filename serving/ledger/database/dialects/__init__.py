"""The kinds of database that a ledger can be in: what each does in its own way.

A kind is one class that keeps the ``Dialect`` protocol and one line of ``dialects.DIALECTS``.
"""

__all__ = ["protocol", "sqlite", "supported"]
