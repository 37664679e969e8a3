"""Name the figures of a page, so that every place which states the same figure can be found.

A figure carries ``data-figure="name:of"``: ``name`` is that of the field of the API and of the column
of the scores file, ``of`` the account, the set of accounts or the action that it is about. Two
figures of one name say the same, on whatever page they stand (``tests/parity/stated_figures.py``).
"""

from __future__ import annotations

from markupsafe import Markup

from serving.text_format import NOT_KNOWN, percent

CHURN_AT_90 = "churn_probability_90d"
AT_RENEWAL = "churn_probability_at_renewal"
BASE_RATE = "churn_base_rate_90d"


def figure(name: str, of: str, text: str) -> Markup:
    """A figure with its name.

    >>> figure("revenue_at_risk", "acct-1", "12 USD")
    Markup('<span data-figure="revenue_at_risk:acct-1">12 USD</span>')
    """
    return Markup('<span data-figure="{}:{}">{}</span>').format(name, of, text)


def percent_figures(name: str, of: str, low: float | None, high: float | None) -> Markup:
    """An interval of a share whose ends carry their names.

    >>> percent_figures("p", "a", 0.1, None)
    Markup('not known')
    """
    if low is None or high is None:
        return Markup(NOT_KNOWN)
    return Markup("{} to {}").format(
        figure(f"{name}_low", of, percent(low)), figure(f"{name}_high", of, percent(high))
    )


def words(sentence: str, **parts: str) -> Markup:
    """A sentence with figures in it; ``sentence`` is ours, what is put in is escaped.

    >>> words("usual: {rate}", rate="<1%")
    Markup('usual: &lt;1%')
    """
    return Markup(sentence).format(**parts)
