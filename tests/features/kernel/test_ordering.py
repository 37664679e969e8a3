"""Events come in the order of account, occurrence, knowledge and id, however they lie in files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.kernel.ordering import number_triples, number_users, order_events
from features.kernel.strings import StringViews, string_keys

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, pl.Series]


def rows(seed: int, n: int, n_accounts: int, late: float) -> Rows:
    """Rows of accounts, nearly in order or not at all, with ties that only the id decides."""
    rng = np.random.default_rng(seed)
    occurred = np.sort(rng.integers(0, n // 3, n)) - (rng.random(n) < late) * rng.integers(0, n, n)
    recorded = occurred + rng.integers(0, 3, n)
    ids = pl.Series([f"event-{number:05d}-of-this-test" for number in rng.permutation(n)])
    return rng.integers(0, n_accounts, n).astype(np.int32), occurred, recorded, ids


def fixed(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("late", [0.0, 0.05, 1.0], ids=["in order", "some late", "any order"])
@pytest.mark.parametrize("n_accounts", [1, 7])
def test_rows_come_by_account_occurrence_knowledge_and_id(late: float, n_accounts: int) -> None:
    account, occurred, recorded, ids = rows(3, 900, n_accounts, late)
    views = StringViews.of(ids)
    starts, order, known_since, undecided = order_events(
        fixed(account), n_accounts, fixed(occurred), fixed(recorded), views.words, views.addresses
    )
    expected = sorted(range(900), key=lambda r: (account[r], occurred[r], recorded[r], ids[r]))
    assert order.tolist() == expected
    assert starts.tolist() == [0, *np.cumsum(np.bincount(account, minlength=n_accounts))]
    assert known_since.tolist() == [recorded[account == a].min() for a in range(n_accounts)]
    assert undecided == 0


def test_without_ids_the_ties_are_counted() -> None:
    moments = np.array([5, 5, 6, 6, 6, 7])
    recorded = np.array([5, 5, 6, 7, 6, 7])
    none = StringViews.none()
    *_, undecided = order_events(
        fixed(np.zeros(6, dtype=np.int32)),
        1,
        fixed(moments),
        fixed(recorded),
        none.words,
        none.addresses,
    )
    assert undecided == 2


def test_users_are_numbered_within_their_account() -> None:
    names = pl.Series([None, "u1", "u2", "u1", None, "u2", *(f"user {n}" for n in range(300))])
    account = fixed(np.repeat(np.array([0, 1, 2], dtype=np.int32), [3, 2, len(names) - 5]))
    views = StringViews.of(names)
    users, counts = number_users(account, 3, *string_keys(views))
    assert users[:6].tolist() == [-1, 0, 1, 0, -1, 0]
    assert users[6:].tolist() == list(range(1, 301))
    assert counts.tolist() == [2, 1, 301]


def test_triples_are_numbered_as_they_are_met() -> None:
    rng = np.random.default_rng(4)
    one, two = (rng.integers(0, 20, 5000).astype(np.int32) for _ in range(2))
    three = rng.integers(-3, 3, 5000)
    codes, first = number_triples(one, two, three)
    triples = list(zip(one.tolist(), two.tolist(), three.tolist(), strict=True))
    assert [triples[first[code]] for code in codes] == triples
    assert len(first) == len(set(triples))
