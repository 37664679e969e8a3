from __future__ import annotations

import re

import numpy as np
import pytest

from training.pipeline.record.model_card import PURPOSE


@pytest.fixture(scope="module")
def card(trained) -> str:
    _, store = trained
    return store.runs[0].documents["model_card.md"]


def section(card: str, title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    return re.split(r"^## ", card.split(f"## {title}", 1)[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Data", "As known on 2023-07-01"),
        ("Data", "Rows left out by horizon: 30 days: "),
        ("Data", "immature"),
        ("Label policy", "| grace days | 30 |"),
        ("Metrics", "### Within 30 days"),
        ("Metrics", "| health formula |"),
        ("By segment, 90 days", "| MRR lowest third |"),
        ("By segment, 90 days", "too few accounts to judge"),
        ("Calibration, 90 days", "(plots/calibration.png)"),
        ("Features behind the scores", "rank correlation of 0."),
        ("Parameters", "A study of "),
        ("Decision", "- passed: Better than the base rate"),
        ("Limits", "180 days: not estimable"),
        ("Not for", "Claims about causes"),
        ("Not for", "Decisions about people"),
    ],
)
def test_a_card_says_what_a_reader_needs(card, title, said) -> None:
    assert said in section(card, title)


def test_a_card_begins_with_the_purpose(card) -> None:
    assert card.startswith("# churn: refined health formula")
    assert PURPOSE in card.split("## Data")[0]


def test_the_numbers_of_a_card_are_those_of_the_training(card, trained) -> None:
    result, _ = trained
    loss = result.metrics["formula_prior"][90]["log_loss"]
    assert f"| refined health formula | {loss.value:.3f} ({loss.low:.3f}–{loss.high:.3f})" in card
    assert f"| {result.rows['test']:,} |" in section(card, "Data")
    assert result.bundle.fingerprint[:12] in card


def test_the_calibration_table_holds_every_test_row_and_outcome(card, trained) -> None:
    result, _ = trained
    rows = re.findall(
        r"^\| \d of 8 \| (\d+) \| ([\d.]+)% \| ([\d.]+)% \|$",
        section(card, "Calibration, 90 days"),
        flags=re.MULTILINE,
    )
    sizes, promised, observed = np.array(rows, dtype=float).T
    assert sizes.sum() == result.rows["test"]
    assert (sizes * observed / 100).sum() == pytest.approx(result.rows["test_outcomes_90d"], abs=1)
    assert (np.diff(promised) >= 0).all()


def test_the_formula_has_a_card_without_a_decision(trained) -> None:
    _, store = trained
    card = store.runs[1].documents["model_card.md"]
    assert card.startswith("# churn-formula: health formula")
    assert "## Decision" not in card
    assert "was not measured" in section(card, "Features behind the scores")
