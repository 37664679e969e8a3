from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forked_programs import run_program
from scipy.optimize import minimize_scalar

from registry.bundle.calibration import sigmoid
from registry.promotion.promotion import log_loss_rows
from training.models.fitting.fit_rows import usable_columns
from training.models.specs import LIGHTGBM, LOGISTIC
from training.models.tuning.tune import LEAST_OTHERS, ROUNDS, levelled_rows, tune

ROOT = Path(__file__).parents[4]


def study(prepared, spec, **changes):
    columns = usable_columns(prepared.training, prepared.before_test, spec)
    given = {"trials": 4, "seed": 1} | changes
    return tune(spec, prepared.training, prepared.tuning_folds, columns, **given)


def test_a_level_is_the_best_shift_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    f = rng.normal(3, 1, 400)
    y = (rng.random(400) < sigmoid(f - 4.5)).astype(float)
    best = minimize_scalar(lambda a: log_loss_rows(y, sigmoid(a + f)).mean()).fun
    assert levelled_rows(f, y).mean() == pytest.approx(best, abs=1e-5)  # half a row is added


def test_a_level_is_found_from_far_away() -> None:
    f = np.r_[np.full(50, 40.0), np.full(50, -40.0)] + 300
    y = np.r_[np.ones(49), 0, np.zeros(50)]
    assert levelled_rows(f, y).mean() < 0.8


def test_a_fold_without_outcomes_has_a_level() -> None:
    assert levelled_rows(np.linspace(-1, 1, 50), np.zeros(50)).mean() < 0.1


@pytest.mark.parametrize("spec", [LIGHTGBM, LOGISTIC], ids=lambda s: s.name)
def test_no_budget_keeps_the_defaults(prepared, spec) -> None:
    found = study(prepared, spec, trials=0)
    assert found.parameters == spec.parameters
    assert found.kept_defaults
    assert found.trials == 0


def test_the_same_seed_finds_the_same(prepared) -> None:
    assert study(prepared, LIGHTGBM) == study(prepared, LIGHTGBM)


def test_a_study_is_never_worse_than_the_defaults_on_its_folds(prepared) -> None:
    for spec in (LIGHTGBM, LOGISTIC):
        found = study(prepared, spec)
        assert found.loss <= found.default_loss


def test_defaults_stay_unless_they_are_clearly_beaten(prepared) -> None:
    for spec in (LIGHTGBM, LOGISTIC):
        assert study(prepared, spec, least_confidence=1.1).parameters == spec.parameters


def test_trials_are_told(prepared) -> None:
    heard = []
    study(prepared, LIGHTGBM, progress=lambda *step: heard.append(step))
    assert heard[-1] == ("churn: tuning", 4, 4)


def with_rows(prepared, rows, *, matrix=None, outcomes=None):
    """The same training set with other content in these rows."""
    training = prepared.training
    changed = {}
    for name, value in (("matrix", matrix), ("outcomes", outcomes)):
        if value is not None:
            changed[name] = getattr(training, name).copy()
            changed[name][rows] = value
    return replace(prepared, training=replace(training, **changed))


@pytest.mark.parametrize("spec", [LIGHTGBM, LOGISTIC], ids=lambda s: s.name)
def test_no_row_of_the_test_is_in_the_study_not_even_in_its_bins(prepared, spec) -> None:
    spoiled = with_rows(
        prepared, prepared.test, matrix=1e12, outcomes=1 - prepared.training.outcomes[prepared.test]
    )
    columns = usable_columns(prepared.training, prepared.before_test, spec)
    one, other = (
        tune(spec, p.training, p.tuning_folds, columns, trials=4, seed=1)
        for p in (prepared, spoiled)
    )
    assert one == other


BAD_DEFAULTS = replace(LIGHTGBM, parameters={**LIGHTGBM.parameters, "rounds": 1})


def test_what_beats_the_defaults_on_the_newest_fold_wins(prepared) -> None:
    found = study(prepared, BAD_DEFAULTS, least_confidence=0.8)  # 150 accounts say no more
    assert not found.kept_defaults
    assert found.parameters["rounds"] > 1
    assert found.confirmed.mean > 0
    assert found.confidence >= 0.8
    assert "on the newest fold, which chose nothing" in found.sentence


def test_what_was_chosen_has_to_hold_on_the_newest_fold(prepared) -> None:
    """On the newest fold those who stayed and those who left change places: nothing holds there."""
    newest = prepared.training.rows_at(prepared.tuning_folds[-1].held_out)
    upside_down = with_rows(prepared, newest, outcomes=1 - prepared.training.outcomes[newest])
    found = study(upside_down, BAD_DEFAULTS)
    assert found.kept_defaults
    assert found.parameters == BAD_DEFAULTS.parameters
    assert found.confirmed.mean < 0
    assert "the declared parameters stay" in found.sentence


def test_what_is_only_perhaps_better_leaves_the_defaults(prepared) -> None:
    found = study(prepared, BAD_DEFAULTS)
    assert 0.8 <= found.confidence < 0.95
    assert found.kept_defaults


def test_with_one_fold_nothing_could_confirm_so_the_defaults_stay(prepared) -> None:
    columns = usable_columns(prepared.training, prepared.before_test, BAD_DEFAULTS)
    found = tune(
        BAD_DEFAULTS, prepared.training, prepared.tuning_folds[:1], columns, trials=4, seed=1
    )
    assert found.parameters == BAD_DEFAULTS.parameters


def test_a_budget_of_no_seconds_keeps_the_defaults(prepared) -> None:
    found = study(prepared, BAD_DEFAULTS, seconds=0)
    assert found.kept_defaults
    assert found.trials == 0


KILLED_AFTER_THREE = """
import os, pickle, signal, sys
from pathlib import Path
from training.models.tuning.tune import tune

def told(step, done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

given = pickle.loads(Path(sys.argv[1]).read_bytes())
tune(*given, trials=7, seed=1, progress=told, journals=Path(sys.argv[2]))
"""


def test_a_killed_study_goes_on_and_finds_what_it_would_have_found(prepared, tmp_path) -> None:
    columns = usable_columns(prepared.training, prepared.before_test, LIGHTGBM)
    given = (LIGHTGBM, prepared.training, prepared.tuning_folds, columns)
    (tmp_path / "given").write_bytes(pickle.dumps(given))
    done = run_program(KILLED_AFTER_THREE, str(tmp_path / "given"), str(tmp_path / "studies"))
    assert done.returncode == -9
    journals = tmp_path / "studies"
    assert [file.name for file in journals.iterdir()] == ["churn-lightgbm.jsonl"]
    heard = []
    found = tune(
        *given,
        trials=7,
        seed=1,
        journals=journals,
        progress=lambda step, at, total: heard.append(at),
    )
    assert heard == [4, 5, 6, 7]
    assert found.resumed == 3
    assert replace(found, resumed=0) == tune(*given, trials=7, seed=1)
    assert list(journals.iterdir()) == []


def test_a_killed_study_of_another_seed_starts_anew(prepared, tmp_path) -> None:
    def stop(step, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(prepared, LIGHTGBM, journals=tmp_path, progress=stop)
    assert study(prepared, LIGHTGBM, journals=tmp_path, seed=2).resumed == 0


def test_a_study_that_goes_on_draws_the_trials_it_would_have_drawn(prepared, tmp_path) -> None:
    for folder, stops in (("whole", (6,)), ("in parts", (2, 4, 6))):
        for last in stops:

            def stop(step, done, total, last=last):
                if done == last:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                study(prepared, LIGHTGBM, trials=9, journals=tmp_path / folder, progress=stop)
    whole, in_parts = (
        (tmp_path / folder / "churn-lightgbm.jsonl").read_bytes()
        for folder in ("whole", "in parts")
    )
    assert whole == in_parts
    assert whole.count(b"\n") == 7


def test_a_trial_is_stopped_where_most_others_were_better_with_as_many_trees(
    prepared, tmp_path
) -> None:
    def stop(step, done, total):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(prepared, LIGHTGBM, trials=13, journals=tmp_path, progress=stop)
    lines = (tmp_path / "churn-lightgbm.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    trials = [json.loads(line) for line in lines]
    n_steps = len(ROUNDS) * (len(prepared.tuning_folds) - 1)
    for number, trial in enumerate(trials):
        losses, before = trial["by_fold"], [one["by_fold"] for one in trials[:number]]
        worse = [
            step
            for step, loss in enumerate(losses)
            if len(there := [one[step] for one in before if len(one) > step]) >= LEAST_OTHERS
            and loss > np.median(there)
        ]
        stopped = len(losses) < n_steps or trial["rounds"] is None
        assert worse == ([len(losses) - 1] if stopped else [])
    assert {len(one["by_fold"]) for one in trials} > {n_steps}
