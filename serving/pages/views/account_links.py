"""What an account is called on a page, and where its page is."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from features.health.formula import HealthFormula
from serving.scoring.portfolio import Portfolio
from serving.scoring.score import AccountScore


def account_href(account_id: str) -> str:
    """The address of an account's page."""
    return f"/accounts/{quote(account_id, safe='')}"


def family_href(account_id: str) -> str:
    """The address of the list of an account and all below it."""
    return "/?" + urlencode({"parent": account_id, "status": "all"})


def parent_href(account_id: str, portfolio: Portfolio) -> str:
    """The address of a parent: its page, or the list of its accounts where it sends nothing."""
    return (account_href if account_id in portfolio.by_id else family_href)(account_id)


def display_name(score: AccountScore) -> str:
    """What people call the account: its name, else its id."""
    return score.attributes.get("account_name") or f"Account {score.account_id}"


def name_of(account_id: str, portfolio: Portfolio) -> str:
    """What people call an account that may have no score."""
    score = portfolio.by_id.get(account_id)
    return display_name(score) if score else f"Account {account_id}"


def level_class(formula: HealthFormula, band: str | None) -> str:
    """The colour of a band: by its place in the formula, best first."""
    names = [b.name for b in formula.bands]
    return f"level-{names.index(band)}" if band in names else "level-unknown"
