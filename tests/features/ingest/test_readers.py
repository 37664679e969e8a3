"""A file gives its rows with their lines, or says as a whole why it cannot be read."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from features.events.schema import LINE
from features.ingest._text_chunks import LARGEST_ROW, SourceFileError
from features.ingest.mapped_tables import EventTable, TableSource
from features.ingest.readers import PIECE_ROWS, read_pieces, read_table

TABLE = EventTable(
    source=TableSource(name="t", files=("*",)),
    account="a",
    occurred_at="b",
    kind="user.session",
    recorded_delay="0s",
)


def read(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return read_table(path, TABLE)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        pytest.param(b"a,b\n1,2\n", [("1", "2", 2)], id="plain"),
        pytest.param(b"a,b\n1,2", [("1", "2", 2)], id="no last line break"),
        pytest.param(b"a,b\n1,2\n\n\r\n", [("1", "2", 2)], id="empty lines at the end"),
        pytest.param(b"a,b", [], id="only a header"),
        pytest.param(b"c,b,a\n3,2,1\n", [("1", "2", 2)], id="other columns and order"),
        pytest.param(b"\xef\xbb\xbfa,b\r\n1,2\r\n", [("1", "2", 2)], id="as Windows writes it"),
        pytest.param(
            b'a,b\n1,"x\n""y"""\n3,4\n',
            [("1", 'x\n"y"', 2), ("3", "4", 4)],
            id="a line break in quotes",
        ),
        pytest.param(
            b'a,b\n1,"x\ny"\n2\n3,4\n',
            [("1", "x\ny", 2), ("3", "4", 5)],
            id="a broken row after a line break in quotes",
        ),
    ],
)
def test_csv_rows_come_with_their_lines(tmp_path, content, rows):
    raw = read(tmp_path, content)
    assert raw.frame.select("a", "b", LINE).rows() == rows


def test_a_broken_line_is_named_by_its_line(tmp_path):
    raw = read(tmp_path, b'a,b\n1,"x\ny"\n2\n3,4\n')
    assert raw.broken == ((4, "has 1 fields where the header has 2", "2"),)


def test_a_field_of_some_megabytes_is_read(tmp_path):
    raw = read(tmp_path, b"a,b\n1," + b"z" * 5_000_000 + b"\n2,3\n")
    assert raw.frame.height == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", "more than one column named 'a'"),
        (b"\n\na,b\n1,2\n", "no header row that can be read as CSV"),
        ("a,b\n1,2\n".encode("utf-16"), "holds binary data, not CSV in UTF-8"),
    ],
)
def test_a_csv_that_can_not_be_told_apart_is_refused(tmp_path, content, message):
    with pytest.raises(SourceFileError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_that_went_away_is_named(tmp_path, name):
    with pytest.raises(SourceFileError, match=rf"{name} cannot be read: No such file"):
        read_table(tmp_path / name, TABLE)


def test_a_field_too_large_for_any_row_is_refused(tmp_path):
    with pytest.raises(SourceFileError, match=r"t\.csv has a row of more than 32 MB"):
        read(tmp_path, b'a,b\n1,"' + b"z" * (2 * LARGEST_ROW) + b'"\n2,3\n')


MANY = 2 * PIECE_ROWS + 5


def check_many(tmp_path, name, *, first_line):
    pieces = list(read_pieces(tmp_path / name, TABLE))
    assert len(pieces) > 1
    lines = pl.concat([piece.frame for piece in pieces]).select("a", LINE)
    assert lines.equals(
        pl.DataFrame({"a": [str(n) for n in range(MANY)]}).with_columns(
            pl.int_range(first_line, first_line + MANY, dtype=pl.Int64).alias(LINE)
        )
    )
    return pieces


def test_a_large_csv_comes_in_pieces_with_the_lines_of_the_file(tmp_path):
    rows = [f"{n},{'z' * 60}" for n in range(MANY)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *rows, "broken", '7,"x', 'y"', "8,x"]))
    pieces = list(read_pieces(tmp_path / "t.csv", TABLE))
    assert len(pieces) > 1
    frame = pl.concat([piece.frame for piece in pieces])
    assert frame[:MANY][LINE].to_list() == list(range(2, MANY + 2))
    assert frame[:MANY]["a"].to_list() == [str(n) for n in range(MANY)]
    assert [piece.broken for piece in pieces if piece.broken] == [
        ((MANY + 2, "has 1 fields where the header has 2", "broken"),)
    ]
    assert frame[MANY:].select("a", "b", LINE).rows() == [
        ("7", "x\ny", MANY + 3),
        ("8", "x", MANY + 5),
    ]


def test_a_large_parquet_comes_in_pieces_with_the_rows_of_the_file(tmp_path):
    pl.DataFrame({"b": range(MANY), "a": [str(n) for n in range(MANY)]}).write_parquet(
        tmp_path / "t.parquet"
    )
    check_many(tmp_path, "t.parquet", first_line=1)


def test_a_large_jsonl_comes_in_pieces_with_the_lines_of_the_file(tmp_path):
    with gzip.open(tmp_path / "t.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(f'{{"a": {n}, "b": "{"z" * 30}"}}\n' for n in range(MANY))
    pieces = check_many(tmp_path, "t.jsonl.gz", first_line=1)
    assert pieces[-1].present == ("a", "b")


def test_an_empty_parquet_is_one_piece_without_rows(tmp_path):
    pl.DataFrame(schema={"a": pl.String, "b": pl.String}).write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", TABLE).frame.height == 0


def test_a_column_that_only_late_json_lines_hold_is_no_missing_column(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    assert read_table(tmp_path / "t.jsonl", TABLE).present == ("a", "b")
