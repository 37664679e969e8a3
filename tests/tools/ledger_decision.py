"""A decision as short as the ledger takes it, for tests of the ledger itself."""

from __future__ import annotations

from datetime import UTC, datetime

from serving.ledger.ledger import Decision

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def decision(name: str, *, inputs: str | None = None) -> Decision:
    """A decision of that id for one account, with ``inputs`` of any length."""
    return Decision(
        decision_id=name,
        account_id="acme",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.5,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="ab",
        inputs=inputs,
    )
