"""What another playbook, or other limits, would have recommended for logged decisions.

Asks the stored question of every logged decision again, without chance, with the changes of the
candidate of ``keepwell evaluate-policy``. Reads the ledger; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from experiments.off_policy.log import CANDIDATE, ChoicesError
from experiments.policy.contact.limits_file import LimitsError, parse_limits, with_changes
from experiments.policy.request import PolicyInputs
from registry.playbook.playbook import SEQUENCES_FILE, Playbook, read_playbook
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.stores.decision_history import QuestionReader


@dataclass(frozen=True, kw_only=True)
class CandidatePolicy:
    """The changes of a candidate: the playbook (None: that of the decision), and some limits."""

    playbook: Playbook | None = None
    limits: Mapping[str, Any]


def candidate_policy(*, actions: str | None, limits: str | None) -> CandidatePolicy:
    """The candidate of an actions file and a limits file, each as TOML text or left out.

    Raises:
        ChoicesError: the limits are no TOML, or name what is no limit.
        PlaybookError: the actions cannot be a playbook.
    """
    book = (
        None
        if actions is None
        else read_playbook(actions, SEQUENCES_FILE.read_text(encoding="utf-8"))
    )
    return CandidatePolicy(playbook=book, limits={} if limits is None else read_limits(limits))


def read_limits(text: str) -> Mapping[str, Any]:
    """The limits that a TOML text changes, as ``limits.toml`` of a workspace may.

    Raises:
        ChoicesError: it is no TOML, or names what is no limit, or a value that is none.
    """
    try:
        return parse_limits(text, "The file of limits")
    except LimitsError as error:
        raise ChoicesError(str(error)) from error


def choose_by_candidate(
    database: LedgerDatabase, table: pl.DataFrame, candidate: CandidatePolicy
) -> pl.DataFrame:
    """``decision_id`` and ``candidate`` for each decision of a table that can tell something.

    Raises:
        ChoicesError: a decision was stored before questions were kept.
        PolicyError: a question cannot be read by this Keepwell.
    """
    asked = table.filter(pl.col("propensity") < 1, pl.col("reward").is_not_null())
    chosen = replay_with_candidate(database, asked["decision_id"].to_list(), candidate)
    return pl.DataFrame(
        {"decision_id": list(chosen), CANDIDATE: list(chosen.values())},
        schema={"decision_id": pl.String, CANDIDATE: pl.String},
    )


def replay_with_candidate(
    database: LedgerDatabase, ids: Sequence[str], candidate: CandidatePolicy
) -> dict[str, str]:
    """The action that a candidate ranks first, without chance, for the question of each decision.

    Raises:
        ChoicesError: a decision was stored before questions were kept.
        PolicyError: a question cannot be read by this Keepwell.
    """
    books: dict[str, Playbook] = {}
    chosen: dict[str, str] = {}
    with database.reading() as connection:
        reader = QuestionReader(connection)
        for decision_id, inputs in reader.questions(ids):
            if inputs is None:
                raise ChoicesError(
                    f"Decision {decision_id} was stored before its question was kept, so "
                    f"nobody knows what the candidate would have said. Give its choices with "
                    f"--candidate."
                )
            stored: Mapping[str, Any] = json.loads(inputs)
            digest = str(stored["shared"])
            if candidate.playbook is None and digest not in books:
                common = json.loads(reader.shared(digest))
                books[digest] = read_playbook(common["actions"], common["sequences"])
            book = candidate.playbook or books[digest]
            question = PolicyInputs.from_dict(stored["question"])
            question = replace(
                question,
                chance=None,
                standing=None,
                limits=with_changes(question.limits, candidate.limits),
            )
            chosen[decision_id] = question.answer(book).ranked[0].action_id
    return chosen
