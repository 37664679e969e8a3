"""What an account said counts until it renews: a later renewal contradicts it."""

from __future__ import annotations

import polars as pl
import pytest

from features.catalogue.catalogue import FEATURES

BY_NAME = {feature.name: feature for feature in FEATURES}


def value(name, **inputs):
    formula = BY_NAME[name].formula
    row = pl.DataFrame(
        {k: [v] for k, v in inputs.items()}, schema=dict.fromkeys(inputs, pl.Float64)
    )
    return row.select(formula(*(pl.col(k) for k in BY_NAME[name].inputs)))[:, 0].item()


@pytest.mark.parametrize(
    ("said", "renewed", "pending"),
    [
        (5.0, 30.0, 2.0),  # since the renewal
        (30.0, 30.0, 2.0),  # at the renewal
        (30.0, 5.0, 0.0),  # renewed after it
        (30.0, None, 2.0),  # no contract is known
        (None, 5.0, 2.0),
    ],
)
def test_a_renewal_contradicts_that_it_means_to_leave(said, renewed, pending):
    assert (
        value(
            "cancellations_pending",
            cancellations_intended_90d=2.0,
            days_since_cancellation_intended=said,
            days_since_renewal=renewed,
        )
        == pending
    )


@pytest.mark.parametrize(("renewed", "pending"), [(30.0, 0.0), (5.0, None), (None, 0.0)])
def test_after_a_renewal_it_is_not_known_whether_it_means_to_renew_the_next_time(renewed, pending):
    said = value(
        "renewal_intent_pending",
        renewal_intent=0.0,
        days_since_renewal_intent=12.0,
        days_since_renewal=renewed,
    )
    assert said == pending
