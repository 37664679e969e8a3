from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from experiments.causal.analysis import Histogram
from experiments.causal.checks.balance import Balance
from experiments.report.charts import IntervalLine, balance_chart, interval_chart, overlap_chart


def rows(*intervals: tuple[float, float]) -> list[IntervalLine]:
    return [
        IntervalLine(
            label=f"row <{number}>",
            estimate=(low + high) / 2,
            low=low,
            high=high,
            tone="plain",
            text="x",
        )
        for number, (low, high) in enumerate(intervals)
    ]


@pytest.mark.parametrize(
    "picture",
    [
        interval_chart("a & b", rows((-3.0, 1.0), (0.5, 9.0)), axis="points"),
        interval_chart("tiny", rows((-0.0003, 0.0002)), axis="points"),
        interval_chart("nothing", rows((0.0, 0.0)), axis="points"),
        interval_chart("large", rows((-5e5, 2e6)), axis="USD"),
        balance_chart(
            "b", [Balance(covariate="mrr", unweighted=1.4, weighted=-0.02, standard_error=0.1)]
        ),
        overlap_chart("o", Histogram(treated=(0,) * 20, control=(0,) * 20)),
        overlap_chart("o", Histogram(treated=tuple(range(20)), control=(7,) * 20)),
    ],
)
def test_a_picture_is_sound_and_stays_inside_its_frame(picture: str) -> None:
    root = ElementTree.fromstring(picture)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for item in root.iter():
        for name, most in (
            ("x", width),
            ("x1", width),
            ("x2", width),
            ("cx", width),
            ("y", height),
            ("y1", height),
            ("y2", height),
            ("cy", height),
        ):
            if name in item.attrib:
                assert -0.5 <= float(item.attrib[name]) <= most + 0.5
    assert not re.search(r"\bnan\b|\binf\b", picture)


def test_a_picture_says_in_words_what_it_shows() -> None:
    picture = interval_chart("Effect of calls", rows((-3.0, 1.0)), axis="points")
    assert "<title>Effect of calls</title>" in picture
    assert "row &lt;0&gt;" in picture


def test_nothing_to_show_draws_nothing() -> None:
    assert interval_chart("t", [], axis="x") == ""
    assert balance_chart("t", []) == ""


def test_the_longer_bar_is_the_larger_number() -> None:
    picture = overlap_chart("o", Histogram(treated=(1, 4), control=(2, 0)))
    heights = [
        float(item.attrib["height"])
        for item in ElementTree.fromstring(picture)
        if item.tag.endswith("rect")
    ]
    assert heights == pytest.approx([19.0, 38.0, 76.0, 0.0])
