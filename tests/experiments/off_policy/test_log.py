"""A table of logged choices is read as it was meant, or refused with the row and what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from experiments.off_policy.log import MOST_ACTIONS, build_logged_choices
from experiments.table_file import TableFileError, read_table

GOOD = """account_id,action,propensity,reward,candidate,seats,segment,note
a,call,0.5,10,call,3,mid,one
a,mail,0.5,,call,3,mid,two
b,mail,0.25,4.5,mail,,small,three
c,call,1,7,mail,9,,four
"""


def table(text: str, folder: Path) -> pl.DataFrame:
    path = folder / "log.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, "logged decisions")


def test_what_is_no_evidence_is_counted_and_left_out(tmp_path: Path) -> None:
    found = build_logged_choices(table(GOOD, tmp_path))
    assert (found.rows, found.without_chance, found.without_reward) == (4, 1, 1)
    assert found.actions == ("call", "mail")
    assert found.chosen.tolist() == [0, 1]
    assert found.propensity.tolist() == [0.5, 0.25]
    assert found.reward.tolist() == [10.0, 4.5]
    assert found.candidate.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found.cluster[0] != found.cluster[1]
    assert found.logged is None


def test_context_is_numbers_and_few_words_and_unknown_stays_unknown(tmp_path: Path) -> None:
    found = build_logged_choices(table(GOOD, tmp_path))
    seats, *_ = found.covariates.T
    assert seats[0] == 3.0
    assert np.isnan(seats[1])
    many = pl.DataFrame(
        {
            "action": ["a", "b"] * 15,
            "propensity": 0.5,
            "reward": 1.0,
            "candidate": "a",
            "name": [f"n{i}" for i in range(30)],
        }
    )
    assert build_logged_choices(many).not_context == ("name",)
    assert build_logged_choices(many).covariates.shape == (30, 0)


def test_the_three_ways_to_say_what_the_candidate_would_do_agree(tmp_path: Path) -> None:
    log = pl.DataFrame(
        {
            "action": ["call", "mail", "mail"],
            "propensity": [0.5, 0.5, 0.25],
            "reward": [1.0, 2.0, 3.0],
        }
    )
    named = build_logged_choices(log.with_columns(candidate=pl.Series(["call", "call", "mail"])))
    one = build_logged_choices(log.with_columns(candidate_probability=pl.Series([1.0, 0.0, 1.0])))
    wide = build_logged_choices(
        log.with_columns(
            pl.Series("candidate:call", [1.0, 1.0, 0.0]),
            pl.Series("candidate:mail", [0.0, 0.0, 1.0]),
        )
    )
    assert named.candidate.tolist() == one.candidate.tolist() == wide.candidate.tolist()


def test_parquet_and_csv_are_read_alike(tmp_path: Path) -> None:
    csv = table(GOOD, tmp_path)
    csv.write_parquet(tmp_path / "log.parquet")
    again = build_logged_choices(read_table(tmp_path / "log.parquet", "logged decisions"))
    first = build_logged_choices(csv)
    assert again.reward.tolist() == first.reward.tolist()
    assert again.candidate.tolist() == first.candidate.tolist()


def test_the_probabilities_of_the_policy_that_chose_are_read_and_checked(tmp_path: Path) -> None:
    text = "action,propensity,reward,candidate,logged:call,logged:mail\n"
    good = build_logged_choices(
        table(text + "call,0.3,1,mail,0.3,0.7\nmail,0.7,2,mail,0.3,0.7\n", tmp_path)
    )
    assert good.logged is not None
    assert good.logged.tolist() == [[0.3, 0.7], [0.3, 0.7]]
    with pytest.raises(
        TableFileError, match=r"Row 1 has the propensity 0.3, and logged:call says 0"
    ):
        build_logged_choices(table(text + "call,0.3,1,mail,0.7,0.3\n", tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("propensity", "chance", r"lacks the column\(s\) propensity"),
        ("b,mail,0.25", "b,mail,1.25", "Row 3 has a propensity that is not above 0 and at most 1"),
        ("b,mail,0.25", "b,mail,0", "Row 3 has a propensity"),
        ("b,mail,0.25", "b,mail,", "Row 3 has a propensity"),
        ("b,mail,0.25", "b,mail,half", "Row 3 has 'half' for propensity, which is no number"),
        ("a,call,0.5,10", "a,call,0.5,ten", "Row 1 has 'ten' for reward"),
        ("a,call,0.5,10", "a,call,0.5,inf", "Row 1 has a reward that is not a finite number"),
        ("a,call,0.5", "a,,0.5", "Row 1 has no action"),
        ("b,mail,0.25", ",mail,0.25", "Row 3 has no account_id"),
        ("10,call", "10,", "Row 1 does not say what the candidate would do"),
        ("candidate", "would_do", "does not say what the candidate would do. Give one of"),
        (
            ",candidate,seats",
            ",candidate,candidate_probability",
            "says in more than one form what the candidate would do",
        ),
        (
            ",candidate,seats",
            ",would_do,candidate_probability",
            "Row 1 has a candidate_probability that is not between 0 and 1",
        ),
        ("candidate,", "candidate:call,", "Row 1 has 'call' for candidate:call"),
    ],
    ids=[
        "no propensity",
        "above one",
        "zero",
        "empty",
        "words",
        "reward in words",
        "infinite",
        "no action",
        "no account",
        "no choice",
        "no candidate",
        "two forms",
        "not a probability",
        "not a number",
    ],
)
def test_a_table_that_can_not_be_is_refused_with_its_row(
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(TableFileError, match=message):
        build_logged_choices(table(GOOD.replace(old, new, 1), tmp_path))


def test_a_row_is_counted_as_the_file_has_it(tmp_path: Path) -> None:
    """A row without a reward stands before it, and a column of the file looks like a count."""
    text = "_row,action,propensity,reward,candidate:call,candidate:mail\n9,call,0.5,,0.5,0.5\n"
    with pytest.raises(TableFileError, match=r"Row 2 has 'half' for candidate:call, .*\. Write a"):
        build_logged_choices(table(f"{text}8,call,0.5,1,half,0.5\n", tmp_path))
    with pytest.raises(
        TableFileError,
        match=r"Row 2 has no action\. Mend it, "
        r"or leave the row out",
    ):
        build_logged_choices(table(f"{text}8,,0.5,1,0.5,0.5\n", tmp_path))


def test_a_column_of_lists_holds_no_numbers() -> None:
    log = pl.DataFrame({"action": ["a", "b"], "propensity": 0.5, "reward": [[1.0], [2.0]]})
    with pytest.raises(TableFileError, match=r"'reward' is neither numbers nor words \(List\(Fl"):
        build_logged_choices(log)


def test_probabilities_that_do_not_sum_to_one_are_refused(tmp_path: Path) -> None:
    text = "action,propensity,reward,candidate:call,candidate:mail\n"
    for row in ("0.6,0.6", "1.5,-0.5", "0.5,"):
        with pytest.raises(TableFileError, match="Row 1 has probabilities candidate:… that do not"):
            build_logged_choices(table(f"{text}call,0.5,1,{row}\n", tmp_path))
    sixths = build_logged_choices(table(f"{text}call,0.5,1,0.333333,0.666667\n", tmp_path))
    assert sixths.candidate.sum() == pytest.approx(1.0, abs=1e-12)


def test_one_probability_does_not_say_what_three_actions_get() -> None:
    log = pl.DataFrame(
        {"action": ["a", "b", "c"], "propensity": 0.5, "reward": 1.0, "candidate_probability": 0.5}
    )
    with pytest.raises(
        TableFileError, match="3 actions, and 'candidate_probability' says only how"
    ):
        build_logged_choices(log)


def test_more_actions_than_can_be_compared_are_refused() -> None:
    names = [f"a{n}" for n in range(MOST_ACTIONS + 1)]
    log = pl.DataFrame({"action": names, "propensity": 0.5, "reward": 1.0, "candidate": "a1"})
    with pytest.raises(TableFileError, match=r"names 201 actions, and 200 can be compared"):
        build_logged_choices(log)
