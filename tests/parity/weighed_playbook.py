"""The playbook without what comes before value: no promises, urgencies, prices or shared talks.

For tests of the weighing itself, which need an action that competes by its value alone. What comes
before value is tested in ``tests/contracts/test_believable_actions.py``.
"""

from __future__ import annotations

from dataclasses import replace

from registry.playbook.playbook import Playbook, load_playbook


def weighed_playbook() -> Playbook:
    """Today's actions, each weighed against its cost."""
    book = load_playbook()
    return replace(
        book,
        actions=tuple(replace(action, due=(), promise=None, sells=None) for action in book.actions),
        guards=tuple(guard for guard in book.guards if not guard.actions),
        urgencies=(),
        conversation=None,
        uncapped_channels=frozenset(),
    )
