"""What monitoring found is text that Prometheus reads: a name once, its labels in order."""

from __future__ import annotations

import math

from registry.monitoring.figures import FIGURES, Figure
from registry.monitoring.prometheus import monitoring_text


def figure(name: str, value: float, **labels: str) -> Figure:
    return Figure(name=name, value=value, labels=labels)


def test_every_figure_is_a_line_under_what_it_says():
    text = (
        monitoring_text(
            [
                figure("keepwell_feature_drift", 0.25, segment="smb", label="churn"),
                figure("keepwell_feature_drift", 0.5, label="expansion", segment="smb"),
                figure("keepwell_estimate_reliable", math.nan, label="churn"),
            ]
        )
        .decode()
        .splitlines()
    )
    said = f"# HELP keepwell_feature_drift {FIGURES['keepwell_feature_drift']}"
    assert text.count(said) == 1
    after = text[text.index(said) :]
    assert after[2:4] == [
        'keepwell_feature_drift{label="churn",segment="smb"} 0.25',
        'keepwell_feature_drift{label="expansion",segment="smb"} 0.5',
    ]
    assert 'keepwell_estimate_reliable{label="churn"} NaN' in text


def test_where_nothing_was_found_the_text_is_empty():
    assert monitoring_text([]) == b""
