from __future__ import annotations

import numpy as np
import pytest

from experiments.causal.sample import Sample, SampleError


def sample(treated: list[bool], **changes: object) -> Sample:
    rows = len(treated)
    values: dict[str, object] = {
        "covariates": np.zeros((rows, 2)),
        "covariate_names": ("a", "b"),
        "treated": np.array(treated),
        "propensity": np.full(rows, 0.5),
        "stratum": np.zeros(rows, dtype=int),
        "cluster": np.arange(rows),
    }
    return Sample(**values | changes)  # type: ignore[arg-type]


def test_covariates_need_a_name_each() -> None:
    with pytest.raises(SampleError, match="2 trials and 1 covariate names"):
        sample([True, False], covariate_names=("a",))


def test_every_array_has_one_entry_per_trial() -> None:
    with pytest.raises(SampleError, match="`cluster` has 3 entries for 2 trials"):
        sample([True, False], cluster=np.arange(3))


@pytest.mark.parametrize(
    ("treated", "missing"), [([True, True], "untreated"), ([False, False], "treated")]
)
def test_one_arm_alone_is_refused(treated: list[bool], missing: str) -> None:
    with pytest.raises(SampleError, match=f"None of the 2 trials is {missing}"):
        sample(treated)


def test_columns_and_rows_can_be_chosen() -> None:
    chosen = sample([True, False, True], covariates=np.arange(6.0).reshape(3, 2)).columns(("b",))
    assert chosen.covariates.tolist() == [[1.0], [3.0], [5.0]]
    assert len(chosen.keep(np.array([True, True, False]))) == 2
