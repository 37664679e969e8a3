"""Strings in place: hashed, compared and numbered as if they had been copied."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.kernel.strings import StringViews, equal, less, number_strings, string_keys

LETTERS = ["a", "b", "\x00", "é"]


def strings(seed: int, n: int = 800) -> list[str | None]:
    """Strings of 0 to 40 bytes, many of them equal or equal but for the end; some unknown."""
    rng = np.random.default_rng(seed)
    found: list[str | None] = []
    for _ in range(n):
        text = "".join(rng.choice(LETTERS, int(rng.integers(0, 6))))
        found.append(
            None
            if rng.random() < 0.02
            else text + "long " * int(rng.integers(0, 4)) + "xy"[int(rng.integers(2))]
        )
    return found


@pytest.mark.parametrize("seed", range(3))
def test_equal_strings_and_no_others_have_one_number(seed: int) -> None:
    # Two chunks: the same long string then lies in two places.
    column = pl.concat([pl.Series(strings(seed)), pl.Series(strings(seed))], rechunk=False)
    codes, rows = number_strings(StringViews.of(column))
    assert column.gather(rows).gather(codes).eq_missing(column).all()
    assert len(rows) == column.n_unique()


@pytest.mark.parametrize("seed", range(3))
def test_order_and_equality_are_those_of_bytes(seed: int) -> None:
    texts = strings(seed)
    views = StringViews.of(pl.Series(texts))
    rng = np.random.default_rng(seed)
    for one, other in rng.integers(0, len(texts), (3000, 2)):
        a, b = ((text is not None, (text or "").encode()) for text in (texts[one], texts[other]))
        assert less(views.words, views.addresses, one, other) == (a < b)
        assert equal(views.words, views.addresses, one, other) == (a == b)


def test_a_slice_of_a_column_has_its_own_strings() -> None:
    column = pl.Series(["first of all", None, "a string that does not fit", "b"])[2:]
    codes, rows = number_strings(StringViews.of(column))
    assert codes.tolist() == [0, 1]
    assert column.gather(rows).to_list() == ["a string that does not fit", "b"]


def test_no_strings_have_no_numbers() -> None:
    codes, rows = number_strings(StringViews.none())
    assert len(codes) == len(rows) == 0


def test_more_strings_than_the_table_began_with_are_told_apart() -> None:
    column = pl.Series([f"account number {n % 5000}" for n in range(20_000)])
    codes, rows = number_strings(StringViews.of(column))
    assert len(rows) == 5000
    assert codes.tolist() == [n % 5000 for n in range(20_000)]


@pytest.mark.parametrize("seed", range(3))
def test_equal_strings_and_no_others_have_the_same_key(seed: int) -> None:
    texts = [*strings(seed), *("\x00" * n for n in range(30)), *("a" * n for n in range(30))]
    low, high = string_keys(StringViews.of(pl.Series(texts)))
    by_key: dict[tuple[int, int], set[str | None]] = {}
    for text, key in zip(texts, zip(low.tolist(), high.tolist(), strict=True), strict=True):
        by_key.setdefault(key, set()).add(text)
    assert all(len(same) == 1 for same in by_key.values())
    assert len(by_key) == len(set(texts))
    assert by_key[0, 0] == {None}
