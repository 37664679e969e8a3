"""Figures are read from the newest look at every label, and a broken document loses no other."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from registry.monitoring.figures import newest_figures


def keep(folder: Path, moment: str, label: str, **values: float | None) -> None:
    path = folder / f"as_of_{moment}" / f"{label}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "figures": [
                    {"name": name, "labels": {"label": label}, "value": value}
                    for name, value in values.items()
                ]
            }
        ),
        encoding="utf-8",
    )


def told(folder: Path) -> dict[tuple[str, str], float]:
    return {(one.name, one.labels["label"]): one.value for one in newest_figures(folder)}


def test_where_nobody_looked_there_is_none(tmp_path):
    assert newest_figures(tmp_path / "monitoring") == ()


def test_the_newest_look_at_each_label_counts(tmp_path):
    keep(tmp_path, "20230101T000000Z", "churn", keepwell_feature_drift=0.1)
    keep(tmp_path, "20230201T000000Z", "churn", keepwell_feature_drift=0.2)
    keep(tmp_path, "20230101T000000Z", "expansion", keepwell_feature_drift=0.3)
    assert told(tmp_path) == {
        ("keepwell_feature_drift", "churn"): 0.2,
        ("keepwell_feature_drift", "expansion"): 0.3,
    }


def test_what_is_not_known_is_no_number_and_what_is_not_ours_is_left_out(tmp_path):
    keep(tmp_path, "20230101T000000Z", "churn", keepwell_estimate_reliable=None, other=1.0)
    assert list(told(tmp_path)) == [("keepwell_estimate_reliable", "churn")]
    assert math.isnan(told(tmp_path)["keepwell_estimate_reliable", "churn"])


def test_a_document_that_can_not_be_read_is_told_and_left_out(tmp_path, caplog):
    keep(tmp_path, "20230101T000000Z", "expansion", keepwell_feature_drift=0.3)
    (tmp_path / "as_of_20230101T000000Z" / "churn.json").write_text("{", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="keepwell.monitoring"):
        assert told(tmp_path) == {("keepwell_feature_drift", "expansion"): 0.3}
    assert "as_of_20230101T000000Z/churn.json holds no figures" in caplog.text
