from __future__ import annotations

from training.models.tuning._study_journal import FinishedTrial, StudyJournal

ONE = FinishedTrial(
    parameters={"num_leaves": 4, "lambda_l2": 0.1 + 0.2}, loss=0.25, by_fold=(0.3, 0.25), rounds=60
)
STOPPED = FinishedTrial(
    parameters={"num_leaves": 9, "lambda_l2": 1.0}, loss=0.5, by_fold=(0.5,), rounds=None
)


def test_what_was_finished_is_read_back_to_the_bit(tmp_path) -> None:
    journal = StudyJournal(path=tmp_path / "new" / "churn.jsonl", key="k")
    assert journal.finished() == ()
    journal.add(ONE)
    journal.add(STOPPED)
    assert StudyJournal(path=journal.path, key="k").finished() == (ONE, STOPPED)


def test_the_journal_of_another_study_counts_for_nothing(tmp_path) -> None:
    StudyJournal(path=tmp_path / "churn.jsonl", key="of other data").add(ONE)
    mine = StudyJournal(path=tmp_path / "churn.jsonl", key="mine")
    assert mine.finished() == ()
    mine.add(STOPPED)
    assert mine.finished() == (STOPPED,)


def test_a_study_that_has_ended_leaves_nothing(tmp_path) -> None:
    journal = StudyJournal(path=tmp_path / "churn.jsonl", key="k")
    journal.add(ONE)
    journal.close()
    journal.close()
    assert list(tmp_path.iterdir()) == []
