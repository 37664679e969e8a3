"""Plots of the contributions to a model's scores, over all rows at once.

A summary (one point a row: how much a feature moved it, coloured by the feature's value) and
dependence (the contribution along the feature's value, rows where it is unknown apart). Both show
the exact contributions of the bundle, in log-odds; they do not show causes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LOW, HIGH, UNKNOWN = "#2f7fb8", "#d1495b", "#9a9a9a"
SPREAD = 0.38
"""Half the height that points of one feature take."""


def strongest(contributions: Matrix, most: int) -> list[int]:
    """Columns by mean absolute contribution, strongest first; those that move nothing are out.

    >>> import numpy as np
    >>> strongest(np.array([[0.1, -2.0, 0.0], [0.1, 1.0, 0.0]]), 5)
    [1, 0]
    """
    sizes = np.abs(contributions).mean(axis=0)
    return [int(j) for j in np.argsort(-sizes, kind="stable")[:most] if sizes[j] > 0]


def summary(
    axes: Axes, names: Sequence[str], matrix: Matrix, contributions: Matrix, *, most: int = 15
) -> None:
    """One line a feature, one point a row: left lowers the score, right raises it."""
    order = strongest(contributions, most)[::-1]
    for line, j in enumerate(order):
        phi = contributions[:, j]
        axes.scatter(phi, line + _apart(phi), s=6, linewidths=0, c=_colours(matrix[:, j]))
    axes.axvline(0, color="#bbbbbb", linewidth=1, zorder=0)
    axes.set_yticks(range(len(order)), [names[j] for j in order])
    axes.set(xlabel="contribution, log-odds")
    axes.set_title("value: blue low, red high, grey unknown", fontsize=9)


def dependence(axes: Axes, name: str, values: Vector, contributions: Vector) -> None:
    """The contribution of one feature along its value; rows where it is unknown at the left."""
    known = ~np.isnan(values)
    axes.axhline(0, color="#bbbbbb", linewidth=1, zorder=0)
    axes.scatter(values[known], contributions[known], s=8, linewidths=0, alpha=0.6, c=LOW)
    if not known.all():
        low, high = (
            (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
        )
        left = low - 0.08 * ((high - low) or 1.0)
        axes.scatter(
            np.full((~known).sum(), left), contributions[~known], s=8, linewidths=0, c=UNKNOWN
        )
    axes.set(title=name, ylabel="log-odds")


def _colours(values: Vector) -> list[str] | Matrix:
    """From blue to red by rank, since values may be heavy-tailed; unknown is grey."""
    known = ~np.isnan(values)
    ranks = np.zeros(len(values))
    _, place = np.unique(values[known], return_inverse=True)
    ranks[known] = place / max(1, int(place.max(initial=0)))
    low, high, grey = (
        np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        for text in (LOW, HIGH, UNKNOWN)
    )
    shades: Matrix = low + ranks[:, None] * (high - low)
    shades[~known] = grey
    return shades


def _apart(phi: Vector) -> Vector:
    """Heights that keep points of nearly equal contribution apart, without a random number."""
    if np.ptp(phi) == 0:
        return np.linspace(-SPREAD, SPREAD, len(phi))
    bins = np.digitize(phi, np.linspace(phi.min(), phi.max(), 60))
    heights = np.zeros(len(phi))
    fullest = np.bincount(bins).max()
    for each in np.unique(bins):
        inside = np.flatnonzero(bins == each)
        side = np.arange(len(inside)) - (len(inside) - 1) / 2
        heights[inside] = side * (2 * SPREAD / max(fullest, 2))
    return heights
