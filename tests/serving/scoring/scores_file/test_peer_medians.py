"""The medians that a file gives column by column are those of the whole frame."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from serving.scoring.explanations import PEER_ATTRIBUTES, PEER_KINDS, peers_of, with_term
from serving.scoring.scores_file.peer_medians import peers_in_file

CATALOGUE = {feature.name: feature for feature in load_catalogue().features}
NAMES = (
    "active_days_28d",
    "errors_28d",
    "tenure_days",
    "nps_last",
    "renewals_count",
    "term_months",
)


def accounts(n: int, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)

    def words(*said: str | None) -> pl.Series:
        return pl.Series([said[i] for i in rng.integers(0, len(said), n)], dtype=pl.String)

    numbers = {
        name: pl.Series(np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))).fill_nan(None)
        for name in NAMES[:3]
    }
    return pl.DataFrame(
        {
            "segment": words("small", "mid", "large", None),
            "price_plan": words("pro", "free", None),
            "contract_status": words("active", "active", "ended", None),
            "term_months": pl.Series(rng.choice([1.0, 12.0, np.nan], n)).fill_nan(None),
            "renewals_count": pl.Series(rng.choice([0.0, 1.0, 4.0, np.nan], n)).fill_nan(None),
            **numbers,
            "nps_last": pl.Series([None] * n, dtype=pl.Float64),
        }
    )


def said(peers, frame: pl.DataFrame) -> list:
    frame = with_term(frame)
    columns = [c for c in PEER_ATTRIBUTES if c in frame.columns]
    words = frame.select(columns).unique().iter_rows() if columns else [()]
    return sorted(
        (
            (word, group.where, sorted(group.medians.items()))
            for word in words
            for group in peers.of(dict(zip(columns, word, strict=True)))
        ),
        key=repr,
    )


@pytest.mark.parametrize(
    "lacks",
    [
        (),
        ("segment",),
        ("price_plan",),
        ("contract_status",),
        ("renewals_count",),
        ("term_months",),
        ("segment", "price_plan", "contract_status"),
        ("segment", "price_plan", "term_months"),
    ],
    ids=lambda lacks: " and ".join(lacks) or "nothing",
)
@pytest.mark.parametrize("n", [0, 19, 90, 3_001])
def test_a_file_gives_the_medians_of_the_frame(tmp_path, n, lacks):
    frame = accounts(n).drop(lacks)
    frame.write_parquet(tmp_path / "snapshot.parquet")
    found = said(peers_in_file(tmp_path / "snapshot.parquet", NAMES), frame)
    assert found == said(peers_of(frame, CATALOGUE), frame)
    if n == 3_001 and not lacks:
        assert {who for _, who, _ in found} == {kind.where for kind in PEER_KINDS}


def test_a_feature_that_is_not_there_has_no_median(tmp_path):
    accounts(100).drop("errors_28d").write_parquet(tmp_path / "snapshot.parquet")
    [everybody] = (
        peers_in_file(tmp_path / "snapshot.parquet", NAMES).groups[PEER_KINDS[-1]].values()
    )
    assert set(everybody) == {"active_days_28d", "tenure_days", "renewals_count", "term_months"}
