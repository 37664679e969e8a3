"""One exam for online stores: what Feast's own SQLite store does, the packed store does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService
from feast.data_source import PushMode
from feast.errors import FeatureViewNotFoundException
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, String
from online_repo import EVERY_TYPE, PACKED, PACKED_ENGINE, SQLITE, OnlineRepo, account, day

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

USAGE = ["usage:uses", "usage:plan"]
NOT_FOUND = (None, "NOT_FOUND", None)


def present(value: Any, number: float) -> tuple[Any, str, Any]:
    return value, "PRESENT", day(number)


@pytest.fixture(params=[SQLITE, PACKED, PACKED_ENGINE])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> OnlineRepo:
    return OnlineRepo(tmp_path, request.param, now=day(30))


def test_materialize_takes_the_newest_row_of_its_time(repo: OnlineRepo) -> None:
    repo.rows(
        "usage",
        [
            ("acme", 1, 1, 1.0, "a"),
            ("acme", 3, 3, 3.0, "c"),
            ("acme", 9, 9, 9.0, "i"),
            ("zeta", 2, 2, 2.0, None),
            ("early", -2, -2, 7.0, "x"),
        ],
    )
    repo.materialize(0, 5, feature_views=["usage"])
    assert repo.ask(USAGE, "zeta", "acme", "early") == {
        "uses": [present(2.0, 2), present(3.0, 3), NOT_FOUND],
        "plan": [present(None, 2), present("c", 3), NOT_FOUND],
    }


def test_materialize_takes_the_row_created_last_of_one_moment(repo: OnlineRepo) -> None:
    repo.rows("usage", [("acme", 1, 3, 3.0, "late"), ("acme", 1, 2, 2.0, "soon")])
    repo.materialize(0, 5, feature_views=["usage"])
    assert repo.ask(USAGE, "acme")["plan"] == [present("late", 1)]


def test_materialize_incremental_adds_what_is_new_and_leaves_the_rest(repo: OnlineRepo) -> None:
    repo.rows("usage", [("acme", 1, 1, 1.0, "a"), ("zeta", 1, 1, 5.0, "z")])
    repo.materialize(0, 2, feature_views=["usage"])
    repo.rows(
        "usage",
        [
            ("acme", 3, 3, 3.0, "c"),
            ("acme", 1, 1, -1.0, "not read again"),
            ("beta", 4, 4, None, "b"),
        ],
    )
    repo.store.materialize_incremental(day(5), feature_views=["usage"], full_feature_names=False)
    found = repo.ask(USAGE, "acme", "zeta", "beta")
    assert [value for value, _, _ in found["uses"]] == [3.0, 5.0, None]
    assert [value for value, _, _ in found["plan"]] == ["c", "z", "b"]
    assert [status for _, status, _ in found["uses"]] == ["PRESENT"] * 3


def test_a_push_is_read_at_once(repo: OnlineRepo) -> None:
    repo.materialize(-1, 1, feature_views=["terms"])
    repo.store.push(
        "terms_push",
        repo.frame("terms", [("acme", 2, 2, 20.0), ("new", 3, 3, None)]),
        to=PushMode.ONLINE,
    )
    assert repo.ask(["terms:mrr"], "acme", "new", "nobody")["mrr"] == [
        present(20.0, 2),
        present(None, 3),
        NOT_FOUND,
    ]


def test_of_two_pushed_rows_of_one_moment_the_second_stays(repo: OnlineRepo) -> None:
    for mrr in (1.0, 2.0):
        repo.store.push("terms_push", repo.frame("terms", [("acme", 2, 2, mrr)]))
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [present(2.0, 2)]


def test_every_view_keeps_its_own_row_and_moment(repo: OnlineRepo) -> None:
    repo.rows("usage", [("acme", 4, 4, 4.0, "d")])
    repo.rows("terms", [("acme", 1, 1, 10.0), ("zeta", 2, 2, 20.0)])
    repo.materialize(0, 5)
    assert repo.ask([*USAGE, "terms:mrr"], "zeta", "acme") == {
        "uses": [NOT_FOUND, present(4.0, 4)],
        "plan": [NOT_FOUND, present("d", 4)],
        "mrr": [present(20.0, 2), present(10.0, 1)],
    }


def test_a_feature_service_reads_across_views_under_full_names(repo: OnlineRepo) -> None:
    service = FeatureService(name="all", features=[repo.usage[["uses"]], repo.terms])
    repo.store.apply([service])
    repo.materialize(-1, 5)
    found = repo.ask(service, "acme", full_feature_names=True)
    assert found == {"usage__uses": [present(1.5, 0)], "terms__mrr": [present(1.0, 0)]}


def test_the_order_asked_and_repeats_are_kept(repo: OnlineRepo) -> None:
    repo.rows("usage", [(f"acct-{n}", 1, 1, float(n), None) for n in range(700)])
    repo.materialize(0, 2, feature_views=["usage"])
    asked = [f"acct-{n}" for n in (5, 699, 5, 1000, 0, *range(699, -1, -1), 5)]
    values = [value for value, _, _ in repo.ask(["usage:uses"], *asked)["uses"]]
    assert values == [5.0, 699.0, 5.0, None, 0.0, *map(float, range(699, -1, -1)), 5.0]


def test_two_keys_name_one_row_in_either_order(repo: OnlineRepo) -> None:
    repo.rows("seats", [("acme", 1, 1, 11.0), ("acme", 2, 1, 12.0), ("zeta", 1, 1, 21.0)])
    repo.materialize(0, 2, feature_views=["seats"])
    found = repo.ask(
        ["seats:logins"],
        {"account_id": "acme", "seat_number": 2},
        {"account_id": "zeta", "seat_number": 1},
        {"account_id": "zeta", "seat_number": 2},
    )
    assert found["logins"] == [present(12.0, 1), present(21.0, 1), NOT_FOUND]
    turned = repo.ask(["seats:logins"], {"seat_number": 2, "account_id": "acme"})
    assert turned["logins"] == [present(12.0, 1)]


def test_every_type_comes_back_as_it_went_in(repo: OnlineRepo) -> None:
    row = {name: value for name, (_, value) in EVERY_TYPE.items()}
    frame = pd.DataFrame(
        [
            {"account_id": "acme", "at": pd.Timestamp(day(1)), **row},
            {"account_id": "void", "at": pd.Timestamp(day(1)), **dict.fromkeys(row)},
        ]
    )
    frame.head(1).to_parquet(repo.folder / "kinds.parquet")
    view = repo.view("kinds", [account], **{name: dtype for name, (dtype, _) in EVERY_TYPE.items()})
    repo.store.apply([view])
    repo.store.write_to_online_store("kinds", frame.head(1))
    found = repo.ask([f"kinds:{name}" for name in row], "acme")
    assert {name: cells[0][0] for name, cells in found.items()} == row
    assert {cells[0][1] for cells in found.values()} == {"PRESENT"}


def test_a_field_added_after_writing_is_not_found_until_it_is_written(repo: OnlineRepo) -> None:
    repo.materialize(-1, 2, feature_views=["usage"])
    wider = repo.view("usage", [account], uses=Float64, plan=String, errors=Float64)
    repo.store.apply([wider])
    asked = [*USAGE, "usage:errors"]
    assert repo.ask(asked, "acme") == {
        "uses": [present(1.5, 0)],
        "plan": [present("a", 0)],
        "errors": [(None, "NOT_FOUND", day(0))],
    }
    frame = repo.frame("usage", [("acme", 1, 1, 2.5, "b")]).assign(errors=7.0)
    repo.store.write_to_online_store("usage", frame)
    assert repo.ask(asked, "acme")["errors"] == [present(7.0, 1)]


def test_a_row_that_lacks_a_field_leaves_it_as_it_was(repo: OnlineRepo) -> None:
    key = EntityKey(join_keys=["account_id"], entity_values=[Value(string_val="acme")])
    online, config = repo.store._get_provider().online_store, repo.store.config
    view = repo.store.get_feature_view("usage")
    for number, values in enumerate(
        [
            {"uses": Value(double_val=1.0), "plan": Value(string_val="a")},
            {"uses": Value(double_val=2.0)},
            {"plan": Value()},
            {},
        ]
    ):
        # naive moments are UTC, and a created moment is not required
        online.online_write_batch(
            config, view, [(key, values, day(number).replace(tzinfo=None), None)], None
        )
    found = repo.ask(USAGE, "acme")
    assert [found[name][0][0] for name in ("uses", "plan")] == [2.0, None]
    assert found["uses"][0][1] == "PRESENT"


def test_progress_counts_the_rows(repo: OnlineRepo) -> None:
    counts: list[int] = []
    keys = [
        EntityKey(join_keys=["account_id"], entity_values=[Value(string_val=name)])
        for name in ("a", "b", "c")
    ]
    repo.store._get_provider().online_store.online_write_batch(
        repo.store.config,
        repo.usage,
        [(key, {"uses": Value()}, day(0), None) for key in keys],
        counts.append,
    )
    assert sum(counts) == 3


def test_a_removed_view_takes_its_rows_along_and_no_others(repo: OnlineRepo) -> None:
    repo.materialize(-1, 5)
    repo.store.apply([], objects_to_delete=[repo.usage], partial=False)
    with pytest.raises(FeatureViewNotFoundException, match="usage"):
        repo.ask(USAGE, "acme")
    assert repo.ask(["terms:mrr"], "acme")["mrr"] == [present(1.0, 0)]
    repo.store.apply([repo.usage])
    assert repo.ask(USAGE, "acme") == {"uses": [NOT_FOUND], "plan": [NOT_FOUND]}


def test_teardown_leaves_nothing_and_the_store_can_be_filled_again(repo: OnlineRepo) -> None:
    repo.materialize(-1, 5)
    repo.store.teardown()
    again = OnlineRepo(repo.folder, repo.kind, now=day(30))
    assert again.ask([*USAGE, "terms:mrr"], "acme") == {
        "uses": [NOT_FOUND],
        "plan": [NOT_FOUND],
        "mrr": [NOT_FOUND],
    }
    again.materialize(-1, 5)
    assert again.ask(USAGE, "acme")["uses"] == [present(1.5, 0)]


def random_steps(seed: int) -> list[Callable[[OnlineRepo], None]]:
    """Writes of every way, whose moments only go forward, and deletions."""
    rng = random.Random(seed)
    steps: list[Callable[[OnlineRepo], None]] = []

    def rows(at: float, *extra: Callable[[], Any]) -> list[tuple[Any, ...]]:
        names = rng.sample("abcdef", rng.randint(1, 6))
        return [(name, at, at, *(value() for value in extra)) for name in names]

    def number() -> float | None:
        return rng.choice([None, 0.0, -0.0, rng.random(), 1e300, float("inf")])

    def word() -> str | None:
        return rng.choice([None, "", "é", "x" * 300])

    for turn in range(12):
        usage, terms = rows(turn + 0.5, number, word), rows(turn + 0.5, number)
        kind = rng.choice(["materialize", "push", "write", "delete", "both"])
        if kind == "materialize":

            def step(repo: OnlineRepo, usage: Any = usage, turn: int = turn) -> None:
                repo.rows("usage", usage)
                repo.materialize(turn, turn + 1, feature_views=["usage"])
        elif kind == "push":

            def step(repo: OnlineRepo, terms: Any = terms) -> None:
                repo.store.push("terms_push", repo.frame("terms", terms))
        elif kind == "write":

            def step(repo: OnlineRepo, usage: Any = usage) -> None:
                repo.store.write_to_online_store("usage", repo.frame("usage", usage))
        elif kind == "both":

            def step(
                repo: OnlineRepo, usage: Any = usage, terms: Any = terms, turn: int = turn
            ) -> None:
                repo.rows("usage", usage)
                repo.rows("terms", terms)
                repo.materialize(turn, turn + 1)
        else:

            def step(repo: OnlineRepo) -> None:
                repo.store.apply([], objects_to_delete=[repo.terms], partial=False)
                repo.store.apply([repo.terms])

        steps.append(step)
    return steps


@pytest.mark.parametrize("seed", range(3))
def test_any_course_of_writes_and_deletions_reads_the_same(seed: int, tmp_path: Path) -> None:
    repos = []
    for kind in (SQLITE, PACKED, PACKED_ENGINE):
        (tmp_path / kind).mkdir()
        repos.append(OnlineRepo(tmp_path / kind, kind, now=day(1)))
    for step in random_steps(seed):
        for repo in repos:
            step(repo)
        reference, *packed = (repr(repo.ask([*USAGE, "terms:mrr"], *"fedcbax")) for repo in repos)
        assert packed == [reference, reference]
