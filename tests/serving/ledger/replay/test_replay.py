"""A stored decision asked again comes out the same to the bit, or says where it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.policy.account_state import AccountState, Limits, PastAction
from experiments.policy.recommend import PolicyError
from experiments.policy.request import PolicyInputs
from registry.playbook.playbook import load_playbook
from serving.ledger.errors import UnknownDecisionError
from serving.ledger.ledger import Decision, Ledger
from serving.ledger.replay.replay import (
    ReplayError,
    SharedInputs,
    policy_code,
    replay,
    shared_digest,
    shared_inputs,
)

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
SHARED = shared_inputs({"seats": "{value:.0f} seats"}, {"usage_halved": "use has halved"})


def question(**state: object) -> PolicyInputs:
    known = {
        "account_id": "acme",
        "as_of": NOW,
        "mrr": 2000.1,
        "health_score": 31.7,
        "attributes": {"contract_status": "active", "segment": "small"},
        "features": {"seats": 12.0, "days_since_login": None},
        "alerts": ("usage_halved",),
        "alert_raised_at": {"usage_halved": NOW},
        "churn_probability": 0.1 + 0.2,
        "score_source": "model",
        **state,
    }
    return PolicyInputs(
        state=AccountState(**known),
        limits=Limits(caution=1 / 3),  # type: ignore[arg-type]
        history=(
            PastAction(action_id="success_call", at=NOW - timedelta(days=50), outcome="done"),
        ),
        as_of=NOW,
    )


def decided(asked: PolicyInputs, shared: SharedInputs = SHARED) -> Decision:
    common = json.loads(shared.content)
    answer = asked.answer(
        load_playbook(), phrases=common["phrases"], alert_words=common["alert_words"]
    ).to_dict()
    return Decision(
        decision_id="d-1",
        account_id="acme",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.0,
        currency="USD",
        eligible=tuple(answer["ranked"]),  # type: ignore[arg-type]
        withheld=tuple(answer["withheld"]),  # type: ignore[arg-type]
        versions={"policy": policy_code()},
        input_digest="ab",
        inputs=json.dumps({"shared": shared.digest, "question": asked.to_dict()}),
    )


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    yield opened
    opened.close()


def test_a_decision_from_the_ledger_comes_out_the_same(ledger: Ledger) -> None:
    ledger.append_decisions([decided(question())], shared={SHARED.digest: SHARED.content})
    ledger.append_decisions(
        [replace(decided(question()), decision_id="d-2")], shared={SHARED.digest: SHARED.content}
    )
    assert ledger.verify().records == 3  # what they have in common is there once
    kept = ledger.decision("d-1")
    assert len(kept.eligible) > 2
    found = replay(kept, ledger.shared_input(shared_digest(kept)))
    assert found.difference is None
    assert found.words == "Decision d-1 comes out the same, to the bit."


@given(mrr=st.floats(0, 1e7), health=st.none() | st.floats(0, 100), churn=st.floats(0, 1))
def test_any_number_comes_out_the_same(mrr: float, health: float | None, churn: float) -> None:
    decision = decided(question(mrr=mrr, health_score=health, churn_probability=churn))
    kept = replace(
        decision,
        eligible=tuple(json.loads(json.dumps(decision.eligible))),
        withheld=tuple(json.loads(json.dumps(decision.withheld))),
    )
    assert replay(kept, SHARED.content).difference is None


def test_one_last_bit_is_a_difference_with_its_place() -> None:
    kept = decided(question())
    first = dict(kept.eligible[0])
    number = first["expected_value"]
    assert isinstance(number, float)
    first["expected_value"] = number * (1 + 2**-52)
    found = replay(replace(kept, eligible=(first, *kept.eligible[1:])), SHARED.content)
    assert found.difference is not None
    assert found.difference.startswith("ranked[0].expected_value was ")
    assert "by the same code" in found.words


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"eligible": ()}, "ranked had 0 entries, now "),
        ({"withheld": ({"action_id": "x"},)}, "withheld[0]."),
    ],
)
def test_what_is_missing_is_named(changed: dict[str, object], difference: str) -> None:
    asked = question(mrr=30.0, health_score=55.0)  # too small for most of what comes up
    kept = replace(decided(asked), versions={"policy": "old"}, **changed)  # type: ignore[arg-type]
    found = replay(kept, SHARED.content)
    assert found.difference is not None
    assert found.difference.startswith(difference)
    assert "by other code (digest old; this is" in found.words


def test_a_decision_of_before_can_not_be_asked_again() -> None:
    with pytest.raises(ReplayError, match="before its question was kept"):
        replay(replace(decided(question()), inputs=None), SHARED.content)


def test_another_playbook_is_refused() -> None:
    with pytest.raises(ReplayError, match="is not what it was"):
        replay(decided(question()), SHARED.content + " ")


def test_a_question_of_another_keepwell_is_refused() -> None:
    kept = decided(question())
    said = json.loads(kept.inputs or "")
    said["question"]["version"] = 99
    with pytest.raises(PolicyError, match="has version 99"):
        replay(replace(kept, inputs=json.dumps(said)), SHARED.content)


def test_what_is_not_in_the_ledger_can_not_be_read(ledger: Ledger) -> None:
    with pytest.raises(UnknownDecisionError, match="not in the ledger"):
        ledger.shared_input("ab")
