"""The index says of every key what a plain look at all stored events says."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import Event, events_frame
from features.lake.deduplication.key_index import (
    OTHER,
    SAME,
    UNKNOWN,
    keys_path,
    look_up_keys,
    write_keys,
)
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, with_keys
from features.lake.parts import write_part

START = datetime(2026, 3, 1, tzinfo=UTC)
some_keys = st.lists(
    st.tuples(st.sampled_from([0, 1, 5, 2**63, 2**64 - 1]), st.integers(0, 2)), max_size=12
)


def stored(folder, parts):
    paths = []
    for number, keys in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        write_keys(
            paths[-1],
            pl.DataFrame(keys, schema={ID_KEY: pl.UInt64, CONTENT_KEY: pl.UInt64}, orient="row"),
        )
    return paths


def plainly(parts, id_, content):
    contents = {known for keys in parts for key, known in keys if key == id_}
    return UNKNOWN if not contents else SAME if contents == {content} else OTHER


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(some_keys, max_size=3), asked=some_keys)
def test_states_are_those_of_a_plain_look(tmp_path_factory, parts, asked):
    folder = tmp_path_factory.mktemp("index")
    asked = sorted(asked)
    ids, contents = (np.array([key[n] for key in asked], dtype=np.uint64) for n in (0, 1))
    known = look_up_keys(stored(folder, parts), ids, contents)
    assert known.states.tolist() == [plainly(parts, *key) for key in asked]
    assert set(known.parts) == {
        f"{n}.parquet"
        for n, keys in enumerate(parts)
        if {key for key, _ in keys} & {key for key, _ in asked}
    }


def test_an_index_that_is_missing_is_made_from_its_part(tmp_path):
    events = with_keys(
        events_frame(
            [
                Event(
                    event_id=f"e{n}",
                    account_id=f"a{n % 3}",
                    kind="feature.used",
                    occurred_at=START,
                    recorded_at=START,
                )
                for n in range(50)
            ]
        )
    )
    path = tmp_path / "part.parquet"
    write_part(events, path)
    written = keys_path(path).read_bytes()
    keys_path(path).unlink()
    asked = events.sort(ID_KEY)
    known = look_up_keys([path], asked[ID_KEY].to_numpy(), asked[CONTENT_KEY].to_numpy())
    assert set(known.states.tolist()) == {SAME}
    assert keys_path(path).read_bytes() == written
