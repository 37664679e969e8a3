"""The rows that a training leaves out are counted by reason."""

from __future__ import annotations

from training.dataset.labels import cohort_rows, label_named
from training.dataset.left_out import left_out_sentence, rows_not_asked_about


def test_every_account_outside_of_the_cohort_has_a_reason(timelines) -> None:
    events = timelines(
        ("stays", "contract.started", "2022-01-01", 10.0),
        ("left", "contract.started", "2022-01-01", 10.0),
        ("left", "contract.cancelled", "2022-01-20"),
        ("rests", "contract.started", "2022-01-01", 10.0),
        ("rests", "contract.paused", "2022-01-25"),
        ("comes", "contract.started", "2022-06-01", 10.0),
    )
    cutoffs = (timelines.at("2022-02-01"),)
    churn = label_named("churn")
    found = rows_not_asked_about(churn, events, cohort_rows(churn, events, cutoffs), cutoffs)
    assert found == {
        "of accounts that came later": 1,
        "of accounts whose contract had ended": 1,
        "of accounts whose contract was paused": 1,
    }


def test_nothing_is_said_where_nothing_was_left_out() -> None:
    assert left_out_sentence({}, {}, 90) is None


def test_undecided_rows_are_said_with_their_reason() -> None:
    said = left_out_sentence({"immature": 2, "paused": 1}, {}, 60)
    assert said == (
        "Left out: 2 rows whose label window has not closed, 1 row of paused accounts, undecided "
        "(60 days)."
    )
