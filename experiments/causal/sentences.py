"""The sentences of a report, in plain words.

A claim is worded only when the whole interval supports it and no check failed; everything else is
"no effect is claimed" or "not known". Values in, text out.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.causal.checks.protocol import CheckResult
from experiments.causal.design import Design
from experiments.causal.estimates import Estimate, Verdict

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that no line ends there."""

LEAST_WITHOUT_CENTS = 10
"""Below it an amount has cents: what an e-mail brings is less than one."""


def action_title(action: str) -> str:
    """An action's id as a title.

    >>> action_title("success_call")
    'Success call'
    """
    return action.replace("_", " ").strip().capitalize()


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(-0.0412)
    '−4.1'
    """
    return f"{value * 100:+.1f}".replace("-", "−")


def money(value: float, currency: str, *, cents: bool = False) -> str:
    """An estimated amount, so without cents, in the form of the service's pages.

    >>> money(-12345.6, "USD").replace(NO_BREAK, " ")
    '−12,346 USD'
    """
    if cents and abs(value) >= 0.005:
        return f"{value:.2f}{NO_BREAK}{currency}".replace("-", "−")
    sign = "−" if round(value) < 0 else ""
    return f"{sign}{abs(round(value)):,}{NO_BREAK}{currency}"


def headline_of(
    design: Design, churn: Estimate, verdict: Verdict, failed: Sequence[CheckResult]
) -> str:
    """The one sentence a reader takes away; a failed check silences it."""
    title = action_title(design.action)
    if failed:
        return f"No effect is claimed. {failed[0].title}: {failed[0].explanation}"
    whom = (
        "drawn for it"
        if design.mechanism == "lottery"
        else "that received it"
        if design.estimand == "ATT"
        else "that could receive it"
    )
    within = f"within {design.horizon_days} days"
    low, high = sorted((abs(churn.low), abs(churn.high)))
    span = f"95% interval {low * 100:.1f} to {high * 100:.1f}"
    size = f"{abs(churn.estimate) * 100:.1f}"
    works, harms = (
        ("works", "harms")
        if design.mechanism == "lottery"
        else ("seems to work (no lottery)", "seems to harm (no lottery)")
    )
    if verdict == "works":
        return (
            f"{title} {works}: of 100 accounts {whom}, {size} fewer leave {within} ({span} fewer)."
        )
    if verdict == "harms":
        return f"{title} {harms}: of 100 accounts {whom}, {size} more leave {within} ({span} more)."
    interval = f"{points(churn.low)} to {points(churn.high)} points"
    if verdict == "does not work":
        return (
            f"{title} does not work: it keeps fewer than {design.smallest_effect * 100:.0f} of "
            f"100 accounts {whom} {within} (change in churn {points(churn.estimate)} points, "
            f"95% interval {interval})."
        )
    return (
        f"{title}: not known. The change in churn {within} is {points(churn.estimate)} points "
        f"(95% interval {interval})."
    )


def money_sentence(
    when: str,
    per_account: Estimate,
    total: Estimate,
    *,
    cost: float | None,
    net: Estimate | None,
    n_actions: int,
    currency: str,
) -> str:
    """What the effect is worth over the time that ``when`` names, its cost, and the difference."""
    cents = abs(per_account.estimate) < LEAST_WITHOUT_CENTS
    low, each, high = (
        money(value, currency, cents=cents)
        for value in (per_account.low, per_account.estimate, per_account.high)
    )
    text = (
        f"{when} {each} per account ({low} to {high}), in total "
        f"{money(total.estimate, currency)} ({money(total.low, currency)} to "
        f"{money(total.high, currency)})"
    )
    if cost is None or net is None:
        return f"{text}. What the action costs is not known, so nothing is said of the net."
    pays = (
        "It pays for itself in that time."
        if net.low > 0
        else "It costs more than it keeps in that time."
        if net.high < 0
        else "Whether it pays for itself in that time is not known."
    )
    return (
        f"{text}. Carrying it out {n_actions:,} times cost {money(cost, currency)}; net "
        f"{money(net.estimate, currency)} ({money(net.low, currency)} to "
        f"{money(net.high, currency)}). {pays}"
    )
