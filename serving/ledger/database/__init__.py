"""The ledger's database: tables, migrations, transactions and the hash chain.

SQLite by default, PostgreSQL by its address. The only home of SQLAlchemy.
"""

__all__ = [
    "chain",
    "change",
    "claim_records",
    "database",
    "dialects",
    "migrations",
    "noted_head",
    "prepared",
    "redaction",
    "tables",
    "timestamps",
    "url",
]
