from __future__ import annotations

import io
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from training.pipeline.record.plots import Pictures

PLOTS = (
    "calibration.png",
    "roc.png",
    "precision_recall.png",
    "lift.png",
    "contenders.png",
    "importance.png",
    "shap_summary.png",
    "shap_dependence.png",
)


@pytest.fixture(scope="module")
def run(trained):
    _, store = trained
    return store.runs[0]


@pytest.mark.parametrize("name", PLOTS)
def test_a_run_has_its_pictures(run, name) -> None:
    picture = np.asarray(Image.open(io.BytesIO(run.plots[name])).convert("L"))
    assert picture.shape[1] > 400
    assert (picture < 128).mean() > 0.002  # something is drawn


def test_a_picture_is_drawn_once_and_only_if_it_is_read() -> None:
    drawn: list[str] = []

    def drawing(name: str) -> bytes:
        drawn.append(name)
        return name.encode()

    pictures = Pictures({name: partial(drawing, name) for name in ("a.png", "b.png")})
    assert sorted(pictures) == ["a.png", "b.png"]
    assert not drawn
    assert pictures["b.png"] == pictures["b.png"] == b"b.png"
    assert drawn == ["b.png"]


def test_metrics_carry_their_intervals(run) -> None:
    assert run.metrics["log_loss_90d_low"] < run.metrics["log_loss_90d"]
    assert run.metrics["log_loss_90d"] < run.metrics["log_loss_90d_high"]
    assert run.metrics["log_loss_90d"] < run.metrics["baseline_base_rate_log_loss_90d"]


def test_a_run_says_at_a_glance_whether_it_may_serve(run, trained) -> None:
    result, _ = trained
    assert run.tags["may_serve"] == "yes"
    assert run.tags["failed_checks"] == ""
    assert run.name.endswith(result.bundle.fingerprint[:6])
    told = run.tags["mlflow.note.content"]
    assert "- log loss 0." in told
    assert all(
        f"- passed: {reason}" in told or f"- not known: {reason}" in told
        for reason in result.promotion.reasons
    )


def test_what_a_promotion_is_judged_on_is_a_column_of_the_runs(run) -> None:
    assert (
        run.metrics["gain_over_formula_low"]
        < run.metrics["gain_over_formula"]
        < run.metrics["gain_over_formula_high"]
    )
    assert 0 < run.metrics["captured_of_20_accounts"] <= 1
    assert -1 <= run.metrics["explanations_agreement"] <= 1


def test_parameters_name_label_split_and_study(run) -> None:
    assert run.params["label_grace_days"] == 30
    assert re.fullmatch(r"2023-\d\d-01 to 2023-\d\d-01 \(4\)", run.params["test_cutoffs"])
    assert run.params["study_trials"] >= 2


def test_tags_name_data_and_contract(run, trained) -> None:
    result, _ = trained
    assert run.tags["feature_contract"] == result.bundle.contract.fingerprint
    assert run.tags["data_fingerprint"] == result.bundle.metadata.data_fingerprint


def test_the_formula_has_a_run_of_its_own(trained) -> None:
    _, store = trained
    assert [run.label for run in store.runs] == ["churn", "churn-formula"]
    assert store.runs[1].params["model_strength"] == 1.0
