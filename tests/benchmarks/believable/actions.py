"""Count the recommendations that a customer success manager would not follow, over all accounts.

Asks the policy about every account of a workspace, as the service does, at the newest snapshot. Each
rule is written here once more, from the account's own figures, and not read from the playbook: a
rule that the playbook lost is seen.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.policy.account_state import AccountState, PastAction
from experiments.policy.recommend import DO_NOTHING, Candidate, Recommendation
from experiments.policy.request import PolicyInputs
from features.alerts.rules import ALERTS
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.playbook.playbook import Playbook, load_playbook
from serving.cli.models import store_of
from serving.pages.views.actions_view import action_view
from serving.recommendations.snapshot import decisions_as_of

URGENCY = {rule.id: rule.urgency for rule in ALERTS}
WITHIN_TWO_DAYS, TODAY, AT_ONCE = 3, 4, 5

NOTHING = frozenset({DO_NOTHING, "monitor"})
HIGH = frozenset({"high", "critical"})
CONVERSATIONS = frozenset({"phone", "meeting", "session", "demo"})
RUNWAY = frozenset({"renewal_start", "renewal_pack"})
SURVEYS = frozenset({"exit_survey"})
RED_ZONE = ("success_call", "usage_analysis", "value_plan")
CEO_FROM = 5_000
REVENUE_FROM = 1_000
CALLED_FROM = 5_000
LAST_DAYS = 3
USAGE_MAILS = frozenset({
    "optimization_guide", "peer_stories", "reengage_email", "roi_summary", "similar_case",
    "tips_email", "usage_report_quarterly", "webinar_invite",
})  # fmt: skip
OF_EVERY_DAY = frozenset({
    "monthly_check_in", "office_hours", "quarterly_review", "value_review", "value_summit",
    "day30_review", "champion_training", "custom_onboarding_plan", "welcome_ceo_call",
})  # fmt: skip
"""Conversations that have nothing to do with why somebody leaves."""
FOLLOW_UPS = frozenset({"one_to_one_call", "feedback_reply", "in_app_word"})
NO_ANSWERS = frozenset({"renewal_check", "usage_report_quarterly", "hypercare", "celebrate"})
"""What a program does anyway, whatever sign is open."""
SEEDS_ADDONS = {
    "addon_integrations": 20.0,
    "addon_analytics": 15.0,
    "addon_model": 100.0,
    "addon_sso": 50.0,
}
"""A month, by the sources (plans#add-on-analytics and the three beside it)."""
SEEDS_PLANS = {
    "starter": (19.0, "professional"),
    "professional": (49.0, "business"),
    "business": (99.0, None),
}
NEXT_PLAN = frozenset({
    "upgrade_recommend", "next_plan_preview", "first_month_half", "integration_upgrade",
    "roi_presentation", "annual_prepay_25", "feature_trial_7d", "upgrade_bonus", "team_demo",
    "business_trial_30d", "branding_upgrade", "reporting_upgrade", "upsell_celebrate",
    "upsell_compare", "upsell_ceo_roi", "upsell_call", "in_app_upgrade",
})  # fmt: skip
ASKED_FOR = {
    "integration_upgrade": "integration_requests_90d",
    "branding_upgrade": "branding_interest_90d",
    "feature_trial_7d": "higher_plan_requests_90d",
}
"""Action to the count of what it takes for granted that they asked for."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One account as the policy saw it, and the answer."""

    state: AccountState
    answer: Recommendation
    history: tuple[PastAction, ...]
    book: Playbook
    prices: Mapping[str, Any]

    @property
    def first(self) -> Candidate:
        return self.answer.ranked[0]

    @property
    def listed(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.answer.ranked if c.action_id not in NOTHING)

    @property
    def urgency(self) -> int:
        return max((URGENCY[alert] for alert in self.state.alerts), default=0)

    @property
    def is_running(self) -> bool:
        return self.state.attributes.get("contract_status") in ("active", "paused", "trial")

    @property
    def is_in_trouble(self) -> bool:
        return self.urgency >= WITHIN_TWO_DAYS or "onboarding_stalled" in self.state.alerts

    @property
    def is_critical(self) -> bool:
        health = self.state.known_health
        return self.state.risk_tier == "critical" or (health is not None and health < 40)

    def value(self, name: str) -> float | None:
        found = self.state.values().get(name)
        return found if isinstance(found, float) else None

    def within(self, name: str, least: float, most: float) -> bool:
        value = self.value(name)
        return value is not None and least <= value <= most

    def sells(self, candidate: Candidate) -> bool:
        action = self.book.by_id.get(candidate.action_id)
        return action is not None and (
            action.objective == "expand" or action.family == "trial_offer"
        )

    @property
    def has_answered_lately(self) -> bool:
        """Whether a bad answer was followed up already."""
        return any(
            past.action_id in FOLLOW_UPS and self.answer.as_of - past.at <= timedelta(days=90)
            for past in self.history
        )

    @property
    def told_they_leave(self) -> bool:
        said = self.value("cancellations_pending") or 0.0
        return said > 0 or bool({"cancel_intent", "renewal_refused"} & set(self.state.alerts))

    @property
    def names(self) -> frozenset[str]:
        """All that is listed, alone or as a subject."""
        return frozenset(
            name for c in self.listed for name in (c.action_id, *(s.action_id for s in c.subjects))
        )

    def speaks(self, candidate: Candidate) -> bool:
        return candidate.channel in CONVERSATIONS and candidate.owner_role != "automation"

    def own_price(self, action_id: str) -> float | None:
        """What the offer costs the account a month; None: not an offer with a price of its own."""
        if action_id in SEEDS_ADDONS:
            known = {one["name"]: one.get("month", 0.0) for one in self.prices.get("addon", ())}
            return known.get(action_id, SEEDS_ADDONS[action_id])
        if action_id not in NEXT_PLAN:
            return None
        plans = {
            one["name"]: (one.get("month", 0.0), one.get("per_seat", 0.0), one.get("next"))
            for one in self.prices.get("plan", ())
        } or {name: (0.0, price, after) for name, (price, after) in SEEDS_PLANS.items()}
        month, seat, after = plans.get(self.state.attributes.get("price_plan") or "", (0, 0, None))
        if after not in plans:
            return 0.0
        return plans[after][0] - month + (plans[after][1] - seat) * (self.value("seats") or 1.0)


def promised(one: Seen) -> Iterator[str]:
    """The actions that a plan or a protocol promises to the account now."""
    plan, tier = (one.state.attributes.get(name) for name in ("price_plan", "service_tier"))
    health, revenue = one.state.known_health, one.value("annual_revenue") or 0.0
    if health is not None and health < 40:
        yield from RED_ZONE
        if revenue >= CEO_FROM:
            yield "ceo_email"
    if plan == "professional":
        yield "usage_report_quarterly"
    # that a review is due is known where reviews are recorded
    is_unreviewed = one.value("reviews_365d") == 0
    if plan == "business" and (is_unreviewed or one.within("days_since_review", 30, 1e9)):
        yield "monthly_check_in"
    if (
        (plan == "business" or tier in ("enterprise", "mid-market"))
        and one.within("tenure_days", 60, 1e9)
        and (is_unreviewed or one.within("days_since_review", 90, 1e9))
    ):
        yield "quarterly_review"
    if (plan == "business" or tier == "enterprise") and one.within("tenure_days", 0, 30):
        yield from ("assign_csm", "custom_onboarding_plan")


def is_kept_back(one: Seen) -> bool:
    due = set(promised(one))
    return any(
        w.action_id in due and w.reason in ("week_is_full", "does_not_pay")
        for w in one.answer.withheld
    )


def is_ranked_as_investment(one: Seen) -> bool:
    due = set(promised(one))
    return any(c.action_id in due and getattr(c, "basis", "value") == "value" for c in one.listed)


def shown(candidate: Candidate, as_of: datetime) -> float | None:
    """The worth as the page shows it; None where it shows none."""
    text = action_view(candidate, "USD", as_of=as_of).worth.replace(",", "").replace("−", "-")
    found = re.search(r"-?\d+(\.\d+)?", text)
    return float(found[0]) if found else None


def is_out_of_order(one: Seen) -> bool:
    values = [value for c in one.listed if (value := shown(c, one.answer.as_of)) is not None]
    return any(later > earlier for earlier, later in pairwise(values))


def needs_a_person(one: Seen) -> bool:
    is_leaving = "cancel_intent" in one.state.alerts
    has_revenue = (one.value("annual_revenue") or 0.0) >= REVENUE_FROM
    renews = one.within("days_to_renewal", 0, 7) and one.within("term_months", 3, 1e9)
    return is_leaving or (one.is_critical and has_revenue) or renews


def may_not_renew_this_week(one: Seen) -> bool:
    """A term under three months that ends within the week at twice the usual risk, or after bad
    feedback, with revenue."""
    has_revenue = (one.value("annual_revenue") or 0.0) >= REVENUE_FROM
    is_due = one.within("days_to_renewal", 0, 7) and one.within("term_months", 0, 2.89)
    is_called = (one.value("annual_revenue") or 0.0) >= CALLED_FROM
    is_upset = is_called and was_rated_badly(one)
    is_risky = HIGH & {one.state.risk_tier, getattr(one.state, "renewal_tier", None)}
    return has_revenue and is_due and (is_upset or bool(is_risky))


def was_rated_badly(one: Seen) -> bool:
    """Whether an answer of the last 90 days was bad."""
    is_bad = one.within("nps_last", 0, 6) or one.within("csat_last", 0, 2)
    return is_bad and one.within("survey_answers_90d", 1, 1e9)


def steps_listed(one: Seen) -> Iterator[tuple[str, float]]:
    """Of each listed step of a sequence the sequence, and the hours from its day zero."""
    for c in one.listed:
        for part in (c, *c.subjects):
            for sequence in one.book.sequences:
                if f"of the sequence “{sequence.name}”" in part.because:
                    number = int(re.search(r"step (\d+) of \d+ of the sequence", part.because)[1])
                    yield sequence.id, sequence.steps[number - 1].after_hours


def has_two_next_steps(one: Seen) -> bool:
    found = set(steps_listed(one))
    return len(found) > len({sequence for sequence, _ in found})


def skips_steps_in_silence(one: Seen) -> bool:
    """Whether a later step is listed as if the earlier ones had been done."""
    done = {past.action_id for past in one.history}
    for c in one.listed:
        found = re.search(r"step (\d+) of \d+ of the sequence “([^”]+)”(?! \()", c.because)
        if found is None:
            continue
        sequence = next(s for s in one.book.sequences if s.name == found[2])
        here = sequence.steps[int(found[1]) - 1]
        earlier = {s.action for s in sequence.steps if s.after_hours < here.after_hours}
        if earlier - done:
            return True
    return False


def talks_of_every_day(one: Seen) -> bool:
    """Whether somebody who leaves is spoken to of everyday matters, or of more than four."""
    talks = [c for c in one.listed if one.speaks(c) and c.basis == "urgent"]
    return one.told_they_leave and any(
        len(c.subjects) > 3 or OF_EVERY_DAY & {s.action_id for s in c.subjects} for c in talks
    )


def asks_what_was_said(one: Seen) -> bool:
    at = one.state.moments.get("reason_to_leave_given")
    is_known = at is not None and one.answer.as_of - at <= timedelta(days=180)
    return is_known and bool({"exit_survey", "winback_survey"} & one.names)


def does_nothing_without_a_word(one: Seen) -> bool:
    because = one.answer.ranked[0].because.casefold()
    return one.first.action_id == DO_NOTHING and "look again" not in because


def leaves_a_sign_of_today(one: Seen) -> bool:
    return one.urgency >= TODAY and one.names <= NO_ANSWERS


def is_left_without_a_day(one: Seen) -> bool:
    """Whether no person has anything to do now and nobody knows when to look again."""
    is_left = all(c.owner_role == "automation" for c in one.answer.ranked)
    return is_left and getattr(one.answer, "look_again_on", None) is None


def may_be_lost_within_half_a_year(one: Seen) -> bool:
    is_high = getattr(one.state, "renewal_tier", None) in HIGH
    return is_high and one.within("days_to_renewal", 0, 180)


def asks_too_late(one: Seen) -> bool:
    ended = one.state.moments.get("contract_ended")
    return (
        ended is not None
        and one.state.attributes.get("contract_status") == "ended"
        and one.answer.as_of - ended > timedelta(days=45)
        and any(c.action_id in SURVEYS for c in one.listed)
    )


RULES: tuple[tuple[str, Callable[[Seen], bool]], ...] = (
    ("a sale first beside a sign of two days or sooner, or a stalled onboarding",
     lambda one: one.is_in_trouble and one.sells(one.first)),
    ("a sale anywhere beside one",
     lambda one: one.is_in_trouble and any(map(one.sells, one.listed))),
    ("an offer counts for more than its own price",
     lambda one: any((price := one.own_price(c.action_id)) is not None
                     and c.value.at_stake > 12 * price + 0.01 for c in one.listed)),
    ("doing nothing first within a week of the renewal",
     lambda one: one.first.action_id in NOTHING and one.within("days_to_renewal", 0, 7)),
    ("doing nothing first beside “at once”",
     lambda one: one.first.action_id in NOTHING and one.urgency >= AT_ONCE),
    ("no person speaks first though they leave, renew within the week or are critical",
     lambda one: needs_a_person(one) and not one.speaks(one.first)),
    ("no person speaks first to a short term that ends within the week at twice the usual risk, or "
     "after bad feedback",
     lambda one: may_not_renew_this_week(one) and not one.speaks(one.first)),
    ("nothing for a person to do, and no day to look again", is_left_without_a_day),
    ("nothing first and no day, at twice the usual risk of a renewal within 180 days",
     lambda one: one.first.action_id in NOTHING and may_be_lost_within_half_a_year(one)
     and is_left_without_a_day(one)),
    ("two conversations or more for one customer in a week",
     lambda one: sum(map(one.speaks, one.listed)) > 1),
    ("a promise kept back by a cap or by its cost", is_kept_back),
    ("a promise ranked as an investment", is_ranked_as_investment),
    ("a renewal runway or pack for a term under three months",
     lambda one: one.within("term_months", 0, 2.9)
     and any(c.action_id in RUNWAY for c in one.listed)),
    ("first word to a critical account is a payment reminder",
     lambda one: one.is_critical and one.first.action_id == "dunning"),
    ("a save play for a customer of under 30 days",
     lambda one: one.within("tenure_days", 0, 29.99)
     and any(c.action_id == "save_play" for c in one.listed)),
    ("an offer for a request that they did not make",
     lambda one: any(c.action_id in ASKED_FOR and not one.value(ASKED_FOR[c.action_id])
                     for c in one.listed)),
    ("an action listed whose value rounds to nothing",
     lambda one: any(getattr(c, "basis", "value") == "value" and round(c.cautious_value) == 0
                     for c in one.listed)),
    ("doing nothing listed twice",
     lambda one: sum(c.action_id in NOTHING for c in one.answer.ranked) > 1),
    ("a list that is not in the order of the value shown", is_out_of_order),
    ("two next steps of one sequence", has_two_next_steps),
    ("a later step of a sequence, and not a word of the earlier ones", skips_steps_in_silence),
    ("a conversation with somebody who leaves about everyday matters, or of over three subjects",
     talks_of_every_day),
    ("a mail about use in the last three days of a term",
     lambda one: one.within("days_to_renewal", 0, LAST_DAYS) and bool(USAGE_MAILS & one.names)),
    ("nothing that answers a sign that wants an answer today or at once", leaves_a_sign_of_today),
    ("a bad answer of the last 90 days without a follow-up",
     lambda one: was_rated_badly(one) and not FOLLOW_UPS & one.names
     and not one.has_answered_lately and not one.speaks(one.first)),
    ("a call for a bad answer older than that",
     lambda one: "one_to_one_call" in one.names and not was_rated_badly(one)),
    ("a favour in the last week of a term",
     lambda one: one.within("days_to_renewal", 0, 7) and any(
         one.book.by_id[name].objective == "advocate" for name in one.names)),
    ("growth or a favour beside a sign that they leave",
     lambda one: one.told_they_leave and any(
         one.book.by_id[name].objective in ("expand", "advocate") for name in one.names)),
)  # fmt: skip
"""What is counted of running accounts, in words, and whether an account breaks it."""


def asked(workspace: Path) -> Iterator[Seen]:
    """Every account of a workspace at its newest snapshot, with the policy's answer."""
    place = Workspace(workspace)
    prices_file = workspace / "prices.toml"
    prices = tomllib.loads(prices_file.read_text()) if prices_file.exists() else {}
    book = load_playbook()
    moment = SnapshotStore(place.snapshots_dir).moments()[-1]
    for one in decisions_as_of(place, store_of(place), moment, shared="counted"):
        question = json.loads(one.decision.inputs or "")["question"]
        yield Seen(
            state=(inputs := PolicyInputs.from_dict(question)).state,
            history=tuple(inputs.history),
            answer=one.recommendation,
            book=book,
            prices=prices,
        )


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted, and the figure in words."""
    broken: Counter[str] = Counter()
    running = late = known = silent = 0
    for one in asked(workspace):
        late += asks_too_late(one)
        known += asks_what_was_said(one)
        silent += does_nothing_without_a_word(one)
        if one.is_running:
            running += 1
            broken.update(words for words, is_broken in RULES if is_broken(one))
    return [
        ("running accounts asked about", f"{running:,}"),
        *((words, f"{broken[words]:,}") for words, _ in RULES),
        ("an exit survey over 45 days after the end (accounts that left)", f"{late:,}"),
        ("an exit survey though they said why (accounts that left)", f"{known:,}"),
        (
            "do nothing, and neither a day to look again nor why there is none (all accounts)",
            f"{silent:,}",
        ),
        ("rules broken, in all", f"{broken.total() + late + known + silent:,}"),
    ]
