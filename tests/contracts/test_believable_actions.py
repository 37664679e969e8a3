"""Accounts made by hand: what has to come first for each, and what must not be listed.

Each is a plain declaration of figures, warning signs and history. The situations are those of the
playbooks (docs/sources.md) and those in which a success manager would not have followed the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.recommend import AccountState, Limits, PastAction, recommend
from features.alerts.rules import ALERTS
from registry.playbook.playbook import load_playbook
from registry.playbook.prices import Price, PriceList

AS_OF = datetime(2026, 3, 4, 10, tzinfo=UTC)
BOOK = load_playbook()
PRICES = PriceList(
    plans={
        "starter": Price(per_seat=19, next="professional"),
        "professional": Price(per_seat=49, next="business"),
        "business": Price(per_seat=99),
    },
    addons={"addon_sso": Price(month=50), "addon_model": Price(month=100)},
)
SALES = frozenset(
    a.id for a in BOOK.actions if a.objective == "expand" or a.family == "trial_offer"
)
FAVOURS = frozenset(a.id for a in BOOK.actions if a.objective == "advocate")
DUNNING, SAVE = frozenset({"dunning"}), frozenset({"save_play", "concession"})
OFFERS_TO_STAY = frozenset(a.id for a in BOOK.actions if a.family == "retention_offer")
USAGE_MAILS = frozenset({"reengage_email", "roi_summary", "tips_email", "optimization_guide",
                         "webinar_invite", "peer_stories", "similar_case"})  # fmt: skip
RUNWAY = frozenset({"renewal_start", "renewal_pack"})
NOTHING = frozenset({"do_nothing"})


@dataclass(frozen=True, kw_only=True)
class Account:
    """A situation: a quiet account of middling size, but for what is said."""

    name: str
    first: str | frozenset[str]
    never: frozenset[str] = frozenset()
    listed: tuple[str, ...] = ()
    plan: str = "professional"
    tier: str = "small business"
    status: str = "active"
    mrr: float | None = 900.0
    seats: float = 20.0
    churn: float = 0.05
    growth: float = 0.05
    health: float | None = 75.0
    risk: str = "low"
    tenure: float = 400.0
    renewal: float | None = 200.0
    term_days: float = 365.0
    at_renewal: float | None = None  # the chance to leave when the term ends, and its band
    renewal_risk: str | None = None
    most_subjects: int = 9  # of one conversation
    again: int | None = None  # in so many days it is looked at again
    signs: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)  # action to days ago
    ended_days_ago: float | None = None
    said_why_days_ago: float | None = None  # why they leave
    legal_hold: bool = False
    consents: dict[str, bool] = field(default_factory=dict)
    prices: PriceList = PRICES

    def state(self) -> AccountState:
        moments = {}
        if self.ended_days_ago is not None:
            moments["contract_ended"] = AS_OF - timedelta(days=self.ended_days_ago)
        if self.said_why_days_ago is not None:
            moments["reason_to_leave_given"] = AS_OF - timedelta(days=self.said_why_days_ago)
        if self.ended_days_ago is None and self.renewal is not None:
            moments["term_started"] = AS_OF - timedelta(days=self.term_days - self.renewal)
        renewal = {} if self.renewal is None else {"days_to_renewal": self.renewal}
        return AccountState(
            account_id="made-by-hand",
            as_of=AS_OF,
            attributes={
                "contract_status": self.status,
                "price_plan": self.plan,
                "service_tier": self.tier,
            },
            features={
                "seats": self.seats,
                "tenure_days": self.tenure,
                "account_age_days": self.tenure,
                "days_to_first_use": 0.0,
                "severe_tickets_open": 0.0,
                "tickets_open": 0.0,
                "cancellations_pending": 0.0,
                "days_since_review": 20.0,
                "billing_months": 1.0,
                **renewal,
                **self.figures,
            },
            churn_probability=self.churn,
            expansion_probability=self.growth,
            expected_amount=None if self.mrr is None else 0.3 * self.mrr,
            score_source="model",
            mrr=self.mrr,
            alerts=self.signs,
            alert_raised_at=dict.fromkeys(self.signs, AS_OF),
            moments=moments,
            consents=self.consents,
            legal_hold=self.legal_hold,
            health_score=self.health,
            risk_tier=self.risk,
            renewal_probability=self.at_renewal,
            renewal_tier=self.renewal_risk,
        )

    def history(self) -> list[PastAction]:
        return [
            PastAction(action_id=action, at=AS_OF - timedelta(days=days), outcome="done")
            for action, days in self.done.items()
        ]


GROWING = {"limit_utilisation_28d": 0.9, "seat_utilisation_28d": 0.95, "active_users_28d": 18.0}
RED = {"health": 31.0, "risk": "critical", "churn": 0.4, "signs": ("health_below_40",)}
PROMOTER = {"nps_last": 10.0, "goals_reached": 2.0}

ACCOUNTS = (
    # they said that they leave
    Account(name="said that they leave", first="urgent_retention", never=SALES | FAVOURS,
            signs=("cancel_intent",), churn=0.5, risk="critical",
            figures={"cancellations_pending": 1.0}),
    Account(name="said that they leave, and the model sees no risk", first="urgent_retention",
            never=SALES, signs=("cancel_intent",), churn=0.001,
            figures={"cancellations_pending": 1.0, **GROWING}),
    Account(name="said that they leave, called three days ago: it goes up a level",
            first=frozenset({"escalate", "success_call"}), never=SALES | NOTHING,
            signs=("cancel_intent",), churn=0.5, risk="high",
            figures={"cancellations_pending": 1.0}, done={"urgent_retention": 3}),
    Account(name="a large account said that they leave, four days before the renewal",
            first="urgent_retention", never=SALES, signs=("cancel_intent",), mrr=9_000.0,
            tier="enterprise", renewal=4.0, churn=0.6, risk="critical",
            figures={"cancellations_pending": 1.0}),
    Account(name="a small account said that they leave", first="urgent_retention", never=SALES,
            signs=("cancel_intent",), mrr=60.0, plan="starter", tier="trial", churn=0.4,
            risk="critical", figures={"cancellations_pending": 2.0}),
    Account(name="said that they leave and owes an invoice", first="urgent_retention",
            never=SALES | DUNNING, signs=("cancel_intent", "invoice_unpaid"), churn=0.5,
            risk="critical",
            figures={"cancellations_pending": 1.0, "invoice_days_overdue": 9.0}),
    Account(name="said that they leave, under a legal hold: nothing goes out",
            first="usage_analysis", never=SALES | {"urgent_retention", "dunning"},
            signs=("cancel_intent",), legal_hold=True, churn=0.5, risk="critical",
            figures={"cancellations_pending": 1.0}),
    Account(name="said that they leave, on Business: the talk is about that, advice waits",
            first="urgent_retention", signs=("cancel_intent", "health_below_40", "sponsor_silent"),
            never=SALES | FAVOURS | OFFERS_TO_STAY | {"monthly_check_in", "office_hours",
            "quarterly_review", "role_guide", "optimization_guide"},
            listed=("value_plan", "save_play", "usage_analysis"), most_subjects=3,
            plan="business", mrr=1_600.0, health=37.5, churn=0.78, risk="critical", renewal=19.0,
            term_days=30.4, done={"success_call": 30},
            figures={"cancellations_pending": 1.0, "days_since_review": 95.0,
                     "adoption_depth_28d": 0.25, "use_roles_28d": 2.0}),
    Account(name="said that they leave, spoken to on Monday: now there is an offer to stay",
            first=frozenset({"escalate", "setup_help", "line_to_developers"}), never=SALES,
            signs=("cancel_intent",), churn=0.5, risk="high", mrr=4_000.0,
            figures={"cancellations_pending": 1.0}, done={"urgent_retention": 8}),
    Account(name="does not intend to renew, and reached a goal: the talk is about the renewal",
            first="save_play", signs=("renewal_refused",), renewal=45.0, mrr=7_000.0,
            never=SALES | FAVOURS | {"value_review", "value_summit", "quarterly_review"},
            listed=("exec_briefing",), most_subjects=3, churn=0.1, risk="low", health=95.0,
            plan="business", tier="mid-market", growth=0.2,
            figures={"renewal_intent_pending": 0.0, "goals_reached": 1.0, "days_since_review": 100.0,
                     "days_since_sponsor_touch": 45.0, **GROWING}),
    Account(name="said in the last review that they do not renew", first="save_play",
            never=SALES | FAVOURS, signs=("renewal_refused",), churn=0.1, risk="medium",
            renewal=150.0, figures={"renewal_intent_pending": 0.0, **GROWING}),
    # critical
    Account(name="red zone, with revenue", first="success_call", never=SALES | FAVOURS,
            listed=("ceo_email", "usage_analysis", "value_plan"), **RED),
    Account(name="red zone, and health is all that is known", first="success_call", never=SALES,
            health=22.0, risk="low", churn=0.05, signs=("health_below_40",)),
    Account(name="red zone, small: the four steps are due all the same", first="success_call",
            never=SALES | {"ceo_email"}, listed=("value_plan", "usage_analysis"), mrr=40.0,
            plan="starter", tier="trial", **RED),
    Account(name="red zone, the week full of mails: the steps are due", first="success_call",
            listed=("ceo_email", "usage_analysis", "value_plan"), never=SALES,
            done={"tips_email": 1, "optimization_guide": 2, "roi_summary": 3, "peer_stories": 4,
                  "webinar_invite": 5, "similar_case": 6}, **RED),
    Account(name="red zone, called last week: no second call", never=SALES | {"success_call"},
            first=frozenset({"ceo_email", "value_plan"}), done={"success_call": 5}, **RED),
    Account(name="critical risk in good health", first="success_call", never=SALES, churn=0.45,
            risk="critical", health=82.0),
    Account(name="critical, and an invoice is open: nobody reminds them first",
            first="success_call", never=SALES | DUNNING, churn=0.45, risk="critical",
            signs=("invoice_unpaid",), figures={"invoice_days_overdue": 12.0}),
    Account(name="critical, spoken to, and the invoice is still open: now they are reminded",
            first="dunning",
            listed=("dunning",), never=SALES, churn=0.45, risk="critical",
            signs=("invoice_unpaid",), figures={"invoice_days_overdue": 12.0},
            done={"success_call": 4, "personal_outreach": 2}),
    Account(name="critical and growing: nothing is sold", first="success_call", never=SALES,
            churn=0.45, risk="critical", growth=0.6, figures=GROWING),
    Account(name="critical at eighty a year: no hour of a person for that", never=SALES,
            first=frozenset({"do_nothing", "optimization_guide", "usage_analysis"}),
            mrr=6.0, plan="starter", tier="trial", churn=0.45, risk="critical"),
    # renewal
    Account(name="renews in five days, a yearly term", first="renewal_call", renewal=5.0,
            never=RUNWAY & {"renewal_start"}, listed=("renewal_check",)),
    Account(name="renews in five days at high risk", first="save_play", renewal=5.0, churn=0.3,
            risk="high", listed=("renewal_call",)),
    Account(name="renews in three days, month by month: it is seen to, nobody calls",
            first="renewal_check", never=NOTHING & frozenset() | RUNWAY | {"renewal_call"},
            renewal=3.0, term_days=30.4, churn=0.0),
    Account(name="renews today and nothing else", first="renewal_check", renewal=0.0,
            term_days=30.4, churn=0.0, never=RUNWAY),
    Account(name="renews in a hundred days, a yearly term", first="renewal_start", renewal=100.0,
            mrr=2_000.0, churn=0.1, never=frozenset({"renewal_pack", "renewal_call"})),
    Account(name="renews in sixty days, a yearly term", first=frozenset({"renewal_pack",
            "roi_summary"}), listed=("renewal_pack",), renewal=60.0, mrr=2_000.0, churn=0.1),
    Account(name="month by month: no runway, no pack", first=frozenset({"roi_summary"}),
            never=RUNWAY, renewal=20.0, term_days=30.4, churn=0.05, mrr=2_000.0),
    Account(name="a quarter's term has its pack", first=frozenset({"roi_summary",
            "renewal_pack"}), listed=("renewal_pack",), renewal=40.0, term_days=91.0,
            mrr=2_500.0, churn=0.12),
    Account(name="at risk forty days before the renewal", first="save_play", renewal=40.0,
            churn=0.25, risk="high", mrr=3_000.0, never=SALES),
    Account(name="a renewal in a hundred days that may be lost: a save play now, no sale",
            first="save_play", never=SALES | FAVOURS, listed=("renewal_start",), renewal=100.0,
            mrr=3_000.0, churn=0.01, at_renewal=0.36, renewal_risk="high", growth=0.3,
            figures=GROWING),
    Account(name="the same chance in 126 days: nothing now, and a day to look again",
            first="do_nothing", renewal=126.0, mrr=3_000.0, churn=0.003, at_renewal=0.36,
            renewal_risk="high", growth=0.0, again=6, done={"usage_report_quarterly": 30}),
    Account(name="a renewal in a hundred days as likely as usual: it is begun, nobody plays saviour",
            first="renewal_start", never=frozenset({"save_play", "personal_outreach"}),
            renewal=100.0, mrr=3_000.0, churn=0.01, at_renewal=0.1, renewal_risk="low"),
    Account(name="a renewal in a hundred days that may be lost, at eighty a year: no person",
            first=frozenset({"do_nothing", "roi_summary", "optimization_guide", "tips_email"}),
            never=frozenset({"save_play", "success_call"}), renewal=100.0, mrr=6.0, churn=0.01,
            plan="starter", tier="trial", at_renewal=0.4, renewal_risk="high"),
    Account(name="said three hundred days ahead that they do not renew: a person, no sale",
            first=frozenset({"save_play", "exec_briefing"}), never=SALES | FAVOURS | RUNWAY,
            signs=("renewal_refused",), churn=0.003, at_renewal=0.5, renewal_risk="critical",
            renewal=300.0, mrr=2_000.0, figures={"renewal_intent_pending": 0.0, **GROWING}),
    Account(name="rated us 4 of 10, uses half of the usual, a monthly term ends in seven days",
            first="one_to_one_call", never=SALES | FAVOURS | NOTHING, renewal=7.0, term_days=30.4,
            churn=0.08, risk="medium", signs=("sign_negative_feedback",),
            figures={"nps_last": 4.0, "use_trend_28d": 0.47}),
    Account(name="a monthly term at twice the usual risk ends in five days", first="save_play",
            listed=("renewal_call",), never=SALES | NOTHING, renewal=5.0, term_days=30.4,
            churn=0.15, risk="high", at_renewal=0.09, renewal_risk="high"),
    Account(name="a monthly term at the usual risk ends in five days: nobody calls",
            first=frozenset({"optimization_guide", "tips_email", "roi_summary"}),
            never=frozenset({"renewal_call", "save_play"}), renewal=5.0, term_days=30.4, churn=0.06,
            risk="medium", at_renewal=0.03, renewal_risk="medium"),
    # new customers
    Account(name="customer of 27 days in poor health", never=SAVE | RUNWAY | SALES,
            first=frozenset({"personal_outreach", "tips_email", "first_value_recipe",
                             "optimization_guide", "day30_review", "exec_update"}),
            tenure=27.0, health=48.0, renewal=3.0 + 60, term_days=90.0, churn=0.15, risk="medium",
            signs=("health_below_60",)),
    Account(name="onboarding stands still: it is repaired, nothing is sold",
            first="recover_step", never=SALES | FAVOURS, tenure=12.0, churn=0.1,
            signs=("onboarding_stalled",),
            figures={"onboarding_steps_done": 2.0, "onboarding_stall_hours": 90.0, **GROWING}),
    Account(name="Business in its first week: what was promised", never=SAVE | RUNWAY,
            first=frozenset({"welcome_ceo_call", "assign_csm", "custom_onboarding_plan"}),
            listed=("assign_csm", "custom_onboarding_plan"), plan="business", tenure=3.0,
            mrr=2_000.0, renewal=362.0, figures={"days_since_review": 3.0}),
    Account(name="enterprise in its second week", first=frozenset({"assign_csm",
            "custom_onboarding_plan"}), listed=("hypercare",), plan="professional",
            tier="enterprise", tenure=10.0, mrr=9_000.0, renewal=355.0, never=SAVE),
    Account(name="a yearly customer of four days: welcomed, and looked at after its first month",
            first="onboarding_email", tenure=4.0, renewal=361.0, mrr=180.0, churn=0.001, growth=0.0,
            plan="basic", never=SALES | SAVE | {"champion_training"}, again=26,
            figures={"trainings_completed_90d": 1.0}),
    Account(name="thirty days in: the review is held", first="day30_review", tenure=30.0,
            renewal=335.0, never=SAVE),
    Account(name="a Starter of five days", never=SALES | SAVE | {"success_call"},
            first="onboarding_email", listed=("launch_checklist",),
            plan="starter", tier="trial", mrr=90.0, seats=4.0, tenure=5.0, renewal=25.0,
            term_days=30.4, churn=0.08,
            figures={"onboarding_steps_done": 1.0, "days_to_first_use": 1.0}),
    # sales
    Account(name="at the limit, nothing wrong", growth=0.2, figures=GROWING,
            first=frozenset({"next_plan_preview", "upgrade_recommend", "business_trial_30d",
                             "team_demo", "scim_sso_enable", "first_month_half"})),
    Account(name="at the limit, and use has halved today", never=SALES, first="reengage_email",
            growth=0.3, churn=0.1, risk="medium", figures=GROWING, signs=("usage_halved",)),
    Account(name="at the limit, and a payment failed", never=SALES,
            first=frozenset({"billing_escalation", "dunning"}), growth=0.3, figures=GROWING,
            signs=("payment_failed",)),
    Account(name="at the limit, and a ticket sounds bitter", never=SALES | FAVOURS, growth=0.3,
            first=frozenset({"tell_manager", "do_nothing"}), figures=GROWING, churn=0.001,
            signs=("ticket_negative",)),
    Account(name="at the limit, and errors are far above the usual", never=SALES,
            first="self_repair", growth=0.3, churn=0.1, figures=GROWING,
            signs=("errors_above_p95",)),
    Account(name="at the limit, and they rated us badly", never=SALES, first="one_to_one_call",
            growth=0.3, churn=0.15, mrr=3_000.0, signs=("sign_negative_feedback",),
            figures={**GROWING, "nps_last": 3.0}),
    Account(name="at the limit during an incident", never=SALES, first="incident_notice",
            growth=0.3, figures={**GROWING, "incidents_open": 1.0}, signs=("known_issue",)),
    Account(name="at the limit, and the sponsor is silent: that is no trouble of two days",
            first=frozenset({"next_plan_preview", "upgrade_recommend", "business_trial_30d",
                             "team_demo", "sponsor_touch", "scim_sso_enable"}),
            growth=0.3, figures=GROWING, signs=("sponsor_silent",)),
    Account(name="on the highest plan: no next one is sold", plan="business", growth=0.3,
            never=frozenset({"upgrade_recommend", "next_plan_preview", "in_app_upgrade"}),
            first=frozenset({"enterprise_preview", "scim_sso_enable", "addon_sso"}),
            figures={**GROWING, "days_since_review": 10.0}),
    Account(name="an offer without a price is given no money", growth=0.3, prices=PriceList(),
            never=frozenset({"upgrade_recommend", "next_plan_preview", "business_trial_30d",
                             "team_demo", "first_month_half", "in_app_upgrade"}),
            first=frozenset({"scim_sso_enable"}), figures=GROWING),
    Account(name="an add-on of fifty dollars is no reason for a call", plan="business",
            mrr=9_000.0, seats=90.0, growth=0.5, never=frozenset({"addon_sso"}),
            first=frozenset({"enterprise_preview", "do_nothing"}),
            figures={"active_users_28d": 40.0, "days_since_review": 10.0}),
    Account(name="asked for a feature of a higher plan", first="feature_trial_7d", growth=0.2,
            never=frozenset({"integration_upgrade", "branding_upgrade"}),
            figures={"feature_requests_90d": 2.0, "higher_plan_requests_90d": 2.0}),
    Account(name="asked for something else: that is no buying signal", growth=0.2,
            first="do_nothing", churn=0.0,
            never=frozenset({"feature_trial_7d", "integration_upgrade", "branding_upgrade"}),
            figures={"feature_requests_90d": 3.0, "higher_plan_requests_90d": 0.0},
            done={"usage_report_quarterly": 30}),
    Account(name="a Starter that asked for an integration", plan="starter", growth=0.2,
            seats=30.0, mrr=570.0, listed=("integration_upgrade",),
            first=frozenset({"integration_upgrade", "feature_trial_7d"}),
            figures={"integration_requests_90d": 1.0, "feature_requests_90d": 1.0}),
    Account(name="a Starter that asked for branding", plan="starter", growth=0.2, churn=0.0,
            first="do_nothing", never=frozenset({"integration_upgrade"}),
            figures={"branding_interest_90d": 2.0, "feature_requests_90d": 2.0}),
    # promises
    Account(name="Business, no review for a hundred days", plan="business", never=SALES & DUNNING,
            first=frozenset({"quarterly_review", "monthly_check_in"}),
            listed=("quarterly_review", "monthly_check_in"), churn=0.0,
            figures={"days_since_review": 100.0}),
    Account(name="Business, reviewed last week", plan="business", churn=0.0, first="do_nothing",
            never=frozenset({"quarterly_review"}), growth=0.0,
            figures={"days_since_review": 7.0}),
    Account(name="mid-market, the week full of contacts: the review is due",
            first="quarterly_review", tier="mid-market", plan="professional", mrr=3_000.0,
            churn=0.0, figures={"days_since_review": 120.0},
            done={"tips_email": 1, "optimization_guide": 2, "roi_summary": 3,
                  "personal_outreach": 4}),
    Account(name="a severe ticket is open: it goes up", first="escalate", never=SALES | FAVOURS,
            figures={"severe_tickets_open": 1.0, "tickets_open": 1.0, **GROWING}, growth=0.3),
    # one conversation
    Account(name="a call, a review and feedback are one conversation", first="success_call",
            listed=("value_plan", "one_to_one_call", "quarterly_review"), tier="mid-market",
            mrr=4_000.0, health=35.0, risk="critical", churn=0.4,
            signs=("health_below_40", "sign_negative_feedback"),
            figures={"nps_last": 2.0, "days_since_review": 200.0}),
    Account(name="spoken to two days ago: the next call waits", churn=0.15, risk="medium",
            never=frozenset({"renewal_call", "sponsor_touch"}),
            first=frozenset({"optimization_guide", "tips_email", "roi_summary"}),
            signs=("sponsor_silent",), done={"monthly_check_in": 2}),
    # a bad answer is answered, in the form that the account is worth
    Account(name="rated us 6 of 10 last week, at low risk: a call is due all the same",
            first="one_to_one_call", never=SALES | {"feedback_reply"}, churn=0.01,
            figures={"nps_last": 6.0}, signs=("sign_negative_feedback",)),
    Account(name="rated us 6 of 10 last week, at two thousand a year: a short personal mail",
            first="feedback_reply", never=SALES | {"one_to_one_call", "renewal_call"}, mrr=196.0,
            churn=0.05, renewal=6.0, term_days=30.4, at_renewal=0.016, renewal_risk="low",
            figures={"nps_last": 6.0}, signs=("sign_negative_feedback",)),
    Account(name="rated us 6 of 10 half a year ago, at two thousand a year: nobody answers that now",
            first=frozenset({"roi_summary", "feature_trial_7d"}), mrr=196.0, churn=0.05, renewal=6.0,
            never=frozenset({"one_to_one_call", "renewal_call", "feedback_reply"}), term_days=30.4,
            at_renewal=0.016, renewal_risk="low", signs=("sponsor_silent",),
            figures={"nps_last": 6.0, "higher_plan_requests_90d": 1.0}),
    Account(name="rated us badly and was called three weeks ago: that was the answer", churn=0.0,
            first="do_nothing", never=frozenset({"one_to_one_call", "feedback_reply"}), growth=0.0,
            figures={"nps_last": 5.0}, signs=("sign_negative_feedback",),
            done={"one_to_one_call": 21, "usage_report_quarterly": 30}),
    # whoever wants no e-mail is answered in the product
    Account(name="use has halved, and they want no e-mail", first="in_app_word", never=SALES,
            consents={"email": False}, signs=("usage_halved",), mrr=220.0, churn=0.1, risk="high"),
    Account(name="health fell by a fifth, small, and they want no e-mail", first="in_app_word",
            never=SALES, consents={"email": False}, signs=("health_fell_20pct",), mrr=38.0,
            health=45.0, plan="starter", tier="trial", churn=0.1),
    Account(name="a bad answer, small, and they want no e-mail", first="in_app_word", never=SALES |
            {"feedback_reply"}, consents={"email": False}, signs=("sign_negative_feedback",),
            mrr=51.0, figures={"nps_last": 3.0}, plan="starter", tier="trial"),
    # the last days of a term
    Account(name="use is low on the day of the renewal: no mail about it", mrr=2_000.0, churn=0.06,
            first="renewal_check", never=USAGE_MAILS | SALES, renewal=0.0, term_days=30.4,
            at_renewal=0.02, renewal_risk="low"),
    Account(name="use has halved two days before the end of a monthly term: no mail about it",
            never=USAGE_MAILS | SALES, renewal=2.0, term_days=30.4, signs=("usage_halved",),
            mrr=2_000.0, churn=0.25, risk="high", renewal_risk="high", at_renewal=0.2,
            first="save_play"),
    Account(name="use has halved on the last day, at low risk: a person writes",
            first="personal_outreach", never=USAGE_MAILS | SALES, renewal=0.0, term_days=30.4,
            signs=("usage_halved",), mrr=140.0, churn=0.05),
    Account(name="the same four days before the end: there is time for a summary", churn=0.06,
            first=frozenset({"roi_summary"}), renewal=4.0, term_days=30.4, mrr=2_000.0),
    # left, paused, quiet
    Account(name="a prospect: nothing, and no chance to leave is made up", status="none",
            first="do_nothing", never=SALES | SAVE | RUNWAY, renewal=None, mrr=None, churn=0.0,
            health=None, risk="low", signs=("sign_usage_drop",)),
    Account(name="left twenty days ago: asked why", status="ended", renewal=None,
            ended_days_ago=20.0, first=frozenset({"exit_survey", "winback_founder"}),
            listed=("exit_survey",), never=SALES,
            figures={"days_since_login": 5.0}),
    Account(name="left twenty days ago and said why: nobody asks", status="ended", renewal=None,
            ended_days_ago=20.0, said_why_days_ago=34.0, first="do_nothing",
            never=SALES | {"exit_survey", "winback_survey"}, figures={"days_since_login": 5.0}),
    Account(name="left sixty days ago: nobody asks any more", status="ended", renewal=None,
            ended_days_ago=60.0, never=SALES | {"exit_survey"}, first="do_nothing",
            figures={"days_since_login": 5.0}),
    Account(name="nobody logged in for forty days", never=SALES,
            first=frozenset({"reengage_email", "winback_1", "winback_7"}), churn=0.15,
            signs=("login_none_30d",), figures={"days_since_login": 40.0, **GROWING}),
    Account(name="healthy and happy: a favour may be asked", health=90.0, churn=0.0, growth=0.0,
            first=frozenset({"case_study_ask", "reference_ask", "speaker_ask",
                             "advisory_board_invite"}), figures=PROMOTER),
    Account(name="healthy and happy, six days before the end of the term: no favour yet",
            health=90.0, churn=0.0, growth=0.0, never=FAVOURS, renewal=6.0, term_days=30.4,
            first="renewal_check", figures=PROMOTER, plan="basic", done={"value_review": 2}),
    Account(name="happy, with a warning sign: no favour is asked", health=85.0, never=FAVOURS,
            first=frozenset({"self_repair"}), churn=0.1, growth=0.0, figures=PROMOTER,
            signs=("errors_above_p95",)),
    Account(name="quiet and healthy: nothing", first="do_nothing", churn=0.0, growth=0.0,
            never=frozenset({"monitor"}), done={"usage_report_quarterly": 30}),
)  # fmt: skip


def answer_for(account: Account):
    return recommend(
        account.state(),
        playbook=BOOK,
        limits=Limits(),
        history=account.history(),
        as_of=AS_OF,
        prices=account.prices,
    )


def named(answer) -> set[str]:
    """Everything that is to be done, alone or as a subject of a conversation."""
    return {c.action_id for c in answer.ranked} | {
        subject.action_id for c in answer.ranked for subject in c.subjects
    }


every_account = pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.name)


def test_there_are_over_sixty_and_each_has_a_name():
    assert len(ACCOUNTS) == len({account.name for account in ACCOUNTS}) == 86


@every_account
def test_what_has_to_come_first_does(account):
    answer = answer_for(account)
    wanted = {account.first} if isinstance(account.first, str) else account.first
    found = [(c.basis, c.action_id, round(c.cautious_value)) for c in answer.ranked]
    assert answer.ranked[0].action_id in wanted, (
        found,
        [(w.action_id, w.why) for w in answer.withheld],
    )


@every_account
def test_what_must_not_be_listed_is_not_and_what_is_due_is(account):
    answer = answer_for(account)
    done = named(answer)
    assert done & (account.never - NOTHING) == set()
    if account.never & NOTHING:
        assert answer.ranked[0].action_id not in NOTHING
    assert set(account.listed) <= done, [(w.action_id, w.why) for w in answer.withheld]


@every_account
def test_whoever_is_left_alone_has_a_day_to_look_again(account):
    answer = answer_for(account)
    is_left = all(c.owner_role == "automation" for c in answer.ranked)
    if account.status in ("none", "ended") or not is_left:
        assert answer.look_again_on is None
        if answer.ranked[0].action_id == "do_nothing":
            assert "Nobody has to look again" in answer.ranked[0].because
    else:
        assert answer.look_again_on > AS_OF
        assert str(answer.look_again_on.year) in answer.ranked[-1].because
    if account.again is not None:
        assert answer.look_again_on == AS_OF + timedelta(days=account.again)


@every_account
def test_the_laws_of_a_list_hold(account):
    answer = answer_for(account)
    weighed = [c.cautious_value for c in answer.ranked[:-1] if c.basis == "value"]
    assert weighed == sorted(weighed, reverse=True)
    assert all(value > 0.5 for value in weighed)
    assert [c.action_id for c in answer.ranked].count("do_nothing") == 1
    talks = [c for c in answer.ranked if c.channel in BOOK.conversation.channels]
    assert len(talks) <= 1
    assert all(len(c.subjects) <= account.most_subjects for c in talks)
    assert [c.basis for c in answer.ranked].count("urgent") <= 1


def test_every_sign_that_wants_an_answer_within_two_days_stops_sales():
    guard = next(g for g in BOOK.guards if "wants an answer within two days" in g.until)
    urgent = {rule.id for rule in ALERTS if rule.urgency >= 3} | {"onboarding_stalled"}
    assert guard.condition.alerts == urgent


@pytest.mark.parametrize("sign", sorted(r.id for r in ALERTS if r.urgency >= 3))
def test_a_sale_that_is_held_back_names_the_sign(sign):
    account = Account(name=sign, first="", growth=0.3, figures=GROWING, signs=(sign,))
    held = {w.action_id: w for w in answer_for(account).withheld}
    sale = held["next_plan_preview"]
    assert sale.reason == "not_eligible"
    words = sign.replace("_", " ")
    assert words in sale.why or "cancel" in sign or "health" in sign
