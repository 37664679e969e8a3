"""An erasure that is killed at any moment is finished by the next start; no byte of the subject is left.

Each life is a process that erases a subject from a copy of one workspace and is killed a random time
after it began. What the next start does about it is what ``keepwell serve`` does first.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from canary_world import ACCOUNT, OF_ACCOUNT, OF_PERSON, PERSON, World, canary
from erase_once import LONGEST, lived

from features.lake.forget import LakeSubjects
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.cli.data_protection.run_erasure import finish_interrupted
from serving.data_protection.erasure.erase import under_way
from serving.ledger.ledger import Ledger
from serving.ledger.stores.texts import texts_in

SOAK = 500
NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits for readers that are about to open old files would take hours here."""
    monkeypatch.setattr(LakeSubjects.erase, "__kwdefaults__", {"grace_seconds": 0.0})
    monkeypatch.setattr("serving.data_protection.erasure.erase.SECONDS_BETWEEN_ROUNDS", 0.0)


def held(root: Path, numbers: set[int]) -> set[int]:
    """Which canaries any file holds, what is compressed included; each text of a column once."""
    found = bytearray()
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        found += path.read_bytes()
        if path.suffix == ".parquet":
            texts = pl.read_parquet(path).select(pl.col(pl.String))
            found += repr([texts[name].unique().to_list() for name in texts.columns]).encode()
        elif path.name == "ledger.db":
            found += "\n".join(texts_in(path)).encode()
    return {n for n in numbers if canary(n).encode() in found}


def kill_erasures(world: World, folder: Path, kills: int) -> str:
    """Kill so many erasures; the next start finishes each, or nothing had begun.

    One in five may be killed while it counts what is held, the others once their journal is written.
    """
    chance, count = random.Random(kills), Counter[str]()
    plain = folder / "plain"
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    shutil.copytree(world.workspace.root, plain)
    sizes = {"account": OF_ACCOUNT, "person": OF_PERSON}
    names = {"account": ACCOUNT, "person": PERSON}
    whole = held(plain, OF_ACCOUNT | OF_PERSON)
    place, took, lives = folder / "place", dict[tuple[str, bool], float](), itertools.count()
    while count["killed"] < kills:
        kind = ("account", "person")[count["killed"] % 2]
        from_journal = count["killed"] % 5 != 0
        numbers = sizes[kind]
        shutil.rmtree(place, ignore_errors=True)
        place = (
            folder / f"place-{next(lives)}"
        )  # this process knows how far the lake of one had come
        shutil.copytree(plain, place)

        way = (kind, from_journal)
        if way not in took:
            done, took[way] = lived(
                place, kind, names[kind], kill_after=LONGEST, from_journal=from_journal
            )
            assert done
            assert not held(place, numbers)
            continue
        longest = 1.05 * took[way]
        done, _ = lived(
            place,
            kind,
            names[kind],
            kill_after=chance.uniform(0, longest),
            from_journal=from_journal,
        )
        count["done" if done else "killed"] += 1
        again = Workspace(place, environment={})
        journal = under_way(again)
        if journal is None and not done:
            left = held(place, numbers)
            if left:
                assert left == numbers & whole, "half erased, and nothing says so"
                assert not any((place / "erasures").glob("receipt-*"))
                count["before it began"] += 1
                continue
            count["after its receipt"] += 1
        elif journal is not None:
            count[f"after {len(journal.done)} places"] += 1
            assert finish_interrupted(again)
        assert under_way(again) is None
        assert held(place, numbers) == set()
        assert len(list((place / "erasures").glob("receipt-*"))) == 1
        assert not list((place / "events").glob(".*.tmp"))
        if count["killed"] % 50 == 0:
            print(f"{time.strftime('%H:%M:%S')} {dict(sorted(count.items()))}", flush=True)  # noqa: T201
        Lake(again.events_dir, again.quarantine_dir).check()
        with closing(Ledger(again.ledger_db)) as ledger:
            assert ledger.verify().finding is None
    return str(dict(sorted(count.items())))


@pytest.mark.slow
def test_five_hundred_killed_erasures_are_finished_by_the_next_start(
    world: World, tmp_path: Path, short_waits: None
) -> None:
    print(kill_erasures(world, tmp_path, SOAK))  # noqa: T201
