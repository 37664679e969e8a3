"""Read events as they arrive, from Kafka or the API, and refresh the features of their accounts.

Each message counts once, also after a crash.
"""

__all__ = ["consumer", "ingest_worker", "kafka", "offsets", "refresh"]
