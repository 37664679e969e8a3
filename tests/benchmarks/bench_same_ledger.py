"""What it costs a commit to see that the ledger is still the one that was written."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from interleaved import write_section
from ledger_decision import decision

from serving.ledger.database.same_ledger import SameLedger
from serving.ledger.ledger import Ledger

pytestmark = pytest.mark.bench

ROUNDS, COMMITS = 15, 100


class NothingIsLookedAt:
    """What stands in the place of the watch to measure what a commit costs without it."""

    problem = None

    def check_files(self) -> None:
        """Nothing."""

    def check_begun(self, _: object) -> None:
        """Nothing."""

    def newest(self, _: object) -> None:
        """Nothing."""

    def committed(self, _: object) -> None:
        """Nothing."""


@contextmanager
def opened(place: Path, *, watched: bool) -> Iterator[Ledger]:
    with closing(Ledger(place)) as ledger:
        if not watched:
            vars(ledger.database)["_same"] = NothingIsLookedAt()
        yield ledger


def cpu_ms(ledger: Ledger, first: int) -> float:
    """Of one commit of one decision, and of one that writes nothing, as a key's row costs less."""
    began = time.process_time()
    for number in range(first, first + COMMITS):
        ledger.append_decisions([decision(f"d-{number}", inputs="x" * 8_000)])
    return (time.process_time() - began) / COMMITS * 1000


def test_a_commit_with_and_without_the_watch(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "watched.db", watched=True) as watched,
        opened(tmp_path / "plain.db", watched=False) as plain,
    ):
        assert isinstance(watched.database._same, SameLedger)
        times: dict[str, list[float]] = {"with": [], "without": []}
        for turn in range(ROUNDS):
            times["with"].append(cpu_ms(watched, turn * COMMITS))
            times["without"].append(cpu_ms(plain, turn * COMMITS))
    found = {name: statistics.median(each) for name, each in times.items()}
    write_section(
        Path(__file__).name,
        f"{ROUNDS} rounds of {COMMITS} commits of one decision each, in turn: "
        f"{found['without']:.2f} cpu ms a commit without the watch, {found['with']:.2f} with it, "
        f"{found['with'] - found['without']:+.2f}.",
    )
