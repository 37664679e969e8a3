"""How probabilities by horizon and outlooks are shown: renewal, long horizons, contraction, silence.

Each line says what, by when, how likely with its interval and what is usual, and which model says
so; where nothing is known it says why instead, and never a number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from markupsafe import Markup

from features.catalogue.feature import AnyFeature
from features.health.formula import HealthFormula
from registry.outcomes import CHURN, OUTLOOKS
from registry.playbook.playbook import Playbook
from serving.pages.views.charts import HorizonBar, horizon_picture
from serving.pages.views.figures import AT_RENEWAL, figure, percent_figures, words
from serving.pages.views.reasons_view import ReasonsView, renewal_reasons_view
from serving.scoring.outlooks import (
    RenewalOutlook,
    growth_by_renewal,
    other_outlooks,
    renewal_outlook,
)
from serving.scoring.portfolio import Portfolio
from serving.scoring.reasons.at_renewal import renewal_reasons
from serving.scoring.score import (
    TIER_HORIZON_DAYS,
    AccountScore,
    HorizonProbability,
    Models,
    ServedModel,
)
from serving.text_format import NOT_KNOWN, day, money, percent, percent_range, plural

FAR_HORIZONS = (180, 365)
"""Days; beside those that stand in the picture. Trained where the history reaches."""

NONE_PROMOTED = re.compile(r"^No .* model has been promoted\.$")


@dataclass(frozen=True, kw_only=True)
class OutlookLine:
    """One thing that may come of the account, as text."""

    what: str
    when: str
    chance: str
    range: str
    note: str  # how it is read, or why it is not known
    source: str


def outlook_lines(score: AccountScore, models: Models) -> tuple[OutlookLine, ...]:
    """Leaving and growing by the renewal and far off, contraction and silence.

    Each has its source, or the reason why it is not known.

    Args:
        score: of the account.
        models: what it was scored with.
    """
    if score.leaving.is_no_use:
        return ()  # all of them are about contracts
    found = other_outlooks(score)
    leaves = score.model_version or ""
    grows = _version(models.expansion)
    return (
        _renewal(
            score,
            "Leaves at its renewal",
            renewal_outlook(score),
            source=leaves,
            chance="chance to leave",
        ),
        *(_far(score, models, horizon) for horizon in FAR_HORIZONS),
        _renewal(
            score,
            "Grows by its renewal",
            growth_by_renewal(score),
            source=grows,
            chance="chance to grow",
        ),
        *(_far_growth(score, models, horizon) for horizon in FAR_HORIZONS),
        *(
            _line(
                score,
                outcome.words.statement,
                found[outcome.name].at,
                note=plain_note(found[outcome.name].note),
                source=_version(models.others.get(outcome.name)),
                unknown=f"within {outcome.horizons[-1]} days",
            )
            for outcome in OUTLOOKS
            if outcome.cohort != "trial" or score.attributes.get("contract_status") == "trial"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class RenewalView:
    """The chance to leave when the term ends, and why where the term outlasts the tiers' days."""

    line: Markup
    reasons: ReasonsView | None


def renewal_view(
    score: AccountScore,
    portfolio: Portfolio,
    catalogue: Mapping[str, AnyFeature],
    formula: HealthFormula,
    *,
    counts: str = "",
) -> RenewalView | None:
    """What the account page says of the coming renewal; None where no chance is known for it.

    Args:
        score: of the account.
        portfolio: what it was scored with and compared with.
        catalogue: of the features.
        formula: of the health score.
        counts: from when the renewal counts, as a sentence; "" where nothing is to be said of it.
    """
    found = renewal_outlook(score)
    if not found.at_the_end or found.at is None or found.at.probability is None:
        return None
    days, name, key = found.days_to_renewal or 0.0, score.account_id, AT_RENEWAL
    left = round(days)
    why = renewal_reasons(
        score,
        portfolio.models,
        peers=portfolio.peers,
        catalogue=catalogue,
        formula=formula,
    )
    is_later = why is not None and why.start is not None
    line = words(
        "At its renewal {when}, on {day}: {chance} ({interval}{usual})"
        + (". Before then it can hardly leave" if is_later else "")
        + "{money}.{counts}",
        when="today" if left == 0 else f"in {plural(left, 'day')}",
        day=day(_after(score, days)),
        chance=figure(key, name, percent(found.at.probability)),
        interval=percent_figures(key, name, found.at.low, found.at.high),
        usual=_usual_then(score),
        counts=f" {counts}" if counts else "",
        money=""
        if score.mrr is None or not is_later
        else f"; a year's revenue × that chance is "
        f"{money(12 * score.mrr * found.at.probability, score.currency)}",
    )
    return RenewalView(
        line=line,
        reasons=None
        if why is None
        else renewal_reasons_view(why, found.at.probability, CHURN, of=name),
    )


def _usual_then(score: AccountScore) -> str:
    """What is usual at a renewal with such a contract, behind an interval; "" where not known."""
    usual = score.usual_at_renewal
    return "" if usual is None else f"; {percent(usual)} is usual with a contract like this"


def when_renewal_counts(
    score: AccountScore, open_signs: Collection[str], playbook: Playbook
) -> str:
    """From when a renewal counts that is further ahead than the risk level looks.

    "" for one within the days of the risk level, and where the playbook names no days.

    Args:
        score: of the account.
        open_signs: ids of its warning signs.
        playbook: names the days before a renewal from which actions count it.
    """
    days, counted = score.features.get("days_to_renewal"), playbook.renewal_counts_days
    if days is None or days < TIER_HORIZON_DAYS or counted is None:
        return ""
    level = f"The risk level looks {TIER_HORIZON_DAYS} days ahead and does not hold it yet; actions"
    if days <= counted or not playbook.renewal_counts_signs.isdisjoint(open_signs):
        return f"{level} count it already."
    return f"{level} count it from {day(_after(score, days - counted))} on, {counted:g} days before it."


def _version(served: ServedModel | None) -> str:
    return "" if served is None else served.version


def _renewal(
    score: AccountScore, what: str, found: RenewalOutlook, *, source: str, chance: str
) -> OutlookLine:
    days = found.days_to_renewal
    line = _line(
        score,
        what,
        found.at,
        source=source,
        note=plain_note(found.note)
        if found.at is None
        else "The chance to leave when the term ends, if it is still a customer then."
        if found.at_the_end
        else (
            f"The {chance} within {found.at.horizon_days} days: the shortest period we predict that "
            f"includes the renewal."
        ),
    )
    if days is None or days < 0 or score.has_left:
        return line
    if found.at_the_end:
        line = replace(line, range=line.range + _usual_then(score))
    left = round(days)
    when = "today" if left == 0 else f"in {plural(left, 'day')}"
    on = f"the renewal is {when}, on {day(_after(score, days))}"
    # of the end of a term the date says it all
    return replace(line, when=on if found.at_the_end or not line.when else f"{line.when}; {on}")


def _far(score: AccountScore, models: Models, horizon: int) -> OutlookLine:
    """The chance to leave within a far horizon, or why it is not known."""
    at = score.churn_at(horizon)
    note = "" if at is not None and at.probability is not None else _why_not(score, models, horizon)
    return _line(
        score,
        f"Leaves within {horizon} days",
        at,
        source=score.model_version or "",
        note=note,
        when=f"by {day(_after(score, horizon))}",
    )


def _far_growth(score: AccountScore, models: Models, horizon: int) -> OutlookLine:
    """The chance to grow within a far horizon with its money, or why it is not known."""
    at = score.growth_at(horizon)
    note = ""
    if at is None:
        note = (
            plain_note(score.expansion_note)
            if not score.growth
            else _not_trained(models.expansion, horizon)
        )
    elif (rise := score.expected_growth(at)).expected is not None:
        note = f"Expected: {money(rise.expected, score.currency)} a year."
    return _line(
        score,
        f"Grows within {horizon} days",
        at,
        note=note,
        source=_version(models.expansion),
        when=f"by {day(_after(score, horizon))}",
    )


def _why_not(score: AccountScore, models: Models, horizon: int) -> str:
    if score.has_left:
        return "The contract has ended."
    if score.degraded is not None:
        return score.degraded
    return _not_trained(models.churn, horizon)


def _not_trained(served: ServedModel | None, horizon: int) -> str:
    reasons = served.model.not_estimable if served is not None else {}
    if horizon not in reasons:
        return "The model in use does not look so far ahead."
    return (
        f"There is too little history yet to check a chance {horizon} days ahead. The model's card, under "
        f"Models, says why."
    )


def plain_note(note: str | None) -> str:
    """A reason why nothing is known, without what concerns only those who run the models.

    >>> plain_note("No contraction model has been promoted."), plain_note("It has ended.")
    ('No model for this is in use yet.', 'It has ended.')
    """
    return NONE_PROMOTED.sub("No model for this is in use yet.", note or "")


def _line(
    score: AccountScore,
    what: str,
    at: HorizonProbability | None,
    *,
    note: str,
    source: str,
    unknown: str = "",
    when: str = "",
) -> OutlookLine:
    """A line; ``when`` is by when, where ``what`` says the days, ``unknown`` where there is no chance."""
    if at is None or at.probability is None:
        return OutlookLine(
            what=what, when=when or unknown, chance=NOT_KNOWN, range="", note=note, source=""
        )
    usual = "" if at.base_rate is None else f"; average {percent(at.base_rate)}"
    covers = "" if at.low is None else f"95% interval {percent_range(at.low, at.high)}{usual}"
    return OutlookLine(
        what=what,
        when=when or f"within {at.horizon_days} days, by {day(_after(score, at.horizon_days))}",
        chance=percent(at.probability),
        range=covers,
        note=note,
        source=f"From {source}." if source else "",
    )


def _after(score: AccountScore, days: float) -> datetime:
    return score.as_of + timedelta(days=days)


def horizon_lines(
    curve: Sequence[HorizonProbability], outcome: str, account_id: str
) -> tuple[Markup, ...]:
    """The probability within each horizon as a line of text, with its interval."""
    lines = []
    for h in curve:
        if h.probability is not None:
            name = f"{outcome}_probability_{h.horizon_days}d"
            lines.append(
                words(
                    "Within {days} days: {chance} ({interval}){how}",
                    days=str(h.horizon_days),
                    chance=figure(name, account_id, percent(h.probability)),
                    interval=percent_figures(name, account_id, h.low, h.high),
                    how=extended_words(h),
                )
            )
    return tuple(lines)


def extended_words(at: HorizonProbability) -> str:
    """Says of a horizon that was not learned itself what it was taken from."""
    if at.extended_from is None:
        return ""
    return f"; not learned: the rate of the first {at.extended_from} days is taken to go on"


def horizon_bars(
    curve: Sequence[HorizonProbability], kind: Literal["risk", "growth"]
) -> Markup | None:
    """The same as a picture; None where no probability is known."""
    bars = [
        HorizonBar(
            label=f"{h.horizon_days} days",
            text=percent(h.probability),
            range=percent_range(h.low, h.high),
            probability=h.probability,
            low=h.low if h.low is not None else h.probability,
            high=h.high if h.high is not None else h.probability,
            usual=h.base_rate,
        )
        for h in curve
        if h.probability is not None
    ]
    return horizon_picture(bars, kind) if bars else None


def growth_note(score: AccountScore) -> str:
    """What the chance to grow is of, or why none is known."""
    if score.expansion is None:
        return plain_note(score.expansion_note)
    at, name = score.expansion, score.account_id
    note = words("chance to expand within {days} days", days=str(at.horizon_days))
    if at.low is not None:
        note += words(
            " (95% interval {interval}{usual})",
            interval=percent_figures("expansion_probability_90d", name, at.low, at.high),
            usual=""
            if at.base_rate is None
            else words(
                "; average of all accounts: {average}",
                average=figure("expansion_base_rate_90d", name, percent(at.base_rate)),
            ),
        )
    if score.expected_expansion is not None:
        note += words(
            "; expected {money} a year",
            money=figure(
                "expected_expansion", name, money(score.expected_expansion, score.currency)
            ),
        )
    return note
