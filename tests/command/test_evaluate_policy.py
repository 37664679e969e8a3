"""The command judges a candidate, and ends with 1 where a pipeline has to stop."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from keepwell_command import run_keepwell

from serving.ledger.ledger import Decision, Ledger

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def evaluate(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell("evaluate-policy", *words, "-w", "w", cwd=cwd)


def write_log(path: Path, candidate: str) -> None:
    """A coin chose; a call brings 50, a mail 10."""
    rng = np.random.default_rng(1)
    call = rng.random(400) < 0.5
    pl.DataFrame(
        {
            "action": np.where(call, "call", "mail"),
            "propensity": 0.5,
            "reward": np.where(call, 50.0, 10.0) + rng.normal(size=400),
            "candidate": candidate,
        }
    ).write_csv(path)


def test_a_better_candidate_ends_with_0_and_a_worse_one_with_1(tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", "call")
    good = evaluate("log.csv", "--out", "found.json", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "DR with shrinkage" in good.stdout
    assert "The candidate passes: it would have earned more, by +" in good.stdout
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["passes"] is True
    assert set(found["values"]) == {"ips", "snips", "direct", "dr", "dr_shrunk"}
    assert found["values"]["dr"]["low"] <= 50 <= found["values"]["dr"]["high"]
    write_log(tmp_path / "log.csv", "mail")
    bad = evaluate("log.csv", cwd=tmp_path)
    assert bad.returncode == 1
    assert "The candidate does not pass" in bad.stdout


def test_a_workspace_without_chance_says_that_nothing_can_be_learned(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "workspace.toml").write_text(
        "complete_until = 2026-06-01T00:00:00Z\n", encoding="utf-8"
    )
    with closing(Ledger(tmp_path / "w" / "ledger.db")) as ledger:
        ledger.append_decisions(
            [
                Decision(
                    decision_id=f"d-{n}",
                    account_id="acme",
                    decided_at=NOW,
                    as_of=NOW,
                    action="call",
                    expected_value=1.5,
                    currency="USD",
                    eligible=(),
                    withheld=(),
                    versions={},
                    input_digest="ab",
                )
                for n in range(3)
            ]
        )
    found = evaluate("--out", "found.json", "--write-log", "log.csv", cwd=tmp_path)
    assert found.returncode == 1, found.stderr
    assert "Nothing can be learned from this log." in found.stdout
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["values"] is None
    assert pl.read_csv(tmp_path / "log.csv")["decision_id"].to_list() == ["d-0", "d-1", "d-2"]


def test_what_can_not_be_judged_is_one_paragraph(tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", "call")
    for words, said in (
        (("none.csv",), "There is no file none.csv"),
        (("log.csv", "--candidate", "log.csv"), "go with the decisions of a workspace"),
        (("log.csv", "--limits", "log.csv"), "go with the decisions of a workspace"),
        (("--candidate", "log.csv", "--limits", "log.csv"), "for a policy that is asked"),
        (("--limits", "none.toml"), "none.toml cannot be read: No such file"),
        (("--limits", "log.csv"), "The file of limits is not valid TOML"),
        (("--catalogue", "log.csv"), "The playbook is not valid TOML"),
        ((), "no decision was stored yet"),
    ):
        done = evaluate(*words, cwd=tmp_path)
        assert done.returncode == 3, (words, done.stdout, done.stderr)
        assert said in " ".join(done.stderr.split())
