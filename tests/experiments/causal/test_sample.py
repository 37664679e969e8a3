from __future__ import annotations

from dataclasses import replace

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
    return Sample.of_two_arms(**values | changes)  # type: ignore[arg-type]


def test_covariates_need_a_name_each() -> None:
    with pytest.raises(SampleError, match="2 trials and 1 covariate names"):
        sample([True, False], covariate_names=("a",))


@pytest.mark.parametrize("name", ["cluster", "stratum", "segment"])
def test_every_array_has_one_entry_per_trial(name: str) -> None:
    with pytest.raises(SampleError, match=f"`{name}` has 3 entries for 2 trials"):
        sample([True, False], **{name: np.arange(3)})


@pytest.mark.parametrize(
    ("treated", "missing"), [([True, True], "none"), ([False, False], "action")]
)
def test_one_arm_alone_is_refused(treated: list[bool], missing: str) -> None:
    with pytest.raises(SampleError, match=f"2 trials hold none of {missing}, so there is nothing"):
        sample(treated)


def test_columns_and_rows_can_be_chosen() -> None:
    chosen = sample([True, False, True], covariates=np.arange(6.0).reshape(3, 2)).columns(("b",))
    assert chosen.covariates.tolist() == [[1.0], [3.0], [5.0]]
    part = chosen.keep(np.array([True, True, False]))
    assert len(part) == 2
    assert part.treated.tolist() == [True, False]
    assert part.stratum is not None
    assert part.stratum.tolist() == [0, 0]


def test_chance_decided_where_every_trial_could_have_had_either_arm() -> None:
    assert sample([True, False]).is_lottery(1)
    assert not sample([True, False], propensity=np.array([0.5, 1.0])).is_lottery(1)
    assert not sample([True, False], propensity=np.array([0.5, np.nan])).is_lottery(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"covariates": np.zeros((3, 1))}, "The covariates have shape"),
        ({"propensity": np.zeros((3, 2))}, "The propensities have shape"),
        ({"cluster": np.arange(3)}, "`cluster` has 3 entries"),
        ({"arms": ("newsletter", "none")}, "'none' first"),
        ({"arms": ("none", "newsletter", "call")}, "hold none of"),
        ({"arm": np.zeros(4, dtype=int)}, "hold none of newsletter"),
        ({"propensity": np.full((4, 2), 0.7)}, "sum to 1"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(change, words) -> None:
    several = Sample(
        covariates=np.zeros((4, 1)),
        covariate_names=("health",),
        arm=np.array([0, 1, 0, 1]),
        arms=("none", "newsletter"),
        propensity=np.full((4, 2), 0.5),
        segment=np.array(["all"] * 4),
        cluster=np.arange(4),
    )
    if words == "hold none of":
        change = {**change, "propensity": np.full((4, 3), np.nan)}
    with pytest.raises(SampleError, match=words):
        replace(several, **change)
