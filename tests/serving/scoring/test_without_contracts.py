"""Without contracts the last order stands for the contract, and what was bought for the revenue."""

from __future__ import annotations

import polars as pl
import pytest

from features.leaving import Leaving
from serving.leaving_words import LeavingWords, words_of
from serving.scoring.without_contracts import as_customers

NO_ORDER = Leaving(means="no_use", used_within_days=100)
FRAME = pl.DataFrame(
    {
        "account_id": ["new", "edge", "gone", "never"],
        "contract_status": pl.Series([None] * 4, dtype=pl.String),
        "mrr": pl.Series([None] * 4, dtype=pl.Float64),
        "days_since_order": [1.0, 100.0, 100.5, None],
        "days_since_activity": [None, 200.0, 1.0, 3.0],
        "order_amount_365d": [1200.0, 0.0, 240.0, None],
    }
)


def test_with_contracts_nothing_changes() -> None:
    assert as_customers(FRAME, Leaving()) is FRAME


def test_the_last_order_decides_and_the_year_is_spread_over_twelve_months() -> None:
    found = as_customers(FRAME, NO_ORDER)
    assert found["contract_status"].to_list() == ["active", "active", "ended", "none"]
    assert found["mrr"].to_list() == [100.0, 0.0, 20.0, None]  # unknown is not zero


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        (("feature.used",), ["none", "ended", "active", "active"]),
        (("order.placed", "user.session"), ["active", "active", "active", "active"]),
    ],
)
def test_use_counts_where_the_workspace_says_so(kinds: tuple[str, ...], status: list[str]) -> None:
    leaving = Leaving(means="no_use", kinds=kinds, used_within_days=100)
    assert as_customers(FRAME, leaving)["contract_status"].to_list() == status


def test_an_older_snapshot_without_features_of_orders_leaves_them_unknown() -> None:
    older = FRAME.drop("days_since_order", "order_amount_365d")
    found = as_customers(older, NO_ORDER)
    assert found["contract_status"].to_list() == ["none"] * 4
    assert found["mrr"].null_count() == 4


@pytest.mark.parametrize("kinds", [("order.placed",), ("feature.used",)])
def test_no_word_without_contracts_is_about_one(kinds: tuple[str, ...]) -> None:
    said = words_of(Leaving(means="no_use", kinds=kinds))
    texts = [str(getattr(said, name)) for name in LeavingWords.__dataclass_fields__]
    assert not [text for text in texts if "ontract" in text or "enew" in text or "leave" in text]
