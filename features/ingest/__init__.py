"""Turn the tables and messages that people bring into events of the schema.

A mapping file says which column is what; rows that cannot be read go to quarantine with a reason.
"""

__all__ = ["json_events", "readers", "run"]
