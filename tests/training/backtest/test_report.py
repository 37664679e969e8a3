from __future__ import annotations

import json

import pytest

from training.backtest.report import TOO_FEW, ReportTable, as_json, remarks, report_tables


@pytest.fixture(scope="module")
def told(back_tested) -> tuple[ReportTable, ...]:
    _, result = back_tested
    return report_tables(result)


def test_every_sheet_is_rectangular(told) -> None:
    for sheet in told:
        assert {len(row) for row in sheet.rows} == {len(sheet.columns)}


def test_there_is_a_sheet_for_everything_that_is_judged(told) -> None:
    titles = " / ".join(sheet.title for sheet in told)
    for words in (
        "churn: 3 origins",
        "churn within 30 days",
        "churn within 60 days",
        "churn within 90 days",
        "Paired difference in log loss at 90 days",
        "The first 10 accounts of every cutoff",
        "by segment",
        "by tenure",
    ):
        assert words in titles
    assert "by service tier" not in titles


def test_contenders_stand_with_the_lowest_log_loss_first(told) -> None:
    sheet = next(sheet for sheet in told if "within 90 days" in sheet.title)
    losses = [float(row[1].split()[0]) for row in sheet.rows]
    assert losses == sorted(losses)
    assert {row[0] for row in sheet.rows} >= {
        "LightGBM",
        "logistic regression",
        "health formula",
        "usage in the last month",
        "base rate",
    }


def test_every_contender_is_compared_with_the_best_and_with_the_baselines(
    back_tested,
    told,
) -> None:
    _, result = back_tested
    sheet = next(sheet for sheet in told if sheet.title.startswith("Paired"))
    assert sheet.columns[1] == result.best.title
    assert set(sheet.columns[2:]) <= {
        "base rate",
        "health formula",
        "usage in the last month",
        "logistic regression",
    }
    for row in sheet.rows:
        assert row.count("–") == (row[0] in sheet.columns)


def test_a_group_with_too_few_outcomes_says_so_instead_of_a_number(told) -> None:
    sheet = next(sheet for sheet in told if sheet.title.endswith("by segment"))
    large = [row for row in sheet.rows if row[0] == "large"]
    assert len(large) == 3
    assert all(row[4:] == (TOO_FEW, "", "", "", "") for row in large)


def test_markdown_has_a_line_a_row(told) -> None:
    for sheet in told:
        lines = sheet.markdown.splitlines()
        assert len(lines) == 4 + len(sheet.rows)
        assert len({line.count("|") for line in lines[2:]}) == 1


def test_what_is_left_out_is_counted_in_words(back_tested) -> None:
    _, result = back_tested
    assert any(
        f"{result.left_out[90]['immature']:,} rows immature" in line for line in remarks(result)
    )


def test_json_is_plain_and_holds_no_number_where_there_is_too_little(back_tested) -> None:
    _, result = back_tested
    report = json.loads(json.dumps(as_json(result), allow_nan=False))
    large = [group for group in report["groups"] if group["group"] == "large"]
    assert all(group["verdict"] == TOO_FEW and "metrics" not in group for group in large)
    assert len(report["origins"]) == 3
    assert report["origins"][0]["embargoed"]
    assert report["differences_in_log_loss"]["90"]["lightgbm"]["base_rate"]["high"] < 0
    assert report["capacity"]["accounts_per_cutoff"] == 10
    assert report["left_out"]["90"]["immature"] == result.left_out[90]["immature"]
