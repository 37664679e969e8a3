"""Scores of any file, judged: the level, the slope, the order, and two models beside each other."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from keepwell import app
from training.backtest.score_judge import JudgedHorizon, judge_scores
from training.backtest.score_tables import ScoreTableError, pair_tables, read_table
from training.metrics import row_log_loss

DAYS = (date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1))


def tables(n_accounts: int = 600, seed: int = 3) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores that are the true chances at 30 and 90 days, and what came."""
    rng = np.random.default_rng(seed)
    account = np.repeat(np.arange(n_accounts), len(DAYS))
    near = 1 / (1 + np.exp(2.5 - rng.normal(size=len(account))))
    far = near + (1 - near) * 0.1
    came = rng.random(len(account))
    keys = pl.DataFrame(
        {"account_id": [f"a{n}" for n in account], "as_of": DAYS * n_accounts},
        schema_overrides={"as_of": pl.Date},
    )
    scores = keys.with_columns(
        churn_probability_30d=near,
        churn_probability_90d=far,
        segment=pl.Series(np.where(account % 2, "small", "large")),
    )
    outcomes = keys.with_columns(
        churn_30d=pl.Series((came < near).astype(int)),
        churn_90d=pl.Series((came < far).astype(int)),
    )
    return scores, outcomes


def judged(scores: pl.DataFrame, outcomes: pl.DataFrame, **given) -> JudgedHorizon:
    return judge_scores(pair_tables(scores, outcomes, **given))[-1]


def test_a_model_that_promises_the_truth_has_level_and_slope_one():
    scores, outcomes = tables()
    found = judged(scores, outcomes)
    y, p = outcomes["churn_90d"].to_numpy(), scores["churn_probability_90d"].to_numpy()
    assert found.whole.level.low < 1 < found.whole.level.high
    assert found.slope.low < 1 < found.slope.high
    assert found.slope.low > 0.5
    assert found.metrics["auc"].value == pytest.approx(roc_auc_score(y, p))
    assert found.metrics["log_loss"].value == pytest.approx(log_loss(y, p))
    assert found.over_base_rate.high < 0
    assert [part.n_rows for part in found.curve] == [180] * 10
    assert [part.name for part in found.cutoffs] == ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert [part.name for part in found.groups["segment"]] == ["large", "small"]


def test_a_level_that_is_half_too_high_is_seen_everywhere():
    scores, outcomes = tables()
    cells = pl.col("churn_probability_90d")
    high = scores.with_columns((cells * 1.5).clip(0, 1))
    found = judged(high, outcomes)
    assert found.whole.level.high < 0.85
    assert all(part.level.value < 0.87 for part in found.cutoffs)


def test_scores_that_say_nothing_have_slope_zero_and_no_lift():
    scores, outcomes = tables()
    shuffled = scores.with_columns(pl.col("churn_probability_90d").shuffle(seed=1))
    found = judged(shuffled, outcomes)
    assert found.slope.low < 0 < found.slope.high < 0.4
    assert found.metrics["auc"].low < 0.5 < found.metrics["auc"].high


def test_beside_another_model_the_difference_is_that_of_the_same_rows():
    scores, outcomes = tables()
    other = scores.with_columns(pl.col("churn_probability_90d").shuffle(seed=1)).drop("segment")
    found = judged(scores, outcomes, against=other).beside
    y = outcomes["churn_90d"].to_numpy().astype(float)
    mine, its = (t["churn_probability_90d"].to_numpy() for t in (scores, other))
    gap = (row_log_loss(y, mine) - row_log_loss(y, its)).mean()
    assert found.log_loss.value == pytest.approx(gap)
    assert found.log_loss.high < 0
    assert found.auc.low > 0
    assert judged(scores, outcomes, against=scores).beside.log_loss.value == 0


def test_undecided_rows_are_counted_and_left_out():
    scores, outcomes = tables()
    open_ones = pl.col("as_of") == DAYS[-1]
    later = outcomes.with_columns(
        churn_90d=pl.when(open_ones).then(None).otherwise(pl.col("churn_90d"))
    )
    found = judged(scores, later)
    assert found.n_not_decided == 600
    assert found.whole.n_rows == 1200
    assert [part.name for part in found.cutoffs] == ["2024-01-01", "2024-02-01"]


def test_too_few_outcomes_have_no_number():
    scores, outcomes = tables(n_accounts=20)
    found = judged(scores, outcomes.with_columns(churn_90d=pl.lit(0)))
    assert found.metrics == {}
    assert found.slope is None
    assert found.whole.level is None


def test_columns_of_one_horizon_need_no_days():
    scores, outcomes = tables()
    plain = scores.rename({"churn_probability_90d": "probability"}).drop("churn_probability_30d")
    alone = outcomes.rename({"churn_90d": "outcome"}).drop("churn_30d")
    assert judged(plain, alone, horizon=90).whole == judged(scores, outcomes).whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop("account_id"), "no column account_id"),
        (lambda t: pl.concat([t, t.head(1)]), "repeat an account"),
        (lambda t: t.with_columns(churn_probability_90d=pl.lit(90.0)), "percent are not read"),
        (lambda t: t.with_columns(as_of=pl.lit("soon")), "are no days"),
        (lambda t: t.with_columns(account_id=pl.lit("b") + pl.col("account_id")), "has an outcome"),
        (lambda t: t.select("account_id", "as_of"), "share no horizon"),
    ],
)
def test_a_file_that_cannot_be_judged_is_refused_with_the_reason(change, said):
    scores, outcomes = tables(n_accounts=30)
    with pytest.raises(ScoreTableError, match=said):
        pair_tables(change(scores), outcomes)


def test_other_values_than_one_and_zero_are_no_outcomes():
    scores, outcomes = tables(n_accounts=30)
    with pytest.raises(ScoreTableError, match="other values than 1"):
        pair_tables(scores, outcomes.with_columns(churn_90d=pl.lit(0.5)))


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ScoreTableError, match="There is no file"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ScoreTableError, match="no Parquet file"):
        read_table(tmp_path / "text.parquet")


def test_the_command_reads_parquet_and_csv_and_writes_json(tmp_path: Path):
    scores, outcomes = tables(n_accounts=100)
    scores.write_parquet(tmp_path / "scores.parquet")
    outcomes.write_csv(tmp_path / "outcomes.csv")
    scores.write_csv(tmp_path / "other.csv")
    words = [str(tmp_path / name) for name in ("scores.parquet", "outcomes.csv")]
    more = ["--against", str(tmp_path / "other.csv"), "--out", str(tmp_path / "judged.json")]
    done = CliRunner().invoke(app, ["judge", *words, *more])
    assert done.exit_code == 0, done.output
    assert "within 30 days" in done.output
    assert "within 90 days" in done.output
    written = json.loads((tmp_path / "judged.json").read_text())["horizons"]
    assert [one["horizon"] for one in written] == [30, 90]
    assert written[0]["beside"]["log_loss"]["value"] == pytest.approx(0, abs=1e-12)
