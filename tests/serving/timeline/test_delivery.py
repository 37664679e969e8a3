"""What the ledger holds comes onto the timeline as it is when it is written, not as it was before."""

from __future__ import annotations

from contextlib import closing
from threading import Thread

from ledger_decision import NOW, decision

from features.workspace import Workspace
from features.workspace_files import hold_lock
from serving.ledger.ledger import Ledger
from serving.timeline.store import TimelineStore


def test_the_ledger_is_read_once_nobody_else_writes(own_workspace: Workspace) -> None:
    """Or a text that is erased from the ledger while this waits would come back."""
    timelines, found = TimelineStore(own_workspace), []
    with closing(Ledger(own_workspace.ledger_db)) as ledger:
        ledger.append_decisions([decision("d-1")])

        def deliver() -> None:
            found.append(timelines.deliver(ledger, now=NOW))

        waiting = Thread(target=deliver)
        with hold_lock(own_workspace.events_dir, busy="not free"):
            waiting.start()
            waiting.join(0.3)
            assert found == []
            ledger.append_decisions([decision("d-2")])
        waiting.join(60)
        assert found == [2]
        assert timelines.deliver(ledger, now=NOW) == 0
        timelines.close()
