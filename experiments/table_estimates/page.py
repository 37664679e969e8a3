"""Write the estimate of a table as one HTML page and one JSON file, with the pictures of reports."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.causal.sample import ESTIMAND_WORDS
from experiments.report import render
from experiments.report.charts import (
    IntervalLine,
    Tone,
    balance_chart,
    interval_chart,
    overlap_chart,
)
from experiments.report.render import CHECK_WORDS, TONE_OF
from experiments.table_estimates.table_effects import ArmEffect, Judgement, TableEstimate
from features.workspace_files import write_atomically

ESTIMATE_SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""

JUDGEMENT_WORDS: dict[Judgement, str] = {
    "works": "Works",
    "harms": "Harms",
    "does not work": "Does not work",
    "unknown": "Not known",
    "do not use": "Do not use",
}


def write_estimate(answer: TableEstimate, folder: Path) -> tuple[Path, Path]:
    """Write ``estimate.html`` and ``estimate.json`` into the folder; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "estimate.html", folder / "estimate.json"
    write_atomically(data, estimate_json(answer).encode())
    write_atomically(page, estimate_html(answer).encode())
    return page, data


def estimate_json(answer: TableEstimate) -> str:
    """Every number of the estimate; what is not known is null."""
    content = {"schema": ESTIMATE_SCHEMA, **asdict(answer)}
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def estimate_html(answer: TableEstimate) -> str:
    """The page."""
    folders = [Path(__file__).parent / "templates", Path(render.__file__).parent / "templates"]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        check_words=CHECK_WORDS,
        judgement_words=JUDGEMENT_WORDS,
        estimand_words=ESTIMAND_WORDS,
        effect_picture=_effect_picture,
        segment_picture=_segment_picture,
        balance_plot=lambda effect: Markup(
            balance_chart(f"Differences before, {effect.arm}", effect.balance)
        ),
        overlap_plot=lambda effect: Markup(
            overlap_chart(f"Chance of being acted on, {effect.arm}", effect.chances)
        ),
    )
    return environment.get_template("estimate.html").render(answer=answer)


def _effect_picture(answer: TableEstimate, effect: ArmEffect) -> Markup:
    rows = [
        _line(answer, "Effect, estimated", effect.estimate, _tone(effect.judgement)),
        _line(answer, "Plain difference", effect.plain, "faint"),
    ]
    title = f"Effect of {effect.arm} on {answer.question.outcome}"
    return Markup(interval_chart(title, rows, axis=_axis(answer)))


def _segment_picture(answer: TableEstimate, effect: ArmEffect) -> Markup:
    rows = [
        _line(
            answer,
            one.segment,
            one.estimate,
            TONE_OF[one.verdict] if effect.is_claimed else "faint",
        )
        for one in effect.segments
    ]
    return Markup(
        interval_chart(
            f"Effect of {effect.arm} by {answer.question.segment}", rows, axis=_axis(answer)
        )
    )


def _line(answer: TableEstimate, label: str, found: Any, tone: Tone) -> IntervalLine:
    factor = 100 if answer.is_binary else 1
    return IntervalLine(
        label=label,
        estimate=found.estimate * factor,
        low=found.low * factor,
        high=found.high * factor,
        tone=tone,
        text=answer.size(found.estimate),
    )


def _axis(answer: TableEstimate) -> str:
    unit = "percentage points of " if answer.is_binary else "change in "
    good = "right" if answer.worth.goal == "higher" else "left"
    return f"{unit}{answer.question.outcome} ({good}: better)"


def _tone(judgement: Judgement) -> Tone:
    return "faint" if judgement == "do not use" else TONE_OF[judgement]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
