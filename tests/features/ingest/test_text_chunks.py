"""However a text is cut into blocks, its rows stay whole and none is lost."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.ingest._text_chunks import LARGEST_ROW, SourceFileError, whole_rows

row = st.lists(st.text(alphabet='ab,"\n', max_size=4), min_size=2, max_size=3)


def written(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def read(blocks):
    return [list(csv.reader(io.StringIO(block.decode(), newline=""))) for block in blocks]


@settings(deadline=None)
@given(st.lists(row, min_size=1, max_size=8), st.integers(1, 12))
def test_blocks_begin_and_end_with_a_row(rows, size):
    content = written(rows)
    blocks = (content[at : at + size] for at in range(0, len(content), size))
    assert [row for block in read(whole_rows(blocks, "t", quoted=True)) for row in block] == rows


@settings(deadline=None)
@given(st.text(alphabet="ab\n\r", max_size=30), st.integers(1, 9))
def test_without_quotation_marks_nothing_but_empty_last_lines_is_left_away(text, size):
    content = text.encode()
    blocks = (content[at : at + size] for at in range(0, len(content), size))
    kept = content.rstrip(b"\r\n")
    assert b"".join(whole_rows(blocks, "t", quoted=False)).rstrip(b"\r\n") == kept


@pytest.mark.parametrize("content", [b'a\n"b\nc\n', b'"', b'a,b"\n'])
def test_a_quotation_mark_that_is_never_closed_is_refused(content):
    with pytest.raises(SourceFileError, match="opening quotation mark without a closing one"):
        list(whole_rows(iter([content]), "t", quoted=True))


def test_a_row_larger_than_any_should_be_is_refused():
    with pytest.raises(SourceFileError, match="t has a row of more than 32 MB"):
        list(whole_rows(iter([b"z" * LARGEST_ROW, b"z"]), "t", quoted=False))
