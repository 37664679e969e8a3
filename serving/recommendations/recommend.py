"""Ask the policy about accounts, with all that it has to know of each.

Gathers what the timeline, the ledger and the alerts say; the policy decides. The answer is stored
with the whole question, so that ``serving.ledger.replay.replay`` can ask again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from experiments.effects.belief import NO_EFFECTS, MeasuredEffects
from experiments.policy.contact.limits_file import USUAL, at_any_hour
from experiments.policy.contact.snooze import Snooze
from experiments.policy.recommend import Limits, Recommendation
from features.catalogue.catalogue import Catalogue
from registry.playbook.prices import NO_PRICES, PriceList
from serving.decisions.company_rules import SHIPPED_RULES, CompanyRules
from serving.decisions.decision_record import (
    NO_FACTS,
    PolicyFacts,
    add_outcomes,
    build_decision,
    question,
)
from serving.decisions.exploration_settings import ExplorationSettings
from serving.decisions.validated_playbook import load_validated_playbook
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.ledger import Decision, LedgerChange, NewDecisions, Outcome, outcomes_in
from serving.ledger.replay.replay import SharedInputs, shared_inputs
from serving.ledger.snoozes import read_snoozes
from serving.scoring.alerts import WarningSigns
from serving.scoring.score import AccountScore
from serving.state.service_state import ServiceState


@dataclass(frozen=True, kw_only=True)
class ProposedDecision:
    """A recommendation, the record of it, and the score it was made on."""

    score: AccountScore
    recommendation: Recommendation
    decision: Decision


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Recommendations for accounts, ready to be stored."""

    decided: tuple[ProposedDecision, ...]
    new: NewDecisions
    shared: SharedInputs

    def store(self, change: LedgerChange) -> tuple[tuple[ProposedDecision, Decision], ...]:
        """Store them in a transaction; each with its decision as it is stored."""
        stored = change.append_decisions(self.new, shared={self.shared.digest: self.shared.content})
        return tuple(zip(self.decided, stored, strict=True))


def propose(
    service: ServiceState, scores: Sequence[AccountScore], *, proposed_by: str
) -> Proposals:
    """Recommend for each account now; the proposals can be stored as decisions."""
    features = service.workspace.settings.catalogue
    shared = in_common(features, service.company.current())
    decided = _decide(service, scores, features, proposed_by=proposed_by, shared=shared.digest)
    return Proposals(
        decided=decided, new=NewDecisions(one.decision for one in decided), shared=shared
    )


def decide_and_store(
    service: ServiceState, scores: Sequence[AccountScore], *, proposed_by: str
) -> tuple[tuple[ProposedDecision, Decision], ...]:
    """Recommend for each account now, and store the decisions: they are on disk when this
    returns.

    Raises:
        LedgerUnreachableError: it cannot be stored, and so is no decision.
    """
    proposals = propose(service, scores, proposed_by=proposed_by)
    with service.ledger.transaction() as change:
        return proposals.store(change)


def in_common(features: Catalogue, company: CompanyRules) -> SharedInputs:
    """What all questions have in common: the playbook, and the words that are read out with it."""
    return shared_inputs(features.phrases, company.alerts.words, company.text)


def decide(
    service: ServiceState,
    scores: Sequence[AccountScore],
    *,
    proposed_by: str | None = None,
    over_days: bool = False,
) -> tuple[ProposedDecision, ...]:
    """What the policy says about each account now, as it could be stored, within the limits of the
    workspace; what is done ``over_days`` may be asked at any hour.

    Where the ledger cannot be reached, outcomes and what was put off are missing as far as the
    timeline has not heard of them.
    """
    features = service.workspace.settings.catalogue
    return _decide(service, scores, features, proposed_by=proposed_by, over_days=over_days)


def _decide(
    service: ServiceState,
    scores: Sequence[AccountScore],
    features: Catalogue,
    *,
    proposed_by: str | None,
    shared: str | None = None,
    over_days: bool = False,
) -> tuple[ProposedDecision, ...]:
    asked_at, now, limits = service.wall_clock(), service.now(), service.limits.current()
    facts = facts_now(service, [score.account_id for score in scores], now)
    return decide_on(
        scores,
        facts=facts,
        alerts=service.portfolio.alerts,
        features=features,
        now=now,
        asked_at=asked_at,
        evidence=service.measured.current(),
        rules=service.chance,
        company=service.company.current(),
        proposed_by=proposed_by,
        shared=shared,
        limits=at_any_hour(limits) if over_days else limits,
        prices=service.prices.current(),
    )


def facts_now(
    service: ServiceState, account_ids: Sequence[str], now: datetime
) -> dict[str, PolicyFacts]:
    """The facts that the policy reads about these accounts, from their timelines and from the
    ledger, which knows of new ones first. Accounts without any event are absent."""
    facts = facts_of_timelines(service, account_ids, now)
    with (
        contextlib.suppress(LedgerUnreachableError),
        service.ledger.database.reading() as connection,
    ):
        outcomes, put_off = (
            outcomes_in(connection, account_ids),
            read_snoozes(connection, account_ids),
        )
        for account_id in outcomes.keys() | put_off.keys():
            facts[account_id] = with_ledger(
                facts.get(account_id, NO_FACTS),
                outcomes.get(account_id, ()),
                put_off.get(account_id),
            )
    return facts


def facts_of_timelines(
    service: ServiceState, account_ids: Sequence[str], now: datetime
) -> dict[str, PolicyFacts]:
    """What the timelines of accounts say, without what only the ledger knows yet."""
    return service.facts.of(account_ids, as_of=service.timelines.seen_as_of(now))


def with_ledger(
    facts: PolicyFacts, outcomes: Iterable[Outcome], put_off: tuple[Snooze, ...] | None
) -> PolicyFacts:
    """The facts of an account with what the ledger knows of it; None: nobody put anything off.

    What was put off by a lot is known to the timeline alone, and stays.
    """
    known = add_outcomes(facts, outcomes)
    if put_off is None:
        return known
    by_lot = tuple(one for one in known.put_off if one.is_by_lot)
    return replace(known, put_off=(*put_off, *by_lot))


def decide_on(
    scores: Sequence[AccountScore],
    *,
    facts: Mapping[str, PolicyFacts],
    alerts: WarningSigns,
    features: Catalogue,
    now: datetime,
    asked_at: datetime | None = None,
    evidence: MeasuredEffects = NO_EFFECTS,
    limits: Limits = USUAL,
    prices: PriceList = NO_PRICES,
    rules: ExplorationSettings | None = None,
    company: CompanyRules = SHIPPED_RULES,
    proposed_by: str | None = None,
    shared: str | None = None,
) -> tuple[ProposedDecision, ...]:
    """What the policy says about each account, on these facts and warning signs: ``now`` on the
    time of the data, ``asked_at`` on the clock of the service (the same, where it is left out)."""
    book = company.playbook
    if company is SHIPPED_RULES:
        load_validated_playbook(features.names)
    decided = []
    for score in scores:
        known, signs = facts.get(score.account_id, NO_FACTS), alerts.of(score.account_id)
        asked = question(
            score,
            known,
            signs,
            limits=limits,
            prices=prices,
            now=now,
            asked_at=asked_at,
            evidence=evidence,
            rules=rules,
        )
        answer = asked.answer(book, phrases=features.phrases, alert_words=company.alerts.words)
        decided.append(
            ProposedDecision(
                score=score,
                recommendation=answer,
                decision=build_decision(
                    answer,
                    asked,
                    score,
                    now=now,
                    asked_at=asked_at,
                    proposed_by=proposed_by,
                    shared=shared,
                    company=company.version,
                ),
            )
        )
    return tuple(decided)
