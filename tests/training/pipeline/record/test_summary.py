"""A training in a few lines: its longest horizon, the best contender first, with intervals."""

from __future__ import annotations

import json

from rich.console import Console

from training.pipeline.record.summary import brief_table
from training.pipeline.record.tables import brief_of


def lines(*briefs) -> list[str]:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(brief_table(list(briefs)))
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_the_best_contender_comes_first_with_its_intervals():
    brief = {
        "label": "churn",
        "horizon_days": 90,
        "test": "10 account-months",
        "contenders": {
            "Base rate": {"log_loss": [0.31, 0.3, 0.32], "auc": [0.5, 0.5, 0.5]},
            "LightGBM": {"log_loss": [0.29, 0.28, 0.3], "auc": [0.7, 0.65, 0.75]},
        },
    }
    assert lines(brief) == [
        "on later months log loss (95 %) AUC (95 %)",
        "churn within 90 days 10 account-months",
        "LightGBM 0.290 (0.280 to 0.300) 0.700 (0.650 to 0.750)",
        "Base rate 0.310 (0.300 to 0.320) 0.500 (0.500 to 0.500)",
    ]


def test_a_training_is_briefly_its_longest_horizon_and_every_contender(trained):
    result, _ = trained
    brief = brief_of(result)
    assert brief == json.loads(json.dumps(brief))
    horizon = max(result.metrics[result.best.name])
    assert (brief["label"], brief["horizon_days"]) == ("churn", horizon)
    assert len(brief["contenders"]) == len(result.metrics)
    best = result.metrics[result.best.name][horizon]["log_loss"]
    assert brief["contenders"][result.best.title]["log_loss"] == [best.value, best.low, best.high]
    assert len(lines(brief)) == 2 + len(result.metrics)
