"""Every warning sign, in one literal table: to add one, add one ``AlertRule`` to ``ALERTS``.

A rule has cases. A case is a list of bounds on features, and on a few figures that are computed from
two readings a week apart, with the sentence that is true when all bounds hold. A rule also names the
actions that answer it and its source. ``alert.py`` decides which alerts an account has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Literal

Operator = Literal["<", "<=", ">", ">="]
Verdict = Literal["holds", "fails", "unknown"]

COMPARES: Mapping[Operator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


RUNWAY_DAYS = 120
"""The work on a renewal begins so long before it (epics#renewal-runway)."""

SAID_NO = (
    "said in the last review that they do not intend to renew; the renewal is in "
    "{days_to_renewal:.0f} days"
)


@dataclass(frozen=True)
class Bound:
    """A comparison of a figure with a number; ``if_unknown`` is the verdict on an unknown figure."""

    figure: str
    operator: Operator
    number: float
    if_unknown: Verdict = "unknown"

    def verdict(self, figures: Mapping[str, float | None]) -> Verdict:
        """Whether the figure is within the bound."""
        value = figures.get(self.figure)
        if value is None:
            return self.if_unknown
        return "holds" if COMPARES[self.operator](value, self.number) else "fails"


@dataclass(frozen=True)
class Case:
    """Bounds that all have to hold, and the sentence that is then true.

    ``urgency`` is that of this case, where it is less urgent than the rule.
    """

    bounds: tuple[Bound, ...]
    words: str
    urgency: int | None = None

    def verdict(self, figures: Mapping[str, float | None]) -> Verdict:
        """Fails if one bound fails, else unknown if one is unknown."""
        found: Verdict = "holds"
        for bound in self.bounds:
            verdict = bound.verdict(figures)
            if verdict == "fails":
                return verdict
            found = verdict if verdict == "unknown" else found
        return found


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """A row of the table. The alert is raised when any case holds.

    ``silent_while`` names worse alerts: while one of them is raised, this one is not. Most signs are
    about keeping a customer; ``of_prospects`` ones are also raised before any contract. ``ours`` is
    what the source does not say and we chose. ``proxy`` says what is measured instead, where the
    source needs something that no feature measures.
    """

    id: str
    title: str
    urgency: int  # 5 at once, 4 today, 3 within two days, 2 this week, 1 when there is time
    cases: tuple[Case, ...]
    responses: tuple[str, ...]  # ids of actions in registry/playbook/actions.toml
    source: str
    silent_while: tuple[str, ...] = ()
    of_prospects: bool = False
    ours: str = ""
    proxy: str = ""

    @property
    def figures(self) -> frozenset[str]:
        """Every feature or figure that is read."""
        return frozenset(bound.figure for case in self.cases for bound in case.bounds)

    @property
    def figures_in_words(self) -> frozenset[str]:
        """Every feature or figure that appears in its words."""
        return frozenset(
            name for case in self.cases for _, name, _, _ in Formatter().parse(case.words) if name
        )

    def verdict(self, figures: Mapping[str, float | None]) -> Verdict:
        """Holds if one case holds, else unknown if one is unknown."""
        found: Verdict = "fails"
        for case in self.cases:
            verdict = case.verdict(figures)
            if verdict == "holds":
                return verdict
            found = verdict if verdict == "unknown" else found
        return found


ALERTS: tuple[AlertRule, ...] = (
    AlertRule(
        id="cancel_intent",
        title="Means to leave",
        urgency=5,
        source="plans#real-time-alerts",
        cases=(
            Case(
                (Bound("cancellations_pending", ">=", 1),),
                "said {cancellations_pending:.0f} times in 90 days that it means to leave",
            ),
        ),
        responses=("urgent_retention",),
        ours="open for 90 days, or until the account renews",
    ),
    AlertRule(
        id="renewal_refused",
        title="Does not intend to renew",
        urgency=4,
        source="platform#health-financial, platform#business-reviews",
        cases=(
            Case(
                (
                    Bound("renewal_intent_pending", "<=", 0),
                    Bound("days_to_renewal", ">=", 0),
                    Bound("days_to_renewal", "<=", RUNWAY_DAYS),
                ),
                SAID_NO,
            ),
            Case(
                (
                    Bound("renewal_intent_pending", "<=", 0),
                    Bound("days_to_renewal", ">", RUNWAY_DAYS),
                ),
                SAID_NO,
                urgency=2,
            ),
        ),
        silent_while=("cancel_intent",),
        responses=("save_play", "exec_briefing"),
        ours="urgency: today, and this week while the renewal is more than 120 days away; the newest "
        "answer counts until the renewal",
    ),
    AlertRule(
        id="health_below_40",
        title="Health in the red zone",
        urgency=4,
        source="platform#health-alerts, plans#high-risk-protocol",
        cases=(
            Case(
                (Bound("health_score", "<", 40), Bound("health_fall_share", ">=", 0.2)),
                "health fell by {health_fall_share:.0%} in a week, to {health_score:.0f} of 100",
            ),
            Case((Bound("health_score", "<", 40),), "health is {health_score:.0f} of 100"),
        ),
        responses=("ceo_email", "usage_analysis", "success_call", "value_plan"),
    ),
    AlertRule(
        id="usage_halved",
        title="Use has halved",
        urgency=4,
        source="plans#real-time-alerts",
        cases=(
            Case(
                (
                    Bound("use_trend_7d", "<=", 0.5),
                    Bound("feature_uses_month_to_last_week_28d", ">=", 80),
                ),
                "last week's use is {use_trend_7d:.0%} of a usual week's",
            ),
        ),
        responses=("reengage_email",),
        ours="against the mean week of the four before, of at least 20 uses",
    ),
    AlertRule(
        id="payment_failed",
        title="A payment failed",
        urgency=4,
        source="plans#real-time-alerts, small-team#warning-signs",
        cases=(
            Case(
                (Bound("invoices_failed_90d", ">=", 1), Bound("invoice_days_overdue", ">", 0)),
                "a payment failed and an invoice is open for {invoice_days_overdue:.0f} days",
            ),
            Case(
                (Bound("invoices_failed_90d", ">=", 1), Bound("invoices_unpaid", ">=", 1)),
                "a payment failed and {invoices_unpaid:.0f} invoices are unpaid",
            ),
        ),
        responses=("billing_escalation", "dunning"),
        proxy="the result of a retry is not known: an invoice that is still open stands for it",
    ),
    AlertRule(
        id="health_fell_20pct",
        title="Health fell by a fifth in a week",
        urgency=4,
        source="epics#alerts",
        cases=(
            Case(
                (Bound("health_fall_share", ">=", 0.2),),
                "health fell by {health_fall_share:.0%} in a week, to {health_score:.0f} of 100",
            ),
        ),
        silent_while=("health_below_40",),
        responses=("personal_outreach",),
        ours="relative, same formula version",
    ),
    AlertRule(
        id="login_none_30d",
        title="Nobody logged in for 30 days",
        urgency=4,
        source="small-team#login-frequency",
        cases=(
            Case(
                (Bound("days_since_login", ">", 30),),
                "nobody logged in for {days_since_login:.0f} days",
            ),
            Case(
                (Bound("days_since_activity", ">", 30),),
                "no activity for {days_since_activity:.0f} days",
            ),
            Case(
                (Bound("active_days_90d", "<=", 0), Bound("account_age_days", ">", 30)),
                "no activity in the {account_age_days:.0f} days since it is known",
            ),
        ),
        responses=("winback_1",),
        ours="without logins, any activity counts",
    ),
    AlertRule(
        id="ticket_negative",
        title="Tickets with negative sentiment",
        urgency=4,
        source="plans#real-time-alerts",
        cases=(
            Case(
                (Bound("ticket_sentiment_lowest_7d", "<=", -0.25, if_unknown="fails"),),
                "a ticket of the last 7 days has a sentiment of {ticket_sentiment_lowest_7d:+.2f} "
                "(from -1 to +1)",
            ),
        ),
        of_prospects=True,
        responses=("tell_manager",),
        ours="-0.25 and below, since closer to 0 is neutral; open for 7 days",
    ),
    AlertRule(
        id="known_issue",
        title="Felt an incident",
        urgency=4,
        source="epics#proactive-alerts",
        cases=(
            Case(
                (Bound("incidents_open", ">=", 1, if_unknown="fails"),),
                "{incidents_open:.0f} incidents felt are not over",
            ),
            Case(
                (
                    Bound("incidents_open", "<", 0, if_unknown="holds"),  # if it is not known
                    Bound("incidents_new_7d", ">=", 1),
                ),
                "{incidents_new_7d:.0f} new incidents felt",
            ),
        ),
        of_prospects=True,
        responses=("known_issue_notice",),
        proxy="where no source says when incidents end, one that is new since a week ago, or "
        "without a reading of then in 90 days, stands for an open one",
    ),
    AlertRule(
        id="health_fell_10pts",
        title="Health fell by over 10 points in a week",
        urgency=3,
        source="platform#health-alerts",
        cases=(
            Case(
                (Bound("health_fall", ">", 10),),
                "health fell by {health_fall:.0f} points in a week, to {health_score:.0f} of 100",
            ),
        ),
        silent_while=("health_fell_20pct",),
        responses=("personal_outreach",),
        ours="a week, same formula version",
    ),
    AlertRule(
        id="health_below_60",
        title="Health below 60",
        urgency=3,
        source="platform#health-alerts",
        cases=(Case((Bound("health_score", "<", 60),), "health is {health_score:.0f} of 100"),),
        silent_while=("health_below_40", "health_fell_20pct", "health_fell_10pts"),
        responses=("personal_outreach",),
    ),
    AlertRule(
        id="errors_above_p95",
        title="Errors far above the usual",
        urgency=3,
        source="epics#alerts, epics#day-7-outcomes",
        cases=(
            Case(
                (Bound("errors_over_p95_1d", ">", 0), Bound("error_rate_1d", ">", 0.02)),
                "{error_rate_1d:.1%} of uses failed in a day, {errors_over_p95_1d:,.0f} errors "
                "more than on 27 of the 28 days before",
            ),
        ),
        responses=("self_repair",),
        ours="of the account's own 28 days, and over 2 % of uses",
    ),
    AlertRule(
        id="onboarding_stalled",
        title="Onboarding stands still",
        urgency=3,
        source="epics#alerts",
        cases=(
            Case(
                (Bound("onboarding_stall_hours", ">", 0),),
                "no onboarding step for 72 hours and {onboarding_stall_hours:,.0f} more",
            ),
        ),
        responses=("recover_step",),
        proxy="which required steps are open is no feature: fewer than five done in the first "
        "45 days (the longest onboarding, platform#onboarding-length) stands for it",
    ),
    AlertRule(
        id="invoice_unpaid",
        title="An invoice is unpaid",
        urgency=3,
        source="epics#alerts",
        cases=(
            Case(
                (Bound("invoice_days_overdue", ">", 0),),
                "an invoice is {invoice_days_overdue:.0f} days overdue",
            ),
            Case((Bound("invoices_unpaid", ">=", 1),), "{invoices_unpaid:.0f} invoices are unpaid"),
        ),
        silent_while=("payment_failed",),
        responses=("dunning",),
    ),
    AlertRule(
        id="sponsor_silent",
        title="The sponsor is silent or gone",
        urgency=2,
        source="epics#alerts",
        cases=(
            Case(
                (Bound("sponsors_left_90d", ">=", 1, if_unknown="fails"),),
                "{sponsors_left_90d:.0f} sponsors left in 90 days",
            ),
            Case(
                (
                    Bound("champions_left_90d", ">=", 1, if_unknown="fails"),
                    Bound("champions", "<=", 0, if_unknown="fails"),
                ),
                "{champions_left_90d:.0f} champions left in 90 days, and {champions:.0f} are "
                "there now",
            ),
            Case(
                (Bound("sponsor_silence_days", ">", 60),),
                "nothing of a sponsor for {sponsor_silence_days:.0f} days",
            ),
            Case(
                (Bound("sponsor_silence_days", ">", 30), Bound("is_close_contact", ">=", 1)),
                "nothing of a sponsor for {sponsor_silence_days:.0f} days",
            ),
        ),
        responses=("sponsor_touch",),
        ours="30 days for enterprise and mid-market, 60 for others; a sponsor who left, and the "
        "last champion, count too",
    ),
    AlertRule(
        id="sign_negative_feedback",
        title="Negative feedback",
        urgency=3,
        source="small-team#warning-signs",
        cases=(
            Case(
                (Bound("nps_last", "<=", 6), Bound("survey_answers_90d", ">=", 1)),
                "would recommend us with {nps_last:.0f} of 10",
            ),
            Case(
                (Bound("csat_last", "<=", 2), Bound("survey_answers_90d", ">=", 1)),
                "latest satisfaction answer {csat_last:.0f} of 5",
            ),
        ),
        of_prospects=True,
        responses=("one_to_one_call", "feedback_reply"),
        ours="0 to 6 of 10, 1 or 2 of 5, answered in 90 days",
    ),
    AlertRule(
        id="sign_support_spike",
        title="Many tickets",
        urgency=3,
        source="small-team#warning-signs",
        cases=(
            Case(
                (Bound("ticket_spike_28d", ">=", 2), Bound("tickets_28d", ">=", 3)),
                "{tickets_28d:.0f} tickets in 28 days, {ticket_spike_28d:.1f} times the usual",
            ),
        ),
        of_prospects=True,
        responses=("personal_outreach",),
        ours="twice the mean of 180 days and at least 3",
    ),
    AlertRule(
        id="sign_usage_drop",
        title="Use is falling",
        urgency=2,
        source="small-team#warning-signs",
        cases=(
            Case(
                (Bound("use_trend_28d", "<", 0.7),),
                "use is {use_trend_28d:.0%} of what it was in the 28 days before",
            ),
        ),
        silent_while=("usage_halved", "login_none_30d"),
        responses=("reengage_email",),
        ours="under 70 % in 28 days",
    ),
    AlertRule(
        id="sign_feature_requests",
        title="Asks for features",
        urgency=1,
        source="small-team#warning-signs",
        cases=(
            Case(
                (Bound("feature_requests_unanswered", ">=", 1),),
                "{feature_requests_unanswered:.0f} features asked for and not answered for 30 days",
            ),
        ),
        of_prospects=True,
        responses=("roadmap_note",),
        ours="after 30 days",
    ),
    AlertRule(
        id="notice_passed",
        title="Notice date passed",
        urgency=2,
        source="epics#renewal-runway",
        cases=(
            Case(
                (Bound("days_since_notice", ">", 0), Bound("days_to_renewal", ">=", 0)),
                "the last day of notice passed {days_since_notice:.0f} days ago, and the renewal "
                "is in {days_to_renewal:.0f} days",
            ),
        ),
        responses=("renewal_pack",),
        ours="all of it",
    ),
    AlertRule(
        id="milestone_overdue",
        title="A milestone is overdue",
        urgency=2,
        source="recovery#value-milestones, platform#milestone-status",
        cases=(
            Case(
                (Bound("milestones_overdue_now", ">=", 1),),
                "{milestones_overdue_now:.0f} milestones are overdue",
            ),
        ),
        responses=("milestone_reminder",),
    ),
    AlertRule(
        id="feature_unused_7d",
        title="Active, with much unused",
        urgency=1,
        source="epics#recipes-and-nudges",
        cases=(
            Case(
                (
                    Bound("features_unused_7d", ">=", 3),
                    Bound("unused_share_7d", ">=", 0.75),
                    Bound("days_since_activity", "<=", 7),
                ),
                "{features_unused_7d:.0f} features used before were unused in the last 7 days, "
                "{unused_share_7d:.0%} of those of the 28 days",
            ),
            Case(
                (Bound("adoption_depth_28d", "<", 0.5), Bound("days_since_activity", "<=", 7)),
                "only {adoption_depth_28d:.0%} of the plan's features used in 28 days",
            ),
        ),
        responses=("recipe_nudge", "unused_tutorials"),
        ours="three quarters of the features in use, or half of the plan",
        proxy="which features belong to the use case is not declared: those that were used "
        "before, and the plan's, stand for them",
    ),
    AlertRule(
        id="pattern_high_value",
        title="Deep and growing use",
        urgency=1,
        source="epics#recipes-and-nudges",
        cases=(
            Case(
                (Bound("adoption_depth_28d", ">=", 0.7), Bound("use_trend_28d", ">=", 1.2)),
                "{adoption_depth_28d:.0%} of the plan's features used, use at "
                "{use_trend_28d:.0%} of before",
            ),
        ),
        responses=("recipe_nudge",),
        proxy="patterns of a use case are not declared: deep and growing use stands for them",
    ),
)
"""Every rule. Of two that are equally urgent, the worse comes first."""

FIGURES: Mapping[str, str] = {
    "health_score": "Health score now.",
    "health_fall": "Points lost since a week ago, by the same formula version.",
    "health_fall_share": "Share of the score lost since a week ago, by the same formula version.",
    "incidents_new_7d": "Incidents more than a week ago; all of 90 days without that reading.",
    "unused_share_7d": "Share of the features of 28 days that were not used in the last 7.",
    "days_since_notice": "Days since the last day of notice; below 0 before it.",
    "is_close_contact": "1 for a service tier whose sponsor is expected within 30 days, else 0.",
}
"""The figures that rules read besides features. They are computed from two readings."""
