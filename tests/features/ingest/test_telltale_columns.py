"""Columns that would mislead a model are named at ingestion, and honest ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.ingest.run import ingest
from features.workspace import Workspace

ACCOUNTS = 40
LEFT = range(12)


def warnings(tmp_path: Path, *, end="cancelled", attribute, used="5"):
    """The warnings of a run: ``attribute`` gives the value of each account by its number."""
    rows = [
        f"a{n},2023-01-01,{f'2023-0{1 + n % 5 + 1}-10' if n in LEFT else ''},{100 + n}"
        for n in range(ACCOUNTS)
    ]
    (tmp_path / "contracts.csv").write_text("\n".join(["id,start,stop,mrr", *rows]) + "\n")
    rows = [f"a{n},2023-01-01,{attribute(n)},{n % 3}" for n in range(ACCOUNTS)]
    (tmp_path / "accounts.csv").write_text("\n".join(["id,since,attr,region", *rows]) + "\n")
    rows = [f"a{n},2023-06-01,{used if used else n}" for n in range(ACCOUNTS)]
    (tmp_path / "use.csv").write_text("\n".join(["id,day,seconds", *rows]) + "\n")
    (tmp_path / "mapping.toml").write_text(
        f"""name = "t"
zone = "UTC"
complete_until = 2024-01-01
[tables.accounts]
files = ["accounts.csv"]
kind = "account.updated"
account = "id"
occurred_at = "since"
recorded_delay = "0s"
properties = {{ industry = "attr", region = "region" }}
[tables.contracts]
type = "contract_periods"
files = ["contracts.csv"]
account = "id"
start = "start"
{end} = "stop"
mrr = "mrr"
[tables.use]
files = ["use.csv"]
kind = "user.session"
account = "id"
occurred_at = "day"
recorded_delay = "0s"
quantity = "seconds"
"""
    )
    return ingest(Workspace(tmp_path / "w"), [tmp_path], tmp_path / "mapping.toml").warnings


def test_honest_columns_are_not_named(tmp_path):
    assert warnings(tmp_path, attribute=lambda n: ("x", "y")[n % 2], used="") == ()


def test_an_end_that_only_leavers_have_is_named_with_what_to_write(tmp_path):
    [said] = warnings(tmp_path, end="end", attribute=lambda n: ("x", "y")[n % 2], used="")
    assert "'stop' of table 'contracts' has a day in 12 rows, all of them past" in said
    assert 'write cancelled = "stop"' in said


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        (lambda n: "too dear" if n in LEFT else "", "filled for 12 accounts, and all of them left"),
        (lambda n: str(n in LEFT), "is 'True' for 12 accounts, of which 12 left"),
    ],
)
def test_an_attribute_that_only_leavers_have_is_named(tmp_path, attribute, words):
    [said] = warnings(tmp_path, attribute=attribute, used="")
    assert words in said
    assert "'attr' of table 'accounts'" in said


def test_a_column_with_one_value_is_named(tmp_path):
    [said] = warnings(tmp_path, attribute=lambda n: ("x", "y")[n % 2])
    assert said == (
        "the column 'seconds' of table 'use' is '5' in all 40 rows: it cannot tell accounts apart"
    )


def test_a_value_of_few_accounts_gives_nobody_away(tmp_path):
    assert warnings(tmp_path, attribute=lambda n: "x" if n in range(4) else "y", used="") == ()


def test_contracts_of_one_account_at_the_same_time_are_named(tmp_path):
    rows = [f"a{n},2023-0{k}-01,,{10 * k}" for n in range(10) for k in range(1, 5)]
    (tmp_path / "c.csv").write_text("\n".join(["id,start,stop,mrr", *rows]) + "\n")
    (tmp_path / "m.toml").write_text(
        'name = "t"\nzone = "UTC"\ncomplete_until = 2024-01-01\n[tables.c]\nfiles = ["c.csv"]\n'
        'type = "contract_periods"\naccount = "id"\nstart = "start"\ncancelled = "stop"\nmrr = "mrr"\n'
    )
    [said] = ingest(Workspace(tmp_path / "w"), [tmp_path / "c.csv"], tmp_path / "m.toml").warnings
    assert said.startswith("30 of 30 later rows of table 'c' start before the row before them ends")
    assert "sum them up by account and month" in said
