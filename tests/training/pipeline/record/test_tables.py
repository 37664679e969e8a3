from __future__ import annotations

import re
from html import unescape

from hypothesis import example, given
from hypothesis import strategies as st

from serving.pages.markdown import render_markdown
from training.metrics import Interval
from training.pipeline.record.tables import (
    COLUMNS,
    as_markdown_text,
    contender_table,
    metrics_table,
)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
@example("EMEA | [x](http://y) <b>&amp; `a` **b** http://c.de a@b.de")
def test_a_name_from_data_makes_no_markdown(name) -> None:
    page = render_markdown(f"| a | b |\n|---|---|\n| {as_markdown_text(name)} | 1 |")
    [cells] = re.findall(r"<tbody>\s*<tr>(.*?)</tr>", page, re.DOTALL)
    [first, second] = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", cells, re.DOTALL)
    assert (unescape(first), second) == (" ".join(name.split()), "1")


def test_a_contender_table_is_ordered_by_log_loss() -> None:
    def numbers(loss: float) -> dict[str, Interval]:
        return dict.fromkeys(COLUMNS, Interval(value=loss, low=loss - 0.01, high=loss + 0.01))

    table = contender_table({"base_rate": numbers(0.27), "lightgbm": numbers(0.26)})
    lines = table.splitlines()
    assert lines[2].startswith("| LightGBM | 0.260 (0.250–0.270) |")
    assert lines[3].startswith("| base rate | 0.270 ")
    assert len({line.count("|") for line in lines}) == 1


def test_the_metrics_table_has_every_horizon_and_every_difference(trained) -> None:
    result, _ = trained
    text = metrics_table([result])
    for horizon in (30, 60, 90):
        assert f"**churn within {horizon} days**" in text
    assert text.count("Paired difference") == 1
    assert "usage in the last month" in text


def test_a_comparison_has_the_interval_that_the_decision_rests_on(trained) -> None:
    result, _ = trained
    shown, decided = result.differences["base_rate"], as_metrics_of(result)
    assert (-shown.value, -shown.high, -shown.low) == decided


def as_metrics_of(result) -> tuple[float, float, float]:
    numbers = result.bundle.metrics
    return tuple(numbers[f"evidence_over_base_rate_{name}"] for name in ("mean", "low", "high"))


def test_each_horizon_says_how_many_outcomes_judge_it(trained) -> None:
    result, _ = trained
    counts = [result.rows[f"test_outcomes_{horizon}d"] for horizon in (30, 60, 90)]
    assert counts == sorted(counts)
    assert counts[-1] == result.rows["test_outcomes"]
    assert f"{counts[0]} with the outcome" in metrics_table([result])
