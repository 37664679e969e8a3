"""The exam that every declared feature sits."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.catalogue.catalogue import FEATURES, Catalogue, CatalogueError, load_catalogue
from features.catalogue.feature import (
    Aggregate,
    AggregateError,
    AnyFeature,
    Derived,
    Expression,
    Feature,
)
from features.compute.snapshots import build_snapshots
from features.events.schema import KINDS, Event, events_frame, is_kind, properties_text

RECIPE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-feature.md"


def example_of_the_recipe() -> Feature:
    """The declaration that tells a reader how to write one."""
    code = RECIPE.read_text(encoding="utf-8").split("```")[1]
    imports, _, expression = code.removeprefix("python").partition("\n\n")
    names: dict[str, Any] = {}
    exec(imports, names)
    declared = eval(expression.strip(), names)
    assert isinstance(declared, Feature)
    return declared


ALL = (*load_catalogue(("bulk export", "search")).features, example_of_the_recipe())
WINDOWED = tuple(f for f in ALL if not isinstance(f, Derived))
every_feature = pytest.mark.parametrize("feature", ALL, ids=lambda f: f.name)
AS_OF = datetime(2024, 2, 29, 6, 30, tzinfo=UTC)
TICK, DAY = timedelta(microseconds=1), timedelta(days=1)
LONG_AGO = AS_OF - 4000 * DAY
PROPERTIES = {kind.name: set(kind.properties) for kind in KINDS}


@every_feature
def test_phrase_can_be_read_out(feature: AnyFeature) -> None:
    said = feature.phrase.format(value=3.0)
    assert "3" in said or "300" in said
    assert "{" not in said


@every_feature
def test_says_what_it_is_in_which_unit(feature: AnyFeature) -> None:
    assert feature.description.endswith(".")
    assert feature.unit


@every_feature
def test_reads_kinds_and_properties_that_exist(feature: AnyFeature) -> None:
    if isinstance(feature, Derived):
        assert feature.inputs
        return
    assert all(is_kind(kind) for kind in feature.reads)
    if isinstance(feature, Expression):
        return
    wanted = {*feature.where, *feature.aggregate.state}
    wanted |= {feature.aggregate.of} if feature.aggregate.of else set()
    for kind in feature.reads:
        if kind != "contract.resumed":  # carries the terms that changed, not all of them
            assert wanted <= PROPERTIES.get(kind, wanted), kind


@every_feature
def test_a_number_of_events_is_zero_when_there_were_none(feature: AnyFeature) -> None:
    if isinstance(feature, Feature) and feature.aggregate.operation == "count":
        assert feature.when_empty == 0.0 or feature.name == "invoices_count"
    if isinstance(feature, Feature) and feature.aggregate.operation in ("mean", "last"):
        assert feature.when_empty is None


@every_feature
def test_the_name_says_its_window(feature: AnyFeature) -> None:
    days = re.search(r"_(\d+)d$", feature.name)
    if not isinstance(feature, Derived) and feature.lookback is not None:
        assert days is not None
        assert int(days.group(1)) == feature.lookback.days


def test_there_are_at_least_sixty_over_eleven_themes() -> None:
    assert len(FEATURES) >= 60
    assert len({feature.theme for feature in FEATURES}) == 11


def test_wording_does_not_change_the_digest_and_the_window_does() -> None:
    base = load_catalogue().feature("sessions_28d")
    assert isinstance(base, Feature)
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    assert Feature(**{**fields, "phrase": "other words"}).digest == base.digest
    assert Feature(**{**fields, "when_empty": None}).digest != base.digest


def test_a_name_that_hides_its_window_is_refused() -> None:
    base = load_catalogue().feature("sessions_28d")
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    with pytest.raises(ValueError, match="must end in its lookback: _28d"):
        Feature(**{**fields, "name": "sessions"})


def test_a_name_with_capitals_is_refused() -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        Derived(
            name="Sessions",
            description="",
            theme="adoption",
            inputs=("seats",),
            formula=lambda seats: seats,
            unit="",
            phrase="",
        )


def test_a_feature_that_reads_nothing_is_refused() -> None:
    base = load_catalogue().feature("sessions_28d")
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    with pytest.raises(ValueError, match="reads no event kind"):
        Feature(**{**fields, "reads": ()})


def test_an_aggregate_without_its_property_is_refused() -> None:
    with pytest.raises(AggregateError, match="needs `of`"):
        Aggregate(operation="values")


def test_an_unknown_operation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AggregateError, match=r"no operation 'median'. Choose one of count, sum"):
        Aggregate(operation="median")


def test_a_state_is_for_the_operation_that_reads_one() -> None:
    with pytest.raises(AggregateError, match="'count' has no use for `state`"):
        Aggregate(operation="count", state={"status": "late"})
    with pytest.raises(AggregateError, match="'in_state' needs `state`"):
        Aggregate(operation="in_state", of="name")


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"operation": "count", "of": "name"}, "`of`"),
        ({"operation": "last", "words": {"yes": 1.0}}, "`words`"),
        ({"operation": "values", "of": "name", "words": {"yes": 1.0}}, "`words`"),
        ({"operation": "count", "after": DAY}, "`after`"),
        ({"operation": "last", "of": "seats", "after": DAY}, "`after`"),
    ],
    ids=lambda said: said if isinstance(said, str) else "-".join(map(str, said)),
)
def test_what_an_operation_has_no_use_for_is_refused(said: dict[str, Any], what: str) -> None:
    with pytest.raises(AggregateError, match=f"has no use for {what}; leave it out"):
        Aggregate(**said)


def test_a_property_that_would_be_read_as_a_path_is_refused() -> None:
    base = load_catalogue().feature("sessions_28d")
    assert isinstance(base, Feature)
    for name in ("a.b", "a b", "$"):
        with pytest.raises(AggregateError, match="letters, digits and underscores only"):
            Aggregate(operation="values", of=name)
        with pytest.raises(AggregateError, match="letters, digits and underscores only"):
            replace(base, where={name: "x"})


def test_a_state_that_has_to_last_has_no_lookback() -> None:
    base = load_catalogue().feature("feature_requests_unanswered")
    assert isinstance(base, Feature)
    with pytest.raises(ValueError, match="has a lookback, and its aggregate an `after`"):
        replace(base, name="requests_90d", lookback=timedelta(days=90))


def test_what_an_aggregate_leaves_out_leaves_its_digest_as_it_was() -> None:
    said = "Aggregate(operation='values', of='name')"
    assert repr(Aggregate(operation="values", of="name")) == said
    ripe = Aggregate(operation="in_state", of="name", state={"state": "open"}, after=30 * DAY)
    later = replace(ripe, after=31 * DAY)
    other = replace(ripe, state={"state": "new"})
    assert len({repr(ripe), repr(later), repr(other), said}) == 4


def test_an_unknown_name_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(CatalogueError, match="keepwell features"):
        load_catalogue().feature("happiness")


def test_use_names_become_two_counts_each() -> None:
    names = [feature.name for feature in load_catalogue(("Bulk export",)).features]
    assert names[-2:] == ["use_bulk_export_count_28d", "use_bulk_export_count_90d"]


def a_seen_number(feature: Feature | Expression) -> Feature | Expression:
    """The feature, or where one event does not show, one of the same window that counts them."""
    if isinstance(feature, Expression):
        return replace(feature, formula=pl.len)
    if feature.aggregate.after or feature.aggregate.operation in ("second_busiest_day", "last_gap"):
        return replace(feature, aggregate=Aggregate(operation="count"))
    return feature


def one_event(
    feature: Feature | Expression, case: str, occurred: datetime, recorded: datetime
) -> Event:
    """An event that the feature reads, of an account of its own."""
    properties: dict[str, str | float] = {}
    quantity = 2.0
    if isinstance(feature, Feature):
        properties = {
            key: want if isinstance(want, str) else want[0] for key, want in feature.where.items()
        }
        if feature.aggregate.of is not None:
            until = feature.aggregate.operation in ("days_until", "days_spanned")
            word = next(iter(feature.aggregate.words), "5")
            properties.setdefault(feature.aggregate.of, "2025-01-31" if until else word)
        properties |= {
            key: want if isinstance(want, str) else want[0]
            for key, want in feature.aggregate.state.items()
        }
        if feature.aggregate.operation == "below_zero":
            quantity = -1.0
        quantity = feature.quantities[0] if feature.quantities else quantity
    return Event(
        event_id=f"{feature.name} {case}",
        account_id=f"{feature.name} {case}",
        user_id="u",
        kind=feature.reads[0],
        occurred_at=occurred,
        recorded_at=recorded,
        quantity=quantity,
        properties=properties_text(properties),
    )


def cases_of(feature: Feature | Expression) -> dict[str, tuple[Event, datetime | None, bool]]:
    """Case to an event, when it was superseded, and whether the feature sees it."""
    closes = AS_OF - feature.ends_before
    opens = LONG_AGO if feature.lookback is None else closes - feature.lookback
    inside = closes - TICK
    planned = {
        "as the window opens": (opens, opens, None, True),
        "just before the window closes": (inside, inside, None, True),
        "as the window closes": (closes, closes, None, False),
        "known in the last moment": (opens, AS_OF - TICK, None, True),
        "known a moment too late": (opens, AS_OF, None, False),
        "corrected from now on": (opens, opens, AS_OF, True),
        "corrected before": (opens, opens, AS_OF - TICK, False),
    }
    if feature.lookback is not None:
        planned["just before the window opens"] = (opens - TICK, opens - TICK, None, False)
    return {
        case: (one_event(feature, case, occurred, recorded), gone, seen)
        for case, (occurred, recorded, gone, seen) in planned.items()
    }


@pytest.fixture(scope="module")
def by_account() -> dict[str, dict[str, float | None]]:
    """The snapshot of a world in which every case of every feature is an account of its own."""
    rows = [(event, gone) for feature in WINDOWED for event, gone, _ in cases_of(feature).values()]
    # every account is known since long, by an event of a kind that its own feature does not read
    rows += [
        (
            Event(
                event_id=f"known {event.event_id}",
                account_id=event.account_id,
                occurred_at=LONG_AGO,
                recorded_at=LONG_AGO,
                kind="trial.ended" if event.kind != "trial.ended" else "config.changed",
            ),
            None,
        )
        for event, _ in rows
    ]
    superseded = pl.Series("superseded_at", [gone for _, gone in rows], pl.Datetime("us", "UTC"))
    frame = build_snapshots(
        events_frame([event for event, _ in rows]).with_columns(superseded),
        [AS_OF],
        Catalogue(features=tuple(f if isinstance(f, Derived) else a_seen_number(f) for f in ALL)),
        first_recorded=dict.fromkeys((kind for f in WINDOWED for kind in f.reads), LONG_AGO),
    )
    return {row["account_id"]: row for row in frame.to_dicts()}


@pytest.mark.parametrize("feature", WINDOWED, ids=lambda f: f.name)
def test_sees_what_was_known_inside_its_window_and_nothing_else(
    feature: Feature | Expression,
    by_account: dict[str, dict[str, float | None]],
) -> None:
    for case, (event, _, seen) in cases_of(feature).items():
        value = by_account[event.account_id][feature.name]
        assert (value != feature.when_empty) == seen, (case, value)


@pytest.mark.parametrize("feature", load_catalogue().expressions, ids=lambda f: f.name)
def test_an_expression_comes_to_one_number(feature: Expression) -> None:
    rows = events_frame([one_event(feature, "any", AS_OF, AS_OF)] * 3).with_columns(
        pl.lit(AS_OF).alias("as_of"), pl.lit(0).alias("days_before")
    )
    number = rows.group_by("account_id").agg(feature.formula().alias("number"))["number"]
    assert number.dtype.is_numeric()
    assert number.len() == 1


def goal_progress() -> Expression:
    declared = load_catalogue().feature("goal_progress")
    assert isinstance(declared, Expression)
    return declared


def test_the_digest_of_an_expression_is_its_window_and_version_and_no_words() -> None:
    base = replace(goal_progress(), name="progress_28d", lookback=timedelta(days=28))
    assert replace(base, phrase="other words").digest == base.digest
    others = [
        replace(base, version=2),
        replace(base, when_empty=0.0),
        replace(base, ends_before=2 * DAY),
        replace(base, reads=("job.retry",)),
        replace(base, name="progress_7d", lookback=timedelta(days=7)),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


def test_an_expression_that_reads_nothing_or_hides_its_window_is_refused() -> None:
    with pytest.raises(ValueError, match="reads no event kind"):
        replace(goal_progress(), reads=())
    with pytest.raises(ValueError, match="must end in its lookback: _28d"):
        replace(goal_progress(), lookback=timedelta(days=28))
