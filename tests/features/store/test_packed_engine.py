"""Feast's materialize hands tables to the packed store, and does by itself what is no table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from feast.types import Float64, Int64, String
from online_repo import PACKED_ENGINE, OnlineRepo, account, day

from features.store._packed_file import PackedFile

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.fixture
def repo(tmp_path: Path) -> OnlineRepo:
    return OnlineRepo(tmp_path, PACKED_ENGINE, now=day(9))


def layouts(repo: OnlineRepo) -> set[str]:
    file = PackedFile(repo.folder / "online.db")
    found = {fields for (fields,) in file.connection.execute("SELECT fields FROM layouts")}
    file.close()
    return found


def test_a_view_of_numbers_and_words_is_written_as_a_table(repo: OnlineRepo) -> None:
    repo.store.apply([repo.view("usage", [account], plan=String, uses=Float64)])
    repo.materialize(-1, 1, feature_views=["usage"])
    assert layouts(repo) == {'["uses", "plan"]'}  # a table has its numbers first
    assert repo.ask(["usage:plan", "usage:uses"], "acme") == {
        "plan": [("a", "PRESENT", day(0))],
        "uses": [(1.5, "PRESENT", day(0))],
    }


def test_a_view_with_another_type_goes_feasts_way(repo: OnlineRepo) -> None:
    repo.rows("terms", [("acme", 0, 0, 7)])
    repo.store.apply([repo.view("terms", [account], pushed=True, mrr=Int64)])
    repo.materialize(-1, 1, feature_views=["terms"])
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [(7, "PRESENT", day(0))]


def test_keys_and_numbers_have_the_types_that_are_declared(repo: OnlineRepo) -> None:
    """A file may hold narrower integers and moments without a zone."""
    path = repo.folder / "seats.parquet"
    pl.DataFrame(
        {
            "account_id": ["acme"],
            "seat_number": [1],
            "logins": [3],
            "at": [day(0).replace(tzinfo=None)],
        }
    ).with_columns(
        pl.col("seat_number").cast(pl.Int32), pl.col("logins").cast(pl.Int16)
    ).write_parquet(path)
    repo.materialize(-1, 1, feature_views=["seats"])
    assert repo.ask(["seats:logins"], {"account_id": "acme", "seat_number": 1})["logins"] == [
        (3.0, "PRESENT", day(0))
    ]


def test_a_materialize_that_fails_says_so_and_writes_nothing(repo: OnlineRepo) -> None:
    (repo.folder / "usage.parquet").write_bytes(b"no parquet")
    with pytest.raises(Exception, match=r"(?i)parquet"):
        repo.materialize(-1, 1, feature_views=["usage"])
    assert layouts(repo) == set()
