"""An outcome is declared in one place: a made-up one is trained and served like the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from features.events.schema import KIND_NAMES
from registry.outcomes import (
    CHURN,
    MODEL_NAMES,
    OUTCOMES,
    OutcomeError,
    check_outcomes,
    outcome_named,
)
from training.dataset.labels import label_named

SCRIPT = Path(__file__).with_name("made_up_outcome.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("made_up")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True)
    return dict(json.loads((folder / "told.json").read_text(encoding="utf-8")))


def test_a_made_up_outcome_is_offered_and_may_be_stored(told) -> None:
    assert "downgrade" in told["offered"]
    assert "downgrade" in told["stored"]


@pytest.mark.parametrize("name", ["downgrade", "trial_conversion"])
def test_an_outcome_is_learned(told, name) -> None:
    loss = told["loss"][name]
    assert min(loss.values()) < loss["base_rate"]


def test_the_service_says_it_of_those_that_it_is_asked_about(told) -> None:
    customer, trial = told["answers"]["customer"], told["answers"]["trial"]
    assert customer["downgrade"]["probability"]["horizon_days"] == 60
    assert 0 < customer["downgrade"]["probability"]["probability"] < 1
    assert customer["trial_conversion"] == {"probability": None, "note": "It is not in a trial."}
    assert trial["trial_conversion"]["probability"]["horizon_days"] == 30
    assert {"downgrade", "contraction", "silent_churn"} <= set(told["fields"])


def test_pages_show_it_in_its_words(told) -> None:
    assert "Moves to a smaller plan" in told["pages"]["customer"]
    assert "From downgrade version 1." in told["pages"]["customer"]
    assert "Becomes a customer" not in told["pages"]["customer"]
    assert "Becomes a customer" in told["pages"]["trial"]
    assert "Downgrade model, version 1" in told["models"]
    assert "an account that moved down" in told["models"]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_an_outcome_has_a_label_models_and_words(outcome) -> None:
    label = label_named(outcome.name)
    assert (label.horizons, label.long_horizons) == (outcome.horizons, outcome.long_horizons)
    assert set(label.reads) <= KIND_NAMES
    assert set(outcome.models) <= set(MODEL_NAMES)
    assert all(vars(outcome.words).values())


def test_two_outcomes_share_neither_a_model_nor_a_section_of_their_own() -> None:
    with pytest.raises(OutcomeError, match="have a model 'churn'"):
        check_outcomes((CHURN, CHURN))
    with pytest.raises(OutcomeError, match="'growth' of a page belongs to one outcome"):
        check_outcomes((CHURN,))


def test_an_unknown_outcome_is_told_the_choices() -> None:
    with pytest.raises(OutcomeError, match=r"There is no outcome 'love'\. Choose one of: churn, "):
        outcome_named("love")
