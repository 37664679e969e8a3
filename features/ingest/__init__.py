"""Turn tables and messages of other systems into events of the schema.

A mapping file says which column is what; rows that cannot be read go to quarantine with a reason.
"""

__all__ = ["columns", "expressions", "json_events", "mapped_tables", "readers", "run"]
