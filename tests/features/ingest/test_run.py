"""Bad input is refused with its reason, the rest lands, and every row is accounted for."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from forked_programs import run_program
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.validation import AFTER_COMPLETE, NOT_YET_KNOWN
from features.ingest._text_chunks import SourceFileError
from features.ingest.mapped_tables import MappingError
from features.ingest.run import ingest, ingest_rows
from features.lake.deduplication.versions import NOT_LATER
from features.lake.lake import Lake
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError, WorkspaceError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MAPPING = """
name = "shop"
{zone}
{end}

[tables.use]
files = ["use*.*"]
kind_column = "what"
kinds = {{ click = "feature.used" }}
event_id = "id"
account = "company"
user = "person"
occurred_at = "at"
{recorded}
event_count = "n"
quantity = "value"
[tables.use.properties]
name = "feature"
"""
HEADER = "id,company,person,what,at,n,value,feature"
GOOD = "1,a,p,click,2026-03-01T09:00:00Z,1,,search"


class Shop:
    """A workspace, a folder of files and a mapping; the smallest thing that can be ingested."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.workspace = Workspace(folder / "workspace", environment={})
        self.mapping = folder / "shop.toml"
        self.map()

    def map(self, *, zone="", end="", recorded='recorded_delay = "0s"', text=None):
        self.mapping.write_text(text or MAPPING.format(zone=zone, end=end, recorded=recorded))

    def write(self, *lines, name="use.csv", header=HEADER):
        content = "\n".join([header, *lines]) + "\n"
        (self.files / name).write_text(content, encoding="utf-8")

    def ingest(self, now=NOW, **other):
        summary = ingest(self.workspace, [self.files], self.mapping, now=now, **other)
        assert all(file.is_balanced for file in summary.files)
        return summary

    @property
    def lake(self):
        return Lake(self.workspace.events_dir)

    @property
    def events(self):
        return self.lake.scan().collect()


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (GOOD.replace(",a,", ",,"), "account_id is missing"),
        (GOOD.replace(",a,", f",{'a' * 300},"), "account_id is longer than 200 characters"),
        (GOOD.replace(",p,", f",{'p' * 300},"), "user_id is longer than 200 characters"),
        (GOOD.replace("2026-03-01T09:00:00Z", "last week"), "occurred_at is no time"),
        (GOOD.replace("2026-03-01T09:00:00Z", ""), "occurred_at is missing"),
        (GOOD.replace("09:00:00Z", "09:00:00"), "occurred_at has no time zone"),
        (GOOD.replace("2026-03", "2026-07"), "occurred_at lies in the future"),
        (GOOD.replace("click", "coffee.drunk"), "kind is not known"),
        (GOOD.replace("click", ""), "kind is missing"),
        (GOOD.replace(",1,,", ",-1,,"), "event_count is negative"),
        (GOOD.replace(",1,,", ",1.5,,"), "event_count is no whole number"),
        (GOOD.replace(",1,,", ",1,NaN,"), "quantity is not finite"),
        (GOOD.replace(",1,,", ",1,-inf,"), "quantity is not finite"),
        (GOOD.replace(",1,,", ",1,lots,"), "quantity is no number"),
        (GOOD.replace("search", "s" * 5000), "properties is longer than 4000 characters"),
        (GOOD + ",and,more", "has 10 fields where the header has 8"),
        ("1,a,p", "has 3 fields where the header has 8"),
        (GOOD.replace(",a,", ",\udce4,"), "is not UTF-8 text"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_land(shop, bad, reason):
    lines = [
        HEADER,
        GOOD.replace("1,a", "0,b"),
        bad.replace("1,a", "x,a"),
        GOOD.replace("1,a", "2,b"),
    ]
    (shop.files / "use.csv").write_bytes(("\n".join(lines) + "\n").encode(errors="surrogateescape"))
    summary = shop.ingest()
    assert (summary.read, summary.landed, summary.quarantined) == (3, 2, {reason: 1})
    [refused] = shop.lake.quarantined().collect().rows(named=True)
    assert (refused["file"], refused["line"], refused["reason"]) == ("use.csv", 3, reason)
    assert refused["raw"]
    assert len(refused["raw"]) < 2_100
    before = shop.lake.manifest
    again = shop.ingest()
    assert (again.landed, again.duplicates, again.quarantined) == (0, 2, {reason: 1})
    assert shop.lake.manifest == before


def test_a_line_is_the_line_of_its_file_when_bad_ones_come_before(shop):
    shop.write("broken", GOOD, "broken too", GOOD.replace(",a,", ",,"))
    shop.ingest()
    lines = shop.lake.quarantined().collect().sort("line")["line"].to_list()
    assert lines == [2, 4, 5]


def test_a_zone_in_the_mapping_makes_naive_times_good(shop):
    shop.map(zone='zone = "Europe/Berlin"')
    shop.write(GOOD.replace("09:00:00Z", "09:00:00"))
    assert shop.ingest().landed == 1
    assert shop.events["occurred_at"][0] == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T08:56:00Z", datetime(2026, 3, 1, 9, tzinfo=UTC)),  # two clocks: raised to it
        ("2026-03-01T08:54:00Z", "recorded_at is before occurred_at"),
        ("", "recorded_at is missing"),
        ("2026-06-01T10:00:00Z", NOT_YET_KNOWN),
    ],
)
def test_recorded_at_is_never_before_occurred_at(shop, recorded, expected):
    shop.map(recorded='recorded_at = "known"')
    shop.write(f"{GOOD},{recorded}", header=HEADER + ",known")
    summary = shop.ingest()
    if isinstance(expected, datetime):
        assert shop.events["recorded_at"].to_list() == [expected]
    else:
        assert {**summary.quarantined, **summary.left_out} == {expected: 1}


def test_a_late_event_lands_and_is_known_late(shop):
    shop.map(recorded='recorded_at = "known"')
    shop.write(f"{GOOD},2026-05-20T00:00:00Z", header=HEADER + ",known")
    assert shop.ingest().landed == 1
    row = shop.events.row(0, named=True)
    assert (row["occurred_at"].month, row["recorded_at"].month) == (3, 5)


def test_what_comes_after_complete_until_is_not_read(shop):
    shop.map(end="complete_until = 2026-03-02T00:00:00Z")
    shop.write(
        GOOD,
        GOOD.replace("1,a", "2,a").replace("03-01T09", "03-02T00"),
        GOOD.replace("1,a", "3,a").replace("03-01T09:00:00Z", "03-02T00:00:00.000001Z"),
        GOOD.replace("1,a", "4,a").replace("2026", "2027"),
    )
    summary = shop.ingest()
    assert (summary.landed, summary.left_out) == (2, {AFTER_COMPLETE: 2})
    assert shop.workspace.settings.complete_until == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_complete_source_read_at_an_earlier_moment_is_left_out_not_refused(shop):
    shop.map(end="complete_until = 2026-05-01T00:00:00Z")
    shop.write(GOOD, GOOD.replace("1,a", "2,a").replace("2026-03", "2026-04"))
    summary = shop.ingest(now=datetime(2026, 3, 15, tzinfo=UTC))
    assert (summary.landed, summary.left_out) == (1, {NOT_YET_KNOWN: 1})
    assert shop.ingest().landed == 1


def test_newer_exports_that_are_complete_until_later_are_read_at_once(shop):
    shop.map(end="complete_until = 2026-03-02T00:00:00Z")
    shop.write(GOOD)
    assert shop.ingest(now=None).landed == 1
    shop.map(end="complete_until = 2026-05-02T00:00:00Z")
    shop.write(GOOD, GOOD.replace("1,a", "2,a").replace("2026-03", "2026-04"))
    summary = shop.ingest(now=None)
    assert (summary.landed, summary.duplicates) == (1, 1)
    assert shop.workspace.settings.complete_until == datetime(2026, 5, 2, tzinfo=UTC)


def test_a_table_may_say_for_itself_until_when_it_is_complete(shop):
    shop.mapping.write_text(
        MAPPING.format(zone="", end="", recorded='recorded_delay = "0s"').replace(
            "[tables.use]", "[tables.use]\ncomplete_until = 2026-03-02T00:00:00Z"
        )
    )
    shop.write(GOOD, GOOD.replace("1,a", "2,a").replace("03-01", "03-03"))
    assert (shop.ingest(now=None).landed, shop.ingest(now=None).left_out) == (
        1,
        {AFTER_COMPLETE: 1},
    )


def test_the_stated_clock_of_a_sample_comes_before_what_its_tables_say(shop):
    shop.map(end="complete_until = 2026-05-02T00:00:00Z")
    shop.workspace.change_settings(clock=datetime(2026, 3, 2, tzinfo=UTC))
    shop.write(GOOD, GOOD.replace("1,a", "2,a").replace("2026-03", "2026-04"))
    summary = shop.ingest(now=None)
    assert (summary.landed, summary.left_out) == (1, {NOT_YET_KNOWN: 1})


def test_a_row_that_counts_nothing_is_left_out(shop):
    shop.write(GOOD.replace(",1,,", ",0,,"))
    assert shop.ingest().left_out == {"event_count is 0": 1}


def test_repeats_corrections_and_conflicts_are_told_apart(shop):
    shop.map(recorded='recorded_at = "known"')
    day = "2026-03-{:02}T00:00:00Z"
    row = "{},a,p,click,2026-03-01T00:00:00Z,{},,search," + day
    shop.write(
        row.format("x", 1, 2),
        row.format("x", 1, 2),
        row.format("x", 5, 4),
        row.format("y", 1, 2),
        row.format("y", 5, 2),
        header=HEADER + ",known",
    )
    summary = shop.ingest()
    assert (summary.landed, summary.duplicates, summary.corrected) == (2, 1, 1)
    assert list(summary.quarantined.values()) == [1]
    assert shop.events.sort("recorded_at").filter(event_id="x")["event_count"].to_list() == [1, 5]


def test_a_table_that_is_read_with_another_mapping_is_warned_of(shop):
    shop.write("", "1,a,p,click,2026-03-01T09:00:00Z,1,,search")
    shop.map(text=MAPPING.format(zone="", end="", recorded='recorded_delay = "0s"'))
    assert shop.ingest().warnings == ()
    assert shop.ingest().warnings == ()  # the same mapping
    without_ids = MAPPING.replace('event_id = "id"\n', "")
    shop.map(text=without_ids.format(zone="", end="", recorded='recorded_delay = "1d"'))
    (warning,) = shop.ingest().warnings
    assert warning.startswith("use was read with another mapping before, and 1 new event stands")
    assert shop.ingest().warnings == ()  # nothing new
    shop.map(
        text=without_ids.format(
            zone="", end="complete_until = 2026-05-01T00:00:00Z", recorded='recorded_delay = "1d"'
        )
    )
    shop.write("2,b,p,click,2026-03-02T09:00:00Z,1,,search", name="use2.csv")
    assert not any("another mapping" in one for one in shop.ingest().warnings)  # only the end moved


def test_a_missing_column_stops_the_run_before_anything_is_written(shop):
    shop.write(GOOD, name="use_1.csv")
    shop.write("1,a", name="use_2.csv", header="id,company")
    with pytest.raises(
        MappingError,
        match=r"use_2.csv has no column 'person', 'what'.*It has: "
        r"id, company",
    ):
        shop.ingest()
    assert shop.events.height == 0


PARQUET = b"PAR1 is how it begins, and no more"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("use.parquet", b"id,company\n1,a\n", "use.parquet is no Parquet file"),
        ("use.parquet", PARQUET, "use.parquet is a damaged Parquet file"),
        ("use.csv", PARQUET, "use.csv is a Parquet file, not CSV"),
        ("use.csv", b"PK\x03\x04 a workbook", "use.csv is a ZIP or Excel file, not CSV"),
        ("use.csv", gzip.compress(b"id\n1\n", mtime=0), "use.csv is a gzip file, not CSV"),
        ("use.csv", b"", "use.csv is empty"),
        ("use.csv", b"id\x00\x01\x02\n", "use.csv holds binary data"),
        (
            "use.csv",
            (HEADER + '\n1,a,"p,click\n').encode(),
            "opening quotation mark without a closing",
        ),
        ("use.csv.gz", b"id\n1\n", "use.csv.gz is not packed with gzip"),
        (
            "use.csv.gz",
            gzip.compress(b"id\n1\n" * 99, mtime=0)[:-9],
            "damaged or cut-off gzip file",
        ),
        ("use.jsonl", b"id,company\n1,a\n", "use.jsonl holds no JSON object in any line"),
        ("use.xlsx", b"PK\x03\x04", "ending of use.xlsx does not say what it is"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_stops_the_run(shop, name, content, message):
    shop.write(GOOD, name="use_0.csv")
    (shop.files / name).write_bytes(content)
    with pytest.raises((SourceFileError, MappingError), match=message):
        shop.ingest()
    assert shop.events.height == 0
    assert shop.lake.quarantined().collect().height == 0


def test_every_format_gives_the_same_events(tmp_path):
    rows = [
        dict(zip(HEADER.split(","), GOOD.split(","), strict=True)),
        dict(
            zip(
                HEADER.split(","),
                (
                    "2",
                    "a",
                    None,
                    "click",
                    "2026-03-01T09:00:00Z",
                    "3",
                    "1.5",
                    'ünïcode " , \n quoted',
                ),
                strict=True,
            )
        ),
    ]
    frame = pl.DataFrame(rows)
    digests = set()
    for ending in ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"):
        shop = Shop(tmp_path / ending)
        path = shop.files / f"use.{ending}"
        if ending == "parquet":
            frame.with_columns(
                pl.col("at").str.to_datetime("%+"),
                pl.col("n").cast(pl.Int16),
                pl.col("value").cast(pl.Float32, strict=False),
            ).write_parquet(path)
        else:
            text = frame.write_csv() if ending.startswith("csv") else frame.write_ndjson()
            path.write_bytes(
                gzip.compress(text.encode()) if ending.endswith("gz") else text.encode()
            )
        assert shop.ingest().landed == 2
        digests.add(shop.lake.digest)
    assert len(digests) == 1


def test_other_files_and_columns_are_left_alone_and_mentioned(shop):
    shop.write(GOOD + ",blue", header=HEADER + ",colour")
    (shop.files / "notes.txt").write_text("nothing to see")
    summary = shop.ingest()
    assert summary.unmapped_files == ("notes.txt",)
    assert summary.files[0].unmapped_columns == ("colour",)
    said = str(summary)
    assert "files left alone: notes.txt" in said
    assert "columns left alone: colour" in said
    assert "1 landed" in said


def test_paths_that_hold_nothing_to_ingest_are_refused(shop):
    with pytest.raises(MappingError, match=r"holds a file that the mapping takes \(use\*\.\*\)"):
        shop.ingest()
    with pytest.raises(SourceFileError, match="There is no file or folder"):
        ingest(shop.workspace, [shop.files / "none"], shop.mapping, now=NOW)
    (shop.files / "notes.txt").write_text("x")
    with pytest.raises(MappingError, match=r"No table of the mapping takes notes.txt"):
        ingest(shop.workspace, [shop.files / "notes.txt"], shop.mapping, now=NOW)


def test_a_workspace_that_somebody_else_is_writing_is_left_alone(shop):
    shop.write(GOOD)
    code = (
        "import sys, time; from features.workspace import Workspace\n"
        "with Workspace(sys.argv[1]).lock():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(shop.workspace.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(WorkspaceBusyError, match="Another process is writing"):
        shop.ingest()
    holder.communicate()
    assert shop.ingest().landed == 1


def test_without_any_moment_the_run_names_the_file_that_should_say_one(shop):
    shop.write(GOOD)
    with pytest.raises(WorkspaceError, match=r"Add complete_until to shop\.toml") as refused:
        shop.ingest(now=None)
    example = str(refused.value).splitlines()[-1].strip()
    shop.map(end=example.replace("2024", "2026"))
    shop.write(GOOD.replace("2026-03", "2026-01"))
    assert shop.ingest(now=None).landed == 1


def test_a_moment_that_the_workspace_states_is_kept_where_the_mapping_says_none(shop):
    shop.workspace.root.mkdir(exist_ok=True)
    (shop.workspace.root / "workspace.toml").write_text("complete_until = 2026-04-01T00:00:00Z\n")
    shop.write(GOOD)
    assert shop.ingest(now=None).landed == 1
    assert shop.workspace.settings.complete_until == datetime(2026, 4, 1, tzinfo=UTC)
    assert shop.ingest(now=None).landed == 0  # and the next run still has its moment


def test_events_without_a_mapping_take_their_moment_from_the_settings(shop):
    path = shop.files / "events.jsonl"
    path.write_text(json.dumps(row()))
    with pytest.raises(WorkspaceError, match=r"Add complete_until to .*workspace\.toml") as refused:
        ingest(shop.workspace, [path], None)
    shop.workspace.root.mkdir(exist_ok=True)
    (shop.workspace.root / "workspace.toml").write_text(
        str(refused.value).splitlines()[-1].strip().replace("2024-02", "2026-04")
    )
    assert ingest(shop.workspace, [path], None).landed == 1


def test_a_table_may_be_a_query(shop, tmp_path):
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE use (id, company, person, what, at, n, value, feature)")
    database.execute(
        "INSERT INTO use VALUES ('1', 'a', 'p', 'click', '2026-03-01T09:00:00Z', 1, 2.5, 's')"
    )
    database.commit()
    database.close()
    text = MAPPING.format(zone="", end="", recorded='recorded_delay = "0s"').replace(
        'files = ["use*.*"]', 'query = "SELECT * FROM use"\nurl_from = "SHOP_URL"'
    )
    shop.map(text=text)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    assert shop.ingest(environment={"SHOP_URL": url}).landed == 1
    with pytest.raises(MappingError, match=r"environment variable SHOP_URL .* is not set"):
        shop.ingest(environment={})
    with pytest.raises(MappingError, match="address in SHOP_URL cannot be read") as refused:
        shop.ingest(environment={"SHOP_URL": "postgresql://shop:pa@ss:word@127.0.0.1/shop"})
    assert "word@" not in str(refused.value)
    assert refused.value.__suppress_context__
    with pytest.raises(MappingError, match="database in SHOP_URL cannot be used: Can't load"):
        shop.ingest(environment={"SHOP_URL": "nosuch://shop:password@127.0.0.1/shop"})
    shop.map(text=text.replace("FROM use", "FROM nowhere"))
    with pytest.raises(MappingError, match=r"query of table 'use' failed: .*nowhere"):
        shop.ingest(environment={"SHOP_URL": url})


def row(**other):
    return {
        "account_id": "a",
        "kind": "user.session",
        "occurred_at": "2026-03-01T09:00:00Z",
    } | other


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({}, "account_id: field required"),
        (row(account_id=7), "account_id: input should be a valid string"),
        (row(account_id=" "), "account_id: string should have at least 1 character"),
        (row(kind="coffee.drunk"), "kind is not known"),
        (row(occurred_at="2026-03-01"), "occurred_at has no time zone"),
        (row(occurred_at="2027-03-01T00:00:00Z"), "occurred_at lies in the future"),
        (row(quantity=float("nan")), "quantity: input should be a finite number"),
        (row(event_count=-1), "event_count: input should be greater than or equal to 0"),
        (row(properties={"a": {}}), "properties: input should be a valid string"),
        (row(colour="blue"), "colour: extra inputs are not permitted"),
        (row(user_id="\ud800"), "holds text that is no Unicode"),
    ],
)
def test_a_bad_event_of_a_request_is_quarantined(tmp_path, bad, reason):
    lake = Lake(tmp_path / "events")
    summary = ingest_rows(lake, [row(), bad], now=NOW, source="api")
    assert (summary.landed, summary.quarantined) == (1, {reason: 1})
    assert lake.scan().collect()["recorded_at"].to_list() == [NOW]
    assert lake.quarantined().collect()["line"].to_list() == [2]


def test_the_fate_of_every_row_of_a_request_is_told(tmp_path):
    lake = Lake(tmp_path / "events")
    sent = [
        row(event_id="x", quantity=1),
        row(event_id="x", quantity=2, recorded_at="2026-06-01T00:00:00Z"),
        row(kind="no"),
        row(event_count=0),
        row(event_id="x", recorded_at="2026-03-02T00:00Z"),
    ]
    [first] = ingest_rows(lake, sent, now=NOW, source="api").files
    assert [
        (fate.line, fate.became, fate.event_id)
        for fate in sorted(first.fates, key=lambda fate: fate.line)
    ] == [
        (1, "corrected", "x"),
        (2, "refused", "x"),
        (3, "refused", None),
        (4, "left_out", None),
        (5, "landed", "x"),
    ]
    assert {fate.line: fate.reason for fate in first.fates if fate.reason} == {
        2: NOT_LATER,
        3: "kind is not known",
        4: "event_count is 0",
    }


def test_an_event_that_is_sent_again_at_a_later_moment_is_a_repeat(tmp_path):
    lake = Lake(tmp_path / "events")
    ingest_rows(lake, [row(event_id="x")], now=NOW, source="api")
    [again] = ingest_rows(
        lake, [row(event_id="x")], now=NOW + timedelta(days=1), source="api"
    ).files
    assert [(fate.became, fate.event_id) for fate in again.fates] == [("duplicate", "x")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    [
        *row(),
        "event_id",
        "user_id",
        "recorded_at",
        "event_count",
        "user_count",
        "quantity",
        "properties",
    ]
) | st.text(max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(keys, json_values, max_size=4).map(lambda some: row() | some), max_size=4
    )
)
def test_whatever_a_request_holds_every_row_is_accounted_for(tmp_path_factory, rows):
    lake = Lake(tmp_path_factory.mktemp("lake") / "events")
    summary = ingest_rows(lake, rows, now=NOW, source="api")
    assert summary.files[0].is_balanced
    assert summary.read == len(rows)
    assert lake.scan().collect().height == summary.landed + summary.corrected


def test_json_lines_of_events_need_no_mapping(shop):
    lines = [
        json.dumps(row()),
        "{",
        "[1]",
        json.dumps(row(kind="no")),
        "",
        '{"account_id": "\\ud800"}',
    ]
    path = shop.files / "events.jsonl"
    path.write_text("\n".join(lines))
    summary = ingest(shop.workspace, [path], None, now=NOW)
    assert (summary.read, summary.landed) == (5, 1)
    assert summary.quarantined == {
        "is not JSON": 1,
        "is not a JSON object": 1,
        "kind is not known": 1,
        "holds text that is no Unicode": 1,
    }
    for wrong, message in (
        (shop.mapping, "needs a mapping"),
        (shop.files / "none.jsonl", "There is no file"),
    ):
        with pytest.raises((MappingError, SourceFileError), match=message):
            ingest(shop.workspace, [wrong], None, now=NOW)
    path.write_text("hello")
    with pytest.raises(SourceFileError, match="holds no JSON object in any line"):
        ingest(shop.workspace, [path], None, now=NOW)


KILLED_AT = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from features.ingest.run import ingest
from features.workspace import Workspace

root, files, mapping, nth = sys.argv[1:]
steps = 0

def kill_at_step(event, arguments):
    global steps
    on_files = event in ("open", "os.rename", "os.remove", "os.mkdir")
    if on_files and str(arguments[0]).startswith(root):
        steps += 1
        if steps == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_at_step)
ingest(Workspace(root, environment={}), [Path(files)], Path(mapping),
       now=datetime(2026, 6, 1, tzinfo=UTC))
print(steps)
"""


def state(workspace):
    lake = Lake(workspace.events_dir)
    return lake.digest, lake.scan().collect().height, sorted(lake.quarantined().collect()["row_id"])


def run_killed(shop, nth, copy):
    """Ingest into a copy of the workspace and be killed at the nth step on its files."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(shop.workspace.root, copy)
    return run_program(
        KILLED_AT,
        str(copy),
        str(shop.files),
        str(shop.mapping),
        str(nth),
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )


@pytest.fixture
def half_done(shop, tmp_path):
    """A shop that has ingested its first file and is about to ingest more."""
    shop.write(GOOD, "broken", GOOD.replace("1,a", "2,b"))
    shop.map(recorded='recorded_at = "at"')
    shop.ingest()
    shop.write(
        GOOD.replace("1,a", "9,c"),
        "broken again",
        GOOD.replace(",1,,", ",8,,").replace("03-01", "03-05"),
        name="use_more.csv",
    )
    old = state(shop.workspace)
    copy = tmp_path / "copy"
    whole = run_killed(shop, -1, copy)
    assert whole.returncode == 0, whole.stderr
    new = state(Workspace(copy))
    assert new != old
    return shop, copy, old, new, int(whole.stdout)


def check_kill(half_done, nth):
    shop, copy, old, new, _ = half_done
    copy = copy.with_name(f"copy-{nth}")  # a lake that goes back in a place is refused
    assert run_killed(shop, nth, copy).returncode == -signal.SIGKILL
    assert state(Workspace(copy)) in (old, new)
    ingest(Workspace(copy, environment={}), [shop.files], shop.mapping, now=NOW)
    assert state(Workspace(copy)) == new


def test_a_killed_run_leaves_the_old_or_the_new_lake_and_the_next_completes_it(half_done):
    steps = half_done[-1]
    rng = random.Random(20261121)
    for nth in sorted({*rng.sample(range(1, steps + 1), 4), steps}):
        check_kill(half_done, nth)


@pytest.mark.slow
def test_a_run_killed_at_any_step_leaves_the_old_or_the_new_lake(half_done):
    for nth in range(1, half_done[-1] + 1):
        check_kill(half_done, nth)
