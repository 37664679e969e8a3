"""Report judged scores as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from training.backtest.report import TOO_FEW, ReportTable
from training.backtest.score_judge import JudgedHorizon, JudgedPart
from training.metrics import Interval

PART = ("rows", "accounts", "came", "promised", "share came", "came over promised", "AUC",
        "log loss")  # fmt: skip
TITLES = {
    "log_loss": "log loss",
    "brier": "Brier score",
    "auc": "AUC",
    "average_precision": "average precision",
    "lift_at_10_percent": "lift at 10 %",
    "calibration_error": "calibration error",
}


def judged_tables(judged: Sequence[JudgedHorizon]) -> Iterator[ReportTable]:
    """The tables of every horizon, in order."""
    for one in judged:
        within = f"within {one.horizon} days"
        yield ReportTable(
            title=f"{within}: {one.whole.n_rows:,} rows of {one.whole.n_accounts:,} accounts",
            columns=("measure", "value and 95 % interval"),
            rows=tuple(_measures(one)),
        )
        if one.beside is not None:
            yield ReportTable(
                title=f"{within}, minus the other scores on {one.beside.n_rows:,} rows",
                columns=("measure", "difference and 95 % interval"),
                rows=(
                    ("log loss (below 0: better)", _signed(one.beside.log_loss)),
                    ("Brier score (below 0: better)", _signed(one.beside.brier)),
                    ("AUC (above 0: better)", _signed(one.beside.auc)),
                    ("came over promised by the other", str(one.beside.other_level)),
                ),
            )
        yield _parts(f"{within}, the curve", "by probability", one.curve)
        if len(one.cutoffs) > 1:
            yield _parts(f"{within}, by cutoff", "as of", one.cutoffs)
        for column, parts in one.groups.items():
            yield _parts(f"{within}, by {column.replace('_', ' ')}", column, parts)


def judged_json(judged: Sequence[JudgedHorizon]) -> dict[str, Any]:
    """Everything as plain values; a number that is not known is null."""
    return {"horizons": [_plain(asdict(one)) for one in judged]}


def _measures(one: JudgedHorizon) -> Iterator[tuple[str, str]]:
    yield "with the outcome", f"{one.whole.n_outcomes:,} rows ({one.whole.came:.4f})"
    yield "promised, on average", f"{one.whole.promised:.4f}"
    yield "came over promised", _said(one.whole.level)
    yield "slope (1: as promised, 0: says nothing)", _said(one.slope)
    for name, title in TITLES.items():
        yield title, _said(one.metrics.get(name), digits=4)
    yield "AUC at a cutoff", _said(one.ranking)
    yield "log loss minus that of the base rate", _said(one.over_base_rate, digits=4, sign="+")
    yield "left out", f"{one.n_not_scored:,} not scored, {one.n_not_decided:,} not decided"


def _parts(title: str, name: str, parts: Sequence[JudgedPart]) -> ReportTable:
    return ReportTable(
        title=title,
        columns=(name, *PART),
        rows=tuple(
            (
                part.name,
                f"{part.n_rows:,}",
                f"{part.n_accounts:,}",
                f"{part.n_outcomes:,}",
                f"{part.promised:.4f}",
                f"{part.came:.4f}",
                _said(part.level),
                _said(part.auc),
                _said(part.log_loss, digits=4),
            )
            for part in parts
        ),
    )


def _said(found: Interval | None, *, digits: int = 3, sign: str = "") -> str:
    if found is None:
        return TOO_FEW
    ends = f"{found.low:{sign}.{digits}f} to {found.high:{sign}.{digits}f}"
    return f"{found.value:{sign}.{digits}f} ({ends})"


def _signed(found: Interval) -> str:
    return _said(found, digits=4, sign="+")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
