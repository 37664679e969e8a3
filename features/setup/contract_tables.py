"""Propose tables that say when an account is a customer, or what it bought."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from features.events.schema import is_kind
from features.setup import words
from features.setup.column_roles import ColumnRoles
from features.setup.lines import Entry, TableProposal, column, listed, quoted
from features.setup.look import Profile, latest_of, month_columns
from features.setup.words import has, words_of

ORDER_KIND = "order.placed"

PAYS = "pays"
"""The column that is made where no column holds money: what each customer pays a month."""

MONTHS_OF_DAYS = ((20, 45, 1), (80, 100, 3), (170, 200, 6), (350, 380, 12))
"""The usual distance between invoices of an account, in days, and the months that each pays for."""


class ContractTables(ColumnRoles):
    """Proposes contracts, MRR by month, invoices and purchases."""

    def _mrr(self, computed: list[Entry]) -> Entry:
        money = self._money()
        if money is None:
            return Entry(
                key="mrr", value=quoted(PAYS), why="made below, since no column holds money"
            )
        parts = words_of(money.name)
        if "arr" in parts or "acv" in parts or "annual" in parts or "yearly" in parts:
            computed.append(
                Entry(
                    key="per_month",
                    value=quoted(f"{column(money.name)} / 12"),
                    why="a year's money",
                )
            )
            return Entry(key="mrr", value='"per_month"', why="made below of a year's money")
        others = [
            one.name for one in self.numbers if has(one.name, words.MONEY) and one is not money
        ]
        why = "is taken for the revenue of a month" if "mrr" not in parts else "by its name"
        return self._entry("mrr", money, why + (f"; else {others[0]}" if others else ""))

    def _contracts(
        self, start: Profile, end: Profile | None, left: Profile | None
    ) -> TableProposal:
        entries = self._head()
        computed: list[Entry] = []
        entries.append(self._entry("start", start, "by its name"))
        ends_past = end is not None and self._only_leavers(end)
        if left is not None and left is not end:
            entries.append(
                self._entry(
                    "cancelled", left, f"filled in {left.share:.0%} of the rows: those who left"
                )
            )
            if end is not None and not ends_past:
                entries.append(self._entry("end", end, "the renewal date"))
        elif end is not None and ends_past:
            entries.append(
                self._entry(
                    "cancelled", end,
                    f"filled in {end.share:.0%} of the rows, all past: only leavers have it; else end",
                )
            )  # fmt: skip
        elif end is not None:
            entries.append(
                self._entry("end", end, "some lie ahead: an end that was agreed; else cancelled")
            )
        entries.append(self._mrr(computed))
        entries += self._terms()
        entries += self._written(start, left or end)
        entries += self._ignored()
        what = "one row a customer" if self._is_unique() else "one row a contract period"
        return TableProposal(
            name="contracts" if self.export.name != "contracts" else self.export.name,
            export=self.export,
            what=f"contracts, {what}",
            entries=[Entry(key="type", value='"contract_periods"', why=what), *entries],
            computed=computed,
            is_contract=True,
            latest=latest_of(start, *([left] if left is not None else [])),
        )

    def _leavers_of_a_window(self, start: Profile, flag: Profile) -> TableProposal:
        """A row a customer, and who of them left within a window that no column tells."""
        computed: list[Entry] = []
        there = sorted({value.lower() for value in flag.filled.unique()})
        gone = next((value for value in there if value in words.LEFT_VALUES), there[-1])
        written = next(value for value in flag.filled.unique() if value.lower() == gone)
        entries = [
            Entry(key="type", value='"contract_periods"', why="one row a customer"),
            *self._head(),
            self._entry("start", start, "by its name"),
            Entry(
                key="cancelled",
                value='"left_on"',
                why=f"made below: {flag.name} says who left, and no column on which day",
            ),
            self._mrr(computed),
            *self._terms(),
            *self._written(start),
            *[entry for entry in self._ignored() if entry.value != listed((flag.name,))],
        ]
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what=f"one row a customer, and who left ({flag.name})",
            entries=entries,
            computed=computed,
            is_contract=True,
            latest=latest_of(start),
            left_where=f"text({column(flag.name)}) = '{written}'",
        )

    def _only_leavers(self, end: Profile) -> bool:
        """Whether the end is a day of leaving: empty for many, and past where it is not."""
        newest = latest_of(*(one for one in self.times if one is not end))
        if newest is None or end.latest is None or end.share > 0.97:
            return False
        return end.latest <= newest or end.share < 0.5

    def _wide_months(self) -> TableProposal:
        months = month_columns(self.export)
        assert months is not None
        ends = _next_month(months.last)
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what=f"MRR by month, a column for each of {len(months.names)} months",
            entries=[
                Entry(
                    key="type",
                    value='"monthly_mrr"',
                    why=f"{months.names[0]} … {months.names[-1]} are months",
                ),
                *self._head(),
                Entry(key="month_columns", value=listed((months.pattern,))),
                Entry(key="month_format", value=quoted(months.format)),
                *self._terms(),
                *self._ignored(),
            ],
            is_contract=True,
            latest=ends,
        )

    def _monthly(self) -> TableProposal | None:
        money = self._money()
        month = self._time(words.MONTH)
        if month is None:
            month = self._month_text()
        if (
            money is None
            or month is None
            or (self._is_paid(money) and "mrr" not in words_of(money.name))
        ):
            return None
        form = (month.written.format if month.written is not None else None) or "%Y-%m"
        if month.written is not None and month.written.format is None:
            form = "%Y-%m-%d"
        pairs = (
            pl.DataFrame({"a": self.account.values, "m": month.values}) if self.account else None
        )
        if pairs is None or pairs.n_unique() < 0.95 * pairs.height or month.distinct < 3:
            return None
        latest = latest_of(month)
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what=f"MRR by month, a row for each of {month.distinct} months",
            entries=[
                Entry(key="type", value='"monthly_mrr"', why="one row for each account and month"),
                *self._head(),
                self._entry("month", month),
                Entry(key="month_format", value=quoted(form), why=f"as in {month.filled[0]}"),
                self._entry("mrr", money),
                *self._terms(),
                *self._ignored(),
            ],
            is_contract=True,
            latest=_next_month(latest) if latest is not None else None,
        )

    def _month_text(self) -> Profile | None:
        for one in self.export.columns:
            if (
                has(one.name, words.MONTH)
                and len(one.filled)
                and one.filled.str.contains(r"^\d{4}-\d{2}$").all()
            ):
                return one
        return None

    def _invoices(self, money: Profile) -> TableProposal:
        paid = self._time(words.PAID) or self.times[0]
        months, why = self._covers(paid)
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what="paid invoices; contracts are inferred from them",
            entries=[
                Entry(key="type", value='"invoices"', why="amounts on days, no start or end"),
                *self._head(),
                self._entry("paid_on", paid),
                self._entry("amount", money),
                Entry(key="covers_months", value=str(months), why=why),
                *self._terms(),
                *self._written(paid),
                *self._ignored(),
            ],
            is_contract=True,
            latest=latest_of(paid),
        )  # fmt: skip

    def _covers(self, paid: Profile) -> tuple[int, str]:
        times = paid.times
        if times is None or self.account is None:
            return 1, "not known: check it"
        frame = (
            pl.DataFrame({"a": self.account.values, "t": times})
            .drop_nulls()
            .unique()
            .sort("a", "t")
        )
        gaps = frame.select(pl.col("t").diff().over("a").dt.total_days())["t"].drop_nulls()
        if not len(gaps):
            return 1, "no account has two invoices: check it"
        usual = sorted(gaps.to_list())[len(gaps) // 2]
        for least, most, months in MONTHS_OF_DAYS:
            if least <= usual <= most:
                return months, f"{usual} days between the invoices of an account, usually"
        return (
            1,
            f"{usual} days between the invoices of an account, which is no usual term: check it",
        )

    def _order_lines(self) -> tuple[Profile, Profile] | None:
        """The price of one and how many, of a table with a line for each article of an order."""
        count = next((one for one in self.numbers if has(one.name, words.QUANTITY)), None)
        price = next(
            (one for one in self.numbers if has(one.name, words.UNIT_PRICE) and one is not count),
            None,
        )
        if count is None or price is None or self._is_unique():
            return None
        return price, count

    def _orders(self, money: Profile, count: Profile | None = None) -> TableProposal:
        when = self.times[0]
        kind = ORDER_KIND if is_kind(ORDER_KIND) else "custom.order_placed"
        paid = self._entry("quantity", money, "what was paid")
        computed = []
        if count is not None:
            paid = Entry(key="quantity", value='"paid"', why="what was paid: made below")
            product = f"{column(count.name)} * {column(money.name)}"
            computed.append(
                Entry(key="paid", value=quoted(product), why="how many times the price of one")
            )
        below = [one for one in (money, count) if one is not None and one.least < 0]
        kept = [
            Entry(
                key="where",
                value=quoted(f"{column(one.name)} > 0"),
                why=f"down to {one.least:g}: what was given back, which is no order",
            )
            for one in below[:1]
        ]
        return TableProposal(
            name=self.export.name if len(self.export.files) == 1 else "orders",
            export=self.export,
            what="purchases without a contract",
            entries=[
                *self._head(),
                Entry(
                    key="kind",
                    value=quoted(kind),
                    why="amounts at irregular distances: purchases; else invoices",
                ),
                self._entry("occurred_at", when),
                Entry(key="recorded_delay", value='"0s"', why="known at once"),
                paid,
                *kept,
                *self._written(when),
                *self._ignored(),
            ],
            computed=computed,
            is_use=True,
            is_order=True,
            latest=latest_of(when),
        )


def _next_month(day: datetime) -> datetime:
    return datetime(day.year + day.month // 12, day.month % 12 + 1, 1)  # noqa: DTZ001 - the zone is the file's
