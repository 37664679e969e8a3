"""The playbook of a tenant, checked: its conditions name only features and alerts that exist.

A condition about an undeclared feature or alert is refused, with its entry, when the service starts
and before a batch is ranked, and never during a request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

from experiments.policy.recommend import STATE_FACTS
from features.alerts.rules import ALERTS
from features.catalogue.definitions.attributes import ATTRIBUTES, CONTRACT_STATUS
from registry.playbook.playbook import Playbook, check_reads, load_playbook

WORDS = (*(attribute.name for attribute in ATTRIBUTES), CONTRACT_STATUS)


SHIPPED_ALERTS = frozenset(alert.id for alert in ALERTS)


def load_validated_playbook(
    features: Iterable[str],
    book: Playbook | None = None,
    *,
    alerts: Collection[str] = SHIPPED_ALERTS,
) -> Playbook:
    """The playbook (the built-in one, if none is given), checked against these features and alerts.

    Raises:
        PlaybookError: an entry reads what nobody declared.
    """
    if book is not None:
        return _validated(features, alerts, book)
    return _built_in(tuple(features), frozenset(alerts))


@lru_cache(maxsize=8)
def _built_in(features: tuple[str, ...], alerts: frozenset[str]) -> Playbook:
    """The built-in playbook, which every decision asks for, checked once."""
    return _validated(features, alerts, load_playbook())


def _validated(features: Iterable[str], alerts: Collection[str], book: Playbook) -> Playbook:
    check_reads(book, names={*features, *STATE_FACTS, *WORDS}, alerts=alerts)
    return book
