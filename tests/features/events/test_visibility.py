"""The rule of visibility says the same of single events, in Polars and compiled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import UTC_INSTANT
from features.events.visibility import (
    changed_since,
    is_visible,
    newest_version,
    unchanged_between,
    versions_before,
    visible,
    visible_events,
    with_superseded,
)
from features.kernel.numba_cache import compiled
from features.kernel.windows import EPOCH, FOREVER, end_visible, first_visible


class Version(NamedTuple):
    recorded_at: datetime
    superseded_at: datetime | None


def at(number: int) -> datetime:
    return EPOCH + timedelta(microseconds=number)


def frame(versions: list[Version]) -> pl.DataFrame:
    return pl.DataFrame(
        versions, orient="row", schema={"recorded_at": UTC_INSTANT, "superseded_at": UTC_INSTANT}
    )


@compiled
def _run(cutoffs, recorded, superseded, near):
    return first_visible(cutoffs, recorded, near), end_visible(cutoffs, superseded)


times = st.integers(0, 8)
versions_of = st.builds(
    lambda recorded, later: Version(at(recorded), None if later is None else at(recorded + later)),
    times,
    st.none() | st.integers(1, 4),
)


@pytest.mark.parametrize(
    ("moment", "seen"),
    [
        (2, [False, False]),
        (3, [True, False]),
        (5, [True, False]),
        (6, [False, True]),
    ],
)
def test_a_version_is_visible_after_it_is_recorded_until_it_is_superseded(moment, seen) -> None:
    versions = [Version(at(2), at(5)), Version(at(5), None)]
    assert [is_visible(version, at(moment)) for version in versions] == seen
    assert frame(versions).select(visible(at(moment))).to_series().to_list() == seen


@given(
    versions=st.lists(versions_of, max_size=6),
    moments=st.sets(times, min_size=1),
    near=st.integers(0, 9),
)
def test_polars_single_events_and_compiled_code_agree(versions, moments, near) -> None:
    cutoffs = np.array(sorted(moments), dtype=np.int64)
    said = [[is_visible(version, at(moment)) for version in versions] for moment in sorted(moments)]
    events = frame(versions)
    assert [
        events.select(visible(at(moment))).to_series().to_list() for moment in sorted(moments)
    ] == said
    by_row = events.join(
        pl.DataFrame(
            {"as_of": [at(moment) for moment in sorted(moments)]}, schema={"as_of": UTC_INSTANT}
        ),
        how="cross",
        maintain_order="left_right",
    ).select(visible(pl.col("as_of")))
    assert by_row.to_series().to_list() == [row[n] for n in range(len(versions)) for row in said]
    for number, version in enumerate(versions):
        recorded = (version.recorded_at - EPOCH) // timedelta(microseconds=1)
        superseded = (
            FOREVER
            if version.superseded_at is None
            else (version.superseded_at - EPOCH) // timedelta(microseconds=1)
        )
        first, end = _run(cutoffs, recorded, superseded, min(near, len(cutoffs)))
        inside = [max(near, first) <= place < end for place in range(len(cutoffs))]
        assert inside == [place >= near and row[number] for place, row in enumerate(said)]


@given(versions=st.lists(versions_of, max_size=6), moment=times, other=times)
def test_the_same_versions_are_visible_between_the_bounds(versions, moment, other) -> None:
    after, until = unchanged_between(versions, at(moment))
    if (after is None or after < at(other)) and (until is None or at(other) <= until):
        assert [is_visible(one, at(other)) for one in versions] == [
            is_visible(one, at(moment)) for one in versions
        ]


@given(versions=st.lists(versions_of, max_size=6), moment=times, later=times)
def test_what_changed_since_a_moment_is_what_is_not_the_same_as_then(
    versions, moment, later
) -> None:
    events = frame(versions)
    same = events.filter(~changed_since(at(moment)).fill_null(value=False))
    assert events.height == same.height + events.filter(changed_since(at(moment))).height
    for as_of in (at(moment + later), at(moment)):
        assert same.filter(visible(as_of)).equals(same.filter(visible(at(moment))))


@given(versions=st.lists(versions_of, max_size=6), moment=times, earlier=times)
def test_what_a_moment_knew_of_the_past_is_what_the_past_saw(versions, moment, earlier) -> None:
    events, past = frame(versions), at(min(moment, earlier))
    then = versions_before(events, at(moment))
    assert (
        then.filter(visible(past))["recorded_at"].to_list()
        == events.filter(visible(past))["recorded_at"].to_list()
    )
    assert (
        then.filter(newest_version())["recorded_at"].to_list()
        == events.filter(visible(at(moment)))["recorded_at"].to_list()
    )


def test_events_without_corrections_need_no_column_for_them() -> None:
    events = frame([Version(at(2), None), Version(at(3), None)]).drop("superseded_at")
    assert visible_events(events, at(3)).height == 1
    assert visible_events(events.lazy(), at(4)).collect().height == 2
    assert with_superseded(events)["superseded_at"].to_list() == [None, None]
    corrected = frame([Version(at(2), at(3))])
    assert with_superseded(corrected).equals(corrected)
