"""Check the rules again when a decision is claimed: is its action still allowed?

A decision is valid for a week. Within a week consent is withdrawn, an account is put on legal hold,
a severe ticket is opened, or another system makes the same call and only its timeline says so. So
the rules are checked again for that one action, on all that is known now. A lower value, a trigger
that is gone or a better action is no reason to stop an engine that has begun.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from features.catalogue.catalogue import load_catalogue
from serving.decisions.decision_record import NO_FACTS, question
from serving.decisions.validated_playbook import load_validated_playbook
from serving.ledger.errors import HeldBackError, QuietHoursError
from serving.ledger.ledger import Decision
from serving.recommendations.recommend import facts_now
from serving.scoring.alerts import ALERT_WORDS
from serving.state.service_state import ServiceState


def find_rule_against(
    service: ServiceState, decision: Decision, action: str | None = None
) -> HeldBackError | QuietHoursError | None:
    """Why a rule would hold the decided action back now, as the refusal; None if none would.

    It is the decision's own action, or another one of its list.

    What is known of this decision itself does not count: it was not carried out, or the ledger
    says so. An account that is not scored has the checks of the ledger alone.

    Raises:
        NotReadyError: no account has been scored yet.
    """
    score = service.portfolio.by_id.get(decision.account_id)
    if score is None:
        return None
    facts = facts_now(service, [score.account_id], service.now()).get(score.account_id, NO_FACTS)
    others = {name: past for name, past in facts.history.items() if name != decision.decision_id}
    features, asked_at = load_catalogue(service.workspace.settings.use_names), service.wall_clock()
    asked = question(
        score,
        replace(facts, history=others),
        service.portfolio.alerts.of(score.account_id),
        limits=service.limits.current(),
        prices=service.prices.current(),
        now=service.now(),
        asked_at=asked_at,
        evidence=service.measured.current(),
        rules=service.chance,
    )
    action = action or decision.action
    rule = asked.rule_against(
        action,
        load_validated_playbook(features.names),
        phrases=features.phrases,
        alert_words=ALERT_WORDS,
    )
    if rule is None:
        return None
    words = f"On what is known now, {action} is held back: {rule.why.rstrip('.')}."
    if rule.reason == "quiet_hours" and rule.allowed_from is not None:
        seconds = ceil((rule.allowed_from - asked_at).total_seconds())
        return QuietHoursError(
            f"{words} It may be claimed from {rule.allowed_from:%Y-%m-%d %H:%M} UTC on.",
            retry_after=max(1, seconds),
        )
    until = rule.until.removeprefix("until ").removeprefix("until: ")
    return HeldBackError(f"{words} That is so until {until}." if until else words)
