"""A file that was made to do harm is refused in a sentence, in bounded memory; what is whole is read."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.events.schema import LINE
from features.ingest import readers
from features.ingest._text_chunks import SourceFileError
from features.ingest.mapped_tables import EventTable, MappingError, TableSource
from features.ingest.mapping import load_mapping
from features.ingest.parquet_files import LARGEST_PIECE
from features.ingest.readers import read_table
from features.ingest.run import ingest_jsonl
from features.lake import _tally
from features.lake.lake import Lake
from features.workspace_files import WorkspaceError

TABLE = EventTable(
    source=TableSource(name="t", files=("*",)),
    account="a",
    occurred_at="b",
    kind="user.session",
    recorded_delay="0s",
)


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return read_table(path, TABLE)


def test_rows_after_a_long_text_with_a_line_break_have_their_lines(tmp_path):
    raw = read(tmp_path, "t.csv", b'a,b\n1,"' + b"x" * 200_000 + b'\ny"\n3,4\n')
    assert raw.frame.get_column(LINE).to_list() == [2, 4]


def test_lines_that_end_as_on_old_macs_are_refused_rather_than_read_as_no_rows(tmp_path):
    with pytest.raises(SourceFileError, match="carriage returns alone"):
        read(tmp_path, "t.csv", b"a,b\r1,2\r3,4\r")


@pytest.mark.parametrize("header", ["a,b,Kündigung".encode("latin-1"), b"\xff\xfe"])
def test_a_header_in_another_encoding_is_named_with_what_to_do(tmp_path, header):
    with pytest.raises(SourceFileError, match=r"header row of t\.csv is not UTF-8 text"):
        read(tmp_path, "t.csv", header + b"\n1,2,3\n")


@pytest.mark.parametrize(
    ("name", "first", "line"), [("t.csv", b"a,b\n", b"x\n"), ("t.jsonl", b"", b"x\n")]
)
def test_a_flood_of_lines_that_are_no_rows_is_refused(tmp_path, monkeypatch, name, first, line):
    monkeypatch.setattr(readers, "MOST_BROKEN", 1_000)
    row = b'{"a": "1", "b": "2"}\n' if name == "t.jsonl" else b"1,2\n"
    assert len(read(tmp_path, name, first + line * 1_000 + row).broken) == 1_000
    with pytest.raises(SourceFileError, match="more than 1,000 lines that are"):
        read(tmp_path, name, first + line * 1_100 + row)


def test_a_file_whose_rows_are_all_refused_stops_before_memory_does(tmp_path, monkeypatch):
    monkeypatch.setattr(_tally, "MOST_REFUSED", 1_000)
    lake = Lake(tmp_path / "events", tmp_path / "quarantine")
    path = tmp_path / "e.jsonl"
    path.write_text('{"account_id": "a"}\n' * 1_001, encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"More than 1,000 rows of e\.jsonl are refused, most"):
        ingest_jsonl(lake, [path], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert lake.quarantined().collect().height == 0
    path.write_text('{"account_id": "a"}\n' * 1_000, encoding="utf-8")
    ingest_jsonl(lake, [path], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert lake.quarantined().collect().height == 1_000


def test_a_packed_row_of_a_gigabyte_is_refused_when_it_is_too_large(tmp_path):
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wb", 9) as packed:
        for _ in range(64):
            packed.write(b"x" * (1 << 20))
    with pytest.raises(SourceFileError, match="row of more than 32 MB"):
        read_table(path, TABLE)


def test_a_long_text_that_stands_in_every_row_is_refused_before_it_is_written_out(tmp_path):
    text, rows = "x" * 100_000, LARGEST_PIECE // 100_000 + 1
    same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])
    pq.write_table(pa.table({"a": same, "b": same}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 300_000
    with pytest.raises(SourceFileError, match=r"MB of text in 10,738 rows"):
        read_table(tmp_path / "t.parquet", TABLE)


def test_a_flipped_parquet_file_is_read_or_refused(tmp_path):
    pl.DataFrame({"a": ["a1"], "b": [datetime(2026, 1, 1, tzinfo=UTC)]}).write_parquet(
        tmp_path / "whole.parquet"
    )
    whole = (tmp_path / "whole.parquet").read_bytes()
    chance, refused = random.Random(4), 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(3):
            content[chance.randrange(4, len(content))] ^= chance.randrange(1, 256)
        try:
            read(tmp_path, "t.parquet", bytes(content))
        except (SourceFileError, MappingError):
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 100_000, "x = " + "9" * 5_000], ids=["deep", "a number of many digits"]
)
def test_a_mapping_that_toml_cannot_hold_is_refused_by_name(tmp_path, text):
    (tmp_path / "mapping.toml").write_text(text, encoding="utf-8")
    with pytest.raises((MappingError, WorkspaceError), match=r"mapping\.toml"):
        load_mapping(tmp_path / "mapping.toml")
