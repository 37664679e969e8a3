"""The packed store's own rules: age, order in time, tables, and a process that is killed."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from feast import FeatureView, Field, FileSource
from feast.types import Int64
from forked_programs import Program
from online_repo import LIFE, PACKED, SQLITE, OnlineRepo, account, day

from features.store._packed_file import FORMAT, PackedFile
from features.store._packed_rows import PackedRowError
from features.store.packed import PackedOnlineStore, PackedStoreError

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def usage(*rows: tuple[str, float, float | None, str | None]) -> pl.DataFrame:
    table = pl.DataFrame(
        rows,
        schema=["account_id", "at", "uses", "plan"],
        orient="row",
        schema_overrides={"uses": pl.Float64, "plan": pl.String},
    )
    moments = pl.Series("at", [day(number) for number in table["at"]], pl.Datetime("us", "UTC"))
    return table.with_columns(moments, created=moments)


def write_table(repo: OnlineRepo, table: pl.DataFrame) -> None:
    store = PackedOnlineStore()
    store.online_write_table(repo.store.config, [repo.store.get_feature_view("usage")], table)
    store.close_file()


def read(repo: OnlineRepo, *names: str) -> list[object]:
    return [value for value, _, _ in repo.ask(["usage:uses"], *names)["uses"]]


@pytest.mark.parametrize("way", ["push", "write", "table"])
def test_an_older_row_never_replaces_a_newer_one(way: str, tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(9))
    for at, value in ((2, 2.0), (1, 1.0), (3, 3.0), (2.5, 2.5)):
        if way == "table":
            write_table(repo, usage(("acme", at, value, "x")))
        elif way == "push":
            repo.store.push("terms_push", repo.frame("terms", [("acme", at, at, value)]))
        else:
            repo.store.write_to_online_store(
                "usage", repo.frame("usage", [("acme", at, at, value, "x")])
            )
    found = repo.ask(["terms:mrr" if way == "push" else "usage:uses"], "acme")
    assert list(found.values()) == [[(3.0, "PRESENT", day(3))]]


def test_feasts_own_store_lets_an_older_row_replace_a_newer_one(tmp_path: Path) -> None:
    """What the packed store does otherwise, by intent."""
    repo = OnlineRepo(tmp_path, SQLITE)
    for at in (2, 1):
        repo.store.push("terms_push", repo.frame("terms", [("acme", at, at, float(at))]))
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [(1.0, "PRESENT", day(1))]


def test_of_one_moment_the_row_created_later_stays(tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(9))
    for created, value in ((5, 5.0), (4, 4.0), (5, 5.5)):
        repo.store.push("terms_push", repo.frame("terms", [("acme", 1, created, value)]))
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [(5.5, "PRESENT", day(1))]


AGES = [
    (LIFE, "PRESENT"),
    (LIFE + timedelta(microseconds=1), "OUTSIDE_MAX_AGE"),
    (timedelta(days=-1), "PRESENT"),
]


@pytest.mark.parametrize(("age", "status"), AGES, ids=["as old as allowed", "older", "not yet"])
def test_a_row_older_than_its_view_allows_is_outside_its_age(
    age: timedelta,
    status: str,
    tmp_path: Path,
) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(1) + age)
    write_table(repo, usage(("acme", 1, 1.0, None)))
    found = repo.ask(["usage:uses", "usage:plan", "terms:mrr"], "acme", "nobody")
    assert found["uses"] == [(1.0, status, day(1)), (None, "NOT_FOUND", None)]
    assert found["plan"] == [(None, status, day(1)), (None, "NOT_FOUND", None)]
    assert found["mrr"] == [(None, "NOT_FOUND", None)] * 2


def test_feasts_own_store_calls_an_expired_row_present(tmp_path: Path) -> None:
    """What the packed store does otherwise, by intent: the row is years old."""
    repo = OnlineRepo(tmp_path, SQLITE)
    repo.materialize(-1, 1, feature_views=["usage"])
    assert repo.ask(["usage:uses"], "acme")["uses"] == [(1.5, "PRESENT", day(0))]


def test_without_a_stated_moment_the_age_is_that_of_the_call(tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED)
    write_table(repo, usage(("acme", 1, 1.0, None)))
    assert repo.ask(["usage:uses"], "acme")["uses"] == [(1.0, "OUTSIDE_MAX_AGE", day(1))]
    fresh = datetime.now(UTC)
    write_table(repo, usage(("acme", 1, 2.0, None)).with_columns(at=fresh, created=fresh))
    assert repo.ask(["usage:uses"], "acme")["uses"] == [(2.0, "PRESENT", fresh)]


def test_a_view_without_a_time_to_live_never_expires(tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(10_000))
    repo.store.apply(
        [
            repo.view(
                "terms", [account], pushed=True, ttl=timedelta(0), mrr=repo.terms.features[0].dtype
            )
        ]
    )
    repo.store.push("terms_push", repo.frame("terms", [("acme", 1, 1, 1.0)]))
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [(1.0, "PRESENT", day(1))]


def test_a_table_is_read_as_feast_would_have_written_it(tmp_path: Path) -> None:
    rows = [
        ("acme", 1, 1.0, "a"),
        ("zeta", 2, None, None),
        ("acme", 3, float("nan"), "ü"),
        ("beta", 0, -0.0, ""),
        ("acme", 2, 2.0, "b"),
    ]
    answers = []
    for way in ("feast", "table"):
        (tmp_path / way).mkdir()
        repo = OnlineRepo(tmp_path / way, PACKED, now=day(9))
        if way == "table":
            write_table(repo, usage(*rows))
        else:
            repo.store.write_to_online_store(
                "usage",
                repo.frame("usage", [(name, at, at, uses, plan) for name, at, uses, plan in rows]),
            )
        answers.append(repo.ask(["usage:uses", "usage:plan"], "acme", "beta", "zeta", "nobody"))
    assert repr(answers[0]) == repr(answers[1])
    assert answers[0]["plan"][0] == ("ü", "PRESENT", day(3))


def test_a_field_that_no_table_holds_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(9))
    odd = FeatureView(
        name="odd",
        entities=[account],
        schema=[Field(name="n", dtype=Int64)],
        source=FileSource(path=str(tmp_path / "x.parquet"), timestamp_field="at"),
    )
    store, view = PackedOnlineStore(), repo.store.get_feature_view("usage")
    with pytest.raises(PackedStoreError, match=r"odd\.n is Int64"):
        store.online_write_table(repo.store.config, [view, odd], usage(("acme", 1, 1.0, None)))
    with pytest.raises(PackedRowError, match="key account_id"):
        store.online_write_table(
            repo.store.config,
            [view],
            usage(("acme", 1, 1.0, None)).with_columns(account_id=pl.lit(None, pl.String)),
        )
    assert read(repo, "acme") == [None]
    store.online_write_table(repo.store.config, [view], usage(("acme", 1, 1.0, None)))
    assert read(repo, "acme") == [1.0]  # the numbers given in what was undone are not kept


def test_threads_write_without_mixing_their_transactions(tmp_path: Path) -> None:
    repo = OnlineRepo(tmp_path, PACKED, now=day(9))
    store, view = PackedOnlineStore(), repo.store.get_feature_view("usage")

    def write(number: int) -> None:
        for turn in range(20):
            name = f"{number}-{turn}"
            store.online_write_table(repo.store.config, [view], usage((name, 1, 1.0, None)))
        store.close_file()

    threads = [threading.Thread(target=write, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [f"{number}-{turn}" for number in range(3) for turn in range(20)]
    assert read(repo, *names) == [1.0] * 60


def test_a_write_changes_the_time_of_the_file_while_others_read(tmp_path: Path) -> None:
    """The service looks at it to see that there is something new."""
    repo = OnlineRepo(tmp_path, PACKED, now=day(9))
    write_table(repo, usage(("acme", 1, 1.0, None)))
    assert read(repo, "acme") == [1.0]  # and holds the file open
    before = (tmp_path / "online.db").read_bytes()
    write_table(repo, usage(("acme", 2, 2.0, None)))
    assert (tmp_path / "online.db").read_bytes() != before


def test_a_file_of_another_format_starts_anew(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "online.db")
    old.execute("CREATE TABLE packed (view TEXT, packed BLOB)")
    old.close()
    file = PackedFile(tmp_path / "online.db")
    assert file.view("keepwell.usage") is None
    names = {name for (name,) in file.connection.execute("SELECT name FROM sqlite_master")}
    assert "packed" not in names
    assert file.connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    file.close()


WRITER = """
import sys
import polars as pl
from pathlib import Path
from features.store._packed_file import PackedFile
from features.store._packed_rows import pack_keys, pack_table

path, first, accounts, views = Path(sys.argv[1]), *map(int, sys.argv[2:])
names = [f"account {n}" for n in range(accounts)]
keys = pack_keys(pl.DataFrame({"account_id": names}))
file = PackedFile(path)
for version in range(first, first + 100_000):
    rows = list(pack_table(pl.DataFrame({"version": [float(version)] * accounts})))
    with file.transaction():
        for view in range(views):
            number = file.new_view(f"view {view}")
            layout = file.layout(("version",))
            file.put(number, ((key, layout, version, None, row)
                              for key, row in zip(keys, rows, strict=True)))
    print(version, flush=True)
"""


def kill_while_writing(path: Path, first: int, seconds: float) -> int:
    """Write version after version until killed; the last one that was said to be written."""
    writer = Program(WRITER, str(path), str(first), "300", "3")
    said = [int(writer.stdout.readline())]
    timer = threading.Timer(seconds, writer.kill)
    timer.start()
    said += [int(line) for line in writer.stdout if line.endswith("\n")]
    assert writer.wait() == -signal.SIGKILL
    writer.close()
    timer.join()
    return said[-1]


def check_kills(path: Path, kills: int) -> None:
    rng = random.Random(20_261_121)
    first = 1
    for _ in range(kills):
        said = kill_while_writing(path, first, rng.uniform(0, 0.3))
        file = PackedFile(path)
        versions = {
            moment for (moment,) in file.connection.execute("SELECT event_at FROM rows").fetchall()
        }
        counts = file.connection.execute("SELECT count(*) FROM rows").fetchone()
        assert file.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        file.close()
        # one version in every row of every view: the old or the new, and never less than was said
        assert versions in ({said}, {said + 1})
        assert counts == (900,)
        first = max(versions) + 1


def test_a_killed_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    check_kills(tmp_path / "online.db", 2)


@pytest.mark.slow
def test_two_hundred_killed_writes_leave_the_old_or_the_new(tmp_path: Path) -> None:
    check_kills(tmp_path / "online.db", 200)
