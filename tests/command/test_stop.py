"""The kill switch from the command line, and a decision asked again."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from keepwell_command import run_keepwell

from experiments.policy.account_state import AccountState, Limits
from experiments.policy.request import PolicyInputs
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.playbook.playbook import load_playbook
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger
from serving.ledger.replay.replay import shared_inputs

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def keepwell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell(*words, "--workspace", "w", cwd=cwd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w").mkdir()
    return tmp_path


@pytest.fixture
def kept(folder: Path) -> Path:
    """A workspace whose service has stored decisions."""
    Ledger(folder / "w" / "ledger.db").close()
    place = SnapshotStore(Workspace(folder / "w").snapshots_dir)
    place.folder.mkdir(parents=True)
    pl.DataFrame(
        {"account_id": ["a", "b"], "segment": ["small", None], "csm": ["ann", "bob"]}
    ).write_parquet(place.folder / "as_of_20260301T000000Z.parquet")
    return folder


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_what_is_stopped_is_resumed_as_it_was_named(kept: Path) -> None:
    folder = kept
    stopped = keepwell(
        "stop", "--reason", "wrong prices", "--segment", "small", "--by", "ann", cwd=folder
    )
    assert stopped.returncode == 0, said(stopped)
    assert said(stopped) == (
        f"Stopped the segment small, in {folder / 'w' / 'ledger.db'}. Stopped "
        f"now: the segment small (by ann: wrong prices)."
    )
    with closing(Ledger(folder / "w" / "ledger.db")) as ledger:
        [control] = Controls(ledger.database).all()
        assert (control.kind, control.scope) == ("stop", Scope(segment="small"))
    other = keepwell("resume", "--reason", "mended", cwd=folder)
    assert other.returncode == 3
    assert "Nobody stopped everything; stopped is the segment small." in said(other)
    resumed = keepwell("resume", "--reason", "mended", "--segment", "small", cwd=folder)
    assert resumed.returncode == 0, said(resumed)
    assert "Stopped now: nothing." in said(resumed)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--reason", "x", "--action", "sucess_call"), "There is no action 'sucess_call'"),
        (("--reason", "x", "--csm", ""), "There is no csm '' in the newest snapshot"),
        (("--reason", "x", "--csm", "anne"), "Mend the name, or stop everything by naming none."),
        (
            ("--reason", "x", "--segment", "smal"),
            "There is no segment 'smal' in the newest snapshot",
        ),
        (("--reason", " "), "The reason is empty"),
    ],
)
def test_a_stop_that_would_stop_nothing_is_refused(
    kept: Path, words: tuple[str, ...], match: str
) -> None:
    refused = keepwell("stop", *words, cwd=kept)
    assert refused.returncode == 3
    assert match in said(refused)
    with closing(Ledger(kept / "w" / "ledger.db")) as ledger:
        assert Controls(ledger.database).all() == ()


def test_a_stop_before_any_decision_holds_and_says_where_it_may_not(folder: Path) -> None:
    nothing = keepwell("resume", "--reason", "x", cwd=folder)
    assert nothing.returncode == 3
    assert f"There is no ledger in {folder / 'w' / 'ledger.db'}" in said(nothing)
    assert not (folder / "w" / "ledger.db").exists()
    stopped = keepwell("stop", "--reason", "x", "--by", "ann", cwd=folder)
    assert stopped.returncode == 0, said(stopped)
    assert "Stopped everything" in said(stopped)
    assert "set KEEPWELL_LEDGER_URL as it has it, and stop again" in said(stopped)
    with closing(Ledger(folder / "w" / "ledger.db")) as ledger:
        assert [one.kind for one in Controls(ledger.database).all()] == ["stop"]
    again = keepwell("stop", "--reason", "x", "--by", "ann", cwd=folder)
    assert "No decision was stored there yet" not in said(again)


def test_a_stop_where_the_ledger_is_gone_is_refused_and_makes_no_other(kept: Path) -> None:
    assert keepwell("stop", "--reason", "x", "--by", "ann", cwd=kept).returncode == 0
    (kept / "w" / "ledger.db").unlink()
    for word in ("stop", "resume"):
        refused = keepwell(word, "--reason", "x", "--by", "ann", cwd=kept)
        assert refused.returncode == 3, said(refused)
        assert "at place 1" in said(refused)
        assert "keepwell ledger accept-head" in said(refused)
        assert not (kept / "w" / "ledger.db").exists()


def test_a_workspace_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = keepwell("stop", "--reason", "x", cwd=tmp_path)
    assert refused.returncode == 3
    assert "There is no workspace" in said(refused)


def test_a_decision_is_asked_again(folder: Path) -> None:
    state = AccountState(
        account_id="acme",
        as_of=NOW,
        mrr=2000.0,
        health_score=31.0,
        attributes={"contract_status": "active"},
        features={},
    )
    asked, common = (
        PolicyInputs(state=state, limits=Limits(), history=(), as_of=NOW),
        (shared_inputs({}, {})),
    )
    answer = asked.answer(load_playbook()).to_dict()
    first = Decision(
        decision_id="d-1",
        account_id="acme",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.5,
        currency="USD",
        eligible=tuple(answer["ranked"]),  # type: ignore[arg-type]
        withheld=tuple(answer["withheld"]),
        versions={},
        input_digest="ab",  # type: ignore[arg-type]
        inputs=json.dumps({"shared": common.digest, "question": asked.to_dict()}),
    )
    with closing(Ledger(folder / "w" / "ledger.db")) as ledger:
        ledger.append_decisions([first], shared={common.digest: common.content})
    same = keepwell("ledger", "replay", "d-1", cwd=folder)
    assert same.returncode == 0, said(same)
    assert "Decision d-1 comes out the same, to the bit." in said(same)
    unknown = keepwell("ledger", "replay", "d-9", cwd=folder)
    assert unknown.returncode == 3
    assert "There is no decision 'd-9' in this ledger. An id is the decision_id" in said(unknown)
