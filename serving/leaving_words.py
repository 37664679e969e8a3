"""What pages call leaving: a contract that ends, or no order in so many days.

One value for each meaning; a template and a view take their words from here and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from features.leaving import Leaving


@dataclass(frozen=True, kw_only=True)
class LeavingWords:
    """The words of one meaning of leaving."""

    chance: str  # "Chance to leave within 90 days"
    chance_inside: str  # inside a sentence: "chance to leave"
    leaves: str  # a column: "Leaves within 90 days"
    risk: str  # a column: "Churn risk within 90 days"
    stays: str  # "Likely to stay"
    title: str
    at_risk: str
    at_risk_first: str
    at_risk_means: str
    nothing_at_risk: str
    yearly: str  # a column: "Revenue, a year"
    of_yearly: str  # behind an amount
    unknown_revenue: str
    scored: str
    not_scored: str
    gone_one: str
    gone_many: str
    none_one: str
    none_many: str
    status: str  # a filter and a fact: "Contract"
    statuses: tuple[tuple[str, str], ...]
    differs: str
    stands: str
    why_now: str
    tiers: str


def words_of(leaving: Leaving, days: int = 90) -> LeavingWords:
    """The words for what leaving means in a workspace; ``days`` are those of contracts.

    >>> words_of(Leaving()).leaves, words_of(Leaving(means="no_use")).leaves
    ('Leaves within 90 days', 'No order in the next 90 days')
    """
    return _of_no_use(leaving) if leaving.is_no_use else _of_contracts(days)


def _of_contracts(days: int) -> LeavingWords:
    return LeavingWords(
        chance=f"Chance to leave within {days} days",
        chance_inside="chance to leave",
        leaves=f"Leaves within {days} days",
        risk=f"Churn risk within {days} days",
        stays="Likely to stay",
        title="Accounts by revenue at risk",
        at_risk=f"Yearly revenue at risk within {days} days",
        at_risk_first="most revenue at risk first",
        at_risk_means=f"The chance that the account leaves within {days} days × its revenue of a year "
        "(its monthly revenue × 12).",
        nothing_at_risk="there is no revenue that could be lost",
        yearly="Revenue, a year",
        of_yearly="yearly revenue",
        unknown_revenue="needs a probability and the monthly revenue",
        scored="churn",
        not_scored="accounts without a running contract are not scored",
        gone_one="contract ended",
        gone_many="contracts ended",
        none_one="no contract",
        none_many="without a contract",
        status="Contract",
        statuses=(
            ("running", "Running contracts"),
            ("trial", "Trials"),
            ("paused", "Paused"),
            ("ended", "Ended"),
            ("none", "No contract known"),
            ("all", "All accounts"),
        ),
        differs="This differs from the chance to leave: health adds up the written rules below, while "
        "the chance is learned from which past accounts left, and counts when the contract ends.",
        stands="most of them stayed",
        why_now="A renewal within 90 days and the most urgent warning sign; where there is neither, the "
        "theme that goes most with a higher chance to leave, with its first fact. Where nothing stands "
        "out of a chance below the usual: what speaks most for staying. Both are associations, not "
        "causes.",
        tiers="How that chance compares with what is usual: low is below it, medium from 1 ×, high from "
        "2 ×, critical from 4 ×. A renewal that is further ahead has a chance of its own, on the page "
        "of the account.",
    )


def _of_no_use(leaving: Leaving) -> LeavingWords:
    orders = leaving.is_of_orders
    what, did, do = ("order", "ordered", "order") if orders else ("use", "used it", "use it")
    days, within = leaving.days, leaving.used_within_days
    return LeavingWords(
        chance=f"Chance of no {what} in the next {days} days",
        chance_inside=f"chance of no {what}",
        leaves=f"No {what} in the next {days} days",
        risk=f"Risk of no {what}, {days} days",
        stays=f"Likely to {do} again",
        title="Accounts by orders at risk" if orders else "Accounts by revenue at risk",
        at_risk="Yearly orders at risk" if orders else "Yearly revenue at risk",
        at_risk_first="most at risk first",
        at_risk_means=f"The chance of no {what} in the next {days} days × what the account bought in "
        "the last 365 days.",
        nothing_at_risk="nothing was bought lately that could be lost",
        yearly="Bought in the last 365 days",
        of_yearly="bought in the last 365 days",
        unknown_revenue="needs a probability and what was bought",
        scored=f"the chance of no {what} is",
        not_scored=f"accounts without {'an' if orders else 'any'} {what} in {within} days are not scored",
        gone_one=f"no {what} in {within} days",
        gone_many=f"without {'an' if orders else 'any'} {what} in {within} days",
        none_one=f"no {what} yet",
        none_many=f"without {'an' if orders else 'any'} {what} yet",
        status=f"Last {what}",
        statuses=(
            ("running", f"In the last {within} days"),
            ("ended", "Longer ago"),
            ("none", "Never"),
            ("all", "All accounts"),
        ),
        differs=f"This differs from the chance of no {what}: health adds up the written rules below, "
        f"while the chance is learned from which past accounts {did} again.",
        stands=f"most of them {did} again",
        why_now="The most urgent warning sign; where there is none, the theme that goes most with a "
        f"higher chance of no {what}, with its first fact. Where nothing stands out of a chance below "
        f"the usual: what speaks most for another {what}. Both are associations, not causes.",
        tiers="How the odds of that chance compare with the usual odds: low is below them, medium from "
        f"1 ×, high from 2 ×, critical from 4 ×. Odds, because no {what} in {days} days is usual: "
        "twice a chance of 80 % is none.",
    )


def status_words(status: str | None, leaving: Leaving) -> str | None:
    """The state of the contract, or when the last order was where there are none."""
    if not leaving.is_no_use or status is None:
        return status
    return {
        "active": f"in the last {leaving.used_within_days} days",
        "ended": f"more than {leaving.used_within_days} days ago",
        "none": "never",
    }.get(status, status)
