from __future__ import annotations

from pathlib import Path

from experiments.causal.checks import CHECKS
from experiments.causal.estimators import ESTIMATORS

PAGE = (
    Path(__file__).parents[3] / "docs" / "explanation" / "measuring-what-actions-cause.md"
).read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_estimator_is_in_the_table_and_nothing_else() -> None:
    assert [
        (row[0].strip("`"), row[1], tuple(row[2].split(", "))) for row in rows("Estimators")
    ] == [(item.name, item.mechanism, item.estimands) for item in ESTIMATORS]


def test_every_check_is_in_the_table_in_its_order() -> None:
    assert [row[0].strip("`") for row in rows("Checks")] == [check.name for check in CHECKS]
