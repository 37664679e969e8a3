"""The pages of models and reports: what has been shown, with its doubt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from registry.outcomes import CHURN, OUTCOME_OF_MODEL
from registry.promotion.promotion import EvidenceDocument
from serving.decisions.saved_reports import Report
from serving.pages.frame import Frame
from serving.pages.model_card_page import card_address
from serving.pages.views.capacity_view import HoursView
from serving.pages.views.figures import figure, words
from serving.scoring.models_served import ModelRow, WithheldSegment
from serving.text_format import instant, percent, plain

METRICS: Mapping[str, str] = {
    "log_loss": "Log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "auc": "AUC: how often {hit} is ranked above {miss}",
    "average_precision": "Average precision",
    "lift_at_10_percent": "Lift in the top tenth, times the base rate",
    "calibration_error": "Calibration error: how far probabilities are off on average",
}
"""The metrics that a training records, and what each says."""

ABOUT_STATES: Mapping[str, str] = {
    "serving": "",
    "in reserve": "Answers where the churn model cannot: when it is missing, "
    "refused, or the features are too old.",
    "challenger": "Newest of its kind and not serving; it may be promoted.",
    "not serving": "Kept for comparison and for going back.",
}

CANDIDATES: Mapping[str, str] = {
    "lightgbm": "LightGBM",
    "logistic": "Logistic regression",
    "formula": "Health formula",
    "formula_prior": "Refined health formula",
    "renewal_risk": "Renewal model",
    "usage": "Use in the last month",
    "base_rate": "Base rate",
    "tenure_rate": "Base rate by tenure",
    "sbg": "Retention by renewals (sBG)",
    "bdw": "Retention by renewals (BdW)",
    "everything_renews": "Everything renews",
}

COMPARISONS = (
    ("over_base_rate", "the base rate"),
    ("over_formula", "the health formula"),
    ("over_champion", "the champion before it"),
)

AT_HORIZON = re.compile(r"(?P<name>[a-z0-9_]+?)_(?P<days>\d+)d")
BASELINE = re.compile(r"baseline_(?P<name>[a-z_]+?)_log_loss_(?P<days>\d+)d")


@dataclass(frozen=True, kw_only=True)
class MetricLine:
    """One metric, at each horizon."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MetricTable:
    """Metrics by horizon."""

    columns: tuple[str, ...]
    lines: tuple[MetricLine, ...]


NO_TABLE = MetricTable(columns=(), lines=())


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """One version of a model."""

    title: str
    state: str
    state_class: str
    about: str
    about_state: str
    metrics: MetricTable
    beside: MetricTable
    beside_note: str
    evidence: tuple[str, ...]
    withheld: tuple[str, ...]  # from whom, since when and why
    card_href: str


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
    """The reports as a page; without ``hours`` for readers who may not see everybody's."""

    frame: Frame
    reports: tuple[ReportLine, ...]
    hours: HoursView | None


def models_page(
    rows: Sequence[ModelRow],
    refusals: Mapping[str, str],
    *,
    source: str,
    tenant: str,
    withheld: Sequence[WithheldSegment] = (),
) -> ModelsPage:
    """Every model with its metrics, its baselines, its promotion and the segments withheld from it."""
    churn_serves = any(row.serving and row.label == CHURN.name for row in rows)
    models: list[ModelView] = []
    for row in rows:
        view = _model(
            row,
            churn_serves=churn_serves,
            withheld=tuple(
                _sentence(one.why) for one in withheld if one.fingerprint == row.fingerprint
            ),
        )
        same = next((m for m in models if m.beside.lines and m.beside == view.beside), None)
        if same is not None:
            view = replace(
                view, beside=NO_TABLE, beside_note=f"Compared with the others under {same.title}."
            )
        models.append(view)
    return ModelsPage(
        frame=Frame(title="Models", section="models", tenant=tenant, source=source),
        models=tuple(models),
        missing=tuple(refusals.values()),
    )


def reports_page(
    reports: Sequence[Report], *, tenant: str, hours: HoursView | None = None
) -> ReportsPage:
    """Every report, newest first, and what one more hour would bring."""
    return ReportsPage(
        frame=Frame(title="Reports", section="reports", tenant=tenant),
        hours=hours,
        reports=tuple(
            ReportLine(
                title=r.title,
                headline=r.headline or "",
                written=instant(r.written_at),
                href=f"/reports/{r.name}" if r.html_file else None,
                json_href=f"/v1/reports/{r.name}",
            )
            for r in reports
        ),
    )


def metrics_by_horizon(
    metrics: Mapping[str, float], label: str = CHURN.name, *, of: str = "a model"
) -> MetricTable:
    """Metrics named ``<name>_<days>d`` with their intervals, a column per horizon.

    ``of`` names the version whose metrics they are.

    >>> table = metrics_by_horizon({"auc_30d": 0.71, "auc_30d_low": 0.66, "auc_30d_high": 0.75,
    ...                             "auc_90d": 0.7})
    >>> table.columns
    ('30 days', '90 days')
    >>> [values.striptags() for values in table.lines[0].values]
    ['0.710 (0.660 to 0.750)', '0.700']
    """
    found: dict[str, dict[int, Markup]] = {}
    for key, value in metrics.items():
        at = AT_HORIZON.fullmatch(key)
        if at is None or key.startswith("baseline_"):
            continue
        low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
        text = figure(key, of, f"{value:.3f}")
        if low is not None and high is not None:
            text += words(
                " ({low} to {high})",
                low=figure(f"{key}_low", of, f"{low:.3f}"),
                high=figure(f"{key}_high", of, f"{high:.3f}"),
            )
        found.setdefault(at["name"], {})[int(at["days"])] = text
    days = sorted({day for cells in found.values() for day in cells})
    return MetricTable(
        columns=tuple(f"{day} days" for day in days),
        lines=tuple(
            MetricLine(
                name=metric_words(name, label),
                values=tuple(cells.get(day, Markup()) for day in days),
            )
            for name, cells in found.items()
        ),
    )


def metric_words(name: str, label: str) -> str:
    """What a metric says about the models of a label.

    >>> metric_words("auc", "expansion")
    'AUC: how often an account that expanded is ranked above one that did not'
    """
    words = OUTCOME_OF_MODEL[label].words
    template = METRICS.get(name, plain(name).capitalize())
    return template.format(hit=words.happened, miss=words.not_happened)


def model_title(label: str) -> str:
    """What the models of a label are called.

    >>> model_title("churn"), model_title("churn-formula")
    ('Churn model', 'Health formula, calibrated for churn')
    """
    outcome = OUTCOME_OF_MODEL[label]
    if label == outcome.formula_model:
        return f"Health formula, calibrated for {plain(outcome.name)}"
    return outcome.words.model


def beside_baselines(metrics: Mapping[str, float]) -> MetricTable:
    """The log loss of every candidate of the race on the same rows, best first.

    >>> beside_baselines({"baseline_base_rate_log_loss_90d": 0.27,
    ...                   "baseline_lightgbm_log_loss_90d": 0.26}).lines[0].name
    'LightGBM'
    """
    found = [
        (value, at["name"], int(at["days"]))
        for key, value in metrics.items()
        if (at := BASELINE.fullmatch(key))
    ]
    if not found:
        return NO_TABLE
    days = max(day for _, _, day in found)
    return MetricTable(
        columns=(f"Log loss within {days} days (lower is better)",),
        lines=tuple(
            MetricLine(
                name=CANDIDATES.get(name, plain(name).capitalize()), values=(f"{value:.4f}",)
            )
            for value, name, day in sorted(found)
            if day == days
        ),
    )


def evidence_sentences(evidence: EvidenceDocument) -> tuple[str, ...]:
    """What a promotion rested on, in sentences.

    >>> evidence_sentences({"over_base_rate": {"mean": 0.0076, "low": -0.0068, "high": 0.0209,
    ...                                        "confidence": 0.861}})
    ('Log loss lower than that of the base rate by 0.0076 (95% interval −0.0068 to 0.0209); \
better in 86% of the draws of accounts.',)
    """
    sentences = []
    rows, accounts = evidence.get("n_rows"), evidence.get("n_accounts")
    if isinstance(rows, int) and isinstance(accounts, int):
        sentences.append(
            f"Judged on {rows:,} held-out rows of {accounts:,} accounts, later in "
            f"time than the rows it was trained on."
        )
    for key, other in COMPARISONS:
        gain = evidence.get(key)
        if not isinstance(gain, Mapping):
            continue
        mean, low, high, sure = (
            _number(gain.get(name)) for name in ("mean", "low", "high", "confidence")
        )
        sentences.append(
            f"Log loss lower than that of {other} by {_signed(mean)} (95% interval "
            f"{_signed(low)} to {_signed(high)}); better in {percent(sure)} of the "
            f"draws of accounts."
        )
    return tuple(sentences)


def _state(row: ModelRow, *, churn_serves: bool) -> str:
    """What a version is doing: the calibrated formula waits while a churn model serves."""
    if row.serving:
        return "in reserve" if row.label == CHURN.formula_model and churn_serves else "serving"
    return "challenger" if row.challenger else "not serving"


def _model(row: ModelRow, *, churn_serves: bool, withheld: tuple[str, ...]) -> ModelView:
    state = _state(row, churn_serves=churn_serves)
    about = f"{row.run_name}; judged on {row.judged_on}; fingerprint {row.fingerprint[:12]}."
    if row.changed is not None:
        about += (
            f" {row.changed.how.capitalize()} on {instant(row.changed.at)} by {row.changed.by}."
        )
    return ModelView(
        title=f"{model_title(row.label)}, version {row.version}",
        state=state,
        state_class=f"state-{state.replace(' ', '-')}",
        about=about,
        about_state=ABOUT_STATES[state],
        metrics=metrics_by_horizon(row.metrics, row.label, of=f"{row.label} {row.version}"),
        beside=beside_baselines(row.metrics),
        beside_note="",
        evidence=evidence_sentences(row.changed.evidence) if row.changed else (),
        withheld=withheld,
        card_href=card_address(row.label, row.version),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _signed(value: float) -> str:
    return f"{value:.4f}".replace("-", "\N{MINUS SIGN}")
