"""Plots of the monitoring of a champion, as PNG bytes by file name.

Which features have drifted and how much each counts; the spread of scores then and now; and
predictions beside outcomes, by horizon and segment. Opens no window and keeps no state.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.metrics import Interval
from training.monitor.drift import Drift
from training.monitor.matured import CLEARLY_OFF
from training.monitor.run import LEVELS, Monitoring

MOST_FEATURES = 15
BLUE, RED, GREY = "#1b5e8c", "#b0413e", "#bbbbbb"


def monitor_plots(seen: Monitoring) -> dict[str, bytes]:
    """The plots for which there are data."""
    made: dict[str, bytes] = {}
    if seen.features is not None:
        made["features.png"] = _features(seen, seen.features)
    if seen.spread_then:
        made["scores.png"] = _scores(seen)
    promises = _promises(seen)
    if promises:
        made["calibration.png"] = _calibration(seen, promises)
    return made


def _features(seen: Monitoring, drift: Drift) -> bytes:
    shown = drift.features[:MOST_FEATURES][::-1]

    def paint(axes: Axes) -> None:
        places = range(len(shown))
        axes.barh(
            places,
            [f.distance for f in shown],
            color=GREY,
            height=0.75,
            label="drift of the feature",
        )
        axes.barh(
            places,
            [f.distance * f.share for f in shown],
            height=0.4,
            color=RED if drift.is_alarm else BLUE,
            label="weighted by its share of reasons",
        )
        axes.axvline(
            drift.distance,
            color=RED if drift.is_alarm else BLUE,
            linewidth=1,
            label="all features, weighted",
        )
        axes.axvline(drift.limit, color="black", linewidth=1, linestyle="--", label="limit for all")
        axes.set_yticks(places, [f"{f.name} ({f.share:.0%})" for f in shown])
        axes.set(
            xlabel="distance from training beyond chance, 0 to 1",
            title=f"Drift of {seen.label} features as of {seen.newest:%Y-%m-%d}",
        )
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _draw(paint, height=0.3 * len(shown) + 1.5, left=0.46)


def _scores(seen: Monitoring) -> bytes:
    def paint(axes: Axes) -> None:
        for name, spread, colour in (
            ("when it was trained", seen.spread_then, GREY),
            (f"on {seen.newest:%Y-%m-%d}", seen.spread_now, BLUE),
        ):
            axes.plot(spread, LEVELS, color=colour, linewidth=2, label=name)
        axes.set(
            xlabel=f"probability of {seen.label} within {seen.estimate.horizon} days",
            ylabel="share of accounts below",
            title=f"Scores of {seen.label}",
        )
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _draw(paint, height=4.2, left=0.12)


def _promises(seen: Monitoring) -> list[tuple[str, Interval, bool]]:
    found = [
        (f"{one.horizon} days", one.ratio, one.is_off)
        for one in seen.matured
        if one.ratio is not None
    ]
    return found + [
        (f"{one.key}, {one.horizon} days", one.ratio, one.finding == "worse")
        for one in seen.segments
    ]


def _calibration(seen: Monitoring, promises: list[tuple[str, Interval, bool]]) -> bytes:
    shown = promises[::-1]

    def paint(axes: Axes) -> None:
        axes.axvspan(1 / CLEARLY_OFF, CLEARLY_OFF, color="#eeeeee")
        axes.axvline(1.0, color=GREY, linewidth=1)
        for place, (_, ratio, off) in enumerate(shown):
            axes.errorbar(
                ratio.value,
                place,
                fmt="o",
                capsize=3,
                color=RED if off else BLUE,
                xerr=[[ratio.value - ratio.low], [ratio.high - ratio.value]],
            )
        axes.set_yticks(range(len(shown)), [name for name, _, _ in shown])
        axes.set(
            xlabel="observed over promised, with interval",
            title=f"Promises of {seen.label} that have matured",
        )

    return _draw(paint, height=0.35 * len(shown) + 1.5, left=0.32)


def _draw(paint: Callable[[Axes], None], *, height: float, left: float) -> bytes:
    figure = Figure(figsize=(6.8, height), dpi=90)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=left, right=0.97, top=1 - 0.4 / height, bottom=0.6 / height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    paint(axes)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
