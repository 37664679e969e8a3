"""A real lottery over 64,000 customers: the randomised estimator against its published numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from experiments.causal.estimates import estimate_of
from experiments.causal.estimators.randomised import estimate_randomised
from experiments.causal.sample import Sample

FILE = Path(__file__).parents[3].parent / "shared" / "data" / "hillstrom" / "hillstrom.csv.gz"

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="../shared/data/hillstrom is not there; it is not shipped"
)


@pytest.mark.parametrize(
    ("email", "visit", "visit_error", "spend"),
    [("Mens E-Mail", 0.0766, 0.0034, 0.770), ("Womens E-Mail", 0.0452, 0.0032, 0.424)],
)
def test_the_published_effects_are_found(
    email: str, visit: float, visit_error: float, spend: float
) -> None:
    everyone = pl.read_csv(FILE, infer_schema_length=None)
    people = everyone.filter(pl.col("segment").is_in([email, "No E-Mail"]))
    rows = people.height
    facts = ("recency", "history", "mens", "womens", "newbie")
    sample = Sample.of_two_arms(
        covariates=people.select(facts).to_numpy().astype(float),
        covariate_names=facts,
        treated=(people["segment"] == email).to_numpy(),
        propensity=np.full(rows, 0.5),
        stratum=np.zeros(rows, dtype=np.int64),
        cluster=np.arange(rows),
    )
    fits = estimate_randomised(
        sample,
        {name: people[name].to_numpy().astype(float) for name in ("visit", "spend")},
        estimand="ITT",
        rng=np.random.default_rng(0),
    )
    found = {name: estimate_of(fit) for name, fit in fits.items()}
    # Adjustment moves the estimate by a part of its error, and makes the error smaller.
    assert found["visit"].estimate == pytest.approx(visit, abs=visit_error / 3)
    assert found["visit"].standard_error == pytest.approx(visit_error, rel=0.05)
    assert found["spend"].estimate == pytest.approx(spend, abs=found["spend"].standard_error / 3)
