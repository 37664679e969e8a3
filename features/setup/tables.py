"""Say what each export is, which of its columns is what, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.setup import words
from features.setup.contract_tables import ContractTables
from features.setup.event_tables import EventTables
from features.setup.lines import TableProposal
from features.setup.look import Export, month_columns


@dataclass(kw_only=True)
class Finding:
    """What came of one export: its tables, or why it has none."""

    export: Export
    tables: list[TableProposal] = field(default_factory=list)
    gap: str | None = None


def find_tables(export: Export, others: list[Export], zone: str) -> Finding:
    """What an export is."""
    return _Reader(export, others, zone).find()


class _Reader(ContractTables, EventTables):
    """Decides what an export is."""

    def find(self) -> Finding:
        export = self.export
        finding = Finding(export=export)
        if not export.rows:
            finding.gap = f"{self._files()} has no rows"
            return finding
        if self.account is None:
            finding.gap = self._no_account()
            return finding
        months = month_columns(export)
        if months is not None:
            finding.tables.append(self._wide_months())
            return finding
        flag = self._flag()
        if self._is("tickets") and self.times:
            finding.tables.append(
                self._events("tickets", "ticket.created", "opened support tickets")
            )
            return finding
        start, end, left = self._time(words.START), self._time(words.END), self._time(words.LEFT)
        if not self.times:
            if flag is not None:
                finding.gap = (
                    f"{self._files()} says who left ({flag.name}) and not on which day: a forecast needs "
                    f"what was known before it. Add the day each customer started and the day it left "
                    f"(empty for those who stayed)"
                )
            elif (attributes := self._attributes()) and self._is_unique():
                finding.tables.append(self._accounts(None, attributes))
            else:
                finding.gap = (
                    f"{self._files()} has no column with days or times, so nothing says when"
                )
            return finding
        if (
            left is not None
            and left.share >= 0.999
            and self._is_unique()
            and (start is None or flag is None)
        ):
            finding.gap = (
                f"{self._files()} holds leavers only: every row has a day in {left.name!r}. Those who stayed "
                f"are missing, and without them nothing tells the two apart. Export all customers, with the "
                f"day they started and an empty {left.name!r} for those who stayed"
            )
            return finding
        if start is not None and (left is not None or end is not None):
            finding.tables.append(self._contracts(start, end, left))
            if self._is_unique() and (attributes := self._attributes()):
                finding.tables.append(self._accounts(start, attributes))
            return finding
        if (
            flag is not None
            and start is not None
            and left is None
            and end is None
            and self._is_unique()
        ):
            finding.tables.append(self._leavers_of_a_window(start, flag))
            if attributes := self._attributes():
                finding.tables.append(self._accounts(start, attributes))
            return finding
        if left is not None and start is None:
            finding.gap = (
                f"{self._files()} says when customers left ({left.name}) and not when they started. Add the "
                f"day of the start, or add the table that has it"
            )
            return finding
        month = self._monthly()
        if month is not None:
            finding.tables.append(month)
        elif self._is("surveys") and self.numbers:
            finding.tables.append(self._survey())
        elif (lines := self._order_lines()) is not None:
            finding.tables.append(self._orders(*lines))
        elif (
            (money := self._money()) is not None and not self._is_unique() and self._is_paid(money)
        ):
            finding.tables.append(self._invoices(money))
        elif money is not None and not self._is("use") and not self._is_unique():
            finding.tables.append(self._orders(money))
        elif self._is_unique() and start is not None:
            finding.tables.append(self._accounts(start, self._attributes()))
        else:
            finding.tables.append(self._use())
        return finding

    def _no_account(self) -> str:
        ids = [one.name for one in self.export.columns if self._is_id(one)]
        more = f". It has {', '.join(ids[:3])}: add the account's id to each row" if ids else ""
        return f"{self._files()} has no column that says which account a row is about{more}"
