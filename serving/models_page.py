"""This module is about the pages of models and reports: what has been shown, with its doubt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.champions import ModelRow
from serving.pages import Frame
from serving.reports import Report
from serving.words import instant, number, plain

INTERVAL_ENDS = ("_low", "_high")


@dataclass(frozen=True, kw_only=True)
class MetricLine:
    """One metric of a model beside the baselines."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """One version of a model."""

    title: str
    state: str
    about: str
    columns: tuple[str, ...]
    metrics: tuple[MetricLine, ...]


@dataclass(frozen=True, kw_only=True)
class ModelsPage:
    """The models as a page."""

    frame: Frame
    models: tuple[ModelView, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportLine:
    """One report in the list."""

    title: str
    headline: str
    written: str
    href: str | None
    json_href: str


@dataclass(frozen=True, kw_only=True)
class ReportsPage:
    """The reports as a page."""

    frame: Frame
    reports: tuple[ReportLine, ...]


def models_page(rows: Sequence[ModelRow], refusals: Mapping[str, str], *, source: str, tenant: str
                ) -> ModelsPage:
    """Every model with its metrics beside the baselines."""
    return ModelsPage(
        frame=Frame(title="Models", section="models", tenant=tenant, source=source),
        models=tuple(_model(row) for row in rows), missing=tuple(refusals.values()))


def reports_page(reports: Sequence[Report], *, tenant: str) -> ReportsPage:
    """Every report, newest first."""
    return ReportsPage(
        frame=Frame(title="Reports", section="reports", tenant=tenant),
        reports=tuple(ReportLine(
            title=r.title, headline=r.headline or "", written=instant(r.written_at),
            href=f"/reports/{r.name}" if r.html_file else None,
            json_href=f"/v1/reports/{r.name}") for r in reports))


def _model(row: ModelRow) -> ModelView:
    state = "serving" if row.serving else "challenger" if row.challenger else "retired"
    columns, metrics = metric_table(row.metrics)
    return ModelView(title=f"{plain(row.label).capitalize()} model, version {row.version}",
                     state=state, about=f"Trained in the run “{row.run_name}”; fingerprint "
                     f"{row.fingerprint[:12]}.", columns=columns, metrics=metrics)


def metric_table(metrics: Mapping[str, float]) -> tuple[tuple[str, ...], tuple[MetricLine, ...]]:
    """Metrics named ``candidate.metric`` as one row per metric and one column per candidate.

    >>> columns, lines = metric_table({"model.auc": 0.71, "model.auc_low": 0.66,
    ...                                "model.auc_high": 0.75, "base_rate.auc": 0.5})
    >>> columns
    ('model', 'base rate')
    >>> lines[0].name, lines[0].values
    ('auc', ('0.710 (0.660 to 0.750)', '0.500'))
    """
    cells: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for key, value in metrics.items():
        if key.endswith(INTERVAL_ENDS):
            continue
        parts = re.split(r"[./]", key, maxsplit=1)
        candidate, name = parts if len(parts) == 2 else ("value", parts[0])
        if candidate not in columns:
            columns.append(candidate)
        low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
        text = _figure(value)
        if low is not None and high is not None:
            text += f" ({_figure(low)} to {_figure(high)})"
        cells.setdefault(name, {})[candidate] = text
    return tuple(plain(c) for c in columns), tuple(
        MetricLine(name=plain(name), values=tuple(row.get(c, "") for c in columns))
        for name, row in cells.items())


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 and value != round(value) else number(value) \
        if value == round(value) and abs(value) >= 1 else f"{value:.3f}"
