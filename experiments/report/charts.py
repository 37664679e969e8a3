"""The charts of a report: effects, balance and overlap as inline SVG.

Plain text in, plain text out: no script, no font and no external address. Every chart has a title
that describes it in words. Colours differ in brightness too, for print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from experiments.causal.analysis import Histogram
from experiments.causal.checks.balance import LARGEST, Balance

Tone = Literal["good", "bad", "plain", "faint"]

WIDTH = 520
LABELS = 168
LINE = 26
INK, GRID = "#1f2933", "#d5dbe1"
TONES: dict[Tone, str] = {
    "good": "#0b7a4b",
    "bad": "#b3261e",
    "plain": "#33567d",
    "faint": "#8a96a3",
}
MOST_BALANCE_ROWS = 14


@dataclass(frozen=True, kw_only=True)
class IntervalLine:
    """One line of an interval chart, in the unit of its axis."""

    label: str
    estimate: float
    low: float
    high: float
    tone: Tone
    text: str


def interval_chart(title: str, rows: Sequence[IntervalLine], *, axis: str) -> str:
    """Estimates with their intervals around a line at zero."""
    if not rows:
        return ""
    reach = max(*(abs(row.low) for row in rows), *(abs(row.high) for row in rows), 1e-9) * 1.08
    right = WIDTH - 108
    middle, half = (LABELS + right) / 2, (right - LABELS) / 2
    height = LINE * len(rows) + 44

    def x(value: float) -> float:
        return middle + half * value / reach

    parts = [_line(middle, 8, middle, height - 34, INK, dashed=True)]
    for number, row in enumerate(rows):
        y = 8 + LINE * (number + 0.5)
        tone = TONES[row.tone]
        parts.append(_text(LABELS - 10, y + 4, row.label, anchor="end"))
        parts.append(_line(x(row.low), y, x(row.high), y, tone, width=3))
        parts.append(f'<circle cx="{x(row.estimate):.1f}" cy="{y:.1f}" r="5" fill="{tone}"/>')
        parts.append(_text(right + 10, y + 4, row.text, colour=tone))
    base = height - 34
    parts.append(_line(LABELS, base, right, base, GRID))
    for tick in _ticks(reach):
        parts.append(_line(x(tick), base, x(tick), base + 4, INK))
        parts.append(
            _text(x(tick), base + 16, f"{tick:+g}" if tick else "0", anchor="middle", size=11)
        )
    parts.append(
        _text(
            (LABELS + right) / 2, base + 31, axis, anchor="middle", size=11, colour=TONES["faint"]
        )
    )
    return _svg(title, height, parts)


def balance_chart(title: str, rows: Sequence[Balance]) -> str:
    """Love plot: differences before the start, unweighted (hollow) and weighted (full)."""
    shown = rows[:MOST_BALANCE_ROWS]
    if not shown:
        return ""
    reach = max(0.3, *(abs(row.unweighted) for row in shown), *(abs(row.weighted) for row in shown))
    reach *= 1.08
    right = WIDTH - 30
    middle, half = (LABELS + right) / 2, (right - LABELS) / 2
    height = 20 * len(shown) + 50

    def x(value: float) -> float:
        return middle + half * value / reach

    base = height - 40
    parts = [
        f'<rect x="{x(-LARGEST):.1f}" y="4" width="{x(LARGEST) - x(-LARGEST):.1f}" '
        f'height="{base - 4:.1f}" fill="#eef3f8"/>',
        _line(middle, 4, middle, base, INK, dashed=True),
    ]
    for number, row in enumerate(shown):
        y = 14 + 20 * number
        parts.append(
            _text(LABELS - 10, y + 4, row.covariate.replace("_", " "), anchor="end", size=11)
        )
        parts.append(_line(x(row.unweighted), y, x(row.weighted), y, GRID))
        parts.append(
            f'<circle cx="{x(row.unweighted):.1f}" cy="{y}" r="4" fill="white" '
            f'stroke="{TONES["bad"]}" stroke-width="1.5"/>'
        )
        parts.append(f'<circle cx="{x(row.weighted):.1f}" cy="{y}" r="4" fill="{TONES["plain"]}"/>')
    for tick in _ticks(reach):
        parts.append(
            _text(x(tick), base + 14, f"{tick:+g}" if tick else "0", anchor="middle", size=11)
        )
    parts.append(
        _text(
            (LABELS + right) / 2,
            base + 31,
            "difference in standard deviations: ○ as found, ● after weighting",
            anchor="middle",
            size=11,
            colour=TONES["faint"],
        )
    )
    return _svg(title, height, parts)


def overlap_chart(title: str, histogram: Histogram) -> str:
    """Propensities of the treated (up) and of the untreated (down)."""
    largest = max(*histogram.treated, *histogram.control, 1)
    height, axis, tall = 190, 90, 76.0
    left, right = 40.0, WIDTH - 30.0
    width = (right - left) / len(histogram.treated)
    parts = []
    for number, (up, down) in enumerate(zip(histogram.treated, histogram.control, strict=True)):
        x = left + width * number
        rise, fall = tall * up / largest, tall * down / largest
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{axis - rise:.1f}" width="{width - 2:.1f}" '
            f'height="{rise:.1f}" fill="{TONES["plain"]}"/>'
        )
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{axis:.1f}" width="{width - 2:.1f}" '
            f'height="{fall:.1f}" fill="#b9c6d3"/>'
        )
    parts.append(_line(left, axis, right, axis, INK))
    parts.append(_text(left, 12, "acted on", colour=TONES["plain"], size=11))
    parts.append(
        _text(right, height - 20, "not acted on", colour=TONES["faint"], size=11, anchor="end")
    )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            _text(
                left + (right - left) * share, height - 4, f"{share:.0%}", anchor="middle", size=11
            )
        )
    return _svg(title, height, parts)


def _ticks(reach: float) -> list[float]:
    """Round numbers from -reach to reach, the same on both sides of zero.

    >>> _ticks(2.5)
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    step = _nice(reach)
    count = int(reach / step)
    return [round(number * step, 12) for number in range(-count, count + 1)]


def _nice(reach: float) -> float:
    """A round step that gives one to three ticks on each side.

    >>> _nice(9.0), _nice(0.7), _nice(1234.0)
    (5.0, 0.2, 500.0)
    """
    power = 10.0 ** (len(str(int(reach))) - 1) if reach >= 1 else 1.0
    while power > reach:
        power /= 10
    return next(
        round(power * factor, 12) for factor in (0.2, 0.5, 1, 2, 5) if reach / (power * factor) < 4
    )


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    width: float = 1,
    dashed: bool = False,
) -> str:
    dashes = ' stroke-dasharray="3 3"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, colour: str = INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(words)}</text>'
    )


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="inherit">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
