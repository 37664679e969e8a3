"""The digest of the policy's code sees every module that the policy is made of, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from experiments.causal.interventions import Intervention
from experiments.effects import action_effect
from experiments.policy.account_state import AccountState, Limits
from experiments.policy.request import PolicyInputs
from registry.playbook import playbook
from serving.ledger.ledger import Ledger
from serving.ledger.replay import _imported_code as imports
from serving.ledger.replay._imported_code import PACKAGES, imported_code
from serving.ledger.replay.replay import POLICY, policy_code, policy_digest

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
ASK = f"""
import json, sys
from {PolicyInputs.__module__} import PolicyInputs
from {playbook.__name__} import load_playbook
assert PolicyInputs.from_dict(json.loads(sys.argv[1])).answer(load_playbook()).ranked
print(*(name for name in sys.modules if name.partition(".")[0] in {PACKAGES}))
"""


def edited(name: str) -> str:
    """The digest after one more line in a module."""
    changed = imports._source_file(name)
    assert changed is not None
    return policy_digest(lambda file: file.read_bytes() + b"\n#" * (file == changed))


@pytest.mark.parametrize("name", sorted(imported_code(POLICY)))
def test_an_edit_in_what_the_policy_imports_changes_the_digest(name: str) -> None:
    assert edited(name) != policy_code()


def test_what_the_policy_loads_is_what_is_hashed(tmp_path: Path) -> None:
    """A fresh process asks the policy and prints the modules that it loaded for that."""
    question = PolicyInputs(
        state=AccountState(
            account_id="acme",
            as_of=NOW,
            mrr=2000.0,
            health_score=31.0,
            attributes={"contract_status": "active", "segment": "small"},
            features={},
            alerts=(),
            alert_raised_at={},
            churn_probability=0.3,
            score_source="model",
        ),
        limits=Limits(),
        history=(),
        as_of=NOW,
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", ASK, json.dumps(question.to_dict())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(imports.__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    hashed = imported_code(POLICY).keys()
    assert set(done.stdout.split()) <= hashed
    assert {action_effect.__name__, playbook.__name__, "experiments", "registry"} <= hashed


@pytest.mark.parametrize("name", [Ledger.__module__, Intervention.__module__])
def test_an_edit_in_what_the_policy_does_not_import_changes_nothing(name: str) -> None:
    assert edited(name) == policy_code()


def test_only_the_playbook_reads_files_and_nothing_is_imported_by_its_name_as_text() -> None:
    """Neither is seen by following imports; the playbook's files are stored with a decision."""
    marks = (b"__file__", b"importlib", b"__import__", b"pkgutil")
    assert [
        name for name, text in imported_code(POLICY).items() if any(mark in text for mark in marks)
    ] == [playbook.__name__]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``features`` whose modules the test writes."""
    monkeypatch.setattr(imports, "_folder_of_package", lambda _: tmp_path)
    for file in (
        "__init__",
        "start",
        "one",
        "inner/__init__",
        "inner/deep/__init__",
        "inner/deep/leaf",
        "inner/other",
    ):
        path = tmp_path / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


FOLDERS = {"features.inner", "features.inner.deep"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import features.one", {"features.one"}),
        ("import features.inner.deep.leaf as leaf", {*FOLDERS, "features.inner.deep.leaf"}),
        ("from features.inner.deep import leaf", {*FOLDERS, "features.inner.deep.leaf"}),
        (
            "from features.inner.deep.leaf import (  # (a value)\n    A,\n)",
            {*FOLDERS, "features.inner.deep.leaf"},
        ),
        ("from . import one", {"features.one"}),
        ("from .inner.deep import leaf", {*FOLDERS, "features.inner.deep.leaf"}),
        ("def late():\n    with x:\n        from features import one", {"features.one"}),
        ("try:\n    pass\nexcept OSError:\n    import features.one", {"features.one"}),
        ("match x:\n    case 1:\n        import features.one", {"features.one"}),
        (
            "if TYPE_CHECKING:\n    import features.one\nelse:\n    import features.inner",
            {"features.inner"},
        ),
        ("if typing.TYPE_CHECKING:\n    import features.one", set()),
        ("'''\nimport features.one\n'''", set()),
        ("import numpy, json\nfrom features import nothing", set()),
    ],
)
def test_imports_of_every_form_are_followed(project: Path, text: str, found: set[str]) -> None:
    (project / "start.py").write_text(text, encoding="utf-8")
    assert imported_code(["features.start"]).keys() == {"features", "features.start", *found}


def test_what_an_init_imports_is_followed_and_circles_end(project: Path) -> None:
    (project / "start.py").write_text("import features.inner.deep.leaf", encoding="utf-8")
    (project / "inner/__init__.py").write_text("from .other import A", encoding="utf-8")
    (project / "inner/other.py").write_text("from ..one import A", encoding="utf-8")
    (project / "one.py").write_text("import features.start", encoding="utf-8")
    assert imported_code(["features.start"]).keys() == {
        "features",
        "features.start",
        *FOLDERS,
        "features.inner.deep.leaf",
        "features.inner.other",
        "features.one",
    }
