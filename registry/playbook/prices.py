"""The price list of a workspace: what each plan and each add-on costs a month.

The file ``prices.toml`` in the workspace's folder, in the workspace's currency. A plan names the one
above it, so that an upgrade is worth the difference. What is not in the list has no price, and an
offer without a price is given no money.

::

    [[plan]]
    name = "starter"             # as the contracts call it
    per_seat = 19                # a seat and month; `month` is for the account as a whole
    next = "professional"

    [[addon]]
    name = "addon_analytics"
    month = 15
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.toml_table import Table, TableError, toml_values

PRICES_FILE = "prices.toml"

NEXT_PLAN, THIS_PLAN = "next_plan", "this_plan"
"""What an offer may sell besides an add-on."""


class PricesError(ValueError):
    """A price list cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """A price a month: ``month`` for the account as a whole and ``per_seat`` for each seat.

    ``next`` is the plan above a plan.
    """

    month: float = 0.0
    per_seat: float = 0.0
    next: str | None = None

    def of(self, seats: float | None) -> float | None:
        """The price for so many seats; None where it depends on seats that nobody counts."""
        if self.per_seat == 0:
            return self.month
        return None if seats is None else self.month + self.per_seat * seats


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """The prices of plans and add-ons, by their names in lower case."""

    plans: Mapping[str, Price] = field(default_factory=dict)
    addons: Mapping[str, Price] = field(default_factory=dict)

    def price_of(self, what: str, plan: str | None, seats: float | None) -> float | None:
        """What the account would pay more a month for an offer; None where it is not known.

        >>> prices = PriceList(plans={"starter": Price(per_seat=19, next="professional"),
        ...                           "professional": Price(per_seat=49)})
        >>> prices.price_of("next_plan", "Starter", 10), prices.price_of("next_plan", "gold", 10)
        (300.0, None)
        """
        if what not in (NEXT_PLAN, THIS_PLAN):
            addon = self.addons.get(what)
            return None if addon is None else addon.of(seats)
        own = self.plans.get((plan or "").casefold())
        if own is None:
            return None
        before = own.of(seats)
        if what == THIS_PLAN:
            return before
        above = self.plans.get((own.next or "").casefold())
        after = None if above is None else above.of(seats)
        return None if after is None or before is None else max(0.0, float(after - before))

    def is_highest(self, plan: str | None) -> bool:
        """Whether a plan is in the list and has none above it."""
        own = self.plans.get((plan or "").casefold())
        return own is not None and own.next is None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "plans": {name: dict(vars(price)) for name, price in self.plans.items()},
            "addons": {name: dict(vars(price)) for name, price in self.addons.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PriceList:
        """The list that was stored."""
        return cls(
            plans={name: Price(**price) for name, price in stored["plans"].items()},
            addons={name: Price(**price) for name, price in stored["addons"].items()},
        )


NO_PRICES = PriceList()
"""Nothing is known of prices, so no offer is given money."""


def read_prices(folder: Path) -> PriceList:
    """The price list of a workspace; without the file nothing has a price.

    Raises:
        PricesError: the file cannot be used; the message names the place.
    """
    try:
        text = (folder / PRICES_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return NO_PRICES
    except (OSError, UnicodeDecodeError) as exc:
        raise PricesError(
            f"{PRICES_FILE} cannot be read ({exc}). Mend the file, or empty it; offers then have no "
            f"money."
        ) from exc
    return parse_prices(text)


def parse_prices(text: str, where: str = PRICES_FILE) -> PriceList:
    """The price list of a TOML text.

    Raises:
        PricesError: it is not TOML, a name comes twice, or a plan names one that is not there.
    """
    try:
        table = Table(toml_values(text), where)
        prices = PriceList(
            plans=_prices(table.tables("plan", ()), "plan"),
            addons=_prices(table.tables("addon", ()), "addon"),
        )
        table.end()
    except tomllib.TOMLDecodeError as exc:
        raise PricesError(f"{where} is not valid TOML ({exc}).") from exc
    except TableError as exc:
        raise PricesError(str(exc)) from exc
    for name, price in prices.plans.items():
        if price.next is not None and price.next.casefold() not in prices.plans:
            raise PricesError(
                f"{where}: the plan {name!r} names {price.next!r} as the next one, which has no "
                f"entry. Known are {', '.join(prices.plans)}."
            )
    return prices


def prices_toml(prices: PriceList, *, heading: str) -> str:
    """The text of a price list's file, under a comment that says where it comes from."""
    lines = [f"# {heading}"]
    for kind, entries in (("plan", prices.plans), ("addon", prices.addons)):
        for name, price in entries.items():
            lines += ["", f"[[{kind}]]", f'name = "{name}"']
            lines += [f"month = {price.month:g}"] if price.month else []
            lines += [f"per_seat = {price.per_seat:g}"] if price.per_seat else []
            lines += [f'next = "{price.next}"'] if price.next else []
    return "\n".join([*lines, ""])


def _prices(tables: tuple[Table, ...], kind: str) -> dict[str, Price]:
    found: dict[str, Price] = {}
    for table in tables:
        name = table.text("name").casefold()
        table.where = f"{table.where} ({name})"
        price = Price(
            month=table.number("month", 0, least=0),
            per_seat=table.number("per_seat", 0, least=0),
            next=table.text("next") if kind == "plan" and table.has("next") else None,
        )
        table.end()
        if name in found:
            raise PricesError(f"{table.where}: the {kind} {name!r} has two prices. Keep one.")
        found[name] = price
    return found
