"""Records of the ledger as events of the timeline: decisions, outcomes, feedback."""

from __future__ import annotations

from features.events.provenance import own_event_id
from features.events.schema import Event, properties_text
from serving.ledger.feedback import Feedback
from serving.ledger.ledger import Decision, DecisionSummary, Outcome
from serving.timeline.assignment_event import drawn_arm


def decided_event(decision: Decision | DecisionSummary) -> Event:
    """A decision as an event: what was recommended, and what chance had to do with it."""
    drawn = drawn_arm(decision)
    return Event(
        event_id=own_event_id("decision", decision.decision_id),
        account_id=decision.account_id,
        kind="action.decided",
        occurred_at=decision.decided_at,
        recorded_at=decision.decided_at,
        quantity=decision.propensity if drawn is None else drawn.probability,
        properties=properties_text(
            {
                "action": decision.action,
                "decision_id": decision.decision_id,
                **({"chance": "none"} if drawn is None else drawn.properties),
            }
        ),
    )


def outcome_event(outcome: Outcome) -> Event:
    """An outcome as an event."""
    words: dict[str, str | int | None] = {
        "action": outcome.action,
        "decision_id": outcome.decision_id,
    }
    quantity: float | None = None
    if outcome.kind == "executed":
        words["by"] = outcome.by
        words["subjects"] = " ".join(outcome.subjects) or None
    elif outcome.kind == "declined":
        words["reason"] = outcome.reason
    else:
        words["outcome"] = outcome.result
        words["clock"] = outcome.clock
        if outcome.measure is not None:
            words.update(vars(outcome.measure))
            quantity = float(outcome.measure.after - outcome.measure.before)
    return Event(
        event_id=own_event_id("outcome", outcome.outcome_id),
        account_id=outcome.account_id,
        kind=f"action.{outcome.kind}",
        occurred_at=outcome.occurred_at,
        recorded_at=max(outcome.received_at, outcome.occurred_at),
        quantity=quantity,
        properties=properties_text(words),
    )


def judged_event(feedback: Feedback) -> Event:
    """Feedback on a recommendation as an event."""
    return Event(
        event_id=own_event_id("feedback", feedback.feedback_id),
        account_id=feedback.account_id,
        kind="action.judged",
        occurred_at=feedback.at,
        recorded_at=feedback.at,
        properties=properties_text(
            {
                "action": feedback.action,
                "decision_id": feedback.decision_id,
                "verdict": feedback.verdict,
                "reason": feedback.reason,
                "by": feedback.by,
                "until": feedback.snooze_until.isoformat() if feedback.snooze_until else None,
                "heard_at": feedback.heard_at.isoformat() if feedback.heard_at else None,
            }
        ),
    )
