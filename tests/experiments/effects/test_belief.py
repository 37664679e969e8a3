"""What is believed of an action: all prior without data, nearly all data with much of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import (
    Belief,
    MeasuredEffects,
    MeasuredEffectsError,
    mix_belief,
    most_harm,
)
from experiments.effects.effects_file import (
    EFFECTS_FILE,
    MOST_BYTES,
    effects_document,
    parse_effects,
    read_effects,
    write_effects,
)
from experiments.policy.prior_shrinkage import NO_SHRINKAGE, estimate_shrinkage
from experiments.policy.recommend import AccountState, Limits, recommend
from registry.playbook.actions import Prior
from registry.playbook.playbook import load_playbook
from registry.playbook.prices import Price, PriceList

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = load_playbook()
PRIOR = Prior(outcome="churn", mean=0.1, strength=35, grade="E", basis="A guess.")
STATE = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=2000.0,
    score_source="model",
    churn_probability=0.2,
    expansion_probability=0.1,
    expected_amount=600.0,
    health_score=31.0,
    attributes={"contract_status": "active", "segment": "smb"},
    features={},
)

PRICES = PriceList(
    plans={
        "professional": Price(month=60_000, next="business"),
        "business": Price(month=120_000),
    },
    addons={},
)


def effect(estimate=0.04, error=0.01, *, grade="A", segment=None, action="success_call", **more):
    return ActionEffect(
        **{
            "action_id": action,
            "segment": segment,
            "estimate": estimate,
            "standard_error": error,
            "n": 800,
            "effective_n": 400.0,
            "grade": grade,
            "measured_from": datetime(2025, 7, 1, tzinfo=UTC),
            "measured_to": datetime(2025, 12, 31, tzinfo=UTC),
            "source": "The lottery of autumn.",
            "outcome": "retention",
            "horizon_days": 90,
            "low": estimate - 1.96 * error,
            "high": estimate + 1.96 * error,
            "why": "Drawn by lot.",
            **more,
        }
    )


def ask(*effects, state=STATE, problem=None, **limits):
    return recommend(
        state,
        playbook=BOOK,
        limits=Limits(**limits),
        history=(),
        as_of=AS_OF,
        evidence=MeasuredEffects(effects=effects, problem=problem),
        prices=PRICES,
    )


def found(answer, action_id):
    return next(c for c in answer.ranked if c.action_id == action_id)


def held_back(answer, action_id):
    return next(w for w in answer.withheld if w.action_id == action_id)


# -- mixing --------------------------------------------------------------------------------------


def test_without_data_the_belief_is_the_prior():
    belief = mix_belief(PRIOR, 0.2, None)
    assert (belief.mean, belief.deviation) == (0.2 * PRIOR.mean, 0.2 * PRIOR.deviation)
    assert (belief.playbook_share, belief.data_share, belief.n) == (1.0, 0.0, 0)
    assert belief.grade == "E"


def test_two_equally_firm_sources_meet_in_the_middle():
    deviation = 0.2 * PRIOR.deviation
    belief = mix_belief(PRIOR, 0.2, effect(0.022, deviation))
    assert belief.data_share == pytest.approx(0.5, abs=0.02)
    assert belief.mean == pytest.approx((0.02 + 0.022) / 2, abs=1e-4)
    assert belief.deviation == pytest.approx(deviation / sqrt(2), rel=0.02)


@pytest.mark.parametrize(("grade", "most"), [("A", 1.0), ("B", 16 / 17), ("C", 0.8)])
def test_however_much_data_there_are_some_doubt_stays_where_people_chose(grade, most):
    belief = mix_belief(PRIOR, 0.2, effect(0.02, 1e-9, grade=grade))
    assert belief.data_share == pytest.approx(most, abs=0.01)
    assert belief.grade == grade


def test_the_grade_is_that_of_the_larger_share():
    assert mix_belief(PRIOR, 0.2, effect(error=0.5)).grade == "E"
    assert mix_belief(PRIOR, 0.2, effect(error=0.001)).grade == "A"


@given(
    probability=st.floats(0.001, 1),
    estimate=st.floats(-0.5, 0.5),
    error=st.floats(0.001, 0.5),
    grade=st.sampled_from("ABC"),
)
def test_a_belief_lies_between_its_sources_and_is_firmer_than_the_prior(
    probability, estimate, error, grade
):
    belief = mix_belief(PRIOR, probability, effect(estimate, error, grade=grade))
    prior = mix_belief(PRIOR, probability, None)
    assert min(prior.mean, estimate) - 1e-12 <= belief.mean <= max(prior.mean, estimate) + 1e-12
    assert belief.deviation <= max(prior.deviation, abs(belief.mean - prior.mean))
    assert belief.playbook_share + belief.data_share == pytest.approx(1.0, abs=1e-12)
    assert belief.low <= belief.mean <= belief.high


# -- in the answer -------------------------------------------------------------------------------


def test_without_evidence_the_ranking_is_that_of_the_playbook_to_the_bit():
    plain = recommend(STATE, playbook=BOOK, limits=Limits(), history=(), as_of=AS_OF)
    assert ask().to_dict() == plain.to_dict()
    elsewhere = ask(effect(action="tips_email"))
    assert [c.to_dict() for c in elsewhere.ranked] == [c.to_dict() for c in plain.ranked]


def test_a_measured_effect_moves_the_value_and_says_how_much_is_data():
    plain, call = found(ask(), "success_call"), found(ask(effect(0.05, 0.01)), "success_call")
    assert call.expected_value > plain.expected_value
    assert 0 < call.playbook_share < 1
    assert call.value.belief.n == 800
    assert call.evidence.startswith(
        "Grade A, randomised experiment: +5.0 points (+3.0 to +7.0) measured on 800 cases"
    )
    assert "The playbook believed: Grade E" in call.evidence
    assert call.value.uplift == call.value.belief.mean


def test_an_uplift_is_never_more_than_what_can_be_lost():
    sure = replace(STATE, churn_probability=0.01)
    call = found(ask(effect(0.5, 0.001), state=sure, hourly_cost=0.0), "success_call")
    assert call.value.belief.mean > 0.01
    assert call.value.uplift == 0.01


def test_the_account_s_own_segment_comes_first_then_all_together():
    small, everybody = effect(0.06, 0.001, segment="smb"), effect(0.01, 0.001)
    own = found(ask(small, everybody), "success_call")
    assert own.value.belief.segment == "smb"
    other = replace(STATE, attributes={**STATE.attributes, "segment": "enterprise"})
    assert found(ask(small, everybody, state=other), "success_call").value.belief.segment is None
    assert found(ask(small, state=other), "success_call").playbook_share == 1.0


@pytest.mark.parametrize(
    "unusable",
    [
        effect(grade="D"),
        effect(grade="E"),
        effect(playbook_share=0.3),
        effect(horizon_days=180),
        effect(outcome="expansion"),
    ],
    ids=["grade D", "grade E", "mixed", "180 days", "growth"],
)
def test_what_is_no_evidence_of_this_outcome_moves_nothing(unusable):
    assert found(ask(unusable), "success_call").playbook_share == 1.0


def test_fewer_days_count_for_what_was_prevented_in_them_and_with_more_doubt():
    month = effect(0.02, 0.001, horizon_days=30, untouched_risk=0.1)
    of_90_days = 1 - 0.9**3  # at the same rate
    belief = mix_belief(PRIOR, of_90_days, month)
    assert belief.mean == pytest.approx(0.02, abs=0.001)  # nothing is claimed for the days after
    assert (belief.measured_grade, belief.measured_risk) == ("A", 0.1)  # as it was measured
    whole = mix_belief(PRIOR, of_90_days, effect(0.02, 0.001, untouched_risk=of_90_days))
    assert belief.deviation > whole.deviation
    quarter = effect(0.05, 0.001)
    for both in ((quarter, month), (month, quarter)):
        assert MeasuredEffects(effects=both).of("success_call", "retention", {}) is quarter
    call = found(ask(month), "success_call")
    assert "Grade A, randomised experiment: +2.0 points" in call.evidence


def test_fewer_days_say_nothing_of_the_playbook_s_other_guesses():
    month = effect(0.02, 0.001, horizon_days=30, untouched_risk=0.1)
    assert estimate_shrinkage(MeasuredEffects(effects=(month,)), BOOK) == NO_SHRINKAGE


def test_the_note_names_what_was_measured():
    assert any(
        note.startswith("What these change was measured: Call by the customer")
        for note in ask(effect()).notes
    )
    assert any("none of it has been measured" in note for note in ask().notes)


def test_why_there_is_no_evidence_is_said():
    assert any(
        "could not be used, so the playbook stands alone: It is broken." in note
        for note in ask(problem="It is broken.").notes
    )


# -- harm ----------------------------------------------------------------------------------------


def test_an_action_that_was_measured_to_harm_is_blocked():
    held = held_back(ask(effect(-0.05, 0.01)), "success_call")
    assert (held.stage, held.reason) == ("suitability", "may_harm")
    assert "changes by -5.0 points (-7.0 to -3.0)" in held.why
    assert "until new measurements" in held.until


def test_harm_to_retention_blocks_an_action_that_sells():
    state = replace(
        STATE,
        health_score=75.0,
        churn_probability=0.03,
        attributes={**STATE.attributes, "price_plan": "professional"},
        features={"limit_utilisation_28d": 0.85, "severe_tickets_open": 0.0, "tickets_open": 0.0},
    )
    assert "next_plan_preview" in [c.action_id for c in ask(state=state).ranked]
    held = held_back(
        ask(effect(-0.05, 0.01, action="next_plan_preview"), state=state), "next_plan_preview"
    )
    assert held.reason == "may_harm"


@pytest.mark.parametrize(("tolerance", "is_blocked"), [(0.0664, True), (0.0665, False)])
def test_the_upper_bound_of_harm_is_held_against_the_tolerance(tolerance, is_blocked):
    answer = ask(effect(-0.05, 0.01), harm_tolerance=tolerance)
    assert most_harm(-0.05, 0.01) == pytest.approx(0.06645)
    harmful = [w.action_id for w in answer.withheld if w.reason == "may_harm"]
    assert ("success_call" in harmful) is is_blocked


def test_noise_alone_blocks_nothing():
    assert "success_call" in [c.action_id for c in ask(effect(0.0, 0.2)).ranked]


@given(estimate=st.floats(-0.3, -0.03), error=st.floats(0.001, 0.01))
def test_what_clearly_harms_is_never_recommended(estimate, error):
    assert "success_call" not in [c.action_id for c in ask(effect(estimate, error)).ranked]


# -- the file ------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path):
    evidence = MeasuredEffects(effects=(effect(), effect(segment="smb")), segment_attribute="icp")
    write_effects(evidence, tmp_path / "reports")
    assert read_effects(tmp_path / "reports") == evidence
    assert read_effects(tmp_path) == MeasuredEffects()


def document(**changes):
    row = json.loads(json.dumps(effect().to_dict()))
    for name, value in changes.items():
        if value is None:
            del row[name]
        else:
            row[name] = value
    return json.dumps({"effects": [row]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimate": "much"}, "effect number 1: `estimate` is 'much'"),
        ({"estimate": True}, "`estimate` is True"),
        ({"estimate": 1e300}, "`estimate` is 1e"),
        ({"n": 2.5}, r"`n` is 2\.5"),
        ({"n": None}, "lacks n and has"),
        ({"luck": 1}, r"unknown field\(s\) luck"),
        ({"outcome": "joy"}, "`outcome` is 'joy'; allowed are retention, expansion"),
        ({"segment": 3}, "`segment` is 3"),
        ({"grade": "F"}, "has grade 'F'"),
        ({"standard_error": 0.0}, "the error and both counts are positive"),
        ({"measured_to": "yesterday"}, "a moment cannot be read"),
        ({"measured_to": "2026-01-01T00:00:00"}, "no time zone"),
    ],
)
def test_an_effect_that_can_not_be_read_is_refused(changes, message):
    with pytest.raises(MeasuredEffectsError, match=message):
        parse_effects(document(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "an object with a list"),
        ('{"effects": {}}', "an object with a list"),
        ('{"effects": [3]}', "has to be an object"),
        ('{"effects": [], "segment_attribute": ""}', "`segment_attribute` is ''"),
        (json.dumps({"effects": [0] * 10_001}), "holds 10,001 effects; at most 10,000"),
    ],
    ids=["cut", "deep", "list", "no list", "number", "no attribute", "many"],
)
def test_a_file_that_is_none_is_refused(text, message):
    with pytest.raises(MeasuredEffectsError, match=message):
        parse_effects(text)


def test_an_effect_twice_is_refused():
    row = effect().to_dict()
    with pytest.raises(
        MeasuredEffectsError, match="'success_call' in 'all segments' on retention in 90"
    ):
        parse_effects(json.dumps({"effects": [row, row]}))


def test_a_file_too_large_or_not_text_is_refused(tmp_path):
    path = tmp_path / EFFECTS_FILE
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MeasuredEffectsError, match="cannot be read"):
        read_effects(tmp_path)
    path.write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(MeasuredEffectsError, match="at most 4,000,000 are read"):
        read_effects(tmp_path)


def test_the_document_is_plain_json():
    text = json.dumps(effects_document(MeasuredEffects(effects=(effect(),))), allow_nan=False)
    assert parse_effects(text).effects == (effect(),)


# -- carried over to an account of another risk ----------------------------------------------------


def test_an_effect_is_carried_over_by_the_risk():
    measured = effect(0.04, 0.01, untouched_risk=0.2)
    alike = mix_belief(PRIOR, 0.2, measured)
    assert alike.mean == pytest.approx(mix_belief(PRIOR, 0.2, effect(0.04, 0.01)).mean)
    half = mix_belief(PRIOR, 0.1, measured)
    assert half.mean == pytest.approx(alike.mean / 2)
    assert half.deviation == pytest.approx(alike.deviation / 2)
    assert half.data_share == pytest.approx(alike.data_share)
    assert (half.measured, half.measured_risk) == (0.04, 0.2)


def test_the_risk_is_said_where_the_measurement_is():
    known = found(ask(effect(0.04, 0.01, untouched_risk=0.2)), "success_call")
    assert ", of whom 20.0% would have left otherwise, worth" in known.evidence
    assert "would have left" not in found(ask(effect(0.04, 0.01)), "success_call").evidence


@pytest.mark.parametrize("risk", [0.0, -0.1, 1.5])
def test_a_risk_that_is_none_is_refused(risk):
    with pytest.raises(ValueError, match="untouched risk"):
        effect(untouched_risk=risk)


def test_the_risk_survives_the_file(tmp_path):
    for risk in (None, 0.125):
        before = MeasuredEffects(effects=(effect(untouched_risk=risk),))
        write_effects(before, tmp_path)
        assert read_effects(tmp_path) == before


def test_a_digit_that_is_another_one_is_noticed(tmp_path):
    path = write_effects(MeasuredEffects(effects=(effect(),)), tmp_path)
    whole = path.read_text(encoding="utf-8")
    estimate = f'"estimate": {effect().estimate}'
    assert estimate in whole
    path.write_text(whole.replace(estimate, '"estimate": 0.0123'), encoding="utf-8")
    with pytest.raises(MeasuredEffectsError, match=r"effects\.json is damaged"):
        read_effects(tmp_path)


RISK = 0.2


def mixed_of(*, off: float, error: float, grade: str = "A") -> Belief:
    """The belief where what was measured is ``off`` deviations of the guess away from it."""
    scale = RISK * PRIOR.deviation
    estimate = RISK * PRIOR.mean + off * scale
    measured = effect(estimate, error * scale, grade=grade, untouched_risk=RISK)
    return mix_belief(PRIOR, RISK, measured)


def test_a_guess_that_agrees_keeps_its_weight_and_one_that_is_contradicted_gives_way() -> None:
    agreeing = mixed_of(off=0, error=1.0)
    assert agreeing.data_share == pytest.approx(0.5, abs=0.03)
    shares = [mixed_of(off=off, error=1.0).data_share for off in (0, 2, 4, 6, 8)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert mixed_of(off=-6, error=0.5).mean < 0  # it harms, whatever was guessed
    assert mixed_of(off=500, error=0.01).data_share == pytest.approx(1, abs=0.001)


def test_a_measurement_that_says_nothing_changes_nothing() -> None:
    alone, noisy = mix_belief(PRIOR, RISK, None), mixed_of(off=3, error=1e4)
    assert noisy.mean == pytest.approx(alone.mean, rel=0.01)
    assert noisy.deviation == pytest.approx(alone.deviation, rel=0.01)


def test_better_grades_count_for_more() -> None:
    shares = [mixed_of(off=0, error=0.05, grade=grade).data_share for grade in ("A", "B", "C")]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.99
    assert shares[2] == pytest.approx(0.8, abs=0.02)


def test_the_cases_that_a_guess_weighs_as_much_as() -> None:
    found = mixed_of(off=0, error=1.0)
    assert found.playbook_cases == pytest.approx(
        found.effective_n * found.playbook_share / found.data_share
    )
    assert mix_belief(PRIOR, RISK, None).playbook_cases == 0
