"""What the parts of one stored decision take, one after the other in one thread, without a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime

from features.alerts.rule_set import SHIPPED
from features.catalogue.catalogue import load_catalogue
from features.garbage_collection import freeze_loaded_objects
from features.streaming.refresh import clock_of
from features.workspace import Workspace
from serving.api.app import create_app
from serving.api.idempotency import json_response, stored_answer
from serving.api.schemas.decisions import NextActionsAnswer
from serving.api.serializers import recommendation_answer
from serving.cli.models import store_of
from serving.decisions.decision_record import NO_FACTS, build_decision, question
from serving.decisions.validated_playbook import load_validated_playbook
from serving.ledger.ledger import NewDecisions
from serving.recommendations.recommend import ProposedDecision, facts_now


def parts_of_a_decision(workspace: Workspace, rounds: int) -> Mapping[str, list[float]]:
    """Cpu milliseconds a decision of each part, by round; every decision is a new one."""

    def clock() -> datetime:
        return datetime.now(UTC)

    app = create_app(
        workspace,
        store=store_of(workspace),
        now=lambda: clock_of(workspace, clock),
        wall_clock=clock,
    )
    with closing(app.state.service) as service:
        use_names = workspace.settings.use_names
        catalogue = load_catalogue(use_names)
        book = load_validated_playbook(catalogue.names)
        scores = [score for score in service.portfolio.scores if not score.has_left][:500]
        freeze_loaded_objects()
        took: dict[str, list[float]] = {}
        for number in range(rounds + 1):  # the first warms up
            spent: dict[str, float] = {}
            since = time.thread_time()

            def lap(part: str, spent: dict[str, float] = spent) -> None:
                nonlocal since
                now = time.thread_time()
                spent[part] = spent.get(part, 0.0) + now - since
                since = now

            for score in scores:
                since = time.thread_time()
                now, asked_at = service.now(), service.wall_clock()
                facts = facts_now(service, [score.account_id], now)
                asked = question(
                    score,
                    facts.get(score.account_id, NO_FACTS),
                    service.portfolio.alerts.of(score.account_id),
                    limits=service.limits.current(),
                    prices=service.prices.current(),
                    now=now,
                    asked_at=asked_at,
                    evidence=service.measured.current(),
                    rules=service.chance,
                )
                lap("facts of timeline, ledger and settings")
                answer = asked.answer(book, phrases=catalogue.phrases, alert_words=SHIPPED.words)
                lap("policy")
                decision = build_decision(
                    answer,
                    asked,
                    score,
                    now=now,
                    asked_at=asked_at,
                    proposed_by=f"round {number}",
                    shared="none",
                )
                # another round is another decision, as it would be on another day
                vars(decision)["decision_id"] = f"{decision.decision_id}-{number}"
                new = NewDecisions([decision])
                lap("record as JSON, and its hash")
                with service.ledger.transaction() as change:
                    lap("transaction: begin, and see that the ledger is the same")
                    [stored] = change.append_decisions(new)
                    lap("insert, and its link")
                    proposed = ProposedDecision(
                        score=score, recommendation=answer, decision=decision
                    )
                    item = recommendation_answer(proposed, stored, most=3)
                    stored_answer(json_response(NextActionsAnswer(items=[item], unknown=[])))
                    lap("answer")
                lap("commit, synced, and its head noted")
            if number:
                for part, seconds in spent.items():
                    took.setdefault(part, []).append(seconds / len(scores) * 1e3)
    return took
