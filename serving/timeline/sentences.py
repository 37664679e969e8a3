"""Events of the timeline in words: what happened, what people judged, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from features.events.schema import LARGEST_READ
from serving.text_format import NOT_KNOWN, day, number, plain, who

SENTENCES: Mapping[str, str] = {
    "user.session": "Logged in",
    "feature.used": "Used {name}",
    "integration.state": "Integration {name}: {state}",
    "error.raised": "Met an error ({name})",
    "job.retry": "A job had to be retried ({name})",
    "billing.invoice": "Invoice {status}",
    "order.placed": "Placed an order",
    "ticket.created": "Opened a support ticket ({topic})",
    "ticket.updated": "Support ticket: {change}",
    "ticket.resolved": "Support ticket resolved",
    "nudge.sent": "Was shown a nudge ({name})",
    "nudge.acted": "Followed a nudge ({name})",
    "recipe.completed": "Finished a guided recipe ({name})",
    "deployment.published": "Published a deployment",
    "config.changed": "Changed the configuration ({name})",
    "account.updated": "Account details were updated",
    "contract.started": "Contract started on the plan {price_plan}",
    "contract.changed": "Contract changed to the plan {price_plan}",
    "contract.renewed": "Contract renewed on the plan {price_plan}",
    "contract.paused": "Contract paused ({reason})",
    "contract.resumed": "Contract resumed",
    "contract.cancelled": "Contract ended without renewal ({reason})",
    "trial.started": "Trial started",
    "trial.ended": "Trial ended ({result})",
    "cancellation.intended": "Said they mean to leave ({reason})",
    "usage.metered": "Metered use ({unit})",
    "usage.limit_reached": "Reached a limit of the plan ({unit})",
    "survey.answered": "Answered the {survey} survey",
    "sponsor.contacted": "The {role} was in touch",
    "contact.changed": "A {role} {state}",
    "goal.measured": "Goal measured: {kpi}",
    "training.completed": "Somebody was trained ({name})",
    "onboarding.step_completed": "Completed the onboarding step {step}",
    "milestone.updated": "Milestone {name}: {status}",
    "review.held": "Business review held",
    "advocacy.updated": "Advocacy ({type}): {status}",
    "consent.updated": "Consent for {channel}: {state}",
    "feature.requested": "Asked for a feature ({name})",
    "community.posted": "Posted in the community",
    "incident.opened": "An incident began that the account felt",
    "incident.communicated": "Was told of an incident",
    "incident.resolved": "The incident was over",
    "alert.raised": "Alert raised: {alert}",
    "alert.closed": "Alert closed: {alert}",
    "action.decided": "Keepwell recommended {action}",
    "action.executed": "Carried out: {action}",
    "action.declined": "Decided against {action} ({reason})",
    "action.outcome": "Outcome of {action}: {outcome}",
    "action.judged": "{by} judged {action}",
}
"""Kind to the words a person reads; a property that an event lacks leaves its words out."""

ARM_SENTENCES: Mapping[str, str] = {
    "held_out": "Drawn by lot to be left alone, so that it can be measured what our actions do",
    "not_offered": "Not drawn by lot for {action} this week",
    "left_alone": "Drawn by lot to go without {action}, so that it can be measured what it does",
}
"""The sentence where chance decided that nothing is done."""

DECIDED_ELSEWHERE = "Recommended elsewhere: {action}"
"""The sentence of a recommendation that another system sent."""

QUANTITIES: Mapping[str, str] = {
    "billing.invoice": "{value} {currency}",
    "order.placed": "{value} {currency}",
    "contract.started": "{value} {currency} a month",
    "contract.changed": "{value} {currency} a month",
    "contract.renewed": "{value} {currency} a month",
    "contract.resumed": "{value} {currency} a month",
    "survey.answered": "answer {value}",
    "ticket.created": "severity {value}, 1 is worst",
    "ticket.resolved": "after {value} hours",
    "incident.resolved": "after {value} hours",
    "review.held": "rated {value} of 10",
    "usage.metered": "{value} units",
    "goal.measured": "now {value}",
}
"""Kind to the words for its quantity, where a person wants to read it."""

MEASURED: Mapping[str, str] = {
    "usage_moved": "use rose",
    "usage_fell": "use fell",
    "usage_steady": "use stayed about as it was",
}
"""Sentences about what was measured after an action."""

SAID: Mapping[str, str] = {"agree": "agreed to", "disagree": "disagreed with", "snooze": "put off"}


def sentence(
    kind: str,
    properties: Mapping[str, str | float | bool],
    quantity: float | None,
    currency: str,
    *,
    is_own: bool = True,
) -> str:
    """An event in words; ``is_own`` says that Keepwell wrote it, and no other system.

    >>> sentence("billing.invoice", {"status": "late"}, 120.0, "USD")
    'Invoice late: 120 USD'
    >>> sentence("feature.used", {}, None, "USD")
    'Used the product'
    >>> sentence("contract.cancelled", {}, None, "USD")
    'Contract ended without renewal'
    >>> sentence("usage.metered", {}, 1e308, "USD")
    'Metered use: not known, because 1e+308 is no plausible quantity'
    >>> sentence("action.decided", {"action": "success_call"}, None, "USD", is_own=False)
    'Recommended elsewhere: success call'
    """
    if kind == "feature.used" and "name" not in properties:
        return "Used the product"
    if kind == "action.outcome" and "window_days" in properties:
        return measured_sentence(properties)
    if kind == "action.judged" and "verdict" in properties:
        return judged_sentence(properties)
    pattern = ARM_SENTENCES.get(str(properties.get("arm"))) or SENTENCES.get(kind)
    if kind == "action.decided" and not is_own:
        pattern = DECIDED_ELSEWHERE
    if pattern is None:
        return plain(kind.removeprefix("custom.")).capitalize()
    words = {
        key: plain(value) if isinstance(value, str) else str(value)
        for key, value in properties.items()
    }
    text = pattern.format_map(_Blank(words)).replace("()", "").strip(" :")
    text = " ".join(text.split())
    if quantity is not None and kind in QUANTITIES and abs(quantity) > LARGEST_READ:
        text = f"{text}: {NOT_KNOWN}, because {quantity:.4g} is no plausible quantity"
    elif quantity is not None and kind in QUANTITIES:
        value = QUANTITIES[kind].format(value=number(quantity), currency=currency)
        text = f"{text}: {value}"
    return text


def judged_sentence(properties: Mapping[str, str | float | bool]) -> str:
    """The sentence of an event in which a person judged an action.

    >>> judged_sentence({"by": "ann", "verdict": "snooze", "action": "success_call",
    ...                  "until": "2026-03-15T09:00:00+00:00", "reason": "They are on leave."})
    'ann put off success call until 15 March 2026 (They are on leave.)'
    >>> judged_sentence({"verdict": "agree", "action": "success_call"})
    'Somebody agreed to success call'
    """
    verdict, until = str(properties["verdict"]), str(properties.get("until") or "")
    said_by = str(properties.get("by") or "")
    text = (
        f"{who(said_by)} {SAID.get(verdict, plain(verdict))} "
        f"{plain(str(properties.get('action') or 'an action'))}"
    )
    with suppress(ValueError, OverflowError):
        text += f" until {day(datetime.fromisoformat(until))}" if until else ""
    if who(said_by) != said_by:  # no name, so a sentence begins
        text = text[:1].upper() + text[1:]
    return f"{text} ({properties['reason']})" if properties.get("reason") else text


def measured_sentence(properties: Mapping[str, str | float | bool]) -> str:
    """An outcome that was measured, with unit and windows.

    >>> measured_sentence({"action": "tips_email", "outcome": "usage_moved", "before": 40,
    ...                    "after": 71, "unit": "uses of features", "window_days": 14})
    'After tips email use rose: 71 uses of features in the 14 days after, 40 in the 14 days before'
    """
    days = properties["window_days"]
    what = MEASURED.get(str(properties.get("outcome")), plain(str(properties.get("outcome"))))
    return (
        f"After {plain(str(properties.get('action') or 'an action'))} {what}: "
        f"{properties.get('after')} {properties.get('unit')} in the {days} days after, "
        f"{properties.get('before')} in the {days} days before"
    )


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
