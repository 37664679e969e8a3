"""A proposed mapping names its reasons, can be read as it is, and answers change it."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

import keepwell
from features.ingest.mapping import load_mapping
from features.setup.look import NoExportsError, look_at, month_columns
from features.setup.proposal import mapping_text, propose
from features.setup.questions import QUESTIONS
from features.workspace import Workspace

DATA = Path(__file__).parents[4] / "shared" / "data"


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


CUSTOMERS = "customer_id,joined,left_on,mrr,plan,churn_reason\n" + "".join(
    f"c{n},2023-01-{n + 1:02},{'2023-06-0' + str(n % 9 + 1) if n % 3 == 0 else ''},{10 + n},pro,"
    f"{'price' if n % 3 == 0 else ''}\n"
    for n in range(20)
)


def test_each_line_has_its_reason_and_the_runner_up(tmp_path):
    written(
        tmp_path,
        customers__csv=CUSTOMERS.replace("mrr", "mrr,total_amount").replace(",pro", ",5,pro"),
    )
    text = mapping_text(propose(tmp_path))
    assert 'cancelled = "left_on"' in text
    assert "filled in 35% of the rows: those who left" in text
    assert 'mrr = "mrr"' in text
    assert "else total_amount" in text
    assert 'ignored = ["churn_reason"]' in text
    (tmp_path / "mapping.toml").write_text(text, encoding="utf-8")
    assert load_mapping(tmp_path / "mapping.toml").tables


def test_an_end_that_only_leavers_have_is_taken_for_the_day_of_leaving(tmp_path):
    written(tmp_path, subscriptions__csv=CUSTOMERS.replace("left_on", "end_date"))
    text = mapping_text(propose(tmp_path))
    assert 'cancelled = "end_date"' in text
    assert "only leavers have it; else end" in text


def test_an_end_that_lies_ahead_stays_an_end(tmp_path):
    rows = "".join(f"c{n},2023-01-01,20{23 + n % 3}-06-01,5\n" for n in range(20))
    written(tmp_path, contracts__csv="customer_id,start_date,end_date,mrr\n" + rows)
    assert 'end = "end_date"' in mapping_text(propose(tmp_path))


def test_days_that_may_be_months_are_said_to_be_in_doubt(tmp_path):
    rows = "".join(f"c{n},0{n % 9 + 1}/0{n % 7 + 1}/2023,\n" for n in range(20))
    written(tmp_path, customers__csv="customer_id,joined,left_on\n" + rows)
    text = mapping_text(propose(tmp_path))
    assert "%m/%d/%Y fits as well: no day is above 12: check it" in text.replace("\\", "")


def test_many_files_of_one_form_are_one_table(tmp_path):
    for month in range(1, 13):
        written(
            tmp_path,
            **{
                f"logins-2023-{month:02}__csv": f"account,day\na,2023-{month:02}-01\nb,2023-{month:02}-02\n"
            },
        )
    [export], left = look_at(tmp_path)
    assert (len(export.files), export.patterns, left) == (12, ("logins-2023-*.csv",), [])


def test_a_workbook_and_a_json_document_say_how_to_export_them(tmp_path):
    written(tmp_path, customers__csv=CUSTOMERS, a__xlsx="x", b__json="[]")
    gaps = propose(tmp_path).gaps
    assert any("save each sheet as 'CSV UTF-8'" in gap for gap in gaps)
    assert any("one object a line" in gap for gap in gaps)


def test_month_columns_in_words(tmp_path):
    written(tmp_path, mrr__csv="account,Jan 2024,Feb 2024,Mar 2024\na,1,2,3\n")
    [export], _ = look_at(tmp_path)
    months = month_columns(export)
    assert months is not None
    assert (months.format, months.pattern) == ("%b %Y", "*[12][0-9][0-9][0-9]")


def test_a_folder_without_exports_is_a_sentence(tmp_path):
    with pytest.raises(NoExportsError, match="holds no file that can be read"):
        propose(tmp_path)
    with pytest.raises(NoExportsError, match="There is no folder"):
        propose(tmp_path / "none")


def test_answers_change_the_proposal_and_a_wrong_one_is_asked_again(tmp_path):
    written(tmp_path, customers__csv=CUSTOMERS)
    answers = ["", "many", "12", "acme", "soon", "2024-02-01", *[""] * (len(QUESTIONS) - 2)]
    told = CliRunner().invoke(
        keepwell.app,
        ["init", "--workspace", str(tmp_path / "w")],
        input="\n".join([str(tmp_path), *answers]) + "\n",
    )
    assert "'soon' is no day" in told.output
    found = tomllib.loads((tmp_path / "mapping.toml").read_text(encoding="utf-8"))
    assert (found["name"], found["complete_until"]) == ("acme", datetime(2024, 2, 1))  # noqa: DTZ001

    assert "'many' is no number between 0 and 100" in told.output
    settings = Workspace(tmp_path / "w").settings
    assert settings.yearly_churn == 0.12
    assert not settings.leaving.is_no_use  # contracts, as they are found


def test_the_first_question_says_what_leaving_means(tmp_path):
    written(tmp_path, logins__csv="account,user,at\na,u,2024-01-05\nb,v,2024-02-06\n")
    answers = ["n", "0", "365", "60", "200", *[""] * len(QUESTIONS)]
    told = CliRunner().invoke(
        keepwell.app,
        ["init", "--workspace", str(tmp_path / "w")],
        input="\n".join([str(tmp_path), *answers]) + "\n",
    )
    assert "days is 0; it lies between 1 and 365" in told.output, told.output
    found = Workspace(tmp_path / "w").settings.leaving
    assert (found.means, found.days, found.used_within_days) == ("no_use", 60, 200)
    assert found.kinds == ("user.session",)


def test_a_mapping_that_is_there_is_not_written_over(tmp_path):
    written(tmp_path, customers__csv=CUSTOMERS, mapping__toml="mine")
    told = CliRunner().invoke(keepwell.app, ["init", "--from", str(tmp_path), "--yes"])
    assert "is there already" in str(told.exception)
    assert (tmp_path / "mapping.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(not DATA.is_dir(), reason="data sets of others, which are not shipped")
def test_a_strangers_export_is_mapped():
    """RavenStack: five tables; the usage has no account, which is said."""
    proposal = propose(DATA / "ravenstack")
    what = {table.export.name: table.what for table in proposal.tables}
    assert what["ravenstack_subscriptions"] == "contracts, one row a contract period"
    assert what["ravenstack_support_tickets"] == "opened support tickets"
    assert any("ravenstack_feature_usage.csv has no column" in gap for gap in proposal.gaps)


FLAGGED = "customer_id,joined,churned\n" + "".join(
    f"c{n},2023-01-{n + 1:02},{'Yes' if n % 3 == 0 else 'No'}\n" for n in range(20)
)


def test_who_left_without_a_day_is_taken_to_have_left_within_the_days_that_are_asked(tmp_path):
    written(tmp_path, customers__csv=FLAGGED)
    answers = ["", "", "", "2023-03-01", "never", "60", "free", "40"]
    told = CliRunner().invoke(
        keepwell.app,
        ["init", "--workspace", str(tmp_path / "w")],
        input="\n".join([str(tmp_path), *answers]) + "\n",
    )
    assert "'never' is no number of days" in told.output
    table = tomllib.loads((tmp_path / "mapping.toml").read_text(encoding="utf-8"))["tables"][
        "customers"
    ]
    assert table["complete_until"] == datetime(2023, 4, 30)  # noqa: DTZ001
    assert table["computed"]["left_on"] == "if(text(churned) = 'Yes', '2023-03-31', '')"
    assert table["cancelled"] == "left_on"
    assert "'free' is no amount of money" in told.output
    assert (table["mrr"], table["computed"]["pays"]) == ("pays", "40")
    assert "keepwell snapshot --as-of 2023-03-01" in told.output


def test_where_every_customer_has_a_day_nobody_is_asked_for_a_window(tmp_path):
    written(tmp_path, customers__csv=CUSTOMERS)
    assert not propose(tmp_path).asks_for_window


def test_few_different_words_are_what_was_used(tmp_path):
    rows = "".join(
        f"c{n % 7},2023-01-{n + 1:02},https://example.org/{n},{'ab'[n % 2]}\n" for n in range(28)
    )
    written(
        tmp_path,
        visits__csv="customer_id,at,url,section\n" + rows,
        ReadMe__md="| a |",
        About__txt="us",
    )
    proposal = propose(tmp_path)
    text = mapping_text(proposal)
    assert 'kind = "feature.used"' in text
    assert 'name = "section"' in text
    assert "section holds 2 different words" in text
    assert 'use_names = ["a", "b"]' in text or 'use_names = ["b", "a"]' in text
    assert not any("ReadMe" in gap or "About" in gap for gap in proposal.gaps)


LINES = "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n" + "".join(
    f"{'C' if n % 9 == 0 else ''}{500 + n // 3},{n},{-1 if n % 9 == 0 else n % 4 + 1},"
    f"12/{n % 28 + 1}/2010 9:0{n % 9},{n % 5 + 0.5},{100 + n % 11}\n"
    for n in range(66)
)


def test_lines_of_orders_are_no_invoices_of_a_contract(tmp_path):
    for day in (1, 2):
        written(tmp_path, **{f"2010-12-0{day}__csv": LINES})
    told = CliRunner().invoke(
        keepwell.app, ["init", "--from", str(tmp_path), "--yes", "--workspace", str(tmp_path / "w")]
    )
    assert "customers leave by ordering nothing in 90 days" in told.output
    assert "Missing" not in told.output
    assert "keepwell check" in told.output
    table = tomllib.loads((tmp_path / "mapping.toml").read_text(encoding="utf-8"))["tables"][
        "orders"
    ]
    assert (table["kind"], table["quantity"]) == ("order.placed", "paid")
    assert table["computed"]["paid"] == "Quantity * UnitPrice"
    assert table["where"] == "Quantity > 0"
    settings = Workspace(tmp_path / "w").settings
    assert settings.leaving.is_no_use
    assert settings.leaving.kinds == ("order.placed",)
