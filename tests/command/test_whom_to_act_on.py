"""The command reads a lottery, decides about other accounts, and says what that is worth."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from keepwell_command import run_keepwell

ROOT = Path(__file__).parents[2]
WORDS = ("--currency", "USD", "--cost", "call=5", "--out", "decided.csv")


def whom_to_act_on(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell("whom-to-act-on", *words, cwd=cwd, columns=80)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A call brings 20 where an account is large, else takes 20; a coin decided."""
    rng = np.random.default_rng(1)
    arm, is_large = rng.integers(0, 2, 600), rng.random(600) < 0.5
    pl.DataFrame(
        {
            "account_id": [f"{row:03}" for row in range(600)],
            "action": np.array(["none", "call"])[arm],
            "propensity": 0.5,
            "outcome": 100 + arm * np.where(is_large, 20.0, -20.0) + rng.normal(size=600),
            "size": np.where(is_large, "large", "small"),
        }
    ).write_csv(tmp_path / "lottery.csv")
    pl.DataFrame({"account_id": ["007", "new"], "size": ["large", "small"]}).write_csv(
        tmp_path / "asked.csv"
    )
    return tmp_path


def test_each_account_is_decided_about_and_programs_read_what_it_is_worth(folder: Path) -> None:
    done = whom_to_act_on("lottery.csv", "--asked", "asked.csv", *WORDS, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["shown_to_pay"] is True
    gain = found["held_out"]["gain_over_same_for_everybody"]
    assert found["held_out"]["low"] < gain < found["held_out"]["high"]
    held_out = found["held_out"]
    assert held_out["told_apart"] - held_out["same_for_everybody"] == pytest.approx(gain)
    assert held_out["told_apart"] == pytest.approx(107.5, abs=1.5)  # by share of the large
    assert found["tells_apart"] is True
    assert (found["lottery"]["file"], found["asked"]["file"], found["out"]) == (
        "lottery.csv",
        "asked.csv",
        "decided.csv",
    )
    assert [one["accounts_decided"] for one in found["actions"]] == [1, 1]
    rows = pl.read_csv(folder / "decided.csv", schema_overrides={"account_id": pl.String})
    assert rows["account_id"].to_list() == ["007", "new"]
    assert rows["action"].to_list() == ["call", "none"]
    assert rows["gain:call"].to_list() == pytest.approx([15, -25], abs=1)


def test_the_same_files_and_seed_have_the_same_answer_in_either_form(folder: Path) -> None:
    pl.read_csv(folder / "lottery.csv", schema_overrides={"account_id": pl.String}).write_parquet(
        folder / "lottery.parquet"
    )
    answers = []
    for lottery, out in (("lottery.csv", "decided.csv"), ("lottery.parquet", "decided.parquet")):
        done = whom_to_act_on(
            lottery, "--asked", "asked.csv", *WORDS[:-1], out, "--json", cwd=folder
        )
        answers.append(json.loads(done.stdout)["held_out"])
    assert answers[0] == answers[1]
    assert pl.read_parquet(folder / "decided.parquet")["account_id"].to_list() == ["007", "new"]


def test_where_it_was_not_shown_to_pay_that_is_said_and_is_no_failure(folder: Path) -> None:
    lottery = pl.read_csv(folder / "lottery.csv")
    lottery.with_columns(
        outcome=pl.when(pl.col("action") == "call").then(30.0).otherwise(0.0)
    ).write_csv(folder / "lottery.csv")
    done = whom_to_act_on("lottery.csv", "--asked", "asked.csv", *WORDS, cwd=folder)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Telling accounts apart was not shown to pay here: on accounts that it was" in said
    assert "So every account has the simplest policy in the file: always 'call'." in said
    assert "from lottery.csv, seed 1; in decided.csv." in said
    assert pl.read_csv(folder / "decided.csv")["action"].to_list() == ["call", "call"]


def test_stages_on_the_way_are_no_facts_and_the_answer_counts_who_came_so_far(folder: Path) -> None:
    number = pl.int_range(600)
    lottery = pl.read_csv(folder / "lottery.csv").with_columns(
        visited=number % 3 > 0, offered=pl.when(number % 3 == 1).then(1).otherwise(0)
    )
    lottery.with_columns(
        outcome=pl.when(number % 6 == 1).then(pl.col("outcome")).otherwise(0)
    ).write_csv(folder / "lottery.csv")
    told = (
        "lottery.csv",
        "--asked",
        "asked.csv",
        *WORDS,
        "--stage",
        "visited",
        "--stage",
        "offered",
    )
    done = whom_to_act_on(*told, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    of_lottery = json.loads(done.stdout)["lottery"]
    assert of_lottery["stages"] == [
        {"stage": "visited", "trials": 400},
        {"stage": "offered", "trials": 200},
    ]
    assert (of_lottery["outcome_not_zero"], of_lottery["facts"]) == (100, ["size"])
    said = " ".join(whom_to_act_on(*told, cwd=folder).stdout.split())
    assert (
        "Of 600 trials 400 came as far as 'visited', 200 as far as 'offered'; 100 have an "
        "outcome other than 0."
    ) in said
    assert "tells nothing apart" not in said


def test_a_stage_that_all_came_to_changes_nothing_and_that_is_said(folder: Path) -> None:
    pl.read_csv(folder / "lottery.csv").with_columns(visited=1).write_csv(folder / "told.csv")
    done = whom_to_act_on(
        "told.csv", "--asked", "asked.csv", *WORDS, "--stage", "visited", cwd=folder
    )
    assert "'visited' tells nothing apart: all trials came so far." in " ".join(done.stdout.split())
    with_stage = (folder / "decided.csv").read_bytes()
    whom_to_act_on("lottery.csv", "--asked", "asked.csv", *WORDS, cwd=folder)
    assert (folder / "decided.csv").read_bytes() == with_stage


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("none.csv", "--asked", "asked.csv", *WORDS),
            3,
            "no file none.csv. Name a CSV or Parquet file of a lottery's trials",
        ),
        (
            ("lottery.csv", "--asked", "none.csv", *WORDS),
            3,
            "no file none.csv. Name a CSV or Parquet file of the accounts to decide about",
        ),
        (
            ("lottery.csv", "--asked", "lottery.csv", "--leave-out", "size", *WORDS),
            3,
            "lottery.csv has no column with a fact",
        ),
        (("asked.csv", "--asked", "asked.csv", *WORDS), 3, "asked.csv lacks the column(s) action"),
        (("lottery.csv", "--asked", "asked.csv", *WORDS, "--cost", "sms=1"), 3, "the action 'sms'"),
        (
            ("lottery.csv", "--asked", "asked.csv", *WORDS, "--stage", "seen"),
            3,
            "'seen' cannot be a stage of lottery.csv",
        ),
        (
            ("lottery.csv", "--asked", "asked.csv", *WORDS, "--no-action", "call"),
            3,
            "the action 'none' beside 'call'",
        ),
        (
            ("lottery.csv", "--asked", "asked.csv", *WORDS[:-1], "asked.csv"),
            3,
            "asked.csv would be written over what is read",
        ),
        (
            ("lottery.csv", "--asked", "asked.csv", *WORDS[:-1], "decided.txt"),
            3,
            "Name a file, not a folder, that ends in .csv or .parquet",
        ),
        (("lottery.csv", "--asked", "asked.csv", *WORDS, "--currency", " "), 3, "--currency USD"),
        (
            ("lottery.csv", "--asked", "asked.csv", *WORDS[:-1], "folder.csv"),
            3,
            "folder.csv is to hold a table. Name a file, not a folder",
        ),
        (("lottery.csv", "--asked", "asked.csv", *WORDS, "--seed", "-1"), 2, "--seed"),
        (("lottery.csv", *WORDS), 2, "--asked"),
        (("lottery.csv", "--asked", "asked.csv", *WORDS[2:]), 2, "--currency"),
    ],
    ids=[
        "no lottery",
        "no accounts",
        "no facts",
        "another file",
        "cost",
        "stage",
        "nothing",
        "written over",
        "no table",
        "no currency",
        "a folder",
        "seed",
        "no asked",
        "currency lacks",
    ],
)
def test_what_can_not_be_decided_is_one_paragraph_and_writes_nothing(
    words: tuple[str, ...],
    code: int,
    message: str,
    folder: Path,
) -> None:
    (folder / "folder.csv").mkdir()
    before = (folder / "asked.csv").read_bytes()
    done = whom_to_act_on(*words, cwd=folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert message in " ".join(done.stderr.split())
    assert not (folder / "decided.csv").exists()
    assert (folder / "asked.csv").read_bytes() == before
