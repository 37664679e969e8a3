from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.calibration import sigmoid
from registry.bundle.format import decode, encode
from registry.bundle.linear import LinearForm
from registry.bundle.untreated_risk import (
    BY_JUDGEMENT,
    BY_LOT,
    TreatedShare,
    UntreatedRisk,
    UntreatedRiskError,
    UntreatedShift,
    read_untreated_risk,
    untreated_risk_document,
)

SHARE = TreatedShare(
    rows=100, treated=20, with_outcome=10, treated_with_outcome=4, actions={"call": 15, "mail": 5}
)
TREATMENT = LinearForm.plain(
    intercept=-1.0,
    fill=np.zeros(1),
    center=np.zeros(1),
    scale=np.ones(1),
    coefficient=np.array([2.0]),
)
SHIFT = UntreatedShift(
    horizons=(30, 90),
    shift=0.4,
    weight=0.2,
    centre=-1.0,
    bounds=(-3.0, 1.0),
    covariance=((0.01, 0.0), (0.0, 0.0025)),
    treatment=TREATMENT,
)
TOLD = UntreatedRisk(
    shares={30: SHARE, 90: SHARE},
    shift=SHIFT,
    not_known={},
    drawn_share=0.0,
    effective_accounts=321.0,
)
MATRIX = np.array([[0.0], [10.0], [np.nan]])
PLAIN = {30: np.array([0.1, 0.2, 0.0]), 90: np.array([0.3, 0.2, 1.0])}
LOW, HIGH = ({h: np.clip(p + d, 0, 1) for h, p in PLAIN.items()} for d in (-0.05, 0.05))


def logit(p):
    return np.log(p / (1 - p))


def test_the_chance_of_each_time_is_moved_by_the_chance_of_being_acted_on() -> None:
    told = TOLD.risk(MATRIX, PLAIN, LOW, HIGH)
    near = sigmoid(logit(0.1) + 0.4)  # its log-odds of being treated are those of the mean
    after = sigmoid(logit((0.3 - 0.1) / 0.9) + 0.4)
    assert told[30][0][0] == pytest.approx(near)
    assert told[90][0][0] == pytest.approx(near + (1 - near) * after)
    assert told[30][0][1] == pytest.approx(sigmoid(logit(0.2) + 0.4 + 0.2 * 2.0))  # at the bound


def test_it_lies_between_0_and_1_and_never_falls_even_at_the_ends() -> None:
    told = TOLD.risk(MATRIX, PLAIN, LOW, HIGH)
    for value, low, high in told.values():
        assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
    for bound in range(3):
        assert (told[90][bound] >= told[30][bound]).all()
    assert told[90][0][1] == pytest.approx(told[30][0][1])  # nothing can happen in between
    wide = TOLD.risk(MATRIX, PLAIN, {30: LOW[30], 90: np.full(3, 1e-6)}, HIGH)
    assert (wide[90][1][:2] == wide[30][1][:2]).all()


def test_the_interval_is_wider_than_the_plain_one_by_the_error_of_the_shift() -> None:
    value, low, _ = (part[0] for part in TOLD.risk(MATRIX, PLAIN, LOW, HIGH)[30])
    down = np.hypot(logit(0.1) - logit(0.05), 1.959964 * 0.1)
    assert low == pytest.approx(sigmoid(logit(value) - down))


def test_the_assumption_is_none_only_where_a_lottery_decided_all() -> None:
    assert TOLD.assumption == BY_JUDGEMENT
    assert replace(TOLD, drawn_share=0.9).assumption == BY_JUDGEMENT
    assert replace(TOLD, drawn_share=1.0).assumption == BY_LOT


def test_it_is_told_in_sentences() -> None:
    counted, told = TOLD.sentences
    assert counted == (
        "Within 90 days 20 of 100 labels (20.0%) were treated by a logged "
        "intervention: 4 of 10 with the outcome, 16 of 90 without. First: call 15, "
        "mail 5."
    )
    assert told.startswith("Risk if nobody acts: +0.40 ± 0.20 in log-odds")
    assert "worth 321 accounts" in told


def test_it_comes_back_from_json_as_it_went() -> None:
    document = json.loads(json.dumps(untreated_risk_document(TOLD)))
    again = read_untreated_risk(document, TREATMENT)
    assert untreated_risk_document(again) == untreated_risk_document(TOLD)
    assert list(again.shares[90].actions) == ["call", "mail"]
    for h, parts in again.risk(MATRIX, PLAIN, LOW, HIGH).items():
        for one, other in zip(parts, TOLD.risk(MATRIX, PLAIN, LOW, HIGH)[h], strict=True):
            assert (one == other).all()
    silent = UntreatedRisk(
        shares={30: SHARE},
        shift=None,
        not_known={30: "Too few."},
        drawn_share=0.0,
        effective_accounts=0.0,
    )
    assert read_untreated_risk(untreated_risk_document(silent), None).not_known == {30: "Too few."}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(SHIFT, shift=np.nan), "is not finite"),
        (lambda: replace(SHIFT, bounds=(1.0, -1.0)), "lies above its upper bound"),
        (lambda: replace(SHIFT, horizons=(90, 30)), "not in rising order"),
        (lambda: replace(SHIFT, covariance=((-1.0, 0.0), (0.0, 1.0))), "variance below zero"),
        (lambda: replace(SHARE, treated_with_outcome=11), "does not add up"),
        (lambda: replace(SHARE, treated=101), "does not add up"),
        (lambda: replace(TOLD, shares={30: SHARE}), "labels are counted for"),
        (lambda: read_untreated_risk(untreated_risk_document(TOLD), None), "lacks the form"),
    ],
    ids=["not finite", "bounds", "order", "variance", "share", "rows", "horizons", "form"],
)
def test_numbers_that_can_not_be_are_refused(make, said) -> None:
    with pytest.raises(UntreatedRiskError, match=said):
        make()


def told_of(bundle, horizons=(30, 60, 90)) -> UntreatedRisk:
    """What a bundle with this contract could say."""
    n = len(bundle.contract.features)
    treatment = LinearForm.plain(
        intercept=-1.0,
        fill=np.zeros(n),
        center=np.zeros(n),
        scale=np.ones(n),
        coefficient=np.linspace(-1, 1, n),
    )
    return UntreatedRisk(
        shares=dict.fromkeys(horizons, SHARE),
        not_known={},
        drawn_share=0.0,
        shift=replace(SHIFT, horizons=horizons, treatment=treatment),
        effective_accounts=99.0,
    )


def test_a_bundle_keeps_it(make_tree_bundle, tmp_path) -> None:
    plain = make_tree_bundle()
    bundle = replace(plain, untreated_risk=told_of(plain))
    bundle.save(tmp_path / "one")
    loaded = ModelBundle.load(tmp_path / "one")
    matrix = np.random.default_rng(0).normal(size=(9, 7))
    assert untreated_risk_document(loaded.untreated_risk) == untreated_risk_document(
        bundle.untreated_risk
    )
    assert (
        loaded.untreated_risk.shift.treatment.score(matrix)
        == bundle.untreated_risk.shift.treatment.score(matrix)
    ).all()
    assert loaded.fingerprint == bundle.fingerprint != plain.fingerprint
    plain.save(tmp_path / "other")
    assert ModelBundle.load(tmp_path / "other").untreated_risk is None


def test_a_bundle_refuses_what_is_of_another_training(
    make_tree_bundle, make_linear_bundle, tmp_path
) -> None:
    plain = make_tree_bundle()
    with pytest.raises(BundleError, match="Treated labels are counted for"):
        replace(plain, untreated_risk=told_of(plain, horizons=(30, 90)))
    with pytest.raises(BundleError, match="does not read the 7 features"):
        replace(plain, untreated_risk=told_of(make_linear_bundle()))
    with pytest.raises(BundleError, match="The bundle is damaged: Of 100 labels 120"):
        decode(_altered(encode(replace(plain, untreated_risk=told_of(plain)))))


def _altered(files):
    document = json.loads(files["bundle.json"])
    document["untouched"]["shares"]["30"]["touched"] = 120
    return {**files, "bundle.json": json.dumps(document).encode()}
