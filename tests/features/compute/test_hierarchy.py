"""A parent's features are those of the accounts below it, taken as one, or unknown."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import load_catalogue
from features.catalogue.feature import Derived, Feature
from features.compute.hierarchy import (
    LEVELS,
    broken_links,
    combination,
    roll_up,
    rolled_up_features,
    valid_links,
)
from features.compute.snapshots import build_snapshots
from features.events.schema import KINDS, Event, events_frame, properties_text

AS_OFS = (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC))
START = datetime(2024, 1, 1, tzinfo=UTC)
CATALOGUE = load_catalogue()
SINCE = {kind.name: START - timedelta(days=1) for kind in KINDS}
AS_ONE = [
    f.name
    for f in CATALOGUE.primitives
    if combination(f) != "unknown" and f.name not in LEVELS and f.aggregate.operation != "in_state"
]


def snapshot(events: list[Event]) -> pl.DataFrame:
    return build_snapshots(events_frame(events), AS_OFS, CATALOGUE, first_recorded=SINCE)


def updated(account: str, at: datetime = START, **properties: str) -> Event:
    return Event(
        event_id=f"{account} {at} {properties}",
        account_id=account,
        kind="account.updated",
        occurred_at=at,
        recorded_at=at,
        properties=properties_text(properties),
    )


def happened(account: str, number: int, rng: random.Random) -> Event:
    kind = rng.choice([kind.name for kind in KINDS if kind.name != "account.updated"])
    at = START + timedelta(seconds=rng.randrange(150 * 86400))
    return Event(
        event_id=f"{account}-{number}",
        account_id=account,
        user_id=rng.choice("uvw"),
        kind=kind,
        occurred_at=at,
        recorded_at=at + timedelta(hours=rng.choice([0, 50])),
        event_count=rng.randrange(1, 5),
        quantity=rng.choice([None, 1.0, 2.5, -0.25]),
        properties=properties_text(
            {
                "name": rng.choice("ab"),
                "status": rng.choice(["late", "paid", "overdue"]),
                "change": rng.choice(["reopened", "sentiment"]),
                "state": "connected",
                "role": rng.choice(["sponsor", "champion"]),
                "invoice_id": rng.choice("xy"),
            }
        ),
    )


@st.composite
def companies(draw: st.DrawFn) -> tuple[list[Event], dict[str, str]]:
    """Events of accounts that hang together as a forest; account 0 never sends anything."""
    size = draw(st.integers(2, 7))
    above = {
        f"a{n}": f"a{draw(st.integers(0, n - 1))}" for n in range(1, size) if draw(st.booleans())
    }
    rng = random.Random(draw(st.integers(0, 10_000)))
    events = [updated(f"a{n}", parent=above.get(f"a{n}", "")) for n in range(1, size)]
    events += [happened(f"a{rng.randrange(1, size)}", n, rng) for n in range(60)]
    return events, above


def root_path(account: str, above: dict[str, str]) -> list[str]:
    path = [account]
    while path[-1] in above:
        path.append(above[path[-1]])
    return path


@settings(max_examples=25, deadline=None)
@given(company=companies())
def test_a_parent_is_what_its_accounts_would_be_as_one(
    company: tuple[list[Event], dict[str, str]],
) -> None:
    events, above = company
    rolled = roll_up(snapshot(events), CATALOGUE)
    assert set(rolled["account_id"]) == set(above.values())
    for parent in set(above.values()):
        members = [event for event in events if parent in root_path(event.account_id, above)]
        as_one = snapshot([replace(event, account_id=parent) for event in members])
        mine = rolled.filter(account_id=parent)
        assert mine["accounts"].to_list() == [len({e.account_id for e in members})] * 2
        assert_frame_equal(
            mine.select("as_of", *AS_ONE),
            as_one.select("as_of", *AS_ONE),
            check_exact=False,
            rel_tol=1e-12,
            abs_tol=1e-9,
        )  # sums in other groups


@settings(max_examples=10, deadline=None)
@given(company=companies(), seed=st.integers(0, 100))
def test_order_of_rows_changes_nothing(
    company: tuple[list[Event], dict[str, str]],
    seed: int,
) -> None:
    frame = snapshot(company[0])
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert_frame_equal(roll_up(frame, CATALOGUE), roll_up(shuffled, CATALOGUE), check_exact=True)


def rows(**parents: str | None) -> pl.DataFrame:
    """A snapshot of accounts with MRR 10 and 2 tickets each, and these parents."""
    return pl.DataFrame(
        {"account_id": list(parents), "parent": list(parents.values())},
        schema={"account_id": pl.String, "parent": pl.String},
    ).with_columns(
        pl.lit(AS_OFS[0]).cast(pl.Datetime("us", "UTC")).alias("as_of"),
        *(
            pl.lit(
                2.0 if name == "tickets_28d" else 10.0 if name == "mrr" else None, pl.Float64
            ).alias(name)
            for name in CATALOGUE.names
        ),
    )


def accounts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(roll_up(frame, CATALOGUE).select("account_id", "accounts").iter_rows())


def test_order_of_children_changes_no_bit_of_a_sum() -> None:
    frame = rows(**{f"a{n:02d}": "top" for n in range(40)}).with_columns(
        pl.Series("mrr", [(1e16, 1.1, -1e16, 3.3, 1e8 / 3)[n % 5] for n in range(40)])
    )
    sums = {
        roll_up(frame.sample(fraction=1.0, shuffle=True, seed=seed), CATALOGUE)["mrr"].item()
        for seed in range(12)
    }
    assert len(sums) == 1


def test_levels_add_up_and_people_do_not() -> None:
    [parent] = roll_up(rows(a="top", b="top"), CATALOGUE).to_dicts()
    assert (parent["mrr"], parent["tickets_28d"], parent["accounts"]) == (20.0, 4.0, 2)
    assert parent["active_users_28d"] is None
    assert parent["stickiness_28d"] is None


def test_a_ratio_is_made_of_summed_parts() -> None:
    frame = rows(a="top", b="top").with_columns(
        pl.Series("errors_28d", [1.0, 30.0]), pl.Series("feature_uses_28d", [100.0, 900.0])
    )
    assert roll_up(frame, CATALOGUE)["error_rate_28d"].to_list() == [31 / 1000]


def test_unknown_numbers_of_one_account_hide_no_numbers_of_another() -> None:
    frame = rows(top=None, a="top").with_columns(pl.Series("mrr", [None, 10.0]))
    assert roll_up(frame, CATALOGUE)["mrr"].to_list() == [10.0]
    assert roll_up(frame.with_columns(pl.lit(None, pl.Float64).alias("mrr")), CATALOGUE)[
        "mrr"
    ].to_list() == [None]


@pytest.mark.parametrize(
    "parents",
    [
        {"a": "b", "b": "c", "c": "a"},
        {"a": "b", "b": "c", "c": "a", "d": "c", "e": "d"},
        {"a": "a", "b": "a"},
    ],
)
def test_a_circle_is_broken_at_its_first_account(parents: dict[str, str]) -> None:
    frame = rows(**parents)
    for each in (frame, frame.reverse()):
        broken = broken_links(each)
        assert broken["account_id"].to_list() == ["a"]
        assert broken["parent"].to_list() == [parents["a"]]
        assert accounts(each)["a"] == len(parents)
        sound = dict(valid_links(each).select("account_id", "parent").iter_rows())
        assert sound == {name: parent for name, parent in parents.items() if name != "a"}


def test_a_chain_as_deep_as_the_company_is_summed_to_the_top() -> None:
    chain = {f"a{n:03d}": f"a{n - 1:03d}" if n else None for n in range(120)}
    summed = accounts(rows(**chain))
    assert summed == {f"a{n:03d}": 120 - n for n in range(119)}


def test_a_snapshot_without_parents_rolls_up_to_nothing() -> None:
    assert roll_up(rows(a=None, b=""), CATALOGUE).is_empty()
    assert broken_links(rows(a=None)).is_empty()
    assert roll_up(rows(a=None), CATALOGUE).columns == [
        "account_id",
        "as_of",
        "accounts",
        *CATALOGUE.names,
    ]


def test_a_parent_is_known_as_of_its_moment() -> None:
    moved = datetime(2024, 4, 1, tzinfo=UTC)
    frame = snapshot([updated("a", parent="one"), updated("a", at=moved, parent="two")])
    assert roll_up(frame, CATALOGUE).select("account_id", "as_of").rows() == [
        ("one", AS_OFS[0]),
        ("two", AS_OFS[1]),
    ]


def test_what_adds_up_by_name_is_a_newest_value_or_a_count_of_things() -> None:
    for name in LEVELS:
        level = CATALOGUE.feature(name)
        assert isinstance(level, Feature)
        assert level.aggregate.operation == "last"
    counted = [f for f in CATALOGUE.primitives if f.aggregate.operation == "in_state"]
    assert {"invoices_unpaid", "integrations_broken"} <= {f.name for f in counted}
    for feature in counted:
        assert feature.when_empty == 0.0
        assert combination(feature) == "sum"


def test_a_derived_feature_rolls_up_only_if_all_that_it_reads_does() -> None:
    there = rolled_up_features(CATALOGUE)
    assert {"error_rate_28d", "sla_attainment_90d", "mrr_change_90d", "tickets_open"} <= there
    assert (
        not {
            "stickiness_28d",
            "adoption_depth_28d",
            "csat_90d",
            "trial_days_left",
            "days_to_renewal",
        }
        & there
    )
    for feature in CATALOGUE.features:
        if isinstance(feature, Derived):
            assert (feature.name in there) == there.issuperset(feature.inputs)
