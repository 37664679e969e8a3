"""Check the rules again when a decision is claimed: is its action still allowed?

A decision is valid for a week. Within a week consent is withdrawn, an account is put on legal hold,
a severe ticket is opened, or another system makes the same call and only its timeline says so. So
the rules are checked again for that one action, on all that is known now. A lower value, a trigger
that is gone or a better action is no reason to stop an engine that has begun.

Timelines and settings are read before the claim takes the lock of the ledger's writers; what the
ledger knows is read under it. Other actions of the same list that are claimed now count as done now,
so two claims at the same moment never both take the last contact that a limit leaves.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from experiments.policy.recommend import PastAction
from serving.decisions.decision_record import NO_FACTS, question
from serving.ledger.claims import AccountNow, RecheckRules
from serving.ledger.errors import HeldBackError, QuietHoursError
from serving.ledger.ledger import Decision
from serving.recommendations.recommend import facts_of_timelines, with_ledger
from serving.state.service_state import ServiceState


def recheck_of(
    service: ServiceState, decision: Decision, action: str | None = None
) -> RecheckRules | None:
    """Ask why a rule would hold the decided action back now; the refusal is None if none would.

    It is the decision's own action, or another one of its list.

    What is known of this decision itself does not count: it was not carried out, or the ledger
    says so. An account that is not scored has the checks of the ledger alone.

    Raises:
        NotReadyError: no account has been scored yet.
    """
    account_id, portfolio = decision.account_id, service.portfolio
    score = portfolio.by_id.get(account_id)
    if score is None:
        return None
    now, asked_at, wanted = service.now(), service.wall_clock(), action or decision.action
    said = facts_of_timelines(service, [account_id], now).get(account_id, NO_FACTS)
    features = service.workspace.settings.catalogue
    company = service.company.current()
    book = company.playbook
    limits, prices, evidence = (
        service.limits.current(),
        service.prices.current(),
        service.measured.current(),
    )

    def recheck(ledger: AccountNow) -> HeldBackError | QuietHoursError | None:
        facts = with_ledger(said, ledger.outcomes, ledger.put_off)
        history = {key: past for key, past in facts.history.items() if key != decision.decision_id}
        history |= {
            f"claim {claim.claim_id}": PastAction(action_id=claim.action, at=max(now, score.as_of))
            for claim in ledger.under_way
        }
        asked = question(
            score,
            replace(facts, history=history),
            portfolio.alerts.of(account_id),
            limits=limits,
            prices=prices,
            now=now,
            asked_at=asked_at,
            evidence=evidence,
            rules=service.chance,
        )
        rule = asked.rule_against(
            wanted, book, phrases=features.phrases, alert_words=company.alerts.words
        )
        if rule is None:
            return None
        words = f"On what is known now, {wanted} is held back: {rule.why.rstrip('.')}."
        if rule.reason == "quiet_hours" and rule.allowed_from is not None:
            seconds = ceil((rule.allowed_from - asked_at).total_seconds())
            return QuietHoursError(
                f"{words} It may be claimed from {rule.allowed_from:%Y-%m-%d %H:%M} UTC on.",
                retry_after=max(1, seconds),
            )
        until = rule.until.removeprefix("until ").removeprefix("until: ")
        return HeldBackError(f"{words} That is so until {until}." if until else words)

    return recheck
