from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from training.pipeline.record.explanation_plots import dependence, strongest, summary

NAMES = ("weak", "strong", "nothing")
MATRIX = np.column_stack([np.linspace(0, 1, 20), np.linspace(5, 9, 20), np.ones(20)])
MATRIX[3, 1] = np.nan
CONTRIBUTIONS = np.column_stack([np.linspace(-0.1, 0.1, 20), np.linspace(2, -2, 20), np.zeros(20)])


def axes():
    return Figure().add_subplot()


def test_a_summary_has_a_line_for_each_feature_that_moves_something() -> None:
    drawn = axes()
    summary(drawn, NAMES, MATRIX, CONTRIBUTIONS)
    assert [text.get_text() for text in drawn.get_yticklabels()] == ["weak", "strong"]
    weak, strong = drawn.collections
    np.testing.assert_allclose(np.asarray(strong.get_offsets())[:, 0], CONTRIBUTIONS[:, 1])
    assert (np.abs(np.asarray(strong.get_offsets())[:, 1] - 1) < 0.5).all()
    low, unknown, high = (strong.get_facecolors()[i] for i in (0, 3, 19))
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert np.ptp(unknown[:3]) == 0
    assert len(weak.get_offsets()) == 20


def test_dependence_keeps_the_rows_apart_where_the_value_is_unknown() -> None:
    drawn = axes()
    dependence(drawn, "strong", MATRIX[:, 1], CONTRIBUTIONS[:, 1])
    known, unknown = drawn.collections
    assert len(known.get_offsets()) == 19
    assert np.asarray(unknown.get_offsets())[0, 0] < 5
    assert np.asarray(unknown.get_offsets())[0, 1] == CONTRIBUTIONS[3, 1]


def test_a_feature_that_nobody_knows_can_be_drawn() -> None:
    drawn = axes()
    dependence(drawn, "x", np.full(4, np.nan), np.zeros(4))
    summary(drawn, ("x",), np.full((4, 1), np.nan), np.ones((4, 1)))
    assert len(drawn.collections) == 3


def test_the_strongest_come_first() -> None:
    assert strongest(CONTRIBUTIONS, 3) == [1, 0]
    assert strongest(CONTRIBUTIONS, 1) == [1]
