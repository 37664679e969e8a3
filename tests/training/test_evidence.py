from __future__ import annotations

from dataclasses import replace

import pytest

from registry.promotion import Evidence, EvidenceError, Gain
from training.evidence import as_metrics, from_metrics

GAIN = Gain(mean=0.01, low=-0.002, high=0.02, confidence=0.93)
EVIDENCE = Evidence(
    log_loss=0.26, log_loss_low=0.21, log_loss_high=0.31, calibration_error=0.02, n_rows=1626,
    n_accounts=585, n_positives=122, over_base_rate=GAIN, over_formula=GAIN, over_champion=GAIN)


@pytest.mark.parametrize(
    "evidence",
    [EVIDENCE, replace(EVIDENCE, over_champion=None), replace(EVIDENCE, over_formula=None)],
    ids=["whole", "no champion", "no formula"],
)
def test_evidence_is_read_back_as_it_was_stored(evidence) -> None:
    assert from_metrics(as_metrics(evidence)) == evidence


def test_other_metrics_do_not_disturb() -> None:
    assert from_metrics({"log_loss_90d": 0.3} | as_metrics(EVIDENCE)) == EVIDENCE


@pytest.mark.parametrize("lost", ["evidence_n_rows", "evidence_over_base_rate_mean"])
def test_evidence_that_is_not_whole_is_refused(lost) -> None:
    numbers = as_metrics(EVIDENCE)
    del numbers[lost]
    with pytest.raises(EvidenceError, match="carries no evidence"):
        from_metrics(numbers)
