"""The id of an event that came without one, event by event: the reference of the lake's whole-frame ids."""

from __future__ import annotations

import hashlib

from features.events.schema import Event


def content_id(event: Event, ordinal: int = 0) -> str:
    """An id for a row that came without one: hash of its content and ordinal among equal rows."""
    content = "\x1f".join(
        (
            event.account_id,
            event.user_id or "",
            event.kind,
            event.occurred_at.isoformat(),
            str(event.event_count),
            str(event.user_count),
            repr(event.quantity),
            event.properties,
            str(ordinal),
        )
    )
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
