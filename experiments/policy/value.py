"""The value of an action: uplift × money at stake × margin − cost.

The uplift is the playbook's relative effect times the probability it acts on, mixed with the
measured effect (``experiments.effects.belief``). Without a model the probability comes from the
playbook's assumptions about health and warning signs, with a note. Churn and expansion compete: an
account that leaves first does not grow, so a chance to expand that ignores churn is multiplied by
the chance to stay. Pure arithmetic; chooses nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import Belief, mix_belief
from experiments.policy.account_state import AccountState, Limits
from registry.playbook.actions import Action
from registry.playbook.playbook import Assumptions
from registry.playbook.prices import PriceList

PROSPECT = "none"
"""The contract status of an account before its first contract."""

CHURN_DAYS = 90
"""The days within which the churn probability is."""


@dataclass(frozen=True, kw_only=True)
class Stakes:
    """The revenue and probabilities at stake with one account; None where unknown.

    ``expansion_probability`` is that of expanding before any churn. ``churn_at_stake`` is the chance to
    leave that keeping the account acts on: within 90 days, or by a renewal that lies later and counts
    already.
    """

    mrr: float | None
    churn_probability: float
    churn_at_stake: float
    expansion_probability: float
    expected_amount: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ActionValue:
    """The parts of an action's value; ``expected`` and ``cautious`` follow from them.

    ``benefit`` = ``uplift`` × ``at_stake`` × margin; ``expected`` = ``benefit`` − ``cost`` −
    ``hours_cost``; ``cautious`` is the same with ``cautious_uplift``. ``fatigue`` is the share of
    the effect that the ``contacts_28d`` of the last four weeks have used up; both uplifts are after
    fatigue. ``belief`` is the source of the uplift, before fatigue and before it is bounded by
    certainty.
    """

    outcome: str
    probability: float
    relative_effect: float
    uplift: float
    cautious_uplift: float
    contacts_28d: int
    fatigue: float
    at_stake: float
    margin: float
    benefit: float
    cost: float
    hours: float
    hours_cost: float
    expected: float
    cautious: float
    belief: Belief | None = None

    @property
    def total_cost(self) -> float:
        """Money and hours together."""
        return self.cost + self.hours_cost

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "belief": self.belief.to_dict() if self.belief else None}


NOTHING = ActionValue(
    outcome="none",
    probability=0.0,
    relative_effect=0.0,
    uplift=0.0,
    cautious_uplift=0.0,
    contacts_28d=0,
    fatigue=0.0,
    at_stake=0.0,
    margin=0.0,
    benefit=0.0,
    cost=0.0,
    hours=0.0,
    hours_cost=0.0,
    expected=0.0,
    cautious=0.0,
)
"""The value of doing nothing, with which all others compete."""


def compute_stakes(
    state: AccountState,
    assumed: Assumptions,
    limits: Limits,
    renewal_counts_days: float | None = None,
    renewal_counts_signs: Collection[str] = (),
) -> Stakes:
    """The stakes of the account, with notes on assumed values.

    A renewal that is at most ``renewal_counts_days`` ahead is at stake, also where it lies beyond the
    90 days of the churn probability; at any distance while one of ``renewal_counts_signs`` is open.
    """
    notes: list[str] = []
    status = state.attributes.get("contract_status")
    churn = _churn_probability(state, assumed, status, notes)
    is_told = not set(renewal_counts_signs).isdisjoint(state.alerts)
    within = inf if is_told else renewal_counts_days
    by_renewal = _churn_by_renewal(state, churn, within, notes)
    growth = assumed.growth_by_plan.get(
        (state.attributes.get("price_plan") or "").casefold(), assumed.growth_otherwise
    )
    mrr, amount = state.monthly_revenue, state.expected_amount
    expansion = state.expansion_probability
    if status == "trial":
        price = assumed.trial_mrr_usd * limits.money_per_usd
        expansion = assumed.trial_conversion if expansion is None else expansion
        amount = price if amount is None else amount
        mrr = mrr if mrr else expansion * amount
        notes.append(
            f"On trial: values count on {expansion:.0%} of trials becoming customers at "
            f"{amount:,.0f} a month."
        )
    elif expansion is None:
        expansion = growth.probability * (1 - churn)
        notes.append(
            f"No growth score: values count on {expansion:.1%} expanding in 90 days: the "
            f"playbook's assumption for this plan, {growth.probability:.1%}, of those who "
            f"stay."
        )
    elif not state.is_before_churn:
        expansion *= 1 - churn
        notes.append(
            f"The growth score does not know of churn: values count on {expansion:.1%} "
            f"expanding, those who stay."
        )
    if amount is None and mrr is not None:
        amount = growth.amount_ratio * mrr
    if mrr is None:
        notes.append(
            "The monthly revenue is not known, so what an action is worth is not known either."
        )
    if status == PROSPECT:
        notes = [
            "No contract has begun, so there is no chance to leave or to grow that anything here "
            "could be ranked by."
        ]
    return Stakes(
        mrr=mrr,
        churn_probability=churn,
        churn_at_stake=churn if by_renewal is None else by_renewal,
        expansion_probability=expansion,
        expected_amount=amount,
        notes=tuple(notes),
    )


def chance_of(action: Action, at_stake: Stakes) -> float:
    """The probability that the action's effect is relative to."""
    return {
        "churn": at_stake.churn_at_stake,
        "expansion": at_stake.expansion_probability,
        "none": 1.0,
    }[action.prior.outcome]


def stakes_of_offer(
    action: Action, state: AccountState, at_stake: Stakes, prices: PriceList
) -> Stakes | None:
    """The stakes of an action that sells something: its own price and its own chance.

    The stakes of the account where it sells nothing; None where the price is not known.
    """
    sale = action.sells
    if sale is None:
        return at_stake
    seats = state.features.get("seats")
    price = prices.price_of(
        sale.what,
        state.attributes.get("price_plan"),
        None if seats is None or seats != seats else seats,
    )
    if not price:
        return None
    if sale.chance is not None:
        chance = sale.chance * (1 - at_stake.churn_probability)
    else:
        chance = (sale.share_of_growth or 0.0) * at_stake.expansion_probability
    return replace(at_stake, expansion_probability=chance, expected_amount=price)


def value_of(
    action: Action,
    at_stake: Stakes,
    limits: Limits,
    *,
    contacts: int = 0,
    effect: ActionEffect | None = None,
    kept: float = 1.0,
) -> ActionValue | None:
    """The value of the action with this account; None where revenue is unknown.

    ``contacts`` are those of the last four weeks; ``effect`` is the measured effect, ``kept`` the
    share of the playbook's effects that came true.
    """
    prior = action.prior
    months = limits.horizon_months
    probability = chance_of(action, at_stake)
    money: float | None
    if prior.outcome == "none":
        margin, money = 1.0, action.worth_usd * limits.money_per_usd
    elif prior.outcome == "churn":
        margin, money = limits.margin, None if at_stake.mrr is None else at_stake.mrr * months
    else:
        margin = limits.margin
        money = None if at_stake.expected_amount is None else at_stake.expected_amount * months
    if money is None or (action.cost_mrr_share > 0 and at_stake.mrr is None):
        return None
    if prior.outcome == "none":
        kept = 1.0  # a chance of a fixed value, which nobody measures
    belief = mix_belief(prior, probability, effect, kept)
    room = 1 - probability if prior.outcome == "expansion" else 1.0
    if effect is None:
        uplift = min(belief.mean, room)
        cautious = prior.mean * kept - limits.caution * prior.deviation
        cautious_uplift = min(probability * cautious, room)
    else:
        room = probability if prior.outcome == "churn" else room
        uplift = min(belief.mean, room)
        cautious_uplift = min(belief.mean - limits.caution * belief.deviation, room)
    fresh = (1 - limits.fatigue) ** contacts
    if contacts:
        uplift, cautious_uplift = (_worn(change, fresh) for change in (uplift, cautious_uplift))
    given_away = action.cost_mrr_share * action.take_up * (at_stake.mrr or 0.0)
    cost = action.cost_usd * limits.money_per_usd + given_away
    hours_cost = action.hours * limits.hourly_cost
    benefit = uplift * money * margin
    return ActionValue(
        outcome=prior.outcome,
        probability=probability,
        relative_effect=(
            prior.mean * kept if effect is None or not probability else uplift / probability
        ),
        uplift=uplift,
        cautious_uplift=cautious_uplift,
        contacts_28d=contacts,
        fatigue=1 - fresh,
        at_stake=money,
        margin=margin,
        benefit=benefit,
        cost=cost,
        hours=action.hours,
        hours_cost=hours_cost,
        expected=benefit - cost - hours_cost,
        cautious=cautious_uplift * money * margin - cost - hours_cost,
        belief=belief,
    )


def _worn(change: float, fresh: float) -> float:
    """A change after fatigue; harm does not wear off."""
    return change * fresh if change > 0 else change


def _churn_by_renewal(
    state: AccountState, churn: float, counts_days: float | None, notes: list[str]
) -> float | None:
    """The chance to leave by the coming renewal where it counts and lies beyond the 90 days, which
    hold every other one: 1 - (1 - P(90 days)) · (1 - P(at the renewal))."""
    at_end = state.renewal_probability
    if counts_days is None or at_end is None:
        return None
    days = state.values().get("days_to_renewal")
    if not isinstance(days, float):
        return None
    if not CHURN_DAYS <= days <= counts_days:
        return None
    chance = 1 - (1 - churn) * (1 - at_end)
    renewal = state.as_of + timedelta(days=days)
    notes.append(
        f"What keeps the account counts on {chance:.0%} leaving by its renewal of "
        f"{renewal:%-d %B %Y}, in {days:.0f} days; within {CHURN_DAYS} days it is {churn:.1%}."
    )
    return chance


def _churn_probability(
    state: AccountState, assumed: Assumptions, status: str | None, notes: list[str]
) -> float:
    if status == "ended":
        notes.append(
            f"The account has left: values count on {assumed.stays_away:.0%} of such "
            f"accounts staying away."
        )
        return assumed.stays_away
    if state.churn_probability is not None and state.score_source == "model":
        return state.churn_probability
    floor = max((assumed.churn_at_least.get(alert, 0.0) for alert in state.alerts), default=0.0)
    if state.churn_probability is not None:
        notes.append(
            "No model is in use: the churn probability comes from the health formula, "
            "and from the warning signs where they say more."
        )
        return max(state.churn_probability, floor)
    health = state.known_health
    if health is not None:
        probability = next(p for least, p in assumed.churn_by_health if health >= least)
        basis = f"a health score of {health:.0f}"
    else:
        probability, basis = assumed.churn_health_unknown, "an account of unknown health"
    notes.append(
        f"No model is in use: the ranking takes {max(probability, floor):.0%} as the "
        f"churn probability in 90 days, the playbook's assumption for {basis} and its "
        f"warning signs."
    )
    return max(probability, floor)
