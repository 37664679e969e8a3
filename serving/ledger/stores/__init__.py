"""Reading and writing the ledger's database for other folders, which know no SQL.

What is stored beside the decisions (draws of plans, webhooks, API keys), and what is read of the
decisions (their history, the records after a place), and who works on a request. Each module is one store.
"""

__all__ = [
    "api_keys",
    "decision_history",
    "holders",
    "idempotency",
    "ledger_copy",
    "old_messages",
    "outbox",
    "outbox_tables",
    "plan_draws",
    "records",
    "subjects",
    "texts",
]
