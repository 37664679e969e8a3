"""An account in a few lines, as a person reads it after `make run`."""

from __future__ import annotations

from small_company import AS_OF

from serving.cli.next_actions import account_lines
from serving.recommendations.snapshot import decisions_as_of


def test_a_reason_that_speaks_for_staying_says_so(shared_workspace, store) -> None:
    told = {True: 0, False: 0}
    for one in decisions_as_of(shared_workspace, store, AS_OF):
        lines = [line for line in account_lines(one).splitlines() if line.startswith("   · ")]
        for line, reason in zip(lines, one.score.reasons.top(3), strict=True):
            assert line.startswith("   · For staying: ") == (reason.points <= 0)
            told[reason.points > 0] += 1
    assert min(told.values()) > 0
