"""Parts read in step give every event once, with its account's others, however they are decoded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.compute._merge_scan import MergeScan
from features.events.schema import EVENT_SCHEMA, Event, events_frame
from features.lake.parts import write_part

START = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = ("user.session", "feature.used", "goal.set")
COLUMNS = ("kind", "account_id", "occurred_at")

PARTS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(KINDS)), min_size=1, max_size=12
    ),
    max_size=5,
)


def parts_of(folder: Path, parts: list[list[tuple[str, str]]]) -> list[Path]:
    paths = []
    for number, rows in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        write_part(
            events_frame(
                [
                    Event(
                        event_id=f"{number}-{row}",
                        account_id=account,
                        kind=kind,
                        occurred_at=START + timedelta(hours=row),
                        recorded_at=START + timedelta(hours=row),
                    )
                    for row, (account, kind) in enumerate(rows)
                ]
            ),
            paths[-1],
        )
    return paths


@given(
    parts=PARTS,
    edges=st.sets(st.sampled_from("abcdefghi"), max_size=4),
    rows_at_once=st.sampled_from([1, 2, 5, None]),
    whole=st.sets(st.sampled_from(KINDS)),
)
def test_the_events_of_all_accounts_before_an_edge_come_when_it_is_asked_for(
    tmp_path_factory,
    parts: list[list[tuple[str, str]]],
    edges: set[str],
    rows_at_once: int | None,
    whole: set[str],
) -> None:
    paths = parts_of(tmp_path_factory.mktemp("parts"), parts)
    everything = pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *map(pl.read_parquet, paths)])
    in_step = MergeScan(paths, COLUMNS, whole, rows_at_once=rows_at_once)
    left = everything
    for edge in [*sorted(edges), None]:
        is_before = pl.lit(True) if edge is None else pl.col("account_id") < edge
        wanted, left = left.filter(is_before), left.filter(~is_before)
        events, of_kinds = in_step.until(edge)
        assert_frame_equal(events, wanted.select(COLUMNS))
        assert_frame_equal(of_kinds, wanted.filter(pl.col("kind").is_in(list(whole))))
