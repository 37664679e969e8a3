"""Webhooks: signed messages about decisions, sent at least once and replayable.

Follows the Standard Webhooks specification.
"""

__all__ = ["messages", "secret_encryption", "sending", "signature", "url"]
