"""Laws of every snapshot: what is not known changes nothing; order and company change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import Catalogue, CatalogueError, load_catalogue
from features.catalogue.feature import Derived, ratio
from features.compute.snapshots import build_snapshots
from features.events.schema import KINDS, LARGEST_READ, Event, events_frame, properties_text

START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OFS = tuple(START + timedelta(days=days) for days in (40, 100, 160))
EVERY_KIND = {kind.name: START - timedelta(days=1) for kind in KINDS}
CATALOGUE = load_catalogue(("search", "export"))


def world(seed: int, n_events: int = 600, n_accounts: int = 4) -> list[Event]:
    """Events of every kind at random, some recorded late."""
    rng = np.random.default_rng(seed)
    words = {
        "name": ["search", "export", "api_call"],
        "role": ["admin", "sponsor", "champion"],
        "status": ["issued", "paid", "late", "failed"],
        "severity": ["1", "2", "3"],
        "change": ["first_reply", "sentiment", "reopened"],
        "sla_met": ["yes", "no"],
        "survey": ["nps", "csat", "ces"],
        "state": ["connected", "error", "left"],
        "reached": ["yes", "no"],
        "step": ["one", "two"],
        "kpi": ["a", "b"],
        "repeat": ["yes", "no"],
        "renewal_on": ["2024-08-01", "2025-01-01"],
        "seats": ["5", "9"],
        "segment": ["small", "large"],
    }
    events = []
    for number in range(n_events):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        occurred = START + timedelta(seconds=int(rng.integers(180 * 86400)))
        delay = timedelta(hours=float(rng.choice([0, 1, 24 * 20])))
        properties = {key: str(rng.choice(words[key])) for key in kind.properties if key in words}
        events.append(
            Event(
                event_id=f"e{number}",
                account_id=f"a{rng.integers(n_accounts)}",
                user_id=[None, "u1", "u2"][int(rng.integers(3))],
                kind=kind.name,
                occurred_at=occurred,
                recorded_at=occurred + delay,
                event_count=int(rng.integers(1, 5)),
                user_count=int(rng.integers(1, 5)),
                quantity=float(rng.normal()),
                properties=properties_text(properties),
            )
        )
    return events


def snapshot(events: list[Event], **choices: int) -> pl.DataFrame:
    return build_snapshots(
        events_frame(events), AS_OFS, CATALOGUE, first_recorded=EVERY_KIND, **choices
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_was_not_known_changes_nothing(seed: int) -> None:
    events = world(seed)
    known = [event for event in events if event.recorded_at < AS_OFS[1]]
    assert 0 < len(known) < len(events)
    until = pl.col("as_of") <= AS_OFS[1]
    assert_frame_equal(
        snapshot(events).filter(until), snapshot(known).filter(until), check_exact=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_order_of_input_changes_nothing(seed: int) -> None:
    events = world(seed)
    shuffled = [events[i] for i in np.random.default_rng(seed).permutation(len(events))]
    assert_frame_equal(snapshot(events), snapshot(shuffled), check_exact=True)


def test_one_account_alone_equals_the_same_account_in_the_backfill() -> None:
    events = world(7)
    together = snapshot(events)
    for account in together["account_id"].unique():
        alone = snapshot([event for event in events if event.account_id == account])
        assert_frame_equal(
            alone, together.filter(pl.col("account_id") == account), check_exact=True
        )


def test_the_number_of_threads_changes_nothing() -> None:
    events = world(8)
    assert_frame_equal(snapshot(events, threads=1), snapshot(events, threads=3), check_exact=True)


def test_more_cutoffs_than_bits_in_a_mask_change_nothing() -> None:
    events = events_frame(world(9, n_events=300))
    many = [START + timedelta(days=days) for days in range(1, 180)]
    assert len(many) > 2 * 64
    together = build_snapshots(events, many, CATALOGUE, first_recorded=EVERY_KIND)
    for moment in (many[0], many[63], many[64], many[150]):
        alone = build_snapshots(events, [moment], CATALOGUE, first_recorded=EVERY_KIND)
        assert_frame_equal(alone, together.filter(pl.col("as_of") == moment), check_exact=True)


def test_a_kind_that_no_source_has_sent_is_unknown_and_not_zero() -> None:
    events = world(3)
    without = [event for event in events if event.kind != "ticket.created"]
    first = {kind: at for kind, at in EVERY_KIND.items() if kind != "ticket.created"}
    frame = build_snapshots(events_frame(without), AS_OFS, CATALOGUE, first_recorded=first)
    for name in ("tickets_28d", "tickets_open", "support_load_28d", "ticket_spike_28d"):
        assert frame[name].null_count() == frame.height, name
    assert frame["sessions_28d"].null_count() == 0


def test_a_kind_is_unknown_until_it_was_first_recorded() -> None:
    first = dict(EVERY_KIND, **{"ticket.created": AS_OFS[1]})
    frame = build_snapshots(events_frame(world(3)), AS_OFS, CATALOGUE, first_recorded=first)
    unknown = frame.filter(pl.col("tickets_28d").is_null())["as_of"].unique().sort().to_list()
    assert unknown == [AS_OFS[0], AS_OFS[1]]


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        build_snapshots(
            events_frame(world(1)),
            [datetime(2024, 3, 1)],  # noqa: DTZ001  # the subject of the test
            CATALOGUE,
            first_recorded=EVERY_KIND,
        )


def test_derived_features_that_read_each_other_in_a_circle_are_refused() -> None:
    first, second = (
        Derived(
            name=a,
            description="",
            theme="adoption",
            inputs=(b, b),
            formula=ratio,
            unit="",
            phrase="",
        )
        for a, b in ("ab", "ba")
    )
    with pytest.raises(CatalogueError, match="circle"):
        Catalogue(features=(first, second))


def test_a_name_declared_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="Declared twice: seats"):
        Catalogue(features=(CATALOGUE.feature("seats"), CATALOGUE.feature("seats")))


def test_a_derived_feature_that_reads_nothing_declared_is_refused() -> None:
    with pytest.raises(CatalogueError, match="reads nowhere"):
        Catalogue(
            features=(
                Derived(
                    name="x",
                    description="",
                    theme="adoption",
                    inputs=("nowhere",),
                    formula=lambda a: a,
                    unit="",
                    phrase="",
                ),
            )
        )


@pytest.mark.parametrize("absurd", [1e308, -1e308, 1.1 * LARGEST_READ])
def test_what_is_absurd_is_unknown_to_every_feature(absurd):
    """As an older workspace may hold it: read as if nobody had said it."""
    rows = events_frame(world(7))
    drawn = pl.Series(np.random.default_rng(8).random(rows.height) < 0.2)
    words = pl.col("properties").str
    poisoned = rows.with_columns(
        pl.when(drawn).then(absurd).otherwise("quantity").alias("quantity"),
        pl.when(drawn)
        .then(
            words.replace('"renewal_on":"20', '"renewal_on":"90', literal=True).str.replace(
                r'"seats":"[0-9]+"', f'"seats":"{absurd}"'
            )
        )
        .otherwise("properties")
        .alias("properties"),
    )
    unsaid = rows.with_columns(
        pl.when(~drawn).then("quantity").alias("quantity"),
        pl.when(drawn)
        .then(
            words.replace(r'"renewal_on":"[^"]*"', '"renewal_on":"no date"').str.replace(
                r'"seats":"[0-9]+"', '"seats":"no number"'
            )
        )
        .otherwise("properties")
        .alias("properties"),
    )
    assert not poisoned.equals(unsaid)
    assert_frame_equal(
        build_snapshots(poisoned, AS_OFS, CATALOGUE, first_recorded=EVERY_KIND),
        build_snapshots(unsaid, AS_OFS, CATALOGUE, first_recorded=EVERY_KIND),
        check_exact=True,
    )
