"""Evidence for reasons is stored as the version that made it did, so fingerprints stay."""

from __future__ import annotations

from registry.promotion.reason_evidence import read_reason_evidence, reason_evidence_document

SIDE = {"accounts": 62.3, "came": 18.1, "expected": 10.4, "same_sign": 0.95}
EARLIER = {
    "refits": 20,
    "themes": {"health": (None, SIDE)},
    "features": {"active_days_28d": (SIDE, None)},
    "first": {"health": {"accounts": 30, "came": 4, "expected": 3.5}},
}


def test_evidence_of_before_there_were_errors_and_segments_is_stored_as_it_was() -> None:
    evidence = read_reason_evidence(EARLIER)
    assert evidence is not None
    assert reason_evidence_document(evidence) == EARLIER


def test_errors_and_segments_are_stored_where_there_are_any() -> None:
    later = {
        **EARLIER,
        "themes": {"health": (None, {**SIDE, "error": 2.5})},
        "segments": {"small": {"outcomes": 40, "themes": {"health": (SIDE, None)}, "features": {}}},
    }
    evidence = read_reason_evidence(later)
    assert evidence is not None
    assert reason_evidence_document(evidence) == later
