"""The summary adds up, says why where rows make more events, and shows what to mend."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import polars as pl
import pytest

from features.events.validation import AFTER_COMPLETE
from features.ingest.run import ingest
from features.lake.summary import QUARANTINED_AT, FileSummary, IngestSummary
from features.workspace import Workspace

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MAPPING = """
name = "shop"
zone = "UTC"
complete_until = 2026-05-01T13:30:00Z

[tables.use]
files = ["use.csv"]
kind = "feature.used"
account = "company"
occurred_at = "at"
recorded_delay = "0s"
event_count = "n"

[tables.contracts]
type = "contract_periods"
files = ["contracts.csv"]
account = "company"
start = "from"
end = "to"
mrr = "price"
"""


@pytest.fixture
def said(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.toml").write_text(MAPPING)
    (files / "use.csv").write_text(
        "company,at,n\na,2026-03-01,40\n,2026-03-01,1\nb,2026-03-02,1\nb,last week,1\n"
        "b,sometime,1\nb,2026-05-01T13:31:00,1\n"
    )
    (files / "contracts.csv").write_text(
        "company,from,to,price\na,2025-01-01,2026-01-01,10\nb,2025-01-01,2027-01-01,cheap\n"
    )
    workspace = Workspace(tmp_path / "workspace", environment={})
    return str(ingest(workspace, [files], files / "shop.toml", now=NOW)), workspace


def test_the_summary_shows_the_first_example_of_each_reason_and_where_the_rest_is(said):
    text, workspace = said
    assert "quarantined: 1 because account_id is missing; use.csv:3\n" in text
    assert (
        "quarantined: 2 because occurred_at is no time; the first: use.csv:5 'last week'\n"
    ) in text
    assert "quarantined: 1 because mrr is no number; contracts.csv:3 'cheap'\n" in text
    assert f"4 refused rows to look at, with reason, file and line: {QUARANTINED_AT}" in text
    assert pl.read_parquet(workspace.root / QUARANTINED_AT).height == 4


def test_the_moment_after_which_rows_are_left_out_is_said_with_its_time(said):
    assert "left out: 1 because after complete_until, 2026-05-01 13:30 UTC\n" in said[0]
    assert AFTER_COMPLETE == "after complete_until"


def test_rows_add_up_to_what_became_of_them(said):
    sums = []
    for line in said[0].splitlines():
        there = re.search(
            r"(?:make|Read|\)): ?([\d,]+) (?:events|rows?).*: ([^:]* landed.*?)\.?$",
            line.replace("Read", "Read:", 1),
        )
        if there:
            made = re.search(r"make ([\d,]+) events", line)
            terms = there[2].split(" + ")
            sums.append(
                (int(made[1] if made else there[1]), sum(int(term.split()[0]) for term in terms))
            )
    assert sums == [(9, 9), (6, 6), (3, 3)]
    assert "which make 3 events (a contract period tells of its start" in said[0]
    assert "What is new counts as 43 events, since a row may sum up several." in said[0]


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        (
            IngestSummary(files=(FileSummary(file="a", table="t", read=1, landed=1),), events=1),
            "Read 1 row of 1 file in 0.0 s: 1 landed.",
        ),
        (
            IngestSummary(
                files=(FileSummary(file="a", table="t", read=1_000, corrected=1, duplicates=999),)
                * 2,
                events=2,
            ),
            "Read 2,000 rows of 2 files in 0.0 s: 0 landed + 1,998 already there + 2 corrections.",
        ),
        (
            IngestSummary(files=(FileSummary(file="a", table="t", read=1, corrected=1),), events=1),
            "Read 1 row of 1 file in 0.0 s: 0 landed + 1 correction.",
        ),
        (IngestSummary(files=()), "Read 0 rows of 0 files in 0.0 s: 0 landed."),
    ],
)
def test_one_is_not_said_in_the_plural(summary, line):
    assert summary.lines()[0] == line


def test_a_summary_without_refused_rows_says_nothing_of_quarantine():
    [one] = [FileSummary(file="a", table="t", read=1, landed=1)]
    assert "quarantine" not in str(IngestSummary(files=(one,), events=1))


def test_a_table_of_many_files_is_one_screen():
    files = tuple(
        FileSummary(
            file=f"day-{n:03}.csv",
            table="sales",
            read=10,
            landed=7,
            quarantined={"quantity is no number": 2, f"reason {n}": 1},
            examples={"quantity is no number": "line 4, column Amount: 'lots'"},
            unmapped_columns=("Country",),
            notes=("a note",),
        )
        for n in range(305)
    )
    lines = IngestSummary(files=files).lines()
    assert len(lines) <= 20
    assert "  305 files, day-000.csv to day-304.csv (sales): 3,050 rows: 2,135 landed" in lines[1]
    assert (
        "quarantined: 610 because quantity is no number; the first: day-000.csv: line 4" in lines[2]
    )
    assert "quarantined: 296 for 296 other reasons" in lines[12]
    assert lines[13:15] == ["    columns left alone: Country", "    note: a note"]


def test_a_few_files_of_a_table_are_listed_one_by_one():
    files = tuple(FileSummary(file=f"{n}.csv", table="t", read=1, landed=1) for n in range(5))
    assert len(IngestSummary(files=files).lines()) == 6
