"""The portfolio page: which accounts need a look, and what is at stake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from markupsafe import Markup

from features.alerts.alert import Alert
from features.health.formula import HealthFormula
from serving.leaving_words import LeavingWords, words_of
from serving.pages.frame import Frame, Notice, Option
from serving.pages.views.account_links import account_href, display_name, level_class, name_of
from serving.pages.views.charts import share_bar
from serving.pages.views.family_view import FamilyView, family_view
from serving.pages.views.figures import CHURN_AT_90, figure, percent_figures, words
from serving.scoring.account_families import Family
from serving.scoring.expected_money import MONTHS_PER_YEAR
from serving.scoring.explanations import reason_text
from serving.scoring.portfolio import (
    AccountFilter,
    Portfolio,
    not_scored,
    page_of,
    sum_of,
)
from serving.scoring.score import HIGH_TIERS, RISK_TIERS, TIER_HORIZON_DAYS, AccountScore
from serving.text_format import (
    INTERVAL_COVERS,
    NOT_KNOWN,
    PRIOR_INTERVAL,
    age,
    day,
    inside_sentence,
    instant,
    money,
    percent,
    plain,
    plural,
)

ACCOUNTS_PER_PAGE = 50
SOON_DAYS = 90
"""A renewal within so many days is said as a reason to look now."""

NOTHING = "\N{EN DASH}"
RUNNING: Literal["running"] = "running"
RUNNING_STATUSES = frozenset({"active", "paused", "trial"})


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure with what it means."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A filter with its values."""

    name: str
    label: str
    options: tuple[Option, ...]


@dataclass(frozen=True, kw_only=True)
class AccountLine:
    """One account in the table."""

    href: str
    name: str
    about: str
    at_risk: str
    at_risk_bar: Markup
    churn: str
    churn_range: str
    tier: str
    tier_class: str
    health: str
    level: str
    level_class: str
    reason: str
    yearly: str


@dataclass(frozen=True, kw_only=True)
class PortfolioPage:
    """The portfolio as a page."""

    frame: Frame
    tiles: tuple[Tile, ...]
    choices: tuple[Choice, ...]
    search: str
    is_filtered: bool
    family: FamilyView | None
    lines: tuple[AccountLine, ...]
    shown: str
    next_href: str | None
    interval_note: str
    words: LeavingWords


def portfolio_page(
    portfolio: Portfolio,
    *,
    wanted: AccountFilter,
    status: str,
    cursor: str | None,
    formula: HealthFormula,
    tenant: str,
    family: Family | None = None,
    stopped: tuple[Notice, ...] = (),
) -> PortfolioPage:
    """The page of the accounts that are wanted, from a cursor on; ``family`` is that of the parent
    that is asked for, ``stopped`` what is stopped for these accounts."""
    chosen = [s for s in portfolio.chosen(wanted) if _has_status(s, status)]
    page = page_of(chosen, cursor=cursor, limit=ACCOUNTS_PER_PAGE)
    widest = max((s.revenue_at_risk or 0.0 for s in chosen), default=0.0)
    given = _given(wanted, status)
    said = words_of(portfolio.leaving)
    following = None
    if page.next_cursor is not None:
        following = "/?" + urlencode({**given, "cursor": page.next_cursor})
    return PortfolioPage(
        frame=Frame(
            title="Accounts",
            section="accounts",
            tenant=tenant,
            source=source_line(portfolio),
            notices=(*stopped, *notices_of(portfolio)),
        ),
        tiles=_tiles(chosen, portfolio, _set_of(wanted, status)),
        choices=_choices(portfolio, wanted, status, formula),
        search=wanted.search or "",
        is_filtered=bool(set(given) - {"status"}) or status != RUNNING,
        family=family_view(
            family,
            name=name_of(family.account_id, portfolio),
            currency=portfolio.currency,
            formula=formula,
            lists_children=False,
        )
        if family
        else None,
        lines=tuple(
            _line(score, widest, formula, portfolio.alerts.of(score.account_id))
            for score in page.scores
        ),
        shown=_shown(
            len(page.scores),
            len(chosen),
            cursor is not None,
            order=(said.at_risk_first if widest else "by id"),
        ),
        next_href=following,
        interval_note=PRIOR_INTERVAL if portfolio.models.is_first_day else INTERVAL_COVERS,
        words=said,
    )


def source_line(portfolio: Portfolio, of: AccountScore | None = None) -> str:
    """Where the numbers come from and how old they are: of all accounts, or of one."""
    scores = portfolio.scores if of is None else (of,)
    versions = sorted({s.model_version for s in scores if s.model_version})
    by_model = any(s.source == "model" for s in scores)
    what = words_of(portfolio.leaving).scored
    scored: str = f"{what} scored by the health formula"
    if of is not None and (unscored := not_scored(of)):
        scored = f"not scored: {unscored}"
    elif by_model:
        scored = words(
            "{what} scored by the model ({versions})",
            what=what,
            versions=figure("model_version", "churn", ", ".join(versions)),
        )
    newest = max((f.last_recorded_at for f in portfolio.freshness), default=None)
    behind = (
        f", {age(portfolio.now - portfolio.as_of)} before the clock of this workspace"
        if portfolio.now > portfolio.as_of
        else ""
    )
    return words(
        "As of {as_of}{behind} · {scored}",
        as_of=figure("as_of", "accounts", day(portfolio.as_of)),
        behind=behind,
        scored=scored,
    ) + (words(" · newest event {at}", at=instant(newest)) if newest else "")


def notices_of(portfolio: Portfolio) -> tuple[Notice, ...]:
    """What a reader must know: that the formula answers, and why."""
    running = [s for s in portfolio.scores if not s.has_no_contract]
    degraded = [s for s in running if s.degraded]
    reasons = sorted({s.degraded for s in degraded if s.degraded})
    if not degraded:
        return ()
    which = "every account" if len(degraded) == len(running) else plural(len(degraded), "account")
    known = any(s.churn_probability_90d is not None for s in degraded)
    after = (
        "The order and the amounts are a start: they change with your own outcomes (keepwell train)."
        if known and portfolio.models.is_first_day
        else "Probabilities are those of the health formula, calibrated on past accounts."
        if known
        else "There are no probabilities; health scores and warning signs still hold."
    )
    return (
        Notice(
            title=f"The health formula answers for {which}", text=f"{' '.join(reasons)} {after}"
        ),
    )


def _set_of(wanted: AccountFilter, status: str) -> str:
    """The name of the accounts that are listed, as their figures carry it."""
    given = _given(wanted, status)
    return f"accounts {status}" if set(given) == {"status"} else f"accounts {urlencode(given)}"


def _has_status(score: AccountScore, status: str) -> bool:
    found = score.attributes.get("contract_status")
    if status == RUNNING:
        return found in RUNNING_STATUSES
    return status == "all" or found == status


def _given(wanted: AccountFilter, status: str) -> dict[str, str]:
    values: Mapping[str, str | None] = {
        "segment": wanted.segment,
        "tier": wanted.tier,
        "service_tier": wanted.service_tier,
        "csm": wanted.csm,
        "level": wanted.level,
        "parent": wanted.parent,
        "search": wanted.search,
        "status": status,
    }
    return {name: value for name, value in values.items() if value}


def _tiles(chosen: Sequence[AccountScore], portfolio: Portfolio, accounts: str) -> tuple[Tile, ...]:
    """The sums over the accounts that are listed; ``accounts`` is the name of their set."""
    total, said = sum_of(chosen), words_of(portfolio.leaving)

    def amount(name: str, value: float | None) -> Markup:
        return figure(name, accounts, money(value, portfolio.currency))

    def count(name: str, number: int) -> Markup:
        return figure(name, accounts, f"{number:,}")

    unscored = {not_scored(score) for score in chosen}
    why_not = next(iter(unscored)) if len(unscored) == 1 else None
    yearly = None if total.mrr is None else MONTHS_PER_YEAR * total.mrr
    note = "no probability or no revenue is known"
    if total.with_revenue_at_risk:
        note = words(
            "between {low} and {high}; of {yearly} {revenue}",
            revenue=said.of_yearly,
            low=amount("revenue_at_risk_low", total.revenue_at_risk_low),
            high=amount("revenue_at_risk_high", total.revenue_at_risk_high),
            yearly=amount("yearly_revenue", yearly),
        )
    at_risk = Tile(
        label=said.at_risk,
        value=why_not or amount("revenue_at_risk", total.revenue_at_risk),
        note=said.not_scored if why_not else note,
    )
    urgent = total.by_tier.get("critical", 0) + total.by_tier.get("high", 0)
    tiers = [
        words("{n} {tier}", n=count(f"accounts_{t.name}", total.by_tier[t.name]), tier=t.name)
        for t in reversed(RISK_TIERS)
        if t.name in total.by_tier
    ]
    if total.by_tier.get("unknown"):
        tiers.append(words("{n} not known", n=count("accounts_unknown", total.by_tier["unknown"])))
    if total.contract_ended:
        ended = plural(total.contract_ended, said.gone_one, said.gone_many)
        tiers.append(figure("contract_ended", accounts, ended))
    if total.by_tier.get(said.none_one):
        number = count("accounts_without_contract", total.by_tier[said.none_one])
        tiers.append(words("{n} {none}", n=number, none=said.none_many))
    no_tier = total.accounts and not any(t.name in total.by_tier for t in RISK_TIERS)
    risk = Tile(
        label=f"High or critical {inside_sentence(said.risk)}",
        value=(
            why_not or NOT_KNOWN
            if no_tier
            else figure("accounts_high_or_critical", accounts, plural(urgent, "account"))
        ),
        note=said.not_scored if why_not else Markup(" · ").join(tiers) or "no account",
    )
    grows = Tile(
        label=f"Yearly growth expected within {TIER_HORIZON_DAYS} days",
        value=why_not or amount("expected_expansion", total.expected_expansion),
        note=(
            words(
                "between {low} and {high}; chance to expand within 90 days × the usual rise",
                low=amount("expected_expansion_low", total.expected_expansion_low),
                high=amount("expected_expansion_high", total.expected_expansion_high),
            )
            if total.expected_expansion is not None
            else _why_no_growth(chosen)
        ),
    )
    levels = [
        words(
            "{n} {level}",
            n=count(f"health_{name}", number),
            level="not known" if name == "unknown" else name,
        )
        for name, number in sorted(total.by_level.items(), key=lambda item: -item[1])
    ]
    health = Tile(
        label="Accounts",
        value=count("accounts", total.accounts),
        note="health: " + (Markup(" · ").join(levels) or "none"),
    )
    return (at_risk, risk, grows, health)


def _why_no_growth(chosen: Sequence[AccountScore]) -> str:
    """Why nobody's growth is known, in the words of the first account that still could grow."""
    running = [s for s in chosen if not s.has_no_contract]
    if not running:
        return words_of(chosen[0].leaving).not_scored if chosen else "no account"
    note = next((s.expansion_note for s in running if s.expansion_note), None)
    return inside_sentence(note).rstrip(".") if note else "the monthly revenue is not known"


def _choices(
    portfolio: Portfolio, wanted: AccountFilter, status: str, formula: HealthFormula
) -> tuple[Choice, ...]:
    said = words_of(portfolio.leaving)
    found = [
        _choice(
            "tier",
            said.risk if portfolio.leaving.is_no_use else "Churn risk, 90 days",
            "Any",
            [t.name for t in reversed(RISK_TIERS)],
            wanted.tier,
        ),
        _choice("level", "Health", "Any", [b.name for b in formula.bands], wanted.level),
    ]
    for name, label, given in (
        ("segment", "Segment", wanted.segment),
        ("service_tier", "Service tier", wanted.service_tier),
        ("csm", "Success manager", wanted.csm),
    ):
        words = portfolio.words(name)
        if words:
            found.append(_choice(name, label, "Any", words, given))
    parents = sorted(portfolio.families.children_of)
    if parents:
        found.append(
            Choice(
                name="parent",
                label="Parent",
                options=(
                    Option(value="", text="Any", is_chosen=wanted.parent is None),
                    *(
                        Option(
                            value=name,
                            text=name_of(name, portfolio),
                            is_chosen=name == wanted.parent,
                        )
                        for name in parents
                    ),
                ),
            )
        )
    found.append(
        Choice(
            name="status",
            label=said.status,
            options=tuple(
                Option(value=value, text=text, is_chosen=value == status)
                for value, text in said.statuses
            ),
        )
    )
    return tuple(found)


def _choice(name: str, label: str, none: str, values: Sequence[str], given: str | None) -> Choice:
    options = [Option(value="", text=none, is_chosen=given is None)]
    options += [Option(value=v, text=plain(v), is_chosen=v == given) for v in values]
    return Choice(name=name, label=label, options=tuple(options))


def why_now(score: AccountScore, signs: Sequence[Alert]) -> str:
    """The renewal and the most urgent warning sign, in short; else what stands out most.

    Where nothing stands out of a chance to leave below the usual, it is what speaks for staying.
    """
    if not_scored(score):
        return NOTHING
    days = score.features.get("days_to_renewal")
    facts = []
    if days is not None and days <= SOON_DAYS:
        facts.append(reason_text("days_to_renewal", days, {}))
    elif days is not None and score.at_renewal and score.renewal_tier in HIGH_TIERS:
        facts.append(
            f"{percent(score.at_renewal.probability)} at its renewal in {plural(round(days), 'day')}"
        )
    if signs:
        facts.append(signs[0].title)
    if facts:
        return " · ".join(facts)
    foremost, against = score.reasons.foremost, score.reasons.against
    if foremost:
        return foremost.sentence
    stays = words_of(score.leaving).stays
    return f"{stays}: {inside_sentence(against.text)}" if against else "Nothing stands out"


def _line(
    score: AccountScore, widest: float, formula: HealthFormula, signs: Sequence[Alert]
) -> AccountLine:
    at_90 = score.churn_at(score.risk_days)
    name, traits, left = score.account_id, score.attributes, not_scored(score)
    about = [
        traits.get("account_name") and name,
        traits.get("segment") and plain(traits["segment"] or ""),
        traits.get("price_plan") and f"{plain(traits['price_plan'] or '')} plan",
        traits.get("csm"),
    ]
    share = None
    if score.revenue_at_risk is not None and widest > 0:
        share = score.revenue_at_risk / widest
    return AccountLine(
        href=account_href(score.account_id),
        name=display_name(score),
        about=" · ".join(word for word in about if word),
        at_risk=NOTHING
        if left
        else figure("revenue_at_risk", name, _whole(score.revenue_at_risk, score.currency)),
        at_risk_bar=Markup("") if left else share_bar(share, "risk"),
        churn=NOTHING
        if left
        else figure(CHURN_AT_90, name, percent(at_90.probability if at_90 else None)),
        churn_range=(
            percent_figures(CHURN_AT_90, name, at_90.low, at_90.high)
            if at_90 and at_90.low is not None
            else ""
        ),
        tier=left or figure("risk_tier", name, score.risk_tier or NOT_KNOWN),
        tier_class=f"tier-{score.risk_tier or 'unknown'}",
        health=figure(
            "health_score",
            name,
            NOT_KNOWN if score.health.score is None else f"{score.health.score:.0f}",
        ),
        level=figure("health_level", name, score.health.band or "not enough data"),
        level_class=level_class(formula, score.health.band),
        reason=why_now(score, signs),
        yearly=NOTHING
        if left
        else figure(
            "yearly_revenue",
            name,
            _whole(None if score.mrr is None else MONTHS_PER_YEAR * score.mrr, score.currency),
        ),
    )


def _whole(amount: float | None, currency: str) -> str:
    """An amount of a column: without cents, so that digits stand above each other."""
    return money(None if amount is None else round(amount), currency)


def _shown(count: int, total: int, is_later: bool, *, order: str) -> str:
    if total == 0:
        return "No account fits these filters."
    if count == total:
        return f"{plural(total, 'account')}, {order}."
    where = "The next" if is_later else "The first"
    return f"{where} {count:,} of {plural(total, 'account')}, {order}."
