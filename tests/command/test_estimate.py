"""The command reads CSV, Parquet and Stata, says what it found, and refuses in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from keepwell_command import run_keepwell

ASKED = ("--treated", "called", "--outcome", "spent", "--covariates", "size", "--lottery")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    called = rng.integers(0, 2, 400)
    table = pl.DataFrame(
        {
            "called": called,
            "size": rng.normal(size=400),
            "spent": 100 + 20.0 * called + rng.normal(0, 30, 400),
        }
    )
    table.write_csv(tmp_path / "outreach.csv")
    table.write_parquet(tmp_path / "outreach.parquet")
    table.to_pandas().to_stata(tmp_path / "outreach.dta", write_index=False)
    return tmp_path


def test_all_kinds_of_file_have_one_answer(folder: Path) -> None:
    found = []
    for kind in ("csv", "parquet", "dta"):
        done = run_keepwell("estimate", f"outreach.{kind}", *ASKED, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["effects"][0]["estimate"]["estimate"])
    assert found[0] == pytest.approx(20, abs=10)
    assert found[1:] == pytest.approx([found[0]] * 2, abs=1e-6)


def test_a_person_reads_the_answer_and_its_pictures(folder: Path) -> None:
    done = run_keepwell(
        "estimate", "outreach.csv", *ASKED, "--currency", "USD", "--cost", "1=5", "--out", "answer",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 works: spent +" in done.stdout
    assert "It pays for itself" in " ".join(done.stdout.split())
    assert "✓ passed  Alike before the start" in done.stdout
    assert (folder / "answer" / "estimate.html").read_text().count("<svg") == 2
    assert json.loads((folder / "answer" / "estimate.json").read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("outreach.csv", *ASKED[:-1], "--odds", "1=1/2"), "--odds are those of a lottery."),
        (("outreach.csv", *ASKED, "--odds", "1"), "--odds '1' is no arm with its share"),
        (("outreach.csv", *ASKED, "--value", "3"), "Say what --value and --cost are in"),
        (("broken.dta", *ASKED), "broken.dta cannot be read as a table"),
        (("outreach.csv", *ASKED[:5], "gone", "--lottery"), "has no column 'gone' (--covariates)"),
    ],
)
def test_what_cannot_be_asked_is_said(folder: Path, words: tuple[str, ...], why: str) -> None:
    (folder / "broken.dta").write_bytes(b"no table")
    done = run_keepwell("estimate", *words, cwd=folder)
    assert done.returncode == 3
    assert why in " ".join(done.stderr.split())
