"""How many trees are grown is learned on accounts that no tree has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.models.binned_rows import BinnedRows
from training.models.fitting.fit_rows import usable_columns
from training.models.model_selection import run_contender
from training.models.specs import LIGHTGBM
from training.models.tuning.rounds import ROUNDS, learn_rounds


def learned(training, rows, parameters=LIGHTGBM.parameters) -> int:
    columns = usable_columns(training, rows, LIGHTGBM)
    bins = BinnedRows.of(training, rows, columns)
    return int(learn_rounds(training, rows, columns, parameters, seed=1, bins=bins)["rounds"])


def test_where_nothing_can_be_learned_few_trees_are_grown(prepared) -> None:
    training, rows = prepared.training, prepared.before_test
    chance = np.random.default_rng(0).random((len(rows), 1)) < 0.1
    noise = replace(training, outcomes=np.repeat(chance.astype(float), 3, axis=1))
    assert learned(noise, rows) == ROUNDS[0]
    assert learned(training, rows) > ROUNDS[0]


def test_smaller_steps_ask_for_more_trees(prepared) -> None:
    training, rows = prepared.training, prepared.before_test
    slow = {**LIGHTGBM.parameters, "learning_rate": LIGHTGBM.parameters["learning_rate"] / 2}
    assert learned(training, rows, slow) > learned(training, rows)


def test_rows_after_the_cutoffs_that_are_fitted_change_nothing(prepared) -> None:
    training, rows = prepared.training, prepared.before_test
    turned = np.where(rows[:, None], training.outcomes, 1 - training.outcomes)
    assert learned(replace(training, outcomes=turned), rows) == learned(training, rows)


def test_a_number_that_cannot_be_learned_stays(prepared) -> None:
    training = prepared.training
    of_one_fifth = (training.account % 5 == 0)[:, None] & (training.outcomes == 1)
    rare = replace(training, outcomes=of_one_fifth.astype(float))
    assert learned(rare, prepared.before_test) == LIGHTGBM.parameters["rounds"]


def test_a_contender_has_as_many_trees_as_were_learned(prepared) -> None:
    training, rows = prepared.training, prepared.before_test
    contender = run_contender(
        LIGHTGBM,
        training,
        rows,
        prepared.test,
        {**LIGHTGBM.parameters, "rounds": 7},
        np.ones((1, len(training.accounts))),
        at=prepared.split.test[0],
        seed=1,
    )
    assert contender.parameters["rounds"] == learned(training, rows) != 7
