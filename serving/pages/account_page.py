"""The account page: how likely the account leaves, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from experiments.policy.recommend import Recommendation
from features.alerts.alert import Alert
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.catalogue.feature import AnyFeature
from features.health.formula import HealthFormula
from features.health.score import TREND_LOOKBACK, ComponentScore, Health, trend
from registry.outcomes import EXPANSION
from registry.playbook.playbook import load_playbook
from serving.leaving_words import LeavingWords, status_words, words_of
from serving.pages.frame import Frame, Notice
from serving.pages.portfolio_page import source_line
from serving.pages.views.account_links import (
    account_href,
    display_name,
    level_class,
    name_of,
    parent_href,
)
from serving.pages.views.actions_view import (
    ActionView,
    WithheldView,
    action_view,
    actions_intro,
    withheld_view,
)
from serving.pages.views.autonomy_view import HeldLevel
from serving.pages.views.charts import (
    share_bar,
)
from serving.pages.views.family_view import FamilyView, family_view
from serving.pages.views.feedback_view import FeedbackView
from serving.pages.views.figures import BASE_RATE, CHURN_AT_90, figure, percent_figures, words
from serving.pages.views.history_view import (
    ChangeLine,
    DayView,
    change_lines,
    day_view,
    use_note,
    use_picture,
)
from serving.pages.views.outlooks_view import (
    OutlookLine,
    RenewalView,
    extended_words,
    growth_note,
    horizon_bars,
    horizon_lines,
    outlook_lines,
    renewal_view,
    when_renewal_counts,
)
from serving.pages.views.policy_words import is_about_growth, note_words
from serving.pages.views.reasons_view import ReasonsView, reasons_view
from serving.scoring.account_families import Family
from serving.scoring.expected_money import MONTHS_PER_YEAR
from serving.scoring.outlooks import untreated_lines
from serving.scoring.portfolio import Portfolio, not_scored
from serving.scoring.score import HIGH_TIERS, AccountScore
from serving.text_format import (
    INTERVAL_COVERS,
    NOT_KNOWN,
    PRIOR_INTERVAL,
    capitalised,
    day,
    money,
    percent,
    plain,
    plural,
    spoken,
)
from serving.timeline.days import TimelineDay, WeekOfUse

MOST_WITHHELD = 30
SAME_TIME = timedelta(days=1)
THIS_WEEK = 2
"""The urgency of a warning sign from which on what to do follows from it, and not from the health."""
"""Data that are further behind the clock of the service stand still, as between two exports."""
FOR_TODAY = 4
"""Warning signs of this urgency and above are for today."""
TREND_TOLERANCE = timedelta(days=4)
"""Monthly snapshots lie up to 31 days apart; a trend is over 28."""

FACTS = (
    ("segment", "Segment"),
    ("price_plan", "Plan"),
    ("service_tier", "Service tier"),
    ("csm", "Success manager"),
    ("contract_status", "Contract"),
    ("channel", "Acquired through"),
    ("country", "Country"),
    ("industry", "Industry"),
    ("region", "Region"),
    ("use_case", "Use case"),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that is known of the account."""

    label: str
    value: str
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class HealthPart:
    """One component of the health score."""

    name: str
    measure: str
    points: str
    bar: Markup


@dataclass(frozen=True, kw_only=True)
class SignView:
    """One warning sign."""

    title: str
    words: str
    urgency: str


@dataclass(frozen=True, kw_only=True)
class AccountPage:
    """An account as a page."""

    frame: Frame
    account_id: str
    words: LeavingWords
    name: str
    about: str
    facts: tuple[Fact, ...]
    churn: str
    churn_note: str
    untouched: tuple[str, ...]
    tier: str
    tier_class: str
    horizons: Markup | None
    horizon_lines: tuple[str, ...]
    at_renewal: RenewalView | None
    interval_note: str
    at_risk: str
    at_risk_note: str
    growth: str
    growth_note: str
    growth_horizons: Markup | None
    growth_lines: tuple[str, ...]
    health: str
    level: str
    level_class: str
    health_note: str
    health_differs: str  # why it says another thing than the chance to leave; "" where it does not
    health_parts: tuple[HealthPart, ...]
    health_unknown: str
    reasons: ReasonsView
    growth_reasons: ReasonsView | None
    outlooks: tuple[OutlookLine, ...]
    family: FamilyView | None
    signs: tuple[SignView, ...]
    signs_differ: str  # why a sign is urgent where the chance is low; "" where they agree
    changes_title: str
    changes: tuple[ChangeLine, ...]
    actions: tuple[ActionView, ...]
    actions_intro: Markup | str
    waits: str
    say: FeedbackView
    judge_href: str
    action_notes: tuple[str, ...]
    withheld: tuple[WithheldView, ...]
    withheld_title: str
    use_picture: Markup | None
    use_note: str
    days: tuple[DayView, ...]


def account_page(
    score: AccountScore,
    portfolio: Portfolio,
    *,
    catalogue: Mapping[str, AnyFeature],
    formula: HealthFormula,
    answer: Recommendation,
    say: FeedbackView,
    family: Family | None,
    held: Mapping[str, HeldLevel],
    stopped: tuple[Notice, ...],
    waits: str,
    days: Sequence[TimelineDay],
    weeks: Sequence[WeekOfUse],
    clock: datetime,
    tenant: str,
) -> AccountPage:
    """The page of one account.

    ``held`` is how far each action may go by itself here, ``stopped`` what is stopped for the
    account, ``waits`` what of it waits for a person, in words, and ``clock`` is the moment by the
    clock of the service.
    """
    at_90 = score.churn_at(score.risk_days)
    name, said = score.account_id, words_of(score.leaving)
    before = portfolio.previous.get(name)
    probability = at_90.probability if at_90 else None
    unscored = not_scored(score)
    return AccountPage(
        frame=Frame(
            title=display_name(score),
            section="accounts",
            tenant=tenant,
            source=source_line(portfolio, score),
            notices=(*stopped, *_notices(score)),
        ),
        account_id=name,
        words=said,
        name=display_name(score),
        about=_about(score),
        facts=_facts(score, portfolio),
        churn=unscored or figure(CHURN_AT_90, name, percent(probability)),
        churn_note=(
            words(
                "95% interval {interval}; average of all accounts: {average}{how}",
                how=extended_words(at_90),
                interval=percent_figures(CHURN_AT_90, name, at_90.low, at_90.high),
                average=figure(BASE_RATE, name, percent(at_90.base_rate)),
            )
            if at_90 and at_90.probability is not None
            else score.degraded or "No probability can be given."
        ),
        untouched=untreated_lines(score, portfolio.models),
        tier=figure("risk_tier", name, _tier(score)),
        tier_class=f"tier-{score.risk_tier or 'unknown'}",
        horizons=horizon_bars(score.churn, "risk"),
        horizon_lines=horizon_lines(score.churn, "churn", name),
        at_renewal=renewal_view(
            score,
            portfolio,
            catalogue,
            formula,
            counts=when_renewal_counts(
                score, [a.id for a in portfolio.alerts.of(name)], load_playbook()
            ),
        ),
        interval_note=PRIOR_INTERVAL if portfolio.models.is_first_day else INTERVAL_COVERS,
        at_risk=(
            unscored
            or figure("revenue_at_risk", name, money(score.revenue_at_risk, score.currency))
        ),
        at_risk_note=(
            words(
                "{chance} {chance_inside} × {yearly} bought in the last 365 days"
                if score.leaving.is_no_use
                else "{chance} {chance_inside} × {monthly} a month × 12 months",
                chance_inside=said.chance_inside,
                yearly=figure("bought_365d", name, money(_yearly(score), score.currency)),
                chance=figure(CHURN_AT_90, name, percent(probability)),
                monthly=figure("mrr", name, money(score.mrr, score.currency)),
            )
            if score.revenue_at_risk is not None
            else said.nothing_at_risk
            if unscored
            else said.unknown_revenue
        ),
        growth=(
            unscored
            or figure(
                "expansion_probability_90d",
                name,
                percent(score.expansion.probability if score.expansion else None),
            )
        ),
        growth_note=growth_note(score),
        growth_horizons=horizon_bars(score.growth, "growth"),
        growth_lines=horizon_lines(score.growth, "expansion", name),
        health=figure(
            "health_score",
            name,
            NOT_KNOWN if score.health.score is None else f"{score.health.score:.0f}",
        ),
        level=figure("health_level", name, score.health.band or "not enough data"),
        level_class=level_class(formula, score.health.band),
        health_note=health_note(score, before, portfolio.alerts.of(score.account_id)),
        health_differs=health_differs(score, formula),
        health_parts=tuple(
            HealthPart(
                name=part.title.capitalize(),
                measure=_measure(part),
                points=f"{part.points:.0f} of 100",
                bar=share_bar(part.points / 100, "health"),
            )
            for part in score.health.components
            if part.points is not None
        ),
        health_unknown=_unknown_parts(score),
        reasons=reasons_view(
            score.reasons, probability, score.outcome, of=name, health=score.health
        ),
        growth_reasons=(
            reasons_view(
                score.expansion_reasons,
                score.expansion.probability,
                EXPANSION,
                of=name,
                health=score.health,
            )
            if score.expansion_reasons and score.expansion
            else None
        ),
        outlooks=() if unscored else outlook_lines(score, portfolio.models),
        family=family_view(
            family, name=display_name(score), currency=score.currency, formula=formula
        )
        if family
        else None,
        signs=_signs(portfolio.alerts.of(score.account_id)),
        signs_differ=signs_differ(score, portfolio.alerts.of(score.account_id)),
        changes_title=f"What changed since {day(before.as_of)}" if before else "",
        changes=change_lines(before, score, catalogue) if before else (),
        actions=tuple(
            action_view(
                c,
                score.currency,
                held.get(c.action_id),
                as_of=answer.as_of,
                has_left=score.has_left,
            )
            for c in answer.ranked
        ),
        waits=waits,
        say=say,
        judge_href=f"{account_href(score.account_id)}/feedback",
        actions_intro=actions_intro(answer),
        action_notes=tuple(
            note_words(note)
            for note in answer.notes
            if not (score.has_left and is_about_growth(note))
        ),
        withheld=tuple(
            withheld_view(w, score.currency, data_stand_still=stand_still(answer.as_of, clock))
            for w in answer.withheld[:MOST_WITHHELD]
        ),
        withheld_title=f"Held back: {plural(len(answer.withheld), 'action')}, with the reason",
        use_picture=use_picture(weeks),
        use_note=use_note(weeks),
        days=tuple(map(day_view, days)),
    )


def stand_still(as_of: datetime, clock: datetime) -> bool:
    """Whether the data are so far behind the clock of the service that the two are told apart."""
    return clock - as_of > SAME_TIME


def _notices(score: AccountScore) -> tuple[Notice, ...]:
    if score.degraded is None:
        return ()
    title = "Not scored" if score.has_no_contract else "The health formula answers for this account"
    return (Notice(title=title, text=score.degraded),)


def _tier(score: AccountScore) -> str:
    if score.has_no_contract:
        return "not scored"
    if score.risk_tier is None:
        return "risk not known"
    return f"{score.risk_tier} risk, next {score.risk_days} days"


def _yearly(score: AccountScore) -> float | None:
    return None if score.mrr is None else MONTHS_PER_YEAR * score.mrr


def _about(score: AccountScore) -> str:
    parts: list[str] = []
    if score.mrr is not None and score.leaving.is_no_use:
        bought = figure("bought_365d", score.account_id, money(_yearly(score), score.currency))
        parts.append(words("{bought} bought in the last 365 days", bought=bought))
        since = score.features.get("days_since_order")
        if since is not None:
            parts.append(spoken(f"last order {since:,.0f} days ago"))
    elif score.mrr is not None:
        monthly = figure("mrr", score.account_id, money(score.mrr, score.currency))
        parts.append(words("{monthly} a month", monthly=monthly))
    seats, renewal = score.features.get("seats"), score.features.get("days_to_renewal")
    if seats is not None:
        parts.append(plural(int(seats), "seat"))
    tenure = score.features.get("tenure_days")
    if tenure is not None:
        parts.append(spoken(f"customer for {tenure:,.0f} days"))
    if renewal is not None and not score.has_left:
        days = round(renewal)
        parts.append(
            "renews today"
            if days == 0
            else f"renews in {plural(days, 'day')}"
            if days > 0
            else f"renewal was due {plural(-days, 'day')} ago"
        )
    return Markup(" · ").join(parts)


def _facts(score: AccountScore, portfolio: Portfolio) -> tuple[Fact, ...]:
    facts = [Fact(label="Account", value=score.account_id)]
    said = words_of(score.leaving)
    facts += [
        Fact(
            label=said.status if name == CONTRACT_STATUS else label,
            value=plain(
                (status_words(value, score.leaving) or value) if name == CONTRACT_STATUS else value
            ),
        )
        for name, label in FACTS
        if (value := score.attributes.get(name))
    ]
    parent = portfolio.families.parent_of.get(score.account_id)
    if parent is not None:
        facts.append(
            Fact(
                label="Parent",
                value=name_of(parent, portfolio),
                href=parent_href(parent, portfolio),
            )
        )
    return tuple(facts)


def health_note(score: AccountScore, before: AccountScore | None, signs: Sequence[Alert]) -> str:
    """What is said beside the health: its usual step, unless a sign says what to do, and its trend."""
    health = score.health
    if health.score is None:
        return health.explanation
    note = "of 100"
    is_quiet = all(sign.urgency < THIS_WEEK for sign in signs)
    if (
        not score.has_no_contract and score.risk_tier not in HIGH_TIERS and is_quiet
    ):  # else the next actions say what to do
        note += f" · usual step at this health: {health.action}"
    earlier = _trend_basis(score, before)
    direction = trend(earlier, health)
    if earlier is not None and earlier.score is not None and direction != "unknown":
        note += f" · {direction} in four weeks, from {earlier.score:.0f}"
    return note


def health_differs(score: AccountScore, formula: HealthFormula) -> str:
    """What tells health from the chance to leave, where one warns and the other is at its best."""
    tiers = {score.risk_tier, score.renewal_tier} - {None}
    is_best = score.health.band == formula.bands[0].name
    is_worst = score.health.band == formula.bands[-1].name
    if not (is_best and not tiers.isdisjoint(HIGH_TIERS)) and not (is_worst and tiers == {"low"}):
        return ""
    return words_of(score.leaving).differs


def _trend_basis(score: AccountScore, before: AccountScore | None) -> Health | None:
    """The health of four weeks ago, where a snapshot lies close enough to it."""
    if before is None or abs(score.as_of - before.as_of - TREND_LOOKBACK) > TREND_TOLERANCE:
        return None
    return before.health


def _measure(part: ComponentScore) -> str:
    counts = f"counts {part.weight:g} of 100" if part.weight else "shown, not counted"
    return f"{spoken(part.measure)} · {counts}"


def _unknown_parts(score: AccountScore) -> str:
    parts = {part.name: part for part in score.health.components}
    unknown = [
        f"{parts[name].title} (would count {parts[name].weight:g})" for name in score.health.unknown
    ]
    if not unknown or score.health.score is None:  # where there is none, its note names them
        return ""
    return (
        f"Not known: {', '.join(unknown)}. The score rests on the "
        f"{score.health.known_weight:g} of 100 points of weight that are known."
    )


def signs_differ(score: AccountScore, alerts: Sequence[Alert]) -> str:
    """What tells an urgent warning sign from a chance to leave that is low."""
    if {score.risk_tier, score.renewal_tier} - {None} != {"low"} or not any(
        alert.urgency >= FOR_TODAY for alert in alerts
    ):
        return ""
    return (
        "A warning sign says what has happened. The chance says how past accounts like this one "
        f"ended: {words_of(score.leaving).stands}. A sign that is for today is answered all the same."
    )


def _signs(alerts: Sequence[Alert]) -> tuple[SignView, ...]:
    urgency = {
        5: "act at once",
        4: "act today",
        3: "within two days",
        2: "this week",
        1: "when there is time",
    }
    return tuple(
        SignView(
            title=a.title,
            words=capitalised(spoken(a.words)) + ".",
            urgency=urgency[a.urgency],
        )
        for a in alerts
    )
