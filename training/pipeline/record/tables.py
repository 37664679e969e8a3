"""Write the metrics of contenders as Markdown tables.

The table of ``docs/reference/metrics.md`` and of model cards; made from results, never typed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from training.metrics import Interval
from training.models.specs import spec_named
from training.pipeline.record.summary import SHOWN
from training.pipeline.training_result import TrainingResult

COLUMNS = {
    "log_loss": "log loss",
    "brier": "Brier",
    "auc": "AUC",
    "average_precision": "average precision",
    "lift_at_10_percent": "lift at 10 %",
    "calibration_error": "calibration error",
}
"""Metric to its heading."""


def brief_of(result: TrainingResult) -> dict[str, Any]:
    """The longest horizon of a training, every contender with two metrics and their intervals."""
    horizon = max(result.metrics[result.best.name])
    shown = {
        spec_named(name).title: {
            metric: [interval.value, interval.low, interval.high]
            for metric, interval in by_horizon[horizon].items()
            if metric in SHOWN
        }
        for name, by_horizon in result.metrics.items()
    }
    return {
        "label": result.label.name,
        "horizon_days": horizon,
        "contenders": shown,
        "test": f"{result.rows['test']:,} account-months"
        f"{' of other accounts' * result.split.by_accounts}, cutoffs "
        f"{result.split.test[0]:%Y-%m-%d} to {result.split.test[-1]:%Y-%m-%d}",
    }


def as_markdown_text(text: str) -> str:
    """A text from data within a line of Markdown: it is shown as it is, and makes nothing else.

    >>> as_markdown_text("EMEA | *large*")
    'EMEA \\\\| \\\\*large\\\\*'
    """
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&:=\"'$@])", r"\\\1", " ".join(text.split()))


def contender_table(metrics: Mapping[str, Mapping[str, Interval]]) -> str:
    """One row a contender, best log loss first; 95 % intervals in brackets."""
    ordered = sorted(metrics, key=lambda name: metrics[name]["log_loss"].value)
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS)]
    for name in ordered:
        cells = " | ".join(_cell(metrics[name][metric]) for metric in COLUMNS)
        lines.append(f"| {spec_named(name).title} | {cells} |")
    return "\n".join(lines)


def metrics_table(results: Sequence[TrainingResult]) -> str:
    """Every label and horizon with its contenders, and what the paired comparison says."""
    parts = []
    for result in results:
        split = result.split
        for horizon in result.metrics[result.best.name]:
            parts.append(
                f"**{result.label.name} within {horizon} days** "
                f"({result.rows['test']:,} test rows, "
                f"{result.rows[f'test_outcomes_{horizon}d']} with the outcome; cutoffs "
                f"{split.test[0]:%Y-%m-%d} to {split.test[-1]:%Y-%m-%d}, fitted on "
                f"{'other accounts, ' * split.by_accounts}"
                f"{split.before_test[0]:%Y-%m-%d} to {split.before_test[-1]:%Y-%m-%d})"
            )
            parts.append(
                contender_table(
                    {name: by_horizon[horizon] for name, by_horizon in result.metrics.items()}
                )
            )
        differences = "; ".join(
            f"{spec_named(name).title} {interval.value:+.4f} "
            f"({interval.low:+.4f} to {interval.high:+.4f})"
            for name, interval in result.differences.items()
        )
        parts.append(
            f"Paired difference in log loss at {result.label.horizons[-1]} days, "
            f"{result.best.title} minus: {differences}."
        )
    return "\n\n".join(parts)


def _cell(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"
