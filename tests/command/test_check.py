"""`keepwell check` says what the data can answer, and finds what would mislead a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import keepwell

EXPORTS = Path(__file__).parents[2] / "examples" / "exports"


def run(*words: object) -> tuple[int, str]:
    told = CliRunner().invoke(keepwell.app, [str(word) for word in words], env={"COLUMNS": "400"})
    problem = told.exception if not isinstance(told.exception, SystemExit) else None
    return told.exit_code, told.output + str(problem or "")


@pytest.fixture
def exports(tmp_path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    for name in ("customers.csv", "usage.csv"):
        shutil.copyfile(EXPORTS / name, folder / name)
    return folder


def taken_in(folder: Path) -> tuple[str, ...]:
    """The words that name the workspace with these exports, as the proposed mapping reads them."""
    where = ("--workspace", str(folder.parent / "w"))
    assert run("init", "--from", folder, "--yes", *where)[0] == 0
    code, said = run("ingest", folder, "--mapping", folder / "mapping.toml", *where)
    assert code == 0, said
    return where


def test_the_sample_can_answer_leaving_and_says_what_it_cannot(exports):
    code, said = run("check", *taken_in(exports))
    assert code == 0
    assert "churn: The contract ends without renewal. 239 accounts are asked about now." in said
    assert (
        "within 90 days: yes; 166 of 4,121 rows at 21 cutoffs, 61 accounts; left out: 492 immature"
        in said
    )
    assert "trial_conversion: no; at the start of no month an account is in its cohort" in said
    assert "no ticket.created: 6 empty, such as tickets_28d" in said
    assert "No feature predicts leaving too well by itself" in said
    assert len(said.splitlines()) <= 40


def test_few_leavers_are_too_few_and_the_command_ends_with_1(exports):
    table = exports / "customers.csv"
    rows = table.read_text(encoding="utf-8").splitlines()
    left = [row for row in rows[1:] if row.split(",")[2]]
    table.write_text("\n".join(row for row in rows if row not in left[4:]) + "\n", encoding="utf-8")
    code, said = run("check", *taken_in(exports))
    assert code == 1
    assert "4 accounts; 10 accounts with the outcome are needed" in said


def test_few_cutoffs_with_many_leavers_are_judged_on_other_accounts(exports):
    table = exports / "customers.csv"
    header, *_ = table.read_text(encoding="utf-8").splitlines()
    columns = header.split(",")
    rows = []
    for n in range(120):
        row = dict.fromkeys(columns, "1")
        row |= {"customer_id": f"c{n:03d}", "start_date": "2024-01-10", "left_on": "", "mrr": "40"}
        rows.append(row | ({"left_on": f"2024-04-{n % 28 + 1:02d}"} if n < 60 else {}))
    lines = [header, *(",".join(row[name] for name in columns) for row in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (exports / "usage.csv").write_text(
        "customer_id,day,logins\n" + "".join(f"c{n:03d},2024-06-01,3\n" for n in range(60, 120)),
        encoding="utf-8",
    )
    code, said = run("check", *taken_in(exports))
    assert code == 0, said
    assert "judged on other accounts of the same months, since" in said


def test_a_renewal_date_that_only_leavers_have_is_a_likely_leak(exports):
    """The mapping that the warning of the ingestion speaks against."""
    where = ("--workspace", str(exports.parent / "w"))
    assert run("init", "--from", exports, "--yes", *where)[0] == 0
    mapping = exports / "mapping.toml"
    text = mapping.read_text(encoding="utf-8").replace("cancelled = ", "end = ")
    mapping.write_text(text, encoding="utf-8")
    _, said = run("ingest", exports, "--mapping", mapping, *where)
    assert "only those who left have it" in " ".join(said.split())
    code, said = run("check", *where)
    assert code == 1
    assert "Likely leaks" in said
    assert "renewal" in said.partition("Likely leaks")[2]


def test_a_workspace_without_events_says_what_to_do(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "workspace.toml").write_text("complete_until = 2024-01-01T00:00:00Z\n")
    code, said = run("check", "--workspace", tmp_path / "w")
    assert code != 0
    assert "Take tables in with keepwell ingest" in said


def test_the_page_from_csv_to_first_score_is_short():
    page = EXPORTS.parents[1] / "docs" / "how-to" / "from-csv-to-first-score.md"
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 60
