"""This module is about asking the policy about many accounts, with all it has to know of each.

Gathers what the timeline, the ledger and the alerts say; the policy decides. Stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from experiments.evidence import NO_EVIDENCE, Evidence
from experiments.policy import STATE_FACTS, Limits, Recommendation
from features.alerts import ALERTS
from features.definitions.attributes import ATTRIBUTES, CONTRACT_STATUS
from features.feature import AnyFeature
from registry.playbook import check_reads, playbook
from serving.decisions import (
    NO_FACTS,
    POLICY_KINDS,
    PolicyFacts,
    decision_of,
    policy_facts,
    recommendation,
    with_outcomes,
)
from serving.desk import Desk
from serving.ledger import Decision
from serving.scoring import AccountScore
from serving.signs import ALERT_WORDS, WarningSigns
from serving.timelines import JUST_NOW

LIMITS = Limits()

WORDS = (*(attribute.name for attribute in ATTRIBUTES), CONTRACT_STATUS)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A recommendation, the record of it, and the score it was made on."""

    score: AccountScore
    recommendation: Recommendation
    decision: Decision


def decide(desk: Desk, scores: Sequence[AccountScore]) -> tuple[Decided, ...]:
    """What the policy says about each account now, as it could be stored."""
    ids = [score.account_id for score in scores]
    known_at = desk.now() + JUST_NOW
    facts = policy_facts(desk.timelines.of_kinds(POLICY_KINDS, account_ids=ids, as_of=known_at))
    for account_id, outcomes in desk.ledger.outcomes_of(ids).items():
        facts[account_id] = with_outcomes(facts.get(account_id, NO_FACTS), outcomes)
    return decide_on(scores, facts=facts, alerts=desk.portfolio.alerts, catalogue=desk.catalogue,
                     now=desk.now(), evidence=desk.measured.current())


def decide_on(
    scores: Sequence[AccountScore],
    *,
    facts: Mapping[str, PolicyFacts],
    alerts: WarningSigns,
    catalogue: Mapping[str, AnyFeature],
    now: datetime,
    evidence: Evidence = NO_EVIDENCE,
    limits: Limits = LIMITS,
) -> tuple[Decided, ...]:
    """What the policy says about each account, on these facts and warning signs."""
    book = playbook()
    check_reads(book, names={*catalogue, *STATE_FACTS, *WORDS},
                alerts={alert.id for alert in ALERTS})
    phrases = {name: feature.phrase for name, feature in catalogue.items()}
    decided = []
    for score in scores:
        known, signs = facts.get(score.account_id, NO_FACTS), alerts.of(score.account_id)
        answer = recommendation(score, known, signs, playbook=book, limits=limits, now=now,
                                phrases=phrases, alert_words=ALERT_WORDS, evidence=evidence)
        decided.append(Decided(
            score=score, recommendation=answer,
            decision=decision_of(answer, score, known, signs, limits=limits, now=now,
                                 evidence=evidence)))
    return tuple(decided)
