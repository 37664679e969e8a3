"""Read events as they arrive, from Kafka or the API, and refresh the accounts they are about.

Each message is read once, also after a crash.
"""

__all__ = ["consumer", "ingest_worker", "kafka", "offsets", "refresh"]
