"""How a family is shown: what its accounts come to, and those in trouble."""

from __future__ import annotations

from dataclasses import dataclass

from features.health.formula import HealthFormula
from serving.pages.views.account_links import account_href, display_name, family_href, level_class
from serving.scoring.account_families import Family, FamilyFigure
from serving.scoring.score import AccountScore
from serving.text_format import NOT_KNOWN, day, money, number, plural

MOST_CHILDREN = 20

LABELS = {
    "mrr": "Monthly revenue",
    "active_users_28d": "People active in 28 days",
    "tickets_28d": "Tickets in 28 days",
    "tickets_open": "Open tickets",
    "seats": "Seats",
}


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """One number of the family."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class ChildLine:
    """One account directly below the parent."""

    href: str
    name: str
    health: str
    level: str
    level_class: str
    mrr: str
    people: str
    tickets: str


@dataclass(frozen=True, kw_only=True)
class FamilyView:
    """What an account and all below it come to."""

    title: str
    intro: str
    figures: tuple[FigureView, ...]
    children: tuple[ChildLine, ...]
    more: str
    more_href: str


def family_view(
    family: Family, *, name: str, currency: str, formula: HealthFormula, lists_children: bool = True
) -> FamilyView:
    """The family of the account of this name; without its children where a list shows them."""
    children = family.children[:MOST_CHILDREN] if lists_children else ()
    when = (
        f"as of {day(family.as_of)}"
        if day(family.as_of) == day(family.oldest_as_of)
        else f"as of {day(family.oldest_as_of)} to {day(family.as_of)}"
    )
    worst = " Those in the worst health come first." if len(children) > 1 else ""
    return FamilyView(
        title=f"What {name} and the accounts below it come to",
        intro=f"Of {plural(family.accounts, 'account')} with features, "
        f"{len(family.children):,} of them directly below, {when}.{worst}",
        figures=tuple(_figure(figure, family.accounts, currency) for figure in family.figures),
        children=tuple(_line(child, formula) for child in children),
        more=f"Show all {plural(family.accounts, 'account')}" if lists_children else "",
        more_href=family_href(family.account_id),
    )


def _figure(figure: FamilyFigure, accounts: int, currency: str) -> FigureView:
    value = money(figure.value, currency) if figure.feature == "mrr" else number(figure.value)
    notes = []
    if figure.value is None and figure.at_least is not None and figure.at_most is not None:
        value = f"{number(figure.at_least)} to {number(figure.at_most)}"
        if figure.at_least == figure.at_most:
            value = number(figure.at_least)
        else:
            notes.append("one person may be in two accounts")
    if figure.known_of < accounts:
        notes.append(f"known of {figure.known_of:,} of {plural(accounts, 'account')}")
    return FigureView(label=LABELS[figure.feature], value=value, note="; ".join(notes))


def _line(child: AccountScore, formula: HealthFormula) -> ChildLine:
    return ChildLine(
        href=account_href(child.account_id),
        name=display_name(child),
        health=NOT_KNOWN if child.health.score is None else f"{child.health.score:.0f}",
        level=child.health.band or "not enough data",
        level_class=level_class(formula, child.health.band),
        mrr=money(child.mrr, child.currency),
        people=number(child.features.get("active_users_28d")),
        tickets=number(child.features.get("tickets_28d")),
    )
