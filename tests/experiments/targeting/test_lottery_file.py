"""The file of a lottery is read as it was meant, or refused with what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from experiments.causal.sample import NO_ACTION
from experiments.table_file import MOST_WORDS, TableFileError, read_table
from experiments.targeting.lottery_file import LEAST_ACCOUNTS, read_accounts, read_lottery

FILE = "lottery.csv"


def trials(rows: int = 240) -> pl.DataFrame:
    """Two rows an account; a third each of nothing, a call and a mail, drawn for each row."""
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "account_id": [f"a{row // 2:03}" for row in range(rows)],
            "action": rng.choice(["none", "call", "mail"], rows),
            "propensity": 0.333,
            "outcome": rng.normal(size=rows),
            "seats": rng.integers(1, 50, rows).astype(float),
            "region": rng.choice(["emea", "us", "apac"], rows),
            "plan": rng.choice(["pro", "team"], rows),
        }
    )


def asked(**changed: object) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "account_id": ["007", "b2"],
            "seats": [3.0, None],
            "note": ["x", "y"],
            "region": ["us", "emea"],
            "plan": ["team", "pro"],
        }
        | changed
    )


def with_cell(table: pl.DataFrame, name: str, value: object, row: int = 3) -> pl.DataFrame:
    """The table with another value in one cell; rows are counted from 1."""
    values = table[name].to_list()
    values[row - 1] = value
    return table.with_columns(pl.Series(name, values, strict=False))


def test_a_lottery_is_read_as_trials() -> None:
    table = trials()
    found = read_lottery(table, FILE)
    assert found.actions == ("none", "call", "mail")
    assert [found.actions[arm] for arm in found.trials.arm] == table["action"].to_list()
    assert np.allclose(found.trials.propensity, 1 / 3)
    assert found.outcome.tolist() == table["outcome"].to_list()
    assert np.unique(found.trials.cluster).size == 120
    assert len(found.account_ids) == 120
    assert found.trials.covariate_names == (
        "seats",
        "region: apac",
        "region: emea",
        "region: us",
        "plan: team",
    )
    seats, apac, *_, team = found.trials.covariates.T
    assert seats.tolist() == table["seats"].to_list()
    assert apac.tolist() == (table["region"] == "apac").cast(float).to_list()
    assert team.tolist() == (table["plan"] == "team").cast(float).to_list()


def test_doing_nothing_may_have_another_name() -> None:
    table = trials().with_columns(pl.col("action").replace("none", "No E-Mail"))
    found = read_lottery(table, FILE, nothing="No E-Mail")
    assert found.actions == ("No E-Mail", "call", "mail")
    assert found.trials.arms[0] == NO_ACTION


def test_rows_without_chance_and_with_an_open_outcome_are_counted_and_left_out() -> None:
    table = with_cell(with_cell(trials(), "outcome", None), "propensity", 1.0, row=5)
    found = read_lottery(table, FILE)
    assert (found.rows, found.without_chance, found.without_outcome) == (240, 1, 1)
    assert len(found.trials) == len(found.outcome) == 238


def test_what_is_not_known_is_no_zero() -> None:
    table = with_cell(with_cell(trials(), "seats", None), "region", "", row=4)
    found = read_lottery(table, FILE)
    assert np.isnan(found.trials.covariates[2, 0])
    place = found.trials.covariate_names.index("region: not known")
    assert np.flatnonzero(found.trials.covariates[:, place]).tolist() == [3]
    plain = read_lottery(trials(), FILE)
    unknown = read_accounts(asked(region=[None, "us"]), "asked.csv", plain.facts)
    assert np.isnan(unknown.covariates[0, 1:4]).all()  # no trial says what unknown means
    said = read_accounts(asked(region=[None, "us"]), "asked.csv", found.facts)
    assert said.covariates[0, 1:5].tolist() == [0, 0, 0, 1]


def test_two_words_of_which_some_are_unknown_are_three() -> None:
    found = read_lottery(with_cell(trials(), "plan", None), FILE)
    assert found.trials.covariate_names[-3:] == ("plan: pro", "plan: team", "plan: not known")


def test_odds_of_every_action_are_read_and_those_of_two_are_complete() -> None:
    wide = (
        trials()
        .drop("propensity")
        .with_columns(
            pl.lit(0.3).alias("propensity:call"),
            pl.lit(0.3).alias("propensity:mail"),
            pl.lit(0.4).alias("propensity:none"),
            pl.lit(0.0).alias("propensity:never"),
        )
    )
    found = read_lottery(wide, FILE)
    assert found.trials.propensity[0].tolist() == pytest.approx([0.4, 0.3, 0.3])
    assert "propensity:never" not in found.trials.covariate_names
    two = (
        trials()
        .filter(pl.col("action") != "mail")
        .with_columns(propensity=pl.when(pl.col("action") == "call").then(0.4).otherwise(0.6))
    )
    chances = read_lottery(two, FILE).trials.propensity
    assert np.allclose(chances, [0.6, 0.4])


def test_facts_that_came_after_the_draw_are_refused_unless_they_are_left_out() -> None:
    late = trials().with_columns(visit=(pl.col("action") == "call").cast(int))
    with pytest.raises(TableFileError, match="is not what its propensities say: 'visit' is 1 "):
        read_lottery(late, FILE)
    assert "visit" not in read_lottery(late, FILE, leave_out=["visit"]).trials.covariate_names


def test_booleans_are_numbers_and_ids_and_moments_are_passed_over() -> None:
    table = trials().with_columns(
        is_new=pl.int_range(240) % 2 == 0,
        decision_id=pl.int_range(240),
        decided_at=pl.lit("2026-01-01").str.to_date(),
    )
    found = read_lottery(table, FILE)
    assert found.trials.covariate_names[-1] == "is_new"
    assert found.trials.covariates[:2, -1].tolist() == [1.0, 0.0]
    assert len(found.facts) == 4


def test_ids_are_words_and_csv_and_parquet_are_read_alike(tmp_path: Path) -> None:
    asked().write_csv(tmp_path / "asked.csv")
    asked().write_parquet(tmp_path / "asked.parquet")
    facts = read_lottery(trials(), FILE).facts
    for name in ("asked.csv", "asked.parquet"):
        found = read_accounts(read_table(tmp_path / name, "trials"), name, facts)
        assert found.account_ids == ("007", "b2")
        assert found.covariates[0].tolist() == [3.0, 0.0, 0.0, 1.0, 1.0]
        assert np.isnan(found.covariates[1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("outcome"), r"lottery\.csv lacks the column\(s\) outcome; a lottery has"),
        (lambda t: t.drop("account_id", "action"), r"lacks the column\(s\) account_id, action"),
        (lambda t: t.drop("propensity"), "no column 'propensity' .* takes lotteries: where"),
        (lambda t: t.head(0), "holds no row below its heading. Give one row"),
        (lambda t: t.drop("seats", "region", "plan"), "no column with a fact about the accounts"),
        (lambda t: with_cell(t, "account_id", " "), r"Row 3 of lottery\.csv has no account_id"),
        (lambda t: with_cell(t, "action", None), r"Row 3 of lottery\.csv has no action. Mend it"),
        (lambda t: t.filter(pl.col("action") == "call"), "Every row .* action 'call': there is"),
        (
            lambda t: t.filter(pl.col("action") != "none"),
            "No row of .* has the action 'none', .* has call, mail; say which .* --no-action WORD",
        ),
        (
            lambda t: with_cell(t, "propensity", 0.0),
            "Row 3 of .* has a propensity that is not above 0",
        ),
        (
            lambda t: with_cell(t, "propensity", 1.2),
            "Row 3 of .* has a propensity that is not above 0",
        ),
        (
            lambda t: with_cell(t, "propensity", -0.1),
            "Row 3 of .* has a propensity that is not above",
        ),
        (
            lambda t: with_cell(t, "propensity", None),
            "Row 3 of .* has a propensity that is not above",
        ),
        (
            lambda t: t.with_columns(propensity=1.0),
            "Every row of .* has propensity 1: chance had no",
        ),
        (
            lambda t: with_cell(t, "propensity", 0.5),
            "3 actions, and 'propensity' says only how likely",
        ),
        (lambda t: t.with_columns(propensity=0.3), "here they are, on average, none 0.3, call 0.3"),
        (
            lambda t: t.with_columns(pl.col("outcome").cast(str)).pipe(with_cell, "outcome", "ten"),
            r"Row 3 of lottery\.csv has 'ten' for outcome, which is no number. Write what came of ",
        ),
        (
            lambda t: with_cell(t, "outcome", float("inf")),
            "Row 3 of .* no finite number. Write what",
        ),
        (
            lambda t: with_cell(t, "outcome", float("nan")),
            "Row 3 of .* an outcome that is no finite",
        ),
        (
            lambda t: t.with_columns(outcome=pl.lit(None, pl.Float64)),
            "No outcome of .* is known yet",
        ),
        (
            lambda t: with_cell(t, "seats", float("inf")),
            "Row 3 of .* has an infinite number for seats",
        ),
        (
            lambda t: t.with_columns(seats=pl.lit(None, pl.Float64)),
            "'seats' of .* is empty, so that",
        ),
        (lambda t: t.with_columns(seats=pl.lit(float("nan"))), "column 'seats' of .* is empty"),
        (
            lambda t: t.with_columns(region=pl.int_range(240).cast(str) + "x"),
            f"'region' of .* has 240 different words, and {MOST_WORDS} are the most",
        ),
        (
            lambda t: t.with_columns(seats=pl.int_range(240).cast(str)).pipe(
                with_cell, "seats", "n/a"
            ),
            "Row 3 of .* has 'n/a' for seats, which is no number",
        ),
        (
            lambda t: t.with_columns(since=pl.lit("2026-01-01").str.to_date()),
            "'since' of .* is neither numbers nor words .Date.. Write it as a number",
        ),
        (
            lambda t: t.filter((pl.col("action") != "mail") | (pl.int_range(240) < 9)),
            rf"has \d account.s. with the action 'mail' .*, and {LEAST_ACCOUNTS} are the least",
        ),
        (
            lambda t: (
                pl.concat([t.filter(pl.col("action") == "none"), t, t, t])
                .with_columns(account_id=pl.int_range(pl.len()).cast(str))
                .filter((pl.col("action") == "none") | (pl.int_range(pl.len()) % 3 == 0))
            ),
            "is not what its propensities say: .* have the action 'none', and their propensities promise",
        ),
        (
            lambda t: t.with_columns(pl.lit(0.5).alias("propensity:call")),
            r"lacks the column\(s\) propensity:none, propensity:mail: give the chance of every action",
        ),
        (lambda t: with_odds(t, 0.5, 0.3, 0.3), "Row 1 of .* has propensity:… .* do not sum to 1"),
        (lambda t: with_odds(t, 1.2, -0.2, 0.0), "Row 1 of .* has propensity:… that are not all"),
        (lambda t: with_odds(t, 0.6, 0.2, 0.2), "Row 1 of .* has a propensity that is not the"),
        (
            lambda t: with_odds(t.drop("propensity"), 0.5, 0.5, 0.0),
            "Row 3 of .* has an action that could not be drawn: its propensity:… is 0",
        ),
        (
            lambda t: with_odds(
                t.drop("propensity").filter(pl.col("action") != "mail"), 0.5, 0.4, 0.1
            ),
            "has the column 'propensity:mail', and no row has the action 'mail'",
        ),
        (
            lambda t: t.drop("propensity").with_columns(
                pl.lit(0.5).alias("propensity:none"),
                pl.when(pl.col("action") == "mail")
                .then(0.0)
                .otherwise(0.5)
                .alias("propensity:call"),
                pl.when(pl.col("action") == "mail")
                .then(0.5)
                .otherwise(0.0)
                .alias("propensity:mail"),
            ),
            "Row 1 of .* could not have been drawn for every action",
        ),
    ],
    ids=lambda value: "" if callable(value) else value[:40],
)
def test_a_file_that_is_no_lottery_is_refused(change, message: str) -> None:
    with pytest.raises(TableFileError, match=message):
        read_lottery(change(trials()), FILE)


def test_a_row_is_counted_as_the_file_has_it() -> None:
    """Rows with an open outcome stand before it, and a column of the file looks like a count."""
    table = trials().with_columns(
        _row=9_000 + pl.int_range(240),
        seats=pl.int_range(240).cast(str),
        outcome=pl.when(pl.int_range(240) < 100).then(None).otherwise(pl.col("outcome")),
    )
    with pytest.raises(
        TableFileError,
        match=r"Row 141 of lottery\.csv has 'n/a' for seats, which is "
        r"no number\. Write a number, or leave it empty where",
    ):
        read_lottery(with_cell(table, "seats", "n/a", row=141), FILE)
    with pytest.raises(TableFileError, match=r"Row 141 of lottery\.csv has 'ten' for outcome"):
        read_lottery(
            with_cell(table.with_columns(pl.col("outcome").cast(str)), "outcome", "ten", row=141),
            FILE,
        )


@pytest.mark.parametrize("name", ["account_id", "action", "propensity", "outcome", "seats"])
def test_columns_of_lists_are_refused_by_name_and_type(name: str) -> None:
    table = trials().with_columns(pl.concat_list(name))
    with pytest.raises(
        TableFileError,
        match=rf"column '{name}' of .* is neither numbers nor words "
        rf".List.*Write",
    ):
        read_lottery(table, FILE)


@pytest.mark.parametrize("name", ["account_id", "seats", "region"])
def test_columns_of_lists_of_the_accounts_asked_are_refused(name: str) -> None:
    facts = read_lottery(trials(), FILE).facts
    for kind in (pl.concat_list(name), pl.struct(name).alias(name)):
        with pytest.raises(
            TableFileError,
            match=rf"column '{name}' of asked\.csv is neither numbers "
            rf"nor words .(List|Struct).*Write one number or",
        ):
            read_accounts(asked().with_columns(kind), "asked.csv", facts)


def with_odds(table: pl.DataFrame, *odds: float) -> pl.DataFrame:
    return table.with_columns(
        pl.lit(one).alias(f"propensity:{name}")
        for name, one in zip(("none", "call", "mail"), odds, strict=True)
    )


def test_an_action_called_as_doing_nothing_is_is_refused() -> None:
    with pytest.raises(TableFileError, match="has the action 'none' beside 'mail', and both say"):
        read_lottery(trials(), FILE, nothing="mail")


@pytest.mark.parametrize("name", ["visits", "outcome"])
def test_only_facts_can_be_left_out(name: str) -> None:
    with pytest.raises(TableFileError, match=f"{name} cannot be left out of .* facts are seats"):
        read_lottery(trials(), FILE, leave_out=[name])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (asked().drop("seats", "plan"), r"asked\.csv lacks the column\(s\) seats, plan, which"),
        (
            asked().drop("account_id"),
            r"^asked\.csv lacks the column\(s\) account_id, which the lottery has\. Add them\.$",
        ),
        (asked().head(0), r"asked\.csv holds no account. Give one row for each"),
        (asked(account_id=["a", "a"]), r"account 'a' in rows 1 and 2; 1 account\(s\) stand"),
        (asked(account_id=["a", None]), r"Row 2 of asked\.csv has no account_id"),
        (asked(region=["us", "mars"]), "Row 2 of asked.csv has 'mars' for region, which no trial"),
        (
            asked(seats=["3", "many"]),
            r"Row 2 of asked\.csv has 'many' for seats, which is no number",
        ),
        (asked(seats=[3.0, float("inf")]), r"Row 2 of asked\.csv has an infinite number for seats"),
    ],
    ids=["facts", "no ids", "empty", "twice", "no id", "new word", "no number", "infinite"],
)
def test_accounts_that_can_not_be_decided_about_are_refused(
    table: pl.DataFrame,
    message: str,
) -> None:
    facts = read_lottery(trials(), FILE).facts
    with pytest.raises(TableFileError, match=message):
        read_accounts(table, "asked.csv", facts)


def test_a_file_that_is_not_there_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(
        TableFileError, match="Name a CSV or Parquet file of the accounts to decide"
    ):
        read_table(tmp_path / "none.csv", "the accounts to decide about")
