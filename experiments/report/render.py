"""Write a report as one HTML page and one JSON file, whole or not at all.

The page is self-contained (no script, no address), prints on A4, and begins with what works, what
does not and what is not known. Takes a finished ``Report``; computes nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.causal.analysis import DesignResult, describe_exclusions
from experiments.causal.checks.protocol import CheckVerdict
from experiments.causal.estimates import Verdict
from experiments.causal.sample import ESTIMAND_WORDS
from experiments.causal.sentences import money, points
from experiments.report.charts import (
    IntervalLine,
    Tone,
    balance_chart,
    interval_chart,
    overlap_chart,
)
from experiments.report.counted_effects import CountedEffect
from experiments.report.report import Report
from registry.integrity.sealed_document import seal, seal_page

REPORT_SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""

VERDICT_WORDS: dict[Verdict, str] = {
    "works": "Works",
    "harms": "Harms",
    "does not work": "Does not work",
    "unknown": "Not known",
}
CHECK_WORDS: dict[CheckVerdict, str] = {
    "passed": "✓ passed",
    "failed": "✗ failed",
    "not_applicable": "– does not apply",
}
TONE_OF: dict[Verdict, Tone] = {
    "works": "good",
    "harms": "bad",
    "does not work": "plain",
    "unknown": "faint",
}


def write_report(report: Report, folder: Path, *, name: str = "report") -> tuple[Path, Path]:
    """Write ``<name>.html`` and ``<name>.json`` into the folder; returns both paths.

    Each file is swapped as a whole: a reader sees the old or the new one. Each holds a digest of itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / f"{name}.html", folder / f"{name}.json"
    sealed = json.dumps(seal(json.loads(report_json(report))), indent=1, ensure_ascii=False) + "\n"
    for path, text in ((data, sealed), (page, seal_page(report_html(report)))):
        draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return page, data


def report_json(report: Report) -> str:
    """Every number of the report; what is not known is null."""
    content = {"schema": REPORT_SCHEMA, "headline": report.headline, **asdict(report)}
    for action, source in zip(content["actions"], report.actions, strict=True):
        for result, found in zip(action["results"], source.results, strict=True):
            result["design"]["digest"] = found.design.digest
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def report_html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        verdict_words=VERDICT_WORDS,
        check_words=CHECK_WORDS,
        estimand_words=ESTIMAND_WORDS,
        points=points,
        exclusions=describe_exclusions,
        effect_picture=_effect_picture,
        segment_picture=_segment_picture,
        counted_picture=_counted_picture,
        balance_plot=_balance_plot,
        overlap_plot=_overlap_plot,
        money=lambda value: money(value, report.currency),
        naive_words=_naive_words,
        share=_share,
    )
    environment.filters["day"] = _day
    return environment.get_template("report.html").render(report=report)


def _effect_picture(result: DesignResult) -> Markup:
    """The causal number beside the naive one, in points of churn."""
    churn, naive = result.churn.estimate, result.naive.difference
    tone: Tone = TONE_OF[result.verdict] if result.is_claimed else "faint"
    rows = [
        IntervalLine(
            label=label,
            estimate=item.estimate * 100,
            low=item.low * 100,
            high=item.high * 100,
            tone=shade,
            text=f"{points(item.estimate)} points",
        )
        for label, item, shade in (
            ("Effect, estimated", churn, tone),
            ("Plain difference", naive, "faint"),
        )
    ]
    return Markup(
        interval_chart(
            f"Effect on churn of {result.design.intervention}",
            rows,
            axis="change in accounts leaving, percentage points (left: fewer leave)",
        )
    )


def _segment_picture(result: DesignResult) -> Markup:
    rows = [
        IntervalLine(
            label=item.segment,
            estimate=item.estimate.estimate * 100,
            low=item.estimate.low * 100,
            high=item.estimate.high * 100,
            tone=TONE_OF[item.verdict] if result.is_claimed else "faint",
            text=f"{points(item.estimate.estimate)} ({item.estimate.n_treated:,})",
        )
        for item in result.segments
    ]
    return Markup(
        interval_chart(
            f"Effect on churn by segment of {result.design.intervention}",
            rows,
            axis="percentage points; intervals hold for all segments together (trials acted on)",
        )
    )


def _counted_picture(result: DesignResult, counted: Sequence[CountedEffect]) -> Markup:
    rows = [
        IntervalLine(
            label=item.segment,
            estimate=item.estimate * 100,
            low=item.low * 100,
            high=item.high * 100,
            tone=TONE_OF[item.verdict] if result.is_claimed else "faint",
            text=f"{points(item.estimate)} ({item.n:,})",
        )
        for item in counted
    ]
    return Markup(
        interval_chart(
            f"Effect on churn by segment of {result.design.intervention}",
            rows,
            axis="percentage points; intervals hold for all segments together (trials)",
        )
    )


def _balance_plot(result: DesignResult) -> Markup:
    return Markup(
        balance_chart(f"Differences before the start, {result.design.intervention}", result.balance)
    )


def _overlap_plot(result: DesignResult) -> Markup:
    return Markup(
        overlap_chart(
            f"Chance of being acted on, {result.design.intervention}", result.propensities
        )
    )


def _naive_words(result: DesignResult) -> str:
    """The usual comparison, and why it is not the effect."""
    naive = result.naive
    share = naive.n_stayed / naive.n_acted_on
    text = (
        f"{naive.n_stayed:,} of {naive.n_acted_on:,} trials acted on stayed ({share:.0%}). "
        f"Counted as “saves”, that would credit the action with every one of them. "
    )
    if result.design.mechanism == "lottery":
        return text + "Most would have stayed anyway: the undrawn accounts show how many."
    return text + (
        f"The plain difference to the others is {points(naive.difference.estimate)} "
        f"points, but people chose whom to act on, so it compares unlike accounts."
    )


def _share(value: float) -> str:
    return f"{value * 100:.1f}%"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
