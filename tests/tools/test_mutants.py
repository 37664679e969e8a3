"""The tests notice breaks of what matters most: the kernel, visibility, labels, policy, ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mutants import Target, copy_of_tree, mutations, tried

TARGETS = (
    Target(
        name="kernel",
        modules=(
            "features/kernel/sweep.py",
            "features/kernel/windows.py",
            "features/kernel/aggregations.py",
        ),
        tests=(
            "tests/parity/test_sweep_equals_reference.py",
            "tests/properties/test_laws_of_timelines.py",
        ),
        # of ten that were drawn the four survivors change nothing: a larger table, an early stop
        floor=0.5,
    ),
    Target(
        name="visibility",
        modules=("features/events/visibility.py",),
        tests=(
            "tests/features/events/test_visibility.py",
            "tests/features/lake/test_corrections.py",
            "tests/training/dataset/test_treatments.py",
        ),
        floor=0.8,
    ),
    Target(
        name="labels",
        modules=("training/dataset/labels.py",),
        tests=("tests/training/dataset/test_labels.py",),
        floor=0.8,
    ),
    Target(
        name="policy",
        modules=(
            "experiments/policy/recommend.py",
            "experiments/policy/value.py",
            "experiments/policy/arbitration.py",
            "experiments/policy/contact/contact_policy.py",
        ),
        tests=("tests/experiments/policy",),
        floor=0.8,
    ),
    Target(
        name="ledger",
        modules=(
            "serving/ledger/claims.py",
            "serving/ledger/approvals.py",
            "serving/ledger/database/chain.py",
        ),
        tests=(
            "tests/serving/ledger/database/test_chain.py",
            "tests/serving/ledger/test_claims.py",
            "tests/serving/ledger/test_ledger.py",
            "tests/serving/ledger/test_ranked_actions.py",
        ),
        # 16 of 20 were killed; of the others two change nothing
        floor=0.7,
    ),
)

ADDING = (
    "def added(one, other):\n    return one + other\n\n\ndef unused(one):\n    return one * 2\n"
)
ASKING = "from adding import added\n\n\ndef test_adds():\n    assert added(2, 3) == 5\n"


def test_a_break_is_noticed_where_a_test_asks_and_survives_where_none_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adding.py").write_text(ADDING, encoding="utf-8")
    (tmp_path / "test_adding.py").write_text(ASKING, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = {one.operator_name for one in mutations(tmp_path / "adding.py")}
    assert any("Add_Sub" in name for name in names)
    toy = Target(name="toy", modules=("adding.py",), tests=("test_adding.py",), floor=1, sample=6)
    verdict = tried(toy, tmp_path, seed=3)
    assert verdict.tried == toy.sample
    assert 0 < verdict.killed < verdict.tried
    assert all("def unused" in diff for diff in verdict.survivors)
    assert (tmp_path / "adding.py").read_text(encoding="utf-8") == ADDING


def test_the_modules_and_tests_of_each_target_are_there(pytestconfig: pytest.Config) -> None:
    named = [path for target in TARGETS for path in (*target.modules, *target.tests)]
    assert [path for path in named if not (pytestconfig.rootpath / path).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_enough_mutants_are_killed(
    target: Target,
    pytestconfig: pytest.Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    folder = copy_of_tree(pytestconfig.rootpath, tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    verdict = tried(target, folder, seed=1)
    record_testsuite_property(f"{target.name}: killed", f"{verdict.killed} of {verdict.tried}")
    assert verdict.share >= target.floor, "\n".join(verdict.survivors)
