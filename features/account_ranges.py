"""This module is about reading a lake by account range, however its events lie in parts.

::

    part 1 (by account) ──┐    ┌── range 1: a .. f ──► one worker
    part 2 (by account) ──┼────┼── range 2: g .. m ──► another
    part 3 (by account) ──┘    └── range 3: n .. z

Each part is read once and handed out to one file a range, with accounts and kinds as numbers;
a range is then read whole. So time is linear in events and memory follows the range, be the parts
daily loads or one history each. A lake that fits into one range is read directly, and one with
corrections by filters, because what was corrected is told by id.
"""

from __future__ import annotations

import fcntl
import itertools
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.lake import Lake
from features.manifest import Manifest
from features.string_views import StringViews, keys, numbered
from features.telemetry import EVENT_SCHEMA
from features.timeline import USER_KEYS, UndecidedOrderError

Made = TypeVar("Made")

SAMPLES_A_RANGE = 500
"""Events looked at to tell where a range of accounts begins: its size is then right by a tenth."""

MOST_RANGES = 400
"""Ranges have one or two open files each while events are handed out, and 1024 is the usual limit
of a process: beyond 200 million events, ranges grow and not their number."""

WORK_FOLDER = ".ranges-"
LOCK = "lock"
"""File of a work folder that its process has locked: the lock ends with the process."""


class AccountRanges(AbstractContextManager["AccountRanges"]):
    """The events of a lake, some accounts at a time.

    Args:
        lake: where the events are.
        columns: which columns to read, ``account_id`` and ``kind`` among them. Where the events
            can not be put in order without it, ``event_id`` is read as well.
        events_at_once: events of one range, about; one account is never divided. There are more
            in a range where there would be more than ``MOST_RANGES``.
        threads: parts read, or ranges worked on, at once.
        users_as_keys: ranges may hold ``USER_KEYS`` in the place of ``user_id``.
        whole_kinds: kinds whose events are wanted with all columns as well, beside the others.
        manifest: what counts as the lake's events; what the lake holds now, by default. Nothing
            that is committed later is read.
    """

    def __init__(self, lake: Lake, columns: Sequence[str], *, events_at_once: int,
                 threads: int = 1, users_as_keys: bool = False,
                 whole_kinds: Collection[str] = (), manifest: Manifest | None = None) -> None:
        self._lake, self._threads = lake, threads
        self._columns = list(columns)
        self._with_keys = users_as_keys and "user_id" in columns
        self._whole_kinds = sorted(whole_kinds)
        self._manifest = manifest or lake.manifest
        self._paths = [lake.folder / name for name in self._manifest.parts]
        self._corrected = bool(self._manifest.superseded)
        self._edges = _edges(self._paths, events_at_once)
        self._folder: Path | None = None
        self._open = ExitStack()
        self._named: list[pl.Expr] = []

    def __len__(self) -> int:
        return len(self._edges) + 1

    def __enter__(self) -> AccountRanges:
        if self._edges and not self._corrected:
            with ExitStack() as opening:
                folder = opening.enter_context(_work_folder(self._lake.folder))
                self._hand_out(folder)
                self._folder, self._open = folder, opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._open.close()

    def each(self, work: Callable[[pl.DataFrame, pl.DataFrame], Made]) -> Iterator[Made]:
        """What the work makes of each range, in the order of accounts.

        The work is given the events of the range, and with all columns those of ``whole_kinds``.
        """
        ranges = iter(range(len(self)))
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Made]] = deque()
            for number in itertools.islice(ranges, self._threads):
                waiting.append(pool.submit(self._work, number, work))
            while waiting:
                made = waiting.popleft().result()
                for number in itertools.islice(ranges, 1):
                    waiting.append(pool.submit(self._work, number, work))
                yield made

    def _work(self, number: int, work: Callable[[pl.DataFrame, pl.DataFrame], Made]) -> Made:
        whole = self._read_whole(number)
        try:
            return work(self._read(number), whole)
        except UndecidedOrderError:  # ids are long, and rarely needed
            return work(self._read_with_ids(number), whole)

    def _of_range(self, number: int) -> pl.LazyFrame:
        events = self._lake.scan(self._manifest)
        if number > 0:
            events = events.filter(pl.col("account_id") >= self._edges[number - 1])
        if number < len(self._edges):
            events = events.filter(pl.col("account_id") < self._edges[number])
        return events

    def _read_with_ids(self, number: int) -> pl.DataFrame:
        columns = dict.fromkeys([*self._columns, "event_id", "superseded_at"])
        return self._of_range(number).select(*columns).collect()

    def _read_whole(self, number: int) -> pl.DataFrame:
        if not self._whole_kinds:
            return pl.DataFrame(schema=EVENT_SCHEMA)
        if self._folder is None:
            return self._of_range(number).filter(pl.col("kind").is_in(self._whole_kinds)).collect()
        return pl.read_ipc_stream(self._folder / _whole(number))

    def _read(self, number: int) -> pl.DataFrame:
        if self._corrected:
            return self._read_with_ids(number)
        if self._folder is None:
            return self._lake.scan(self._manifest).select(self._columns).collect()
        path = self._folder / _range(number)
        with pa.OSFile(str(path)) as source:
            frame = pl.DataFrame(pa.ipc.open_stream(source).read_all())
        return frame.with_columns(self._named)

    def _hand_out(self, folder: Path) -> None:
        accounts, kinds = _Names(), _Names()

        def coded(events: pl.DataFrame) -> pl.DataFrame:
            events = events.with_columns(accounts.numbers(events["account_id"]),
                                         kinds.numbers(events["kind"]))
            if not self._with_keys:
                return events
            words = keys(StringViews.of(events["user_id"]))
            return events.drop("user_id").with_columns(
                pl.Series(name, word) for name, word in zip(USER_KEYS, words, strict=True))

        schema = coded(pl.read_parquet(self._paths[0], columns=self._columns, n_rows=0)
                       ).to_arrow().schema
        whole_schema = pl.DataFrame(schema=EVENT_SCHEMA).to_arrow().schema
        locks = [Lock() for _ in range(len(self))]

        def hand_out(path: Path) -> None:
            events = pl.read_parquet(path, columns=self._columns, parallel="none")
            if not events["account_id"].is_sorted():
                events = events.sort("account_id", maintain_order=True)
            ends = events["account_id"].search_sorted(pl.Series(self._edges), side="left")
            table = coded(events).to_arrow()
            for number, (start, end) in enumerate(
                    itertools.pairwise([0, *ends.to_list(), events.height])):
                if end > start:
                    with locks[number]:
                        writers[number].write_table(table.slice(start, end - start))
            if self._whole_kinds:
                whole = pl.scan_parquet(path).filter(
                    pl.col("kind").is_in(self._whole_kinds)).collect()
                places = pl.Series(self._edges).search_sorted(whole["account_id"], side="right")
                for (number,), rows in whole.group_by(places.alias("range")):
                    with locks[int(number)]:
                        whole_writers[int(number)].write_table(rows.to_arrow())

        with ExitStack() as files:
            def writer(name: str, columns: pa.Schema) -> pa.RecordBatchWriter:
                sink = files.enter_context(pa.OSFile(str(folder / name), "wb"))
                return files.enter_context(pa.ipc.new_stream(sink, columns))

            writers = [writer(_range(number), schema) for number in range(len(self))]
            whole_writers = [writer(_whole(number), whole_schema) for number in range(len(self))
                             if self._whole_kinds]
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(hand_out, self._paths))
        # The names stay with the type and not with the rows; an expression holds the type as it is
        # used, where a type alone is made anew, with all names, for each range.
        self._named = [pl.col(column).cat.to(pl.Enum(names)) for column, names in (
            ("account_id", accounts.names), ("kind", kinds.names))]


class _Names:
    """Numbers for names, the same in every part."""

    def __init__(self) -> None:
        self._number_of: dict[str, int] = {}
        self._lock = Lock()

    @property
    def names(self) -> pl.Series:
        return pl.Series([*self._number_of], dtype=pl.String)

    def numbers(self, column: pl.Series) -> pl.Series:
        codes, rows = numbered(StringViews.of(column))
        names = column.gather(rows).to_list()
        with self._lock:
            number_of = self._number_of
            number = np.array([number_of.setdefault(name, len(number_of)) for name in names],
                              dtype=np.int32)
        return pl.Series(column.name, number[codes])


def _range(number: int) -> str:
    return f"{number}.arrow"


def _whole(number: int) -> str:
    return f"{number}-whole.arrow"


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """A folder for files that go when the block ends, or with the next one if it is killed.

    It gets its name when it is locked, so one of that name without a living lock is a leftover.
    """
    _remove_leftovers(parent)
    new = Path(tempfile.mkdtemp(prefix=f".new{WORK_FOLDER}", dir=parent))
    with (new / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = new.rename(parent / new.name.removeprefix(".new"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(parent: Path) -> None:
    """Remove the work folders of processes that were killed, wherever those ran."""
    for leftover in parent.glob(f"{WORK_FOLDER}*"):
        # Another user's, one that its process works on, or one that is gone by now: left alone.
        with suppress(OSError), (leftover / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)


def _edges(paths: Sequence[Path], events_at_once: int) -> list[str]:
    """The accounts at which ranges begin, from every so many-th event of each part.

    The statistics of row groups would not do: parts of the same size begin their groups at the
    same accounts, and all the work would lie in the few ranges between.
    """
    step = max(1, events_at_once // SAMPLES_A_RANGE)
    if sum(pq.read_metadata(path).num_rows for path in paths) <= events_at_once:
        return []
    sampled = pl.concat([pl.read_parquet(path, columns=["account_id"])["account_id"]
                         .gather_every(step) for path in paths]).sort()
    a_range = max(-(-events_at_once // step), -(-len(sampled) // MOST_RANGES))
    edges = sampled.gather_every(a_range).slice(1).unique(maintain_order=True)
    return [edge for edge in edges if edge > sampled[0]]
