"""Pictures: small drawings as SVG text, coloured by the page's style sheet.

Each picture has a title that says the same in words, for those who do not see it. Draws numbers
it is given; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

HORIZON_LEFT, HORIZON_WIDTH, HORIZON_ROW = 62, 200, 36
"""Where the bars of horizons start, how long they may be, and how far apart they lie."""


@dataclass(frozen=True, kw_only=True)
class HorizonBar:
    """One horizon of the picture of probabilities."""

    label: str
    text: str
    range: str
    probability: float
    low: float
    high: float
    usual: float | None


def reason_bar(points: float, widest: float) -> Markup:
    """One bar to the left (less) or right (more) of a common middle line."""
    half = 100.0
    length = 0.0 if widest <= 0 else min(abs(points) / widest, 1.0) * (half - 4)
    start = half if points > 0 else half - length
    side = "more" if points > 0 else "less"
    return Markup(
        '<svg class="reason-bar" viewBox="0 0 200 14" preserveAspectRatio="none" '
        'aria-hidden="true" focusable="false">'
        f'<rect class="bar-{side}" x="{start:.1f}" y="2" width="{max(length, 1):.1f}" height="10"/>'
        f'<line class="axis" x1="{half:g}" y1="0" x2="{half:g}" y2="14"/></svg>'
    )


def share_bar(share: float | None, kind: str) -> Markup:
    """A bar filled to a share of its width; empty and hatched when it is not known."""
    inner = (
        '<rect class="bar-unknown" x="0" y="0" width="100" height="8"/>'
        if share is None
        else '<rect class="bar-track" x="0" y="0" width="100" height="8"/>'
        f'<rect class="bar-{escape(kind)}" x="0" y="0" '
        f'width="{max(0.0, min(share, 1.0)) * 100:.1f}" height="8"/>'
    )
    return Markup(
        '<svg class="share-bar" viewBox="0 0 100 8" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false">{inner}</svg>'
    )


def horizon_picture(bars: Sequence[HorizonBar], kind: Literal["risk", "growth"] = "risk") -> Markup:
    """Probabilities with their intervals, and what is usual as a mark; ``kind`` is the colour."""
    top = max([b.high for b in bars] + [b.usual or 0.0 for b in bars], default=0.0) or 1.0
    scale = HORIZON_WIDTH / (1.05 * top)
    lines = []
    for number, bar in enumerate(bars):
        y = number * HORIZON_ROW + 9
        end, low, high = (HORIZON_LEFT + scale * p for p in (bar.probability, bar.low, bar.high))
        right = HORIZON_LEFT + HORIZON_WIDTH + 10
        lines.append(
            f'<text class="label" x="0" y="{y + 13}">{escape(bar.label)}</text>'
            f'<rect class="bar-track" x="{HORIZON_LEFT}" y="{y}" width="{HORIZON_WIDTH}" '
            'height="16" rx="3"/>'
            f'<rect class="bar-{kind}" x="{HORIZON_LEFT}" y="{y}" width="{end - HORIZON_LEFT:.1f}" '
            'height="16" rx="3"/>'
            f'<path class="interval" d="M{low:.1f} {y + 8}H{high:.1f}M{low:.1f} {y + 4}v8'
            f'M{high:.1f} {y + 4}v8"/>'
            f'<text class="value" x="{right}" y="{y + 6}">{escape(bar.text)}</text>'
            f'<text class="range" x="{right}" y="{y + 20}">{escape(bar.range)}</text>'
        )
        if bar.usual is not None:
            usual = HORIZON_LEFT + scale * bar.usual
            lines.append(f'<path class="usual" d="M{usual:.1f} {y - 4}v24"/>')
    words = max((max(8 * len(b.text), 6 * len(b.range)) for b in bars), default=0)
    width = HORIZON_LEFT + HORIZON_WIDTH + max(96, 14 + words)
    title = "; ".join(f"{b.label}: {b.text}, 95% interval {b.range}" for b in bars)
    return Markup(
        f'<svg class="horizons" viewBox="0 0 {width} {len(bars) * HORIZON_ROW}" '
        f'role="img" aria-label="{escape(title)}">{"".join(lines)}</svg>'
    )


def columns_picture(values: Sequence[float | None], *, title: str) -> Markup:
    """Columns side by side, oldest left; what is not known has none."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    width, gap, height = 14, 3, 56
    drawn = []
    for number, value in enumerate(values):
        if value is None:
            continue
        size = value / top * (height - 4)
        kind = "now" if number == len(values) - 1 else "then"
        drawn.append(
            f'<rect class="column-{kind}" x="{number * (width + gap)}" '
            f'y="{height - max(size, 1):.1f}" width="{width}" '
            f'height="{max(size, 1):.1f}" rx="1.5"/>'
        )
    total = max(len(values) * (width + gap) - gap, 1)
    return Markup(
        f'<svg class="columns" viewBox="0 0 {total} {height}" '
        f'preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    )
