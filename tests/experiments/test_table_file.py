"""A file that is no table as it stands is refused by what is wrong with it."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from experiments.table_file import TableFileError, read_table, table_bytes, with_facts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a\n1,2,3\n", "has the column 'a' twice. Name each column once"),
        (
            "account_id;action;outcome\na1;call;3\n",
            "has one column, 'account_id;action;outcome'. Separate columns with commas",
        ),
        ("account_id\taction\na1\tcall\n", "has one column, .* Separate columns with commas"),
    ],
    ids=["twice", "semicolons", "tabs"],
)
def test_a_heading_that_is_none_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableFileError, match=message):
        read_table(path, "rows")


def test_columns_keep_their_names_and_names_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("account_id,a_duplicated\n007,1\n", encoding="utf-8")
    found = read_table(tmp_path / "table.csv", "rows")
    assert found.to_dicts() == [{"account_id": "007", "a_duplicated": 1}]
    pl.DataFrame({"a_duplicated_0": [1]}).write_parquet(tmp_path / "table.parquet")
    assert read_table(tmp_path / "table.parquet", "rows").columns == ["a_duplicated_0"]


def test_a_file_that_is_no_table_is_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(
        TableFileError, match=r"There is no file .*none\.csv\. Name .* file of trials"
    ):
        read_table(tmp_path / "none.csv", "trials")
    broken, empty = tmp_path / "broken.parquet", tmp_path / "empty.csv"
    broken.write_bytes(b"not parquet at all")
    empty.write_text("", encoding="utf-8")
    for path in (broken, empty):
        with pytest.raises(TableFileError, match=f"{path.name} cannot be read as a table"):
            read_table(path, "trials")
    monkeypatch.setattr("experiments.table_file.MOST_ROWS", 3)
    pl.DataFrame({"a": [1, 2, 3, 4]}).write_csv(tmp_path / "table.csv")
    with pytest.raises(TableFileError, match="has more than 3 rows"):
        read_table(tmp_path / "table.csv", "trials")


TEXTS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "'plain", "a=1", "", None)


def test_what_is_written_is_no_formula_and_read_as_it_was(tmp_path: Path) -> None:
    frame = pl.DataFrame({"account_id": TEXTS, "=cmd": ["-0.5", *TEXTS[1:]], "value": -0.5})
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"table{suffix}"
        path.write_bytes(table_bytes(frame, suffix))
        assert read_table(path, "rows").fill_null("").equals(frame.fill_null(""))
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        cells = {cell for row in csv.reader(file) for cell in row}
    assert {cell for cell in cells if cell[:1] in tuple("=+-@\t\r")} == {"-0.5"}
    assert ("'=cmd" in cells, "'plain" in cells) == (True, True)


TABLE = "member,done\n007,1\n8,0\n9,0\n"


def joined(
    tmp_path: Path, facts: pl.DataFrame, *names: str, account: str = "member"
) -> pl.DataFrame:
    (tmp_path / "table.csv").write_text(TABLE)
    table = read_table(tmp_path / "table.csv", "rows", texts=(account,))
    return with_facts(table, facts, account=account, names=names, file="facts.parquet")


def test_facts_of_another_table_are_joined_by_the_account_with_its_zeros(tmp_path: Path) -> None:
    facts = pl.DataFrame(
        {"account_id": ["8", "007", "1"], "size": [2.0, 7.0, 1.0], "done": [5, 5, 5]}
    )
    found = joined(tmp_path, facts, "size", "done")
    assert found.rows() == [("007", 1, 7.0), ("8", 0, 2.0), ("9", 0, None)]


@pytest.mark.parametrize(
    ("facts", "names", "account", "said"),
    [
        ({"account_id": ["8"], "size": [1]}, ("sise",), "member", "Did you mean size?"),
        ({"account_id": ["8", "8"], "size": [1, 2]}, ("size",), "member", "'8' more than once"),
        ({"account_id": ["7"], "size": [1]}, ("size",), "member", "compare '007' with '7'"),
        ({"who": ["8"], "size": [1]}, ("size",), "member", "lacks the column(s) account_id"),
        ({"account_id": ["8"], "size": [1]}, ("size",), "company", "Name it with --account"),
    ],
)
def test_facts_that_cannot_be_joined_are_refused(
    tmp_path: Path, facts: dict[str, list[object]], names: tuple[str, ...], account: str, said: str
) -> None:
    with pytest.raises(TableFileError) as error:
        joined(tmp_path, pl.DataFrame(facts), *names, account=account)
    assert said in str(error.value)
