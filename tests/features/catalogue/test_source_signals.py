"""Every signal that the source documents name has a feature, or a reason why not."""

from __future__ import annotations

import pytest
from source_signals import SIGNALS, Signal

from features.alerts.rules import ALERTS, FIGURES
from features.catalogue.catalogue import FEATURES
from features.health.formula import FORMULAS

NAMES = {feature.name for feature in FEATURES}
NAMED = {name for signal in SIGNALS for name in signal.features}


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.id)
def test_a_signal_names_its_source_and_features_that_exist(signal: Signal) -> None:
    assert set(signal.features) <= NAMES
    assert not signal.reason.endswith(".")


def test_no_signal_is_listed_twice() -> None:
    assert len({signal.id for signal in SIGNALS}) == len(SIGNALS)
    assert all(len(set(s.features)) == len(s.features) for s in SIGNALS)


def test_every_feature_answers_to_a_signal() -> None:
    assert sorted(NAMES - NAMED) == []


def test_what_alerts_and_health_formulas_read_is_covered() -> None:
    read = {figure for rule in ALERTS for figure in rule.figures} - set(FIGURES)
    read |= {name for formula in FORMULAS.values() for name in formula.inputs}
    assert len(read) > 20
    assert sorted(read - NAMED) == []


def test_a_signal_without_feature_or_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="'noise' names neither a feature nor a reason"):
        Signal(id="noise", words="noise", source="epics#alerts")


def test_every_feature_is_read_by_something_or_states_a_signal_of_the_sources() -> None:
    read = {name for rule in ALERTS for name in (*rule.figures, *rule.figures_in_words)}
    read |= {name for formula in FORMULAS.values() for name in formula.inputs}
    read |= {name for feature in FEATURES for name in getattr(feature, "inputs", ())}
    read |= {feature.name for feature in FEATURES if feature.is_model_input}
    assert NAMES - read - NAMED == set()
