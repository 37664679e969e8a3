from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scoring.scores_file.external_sort import BLOCK, ExternalSort

KEYS = st.lists(
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0]), st.just(float("nan"))), max_size=40
)


def frame_of(keys, first=0):
    numbers = range(first, first + len(keys))
    return pl.DataFrame(
        {
            "number": pl.Series(numbers, dtype=pl.Int64),
            "word": pl.Series([f"row {n}" if n % 3 else None for n in numbers], dtype=pl.String),
        }
    )


def in_order(folder, parts, rows):
    with ExternalSort(folder) as held:
        first = 0
        for keys in parts:
            held.add(frame_of(keys, first), np.array(keys, float))
            first += len(keys)
        return [pl.DataFrame(pl.from_arrow(table)) for table in held.parts(rows)]


@given(parts=st.lists(KEYS.filter(bool), min_size=1, max_size=6), rows=st.integers(1, 50))
def test_rows_leave_by_falling_key_unknown_last_and_equal_ones_as_they_came(
    tmp_path_factory, parts, rows
):
    tables = in_order(tmp_path_factory.getbasetemp(), parts, rows)
    keys = [key for part in parts for key in part]
    expected = sorted(
        range(len(keys)), key=lambda n: (1, 0.0, n) if keys[n] != keys[n] else (0, -keys[n], n)
    )
    together = pl.concat(tables)
    assert together["number"].to_list() == expected
    assert together["word"].to_list() == frame_of(keys)["word"].gather(expected).to_list()
    assert [table.height for table in tables[:-1]] == [rows] * (len(tables) - 1)


def test_rows_of_many_blocks_leave_in_order(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=n).round(2) for n in (BLOCK, 3 * BLOCK + 1, 1, 2 * BLOCK - 1)]
    tables = in_order(tmp_path, [part.tolist() for part in parts], BLOCK)
    keys = np.concatenate(parts)
    assert pl.concat(tables)["number"].to_list() == np.argsort(-keys, kind="stable").tolist()


def test_no_rows_are_no_parts(tmp_path):
    with ExternalSort(tmp_path) as held:
        assert list(held.parts(10)) == []


def test_nothing_lies_in_the_folder_meanwhile(tmp_path):
    with ExternalSort(tmp_path) as held:
        held.add(frame_of([1.0, 2.0]), np.array([1.0, 2.0]))
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ExternalSort(tmp_path / "nowhere")
