"""An expression computes what it says, is checked before any row, and cannot do anything else."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ingest.expressions.columns import PROBLEM, Formula, Writing, with_computed
from features.ingest.expressions.grammar import ExpressionError, parse

ROW = {
    "price": "12.5",
    "seats": "4",
    "status": " paid ",
    "id": "007",
    "day": "2024-02-29",
    "note": "",
    "Amount in EUR": "1.234,50",
}


def day(year, month, day):
    """A local time, as an expression gives it."""
    return datetime(year, month, day)  # noqa: DTZ001 - the zone is that of the table


def computed(text: str, *, row=ROW, decimal=".", time_format=None):
    frame = pl.DataFrame({name: [value] for name, value in row.items()})
    writing = Writing(decimal=decimal, time_format=time_format)
    made, _ = with_computed(frame, {"it": Formula.read(text)}, None, writing)
    return made["it"][0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("price * seats", 50.0),
        ("price + seats - 1 * 2", 14.5),
        ("-(price - 2.5) / 4", -2.5),
        ("concat('eu-', id)", "eu-007"),
        ("concat(id, '-', seats)", "007-4"),
        ("if(status = 'paid' and price > 10, 'large', 'small')", "large"),
        ("if(seats in (1, 2, 3), 1, 0)", 0.0),
        ("price > 12", "yes"),
        ("note is empty", "yes"),
        ("not note is not empty or status != 'paid'", "yes"),
        ("known(note, 'none')", "none"),
        ("first(status, 2)", "pa"),
        ("last(id, 1)", "7"),
        ("upper(status)", "PAID"),
        ("year(day) * 100 + month(day)", 202402.0),
        ("weekday(day)", 4.0),
        ("date(day)", day(2024, 2, 29)),
        ("add_months(day, 12)", day(2025, 2, 28)),
        ("add_days(day, 1)", day(2024, 3, 1)),
        ("month_start(day)", day(2024, 2, 1)),
        ("days_between(day, '2024-03-10')", 10.0),
        ("day >= date('2024-01-01')", "yes"),
        ("number(note)", None),
        ("round(price / 3)", 4.0),
        ("least(price, seats) + most(price, seats)", 16.5),
        ("contains(status, 'ai')", "yes"),
        ("starts_with(id, '00') and ends_with(id, '7')", "yes"),
        ("'it''s'", "it's"),
        ("price > seats", "no"),  # two columns compare as texts: "12.5" is before "4"
        ("number(price) > seats", "yes"),
    ],
)
def test_an_expression_is_what_it_says(text, value):
    assert computed(text) == value


def test_a_column_with_blanks_in_its_name_and_a_decimal_comma():
    assert computed("[Amount in EUR] / 2", decimal=",") == 617.25


def test_a_day_is_read_as_the_table_writes_it():
    assert computed("year(day)", row={"day": "29.02.2024"}, time_format="%d.%m.%Y") == 2024
    assert computed("year(date(day, '%m/%d/%Y'))", row={"day": "2/29/2024"}) == 2024


def test_a_cell_that_is_no_number_refuses_its_row_and_an_empty_one_is_unknown():
    frame = pl.DataFrame({"a": ["2", "", "two"], "b": ["3", "3", "3"]})
    made, _ = with_computed(frame, {"ab": Formula.read("a * b")}, None, Writing())
    assert made["ab"].to_list() == [6.0, None, None]
    assert made[PROBLEM].to_list() == [None, None, "column 'a' is no number"]


def test_a_row_is_read_only_where_the_condition_is_true():
    frame = pl.DataFrame({"amount": ["5", "-1", ""]})
    _, is_read = with_computed(frame, {}, Formula.read("amount > 0", is_condition=True), Writing())
    assert is_read.to_list() == [True, False, False]


def test_a_computed_column_may_take_the_place_of_the_one_that_it_reads():
    frame = pl.DataFrame({"id": ["7", "8"]})
    made, _ = with_computed(frame, {"id": Formula.read("concat('eu-', id)")}, None, Writing())
    assert made["id"].to_list() == ["eu-7", "eu-8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("price *", "ends where a column"),
        ("price price", "does not belong there"),
        ("(price", r"'\)' should follow"),
        ("price ** 2", "stands where a column"),
        ("price; drop", "no word, sign or text"),
        ("'open", "no word, sign or text"),
        ("price.__class__", "no word, sign or text"),
        ("read_csv('/etc/passwd')", "no function 'read_csv'"),
        ("eval('1')", "no function 'eval'"),
        ("__import__('os')", "no function '__import__'"),
        ("SELECT price FROM t", "does not belong there"),
        ("(SELECT 1)", "stands where"),
        ("regexp_like(id, '(((a*)*)*)*b')", "no function"),
        ("repeat('a', 1000000000)", "no function"),
        ("concat('a')", "takes 2 to 8 values"),
        ("concat(concat(id, id), id)", "concat inside concat"),
        ("concat(first(concat(id, id), 3), id)", "concat inside concat"),
        ("'a' + 1", "needs a number, not a text"),
        ("if(price, 1, 2)", "needs a condition"),
        ("if(price > 1, 1, 'a')", "choose one kind"),
        ("price > 1 = 2", "does not belong there"),
        ("(price > 1) = (seats > 1)", "compares two conditions"),
        ("date(day, '%Q')", "how it is written"),
        ("date(day, id)", "how it is written"),
        ("id in ()", "names no value"),
        ("year(price > 1)", "needs a time"),
    ],
)
def test_what_cannot_be_read_is_refused_before_any_row(text, message):
    with pytest.raises(ExpressionError, match=message):
        Formula.read(text)


def test_a_condition_has_to_be_one():
    with pytest.raises(ExpressionError, match="no condition such as"):
        Formula.read("price * 2", is_condition=True)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "(" * 400 + "1" + ")" * 400,
        "-" * 900 + "1",
        "not " * 240 + "a = 1",
        "1" + "+1" * 400,
        "1" + " * (1" * 100 + ")" * 100,
        "if(a=1," * 60 + "1" + ",1)" * 60,
        "concat(" + ",".join(["a"] * 300) + ")",
        "'" + "x" * 1_000_000 + "'",
        "a" * 1_000_000,
        "9" * 999,
        "1e999999999",
        "a in (" + ",".join("1" for _ in range(400)) + ")",
        "\x00",
        "a = '\ud800'",
    ],
)
def test_a_hostile_expression_ends_in_an_error_or_in_a_value(text):
    try:
        formula = Formula.read(text)
    except ExpressionError:
        return
    with_computed(pl.DataFrame({"a": ["1"]}), {"it": formula}, None, Writing())


def test_huge_numbers_and_steps_stay_bounded():
    assert computed("year(add_days(day, 999999999999))") == 2133
    assert computed("first(id, 99999999999999999999)") == "007"
    assert computed("price / 0") == float("inf")  # refused where it is read: not finite


@given(st.text(max_size=80))
def test_any_text_is_an_expression_or_an_error(text):
    with suppress(ExpressionError):
        parse(text)


@given(
    st.recursive(
        st.sampled_from(["a", "b", "1", "'x'", "0.5"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from([*"+-*/=<", "and", "or"]), inner).map(
                lambda t: f"({t[0]} {t[1]} {t[2]})"
            ),
            st.tuples(
                st.sampled_from(["year", "concat", "if", "known", "first", "add_days"]),
                st.lists(inner, max_size=3),
            ).map(lambda t: f"{t[0]}({', '.join(t[1])})"),
        ),
        max_leaves=8,
    )
)
def test_what_was_checked_can_be_computed_on_any_cells(text):
    """What passes the check fails on no cell: a wrong cell is a row's problem."""
    try:
        formula = Formula.read(text)
    except ExpressionError:
        return
    frame = pl.DataFrame(
        {"a": ["1", "x", "", None, "2024-01-31"], "b": ["", "7", "-1e300", "ü", None]}
    )
    made, _ = with_computed(frame, {"it": formula}, None, Writing())
    assert made.height == 5


def test_the_language_is_documented_whole():
    from features.ingest.expressions.columns import FUNCTIONS

    page = Path("docs/reference/expressions.md").read_text(encoding="utf-8")
    assert [name for name in FUNCTIONS if f"`{name}`" not in page] == []
