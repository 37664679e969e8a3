"""Timelines at random, full of what goes wrong: edges, ties, twins, late and corrected rows.

Every edge of every window of ``AS_OFS`` is drawn often, and a microsecond on either side of it, for
when an event happened, when it was recorded and when a correction superseded it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
from hypothesis import strategies as st

from features.catalogue.catalogue import Catalogue, load_catalogue
from features.catalogue.definitions.attributes import ATTRIBUTES
from features.catalogue.feature import AnyFeature, Attribute, Derived, Feature
from features.events.schema import Event, events_frame, properties_text

Row = tuple[Event, datetime | None]  # an event and the moment a correction superseded it

DAY = timedelta(days=1)
NUDGE = timedelta(microseconds=1)
AS_OFS = (
    datetime(2024, 2, 1, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2024, 5, 29, tzinfo=UTC),
)
WINDOW_DAYS = (0, 7, 28, 56)
KINDS = ("feature.used", "contract.started")
ALWAYS = dict.fromkeys(KINDS, datetime(2000, 1, 1, tzinfo=UTC))
ACCOUNTS = ("one", "an account with a long name", "an account with a longer name")
USERS = (None, "u1", "u2", "", "a user with a long name", "a user with a long nose")
"""Words of more than twelve letters, alike at their start, are kept and compared in another way."""

edges = st.sampled_from(
    [
        as_of - days * DAY + nudge
        for as_of in AS_OFS
        for days in WINDOW_DAYS
        for nudge in (timedelta(0), NUDGE, -NUDGE)
    ]
)
moments_known = st.sampled_from([at + nudge for at in AS_OFS for nudge in (-NUDGE, 0 * DAY, NUDGE)])
anywhere = st.datetimes(datetime(2023, 12, 1), datetime(2024, 6, 1)).map(  # noqa: DTZ001 - aware below
    lambda moment: moment.replace(tzinfo=UTC)
)
far_zones = st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=14)),
        timezone(timedelta(hours=-11)),
        timezone(timedelta(hours=5, minutes=45)),
    ]
)
delays = st.sampled_from(
    [timedelta(0), timedelta(0), timedelta(hours=3), 5 * DAY, 7 * DAY, 40 * DAY]
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "c"]),
        "seats": st.sampled_from([1, 5.5, "many", "1e400"]),
        "renewal_on": st.sampled_from(["2024-02-29", "2025-01-31", "soon"]),
        "segment": st.sampled_from(["small", "large"]),
        "price_plan": st.sampled_from(["pro", "team"]),
    },
)

differences = st.sampled_from(
    [{}, {"quantity": 4.0}, {"properties": '{"seats":7}'}, {"user_id": "u9", "event_count": 2}]
)


@st.composite
def timelines(
    draw: st.DrawFn,
    accounts: tuple[str, ...] = ACCOUNTS[:1],
    most: int = 12,
    kinds: tuple[str, ...] = KINDS,
) -> list[Row]:
    """Rows of these accounts; an account may have none."""
    rows: list[Row] = []
    for number in range(draw(st.integers(0, most))):
        prefix = draw(st.sampled_from(["e", "an event with a long id "]))
        rows.append(_row(draw, f"{prefix}{number}", draw(st.sampled_from(accounts)), kinds))
        if draw(st.integers(0, 3)) == 0:  # a twin: happened and known at the same instants
            twin, gone = rows[-1]
            rows.append((replace(twin, event_id=f"{twin.event_id}'", **draw(differences)), gone))
    return rows


def _row(draw: st.DrawFn, event_id: str, account: str, kinds: tuple[str, ...]) -> Row:
    occurred = draw(st.one_of(edges, anywhere)).astimezone(draw(far_zones))
    recorded = occurred + draw(delays)
    if draw(st.integers(0, 4)) == 0:  # known at a cutoff, or a microsecond from it
        recorded = max(occurred, draw(moments_known))
    event = Event(
        event_id=event_id,
        account_id=account,
        user_id=draw(st.sampled_from(USERS)),
        kind=draw(st.sampled_from(kinds)),
        occurred_at=occurred,
        recorded_at=recorded,
        event_count=draw(st.integers(1, 4)),
        user_count=draw(st.integers(1, 9)),
        quantity=draw(st.sampled_from([None, -2.0, -0.5, 0.0, 1.5, 8.0])),
        properties=properties_text(draw(properties)),
    )
    gone = draw(st.sampled_from([None, None, None, "soon", "at a cutoff"]))
    if gone == "soon":
        return event, recorded + draw(st.sampled_from([DAY, 30 * DAY]))
    if gone == "at a cutoff":
        return event, max(recorded + NUDGE, draw(moments_known))
    return event, None


def frame_of(rows: list[Row]) -> pl.DataFrame:
    """The rows as a frame of the lake's schema."""
    superseded = pl.Series("superseded_at", [gone for _, gone in rows], pl.Datetime("us", "UTC"))
    return events_frame([event for event, _ in rows]).with_columns(superseded)


def swept(*more: Feature, words: tuple[Attribute, ...] = ()) -> Catalogue:
    """All that the sweep computes, what is derived from it alone, and these."""
    kept: list[AnyFeature] = [f for f in load_catalogue().features if isinstance(f, Feature)]
    names = {feature.name for feature in kept}
    waiting = [f for f in load_catalogue().features if isinstance(f, Derived)]
    while ready := [f for f in waiting if names.issuperset(f.inputs)]:
        kept += ready
        names |= {feature.name for feature in ready}
        waiting = [f for f in waiting if f not in ready]
    return Catalogue(features=(*kept, *more), attributes=(*ATTRIBUTES, *words))
