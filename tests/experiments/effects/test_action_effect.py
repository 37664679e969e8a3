from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from experiments.effects.action_effect import ActionEffect, ActionEffectError

EFFECT = ActionEffect(
    action_id="success_call",
    segment="enterprise",
    estimate=0.03,
    standard_error=0.01,
    n=400,
    effective_n=250.0,
    grade="C",
    measured_from=datetime(2026, 1, 1, tzinfo=UTC),
    measured_to=datetime(2026, 6, 1, tzinfo=UTC),
    source="sequential trials",
    outcome="retention",
    horizon_days=90,
    low=0.01,
    high=0.05,
    why="all checks passed",
)


@pytest.mark.parametrize(
    ("grade", "evidence"), [("A", True), ("B", True), ("C", True), ("D", False), ("E", False)]
)
def test_only_what_happened_is_evidence(grade, evidence):
    assert replace(EFFECT, grade=grade).is_evidence is evidence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grade": "F"}, "grades are A, B, C, D, E"),
        ({"estimate": math.nan}, "leave an effect that is not known out"),
        ({"standard_error": 0.0}, "both counts are positive"),
        ({"n": 0}, "both counts are positive"),
        ({"effective_n": 500.0}, "is not the larger"),
        ({"low": 0.04}, "outside its interval"),
        ({"playbook_share": 1.5}, "a share is between 0 and 1"),
        ({"measured_from": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"measured_from": datetime(2027, 1, 1, tzinfo=UTC)}, "before it begins"),
    ],
)
def test_an_effect_that_says_too_little_is_refused(change, words):
    with pytest.raises(ActionEffectError, match=words):
        replace(EFFECT, **change)


def test_it_becomes_plain_values_that_say_what_the_grade_means():
    written = json.loads(json.dumps(EFFECT.to_dict()))
    assert written["grade_meaning"] == "observational, checks passed"
    assert written["measured_from"] == "2026-01-01T00:00:00+00:00"
    assert written["is_evidence"] is True
