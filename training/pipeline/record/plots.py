"""Plots of a training, as PNG bytes by file name.

They show the test rows and the longest horizon, every contender beside the others. The home of
matplotlib in this project; opens no window and keeps no state.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from registry.bundle.bundle import ModelBundle
from training.models.model_selection import Contender
from training.pipeline.record.explanation_plots import dependence, strongest, summary

Vector = NDArray[np.float64]

COLOURS = {
    "lightgbm": "#1b5e8c",
    "logistic": "#c26a1a",
    "formula_prior": "#b0413e",
    "renewal_risk": "#2a9d8f",
    "formula": "#4a7d3a",
    "usage": "#8a6fb0",
    "base_rate": "#777777",
}
GROUPS = 8
TOP_FEATURES = 20
ROWS_EXPLAINED = 500
DEPENDENCE = 6


Drawing = Callable[[], bytes]


class Pictures(Mapping[str, bytes]):
    """PNG bytes by file name, each drawn when it is first read.

    Drawing takes half the time of a small training: a store that keeps no picture does not wait.
    """

    def __init__(self, drawings: Mapping[str, Drawing]) -> None:
        self._drawings = drawings
        self._drawn: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._drawn:
            self._drawn[name] = self._drawings[name]()
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawings)

    def __len__(self) -> int:
        return len(self._drawings)


def contender_plots(
    contenders: Mapping[str, Contender], outcome: Vector, horizon: int
) -> dict[str, Drawing]:
    """Calibration, ROC, precision and recall, lift, and the log loss of all contenders."""
    return {
        "calibration.png": _drawing(lambda axes: _calibration(axes, contenders, outcome, horizon)),
        "roc.png": _drawing(lambda axes: _roc(axes, contenders, outcome, horizon)),
        "precision_recall.png": _drawing(
            lambda axes: _precision_recall(axes, contenders, outcome, horizon)
        ),
        "lift.png": _drawing(lambda axes: _lift(axes, contenders, outcome, horizon)),
        "contenders.png": _drawing(lambda axes: _losses(axes, contenders, horizon), left=0.3),
    }


def explanation_plots(bundle: ModelBundle, matrix: NDArray[np.float64]) -> dict[str, Drawing]:
    """The contributions over all rows: their mean size, a summary, the strongest one by one."""
    rows = matrix[:ROWS_EXPLAINED]
    names = bundle.contract.names

    @cache
    def contributions() -> NDArray[np.float64]:
        return bundle.contributions(rows)[0]

    def bars(axes: Axes) -> None:
        sizes = np.abs(contributions()).mean(axis=0)
        order = np.argsort(sizes, kind="stable")[-TOP_FEATURES:]
        axes.barh([names[j] for j in order], sizes[order], color=COLOURS["lightgbm"])
        axes.set(
            xlabel="mean contribution, log-odds, either direction",
            title=f"What {bundle.label} scores are made of",
        )

    def one_by_one(figure: Figure) -> None:
        values = contributions()
        for place, j in enumerate(strongest(values, DEPENDENCE), start=1):
            dependence(figure.add_subplot(2, 3, place), names[j], rows[:, j], values[:, j])
        figure.subplots_adjust(
            left=0.09, right=0.98, top=0.93, bottom=0.08, wspace=0.4, hspace=0.35
        )

    return {
        "importance.png": _drawing(
            bars, height=0.27 * min(len(names), TOP_FEATURES) + 1.5, left=0.42
        ),
        "shap_summary.png": _drawing(
            lambda axes: summary(axes, names, rows, contributions()), height=5.2, left=0.42
        ),
        "shap_dependence.png": lambda: _figure(one_by_one, width=10.5, height=6.0),
    }


def _lift(axes: Axes, contenders: Mapping[str, Contender], outcome: Vector, horizon: int) -> None:
    """Share of the outcomes found among the accounts that are looked at first."""
    share = np.arange(len(outcome) + 1) / len(outcome)
    for name, contender in contenders.items():
        order = np.argsort(-contender.probabilities[horizon], kind="stable")
        found = np.r_[0.0, np.cumsum(outcome[order])] / outcome.sum()
        value = contender.metrics[horizon]["lift_at_10_percent"].value
        if name != "base_rate":
            axes.plot(
                share,
                found,
                color=COLOURS[name],
                linewidth=1.4,
                label=f"{contender.spec.title}: {value:.1f}",
            )
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, label="at random: 1.0")
    axes.set(
        xlabel="share of rows looked at, highest first",
        ylabel="share of outcomes found",
        title=f"Lift at {horizon} days, test rows",
    )
    axes.legend(frameon=False, fontsize=8, title="lift in the first tenth")


def _calibration(
    axes: Axes, contenders: Mapping[str, Contender], outcome: Vector, horizon: int
) -> None:
    top = 0.0
    for name, contender in contenders.items():
        p = contender.probabilities[horizon]
        if name == "base_rate":
            continue
        groups = np.array_split(np.argsort(p, kind="stable"), GROUPS)
        promised = [float(p[group].mean()) for group in groups if len(group)]
        observed = [float(outcome[group].mean()) for group in groups if len(group)]
        top = max(top, *promised, *observed)
        axes.plot(
            promised,
            observed,
            marker="o",
            markersize=4,
            color=COLOURS[name],
            label=contender.spec.title,
        )
    axes.plot([0, top], [0, top], color="#bbbbbb", linewidth=1, label="as promised")
    axes.set(
        xlabel="probability",
        ylabel="observed share",
        title=f"Calibration at {horizon} days, test rows",
    )
    axes.legend(frameon=False, fontsize=8)


def _roc(axes: Axes, contenders: Mapping[str, Contender], outcome: Vector, horizon: int) -> None:
    for name, contender in contenders.items():
        wrong, right, _ = roc_curve(outcome, contender.probabilities[horizon])
        axes.plot(
            wrong,
            right,
            color=COLOURS[name],
            linewidth=1.4,
            label=f"{contender.spec.title}: {contender.metrics[horizon]['auc'].value:.3f}",
        )
    axes.set(
        xlabel="share of others flagged",
        ylabel="share of outcomes found",
        title=f"ROC at {horizon} days, test rows",
    )
    axes.legend(frameon=False, fontsize=8, title="AUC")


def _precision_recall(
    axes: Axes, contenders: Mapping[str, Contender], outcome: Vector, horizon: int
) -> None:
    for name, contender in contenders.items():
        precision, recall, _ = precision_recall_curve(outcome, contender.probabilities[horizon])
        value = contender.metrics[horizon]["average_precision"].value
        axes.step(
            recall,
            precision,
            where="post",
            color=COLOURS[name],
            linewidth=1.4,
            label=f"{contender.spec.title}: {value:.3f}",
        )
    axes.set(
        xlabel="share of outcomes found",
        ylabel="share of flagged that are right",
        title=f"Precision and recall at {horizon} days, test rows",
    )
    axes.legend(frameon=False, fontsize=8, title="average precision")


def _losses(axes: Axes, contenders: Mapping[str, Contender], horizon: int) -> None:
    ordered = sorted(contenders.values(), key=lambda c: -c.metrics[horizon]["log_loss"].value)
    for place, contender in enumerate(ordered):
        loss = contender.metrics[horizon]["log_loss"]
        axes.errorbar(
            loss.value,
            place,
            fmt="o",
            color=COLOURS[contender.spec.name],
            capsize=3,
            xerr=[[loss.value - loss.low], [loss.high - loss.value]],
        )
    axes.set_yticks(range(len(ordered)), [contender.spec.title for contender in ordered])
    axes.set(
        xlabel="log loss with 95 % interval, lower is better",
        title=f"Contenders at {horizon} days, test rows",
    )


def _drawing(paint: Callable[[Axes], None], *, height: float = 4.2, left: float = 0.12) -> Drawing:
    def one(figure: Figure) -> None:  # fixed margins: a layout engine draws twice
        figure.subplots_adjust(left=left, right=0.97, top=1 - 0.4 / height, bottom=0.6 / height)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        paint(axes)

    return lambda: _figure(one, width=6.4, height=height)


def _figure(paint: Callable[[Figure], None], *, width: float, height: float) -> bytes:
    figure = Figure(figsize=(width, height), dpi=90)
    FigureCanvasAgg(figure)
    paint(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
