"""Say which column of an export plays which part: the account, the days, the money."""

from __future__ import annotations

from features.setup import words
from features.setup.lines import Entry, listed, quoted
from features.setup.look import Export, Profile
from features.setup.words import has, words_of

MOST_WORDS = 30
"""Different values of an attribute, at most."""


def account_column(export: Export, others: list[Export]) -> tuple[Profile | None, str]:
    """The column that says which account a row is about, and why; the runner-up is named."""
    scores: list[tuple[float, Profile]] = []
    for one in export.columns:
        if one.share < 0.5 or (one.written is not None and not one.is_number):
            continue
        parts = words_of(one.name)
        is_id = bool({"id", "key", "number", "no", "nr", "code"} & {*parts})
        score = 0.0
        if has(one.name, words.ACCOUNT):
            score = 3 + is_id
            if parts and parts[-1] in (
                "name",
                "type",
                "status",
                "tier",
                "segment",
                "size",
                "age",
                "since",
            ):
                score = 0.5
        elif has(one.name, words.USER) and (is_id or len(parts) == 1):
            score = 1.5
        elif parts in (("id",), ("uid",), ("uuid",)):
            score = 1.2
        if score:
            score += 0.5 * any(one.name in {c.name for c in other.columns} for other in others)
            scores.append((score, one))
    scores.sort(key=lambda one: -one[0])
    if not scores:
        return None, ""
    best = scores[0][1]
    shared = sum(best.name in {c.name for c in other.columns} for other in others)
    why = f"{best.distinct:,} different values"
    if shared:
        why += f", and {shared} other table{'s have' if shared > 1 else ' has'} it too"
    if len(best.filled) and best.filled.str.contains(r"^0\d+$").any():
        why += "; zeros in front are kept"
    if len(scores) > 1:
        why += f"; else {scores[1][1].name}"
    return best, why


class ColumnRoles:
    """The columns of one export, by the parts that they play."""

    def __init__(self, export: Export, others: list[Export], zone: str) -> None:
        self.export = export
        self.zone = zone
        self.account, self.why_account = account_column(export, others)
        self.times = [
            one
            for one in export.columns
            if one.written is not None and one is not self.account and not self._is_id(one)
        ]
        self.numbers = [
            one
            for one in export.columns
            if one.is_number
            and one not in self.times
            and one is not self.account
            and not self._is_id(one)
        ]

    def _time(self, names: tuple[str, ...]) -> Profile | None:
        fitting = [one for one in self.times if has(one.name, names)]
        return max(fitting, key=lambda one: one.share, default=None)

    def _flag(self) -> Profile | None:
        gave = (*words.LEFT, "attrition", "exited")
        return next(
            (
                one
                for one in self.export.columns
                if has(one.name, gave) and one not in self.times and 1 < one.distinct <= 3
            ),
            None,
        )

    def _is(self, table: str) -> bool:
        names = words.TABLES[table]
        if has(self.export.name, names):
            return True
        columns = {
            word
            for one in self.export.columns
            for word in words_of(one.name)
            if "id" in words_of(one.name)
        }
        return table in ("tickets", "invoices", "orders") and bool(columns & {*names})

    def _is_id(self, one: Profile) -> bool:
        return bool({"id", "uuid", "key", "code", "zip", "phone"} & {*words_of(one.name)})

    def _is_unique(self) -> bool:
        return self.account is not None and self.account.distinct >= 0.98 * self.export.rows

    def _money(self) -> Profile | None:
        for word in words.MONEY:
            for one in self.numbers:
                if word in words_of(one.name):
                    return one
        return None

    def _is_paid(self, money: Profile) -> bool:
        if self._is("orders"):
            return False
        return self._is("invoices") or self._time(words.PAID) is not None

    def _attributes(self) -> list[Profile]:
        return [
            one
            for one in self.export.columns
            if one is not self.account
            and one not in self.times
            and not self._is_id(one)
            and not has(one.name, words.GAVE_AWAY)
            and not has(one.name, (*words.MONEY, *words.SEATS, *words.CURRENCY))
            and not one.is_number
            and 1 < one.distinct <= MOST_WORDS
        ]

    def _given_away(self) -> list[Profile]:
        return [
            one
            for one in self.export.columns
            if one is not self.account
            and one not in self.times
            and has(one.name, words.GAVE_AWAY)
            and not has(one.name, (*words.PLAN, *words.MONEY))
        ]

    def _entry(self, key: str, column: Profile, why: str = "") -> Entry:
        return Entry(key=key, value=quoted(column.name), why=why)

    def _head(self, zone: str | None = None) -> list[Entry]:
        export = self.export
        entries = [Entry(key="files", value=listed(export.patterns))]
        form = export.files[0].name.lower()
        if form.endswith((".tsv", ".txt")):
            entries.append(Entry(key="format", value='"csv"'))
        if export.separator != ",":
            entries.append(
                Entry(key="separator", value=quoted(export.separator), why="between the columns")
            )
        if export.decimal != ".":
            entries.append(Entry(key="decimal", value=quoted(export.decimal), why="as in 1.234,50"))
        if self.account is not None:
            entries.append(self._entry("account", self.account, self.why_account))
        return entries

    def _written(self, *columns: Profile | None) -> list[Entry]:
        """How the times of these columns are written; of more than one form, the first."""
        for one in columns:
            if one is not None and one.written is not None:
                if one.written.epoch is not None:
                    return [
                        Entry(
                            key="epoch", value=quoted(one.written.epoch), why="counted since 1970"
                        )
                    ]
                if one.written.format is not None:
                    why = f"as in {one.filled[0]}"
                    if one.written.doubt:
                        why += f"; {one.written.doubt}: check it"
                    return [Entry(key="time_format", value=quoted(one.written.format), why=why)]
        return []

    def _terms(self) -> list[Entry]:
        entries = []
        plan = next(
            (one for one in self.export.columns if has(one.name, words.PLAN) and not self._is_id(one)
             and not one.is_number and one.distinct <= MOST_WORDS and one not in self.times),
            None,
        )  # fmt: skip
        if plan is not None:
            entries.append(self._entry("price_plan", plan))
        seats = next((one for one in self.numbers if has(one.name, words.SEATS)), None)
        if seats is not None:
            entries.append(self._entry("seats", seats))
        return entries

    def _ignored(self) -> list[Entry]:
        gone = [one.name for one in self._given_away()]
        if not gone:
            return []
        why = "written when they left, perhaps: a model must not read it"
        return [Entry(key="ignored", value=listed(tuple(gone)), why=why)]

    def _files(self) -> str:
        first = self.export.files[0].name
        return (
            first
            if len(self.export.files) == 1
            else f"{first} and {len(self.export.files) - 1} more"
        )
