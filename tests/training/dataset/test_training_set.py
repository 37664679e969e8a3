from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from training.dataset.errors import FeatureMatrixError, NoAccountsError
from training.dataset.labels import cohort_rows, label_named, label_rows
from training.dataset.training_set import RememberingReader, build_training_set


@pytest.fixture(scope="module")
def labelled(small_company):
    company = small_company(n_accounts=40)
    label = label_named("churn")
    rows = cohort_rows(label, company.events, company.cutoffs)
    return company, label_rows(label, company.events, rows, known_until=company.known_until)


def test_every_decided_row_is_there_with_its_features(labelled) -> None:
    company, rows = labelled
    made = build_training_set(rows, company.reader, company.digests)
    decided = rows.frame.filter(pl.col("churn_30d").is_not_null())
    assert made.matrix.shape == (decided.height, len(company.digests))
    keys = [
        (made.cutoffs[c], made.accounts[a]) for c, a in zip(made.cutoff, made.account, strict=True)
    ]
    assert keys == list(decided.select("as_of", "account_id").iter_rows())
    expected = company.reader(decided.select("account_id", "as_of"))["signal_28d"].to_numpy()
    assert np.array_equal(made.matrix[:, 0], expected)


def test_unknown_stays_unknown(labelled) -> None:
    company, rows = labelled
    made = build_training_set(rows, company.reader, company.digests)
    never, seldom = (made.names.index(n) for n in ("never", "seldom_90d"))
    assert np.isnan(made.matrix[:, never]).all()
    assert 0.4 < np.isnan(made.matrix[:, seldom]).mean() < 0.9


def test_rows_at_leaves_out_what_is_not_decided_at_the_longest_horizon(labelled) -> None:
    company, rows = labelled
    made = build_training_set(rows, company.reader, company.digests)
    last = made.cutoffs[-1]
    assert not made.rows_at((last,)).any()
    assert np.isnan(made.outcomes[made.cutoff == len(made.cutoffs) - 1, 2]).all()
    first = made.rows_at((made.cutoffs[0],))
    assert first.sum() == (made.cutoff == 0).sum()


@pytest.mark.parametrize("column", ["signal_28d", "health_score"])
def test_the_fingerprint_changes_with_a_value(labelled, column) -> None:
    company, rows = labelled

    def nudged(keys: pl.DataFrame, /) -> pl.DataFrame:
        return company.reader(keys).with_columns(pl.col(column) + 1e-9)

    prints = {
        build_training_set(rows, reader, company.digests).fingerprint
        for reader in (company.reader, company.reader, nudged)
    }
    assert len(prints) == 2


def test_the_fingerprint_changes_with_a_definition(labelled) -> None:
    company, rows = labelled
    other = company.digests | {"signal_28d": "2"}
    assert (
        build_training_set(rows, company.reader, other).fingerprint
        != build_training_set(rows, company.reader, company.digests).fingerprint
    )


def test_the_order_of_what_the_reader_gives_is_irrelevant(labelled) -> None:
    company, rows = labelled

    def shuffled(keys: pl.DataFrame, /) -> pl.DataFrame:
        return company.reader(keys).sample(fraction=1, shuffle=True, seed=1)

    assert (
        build_training_set(rows, shuffled, company.digests).fingerprint
        == build_training_set(rows, company.reader, company.digests).fingerprint
    )


def test_a_feature_that_was_not_read_is_named(labelled) -> None:
    company, rows = labelled
    with pytest.raises(FeatureMatrixError, match=r"lack 1 declared feature\(s\): more_28d"):
        build_training_set(rows, company.reader, company.digests | {"more_28d": "1"})


def test_an_infinite_value_is_named(labelled) -> None:
    company, rows = labelled

    def broken(keys: pl.DataFrame, /) -> pl.DataFrame:
        return company.reader(keys).with_columns(other_28d=pl.lit(float("inf")))

    with pytest.raises(FeatureMatrixError, match="Infinite values in other_28d"):
        build_training_set(rows, broken, company.digests)


def test_a_cohort_without_a_closed_window_is_refused(labelled) -> None:
    company, rows = labelled
    empty = label_rows(
        rows.label,
        company.events,
        rows.frame.select("account_id", "as_of").join(
            cohort_rows(rows.label, company.events, company.cutoffs), on=["account_id", "as_of"]
        ),
        known_until=company.cutoffs[0],
    )
    with pytest.raises(NoAccountsError, match="with a closed label window"):
        build_training_set(empty, company.reader, company.digests)


class Counting:
    def __init__(self, company) -> None:
        self.company, self.times = company, 0

    def __call__(self, rows: pl.DataFrame, /) -> pl.DataFrame:
        self.times += 1
        return self.company.reader(rows)


def test_rows_that_were_read_are_not_read_again(labelled) -> None:
    company, rows = labelled
    counting = Counting(company)
    reader = RememberingReader(counting)
    keys = rows.frame.select("account_id", "as_of")
    first = reader(keys)
    part = reader(keys[5:20])
    assert counting.times == 1
    assert part.equals(first[5:20])


def test_rows_that_are_new_are_read(labelled) -> None:
    company, rows = labelled
    counting = Counting(company)
    reader = RememberingReader(counting)
    keys = rows.frame.select("account_id", "as_of")
    reader(keys[:10])
    assert reader(keys).height == keys.height
    assert counting.times == 2
