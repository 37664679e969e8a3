"""Propose tables of what accounts did, said and are."""

from __future__ import annotations

from features.setup import words
from features.setup.column_roles import MOST_WORDS, ColumnRoles
from features.setup.lines import Entry, TableProposal, property_named, quoted
from features.setup.look import Profile, latest_of
from features.setup.words import has

MOST_USED = 12
"""So many features of a product are counted one by one, those that are used most."""


class EventTables(ColumnRoles):
    """Proposes use, surveys, tickets and attributes."""

    def _use(self) -> TableProposal:
        when = next(
            (one for one in self.times if not has(one.name, (*words.START, *words.LEFT))),
            self.times[0],
        )
        user = next(
            (
                one
                for one in self.export.columns
                if has(one.name, words.USER)
                and one is not self.account
                and one not in self.times
                and not one.name.lower().endswith("count")
            ),
            None,
        )
        name = next(
            (one for one in self.export.columns if has(one.name, words.NAME) and one is not self.account
             and one is not user and one not in self.times and not self._is_id(one) and not one.is_number
             and 1 < one.distinct <= 500),
            None,
        )  # fmt: skip
        said = (
            f"{name.name} says what was used"
            if name is not None
            else "no column says what was used"
        )
        if name is None and (few := self._few_words(user)) is not None:
            name, said = (
                few,
                f"{few.name} holds {few.distinct} different words: what was used, perhaps",
            )
        people = self._is("people") and user is not None and name is None
        kind = "feature.used" if name is not None else "user.session"
        what = "use of the product" if not people else "people, by the day they were last seen"
        daily = when.longest <= 10
        others = [one.name for one in self.times if one is not when]
        entries = [
            *self._head(),
            Entry(key="kind", value=quoted(kind), why=said),
            self._entry("occurred_at", when, f"else {others[0]}" if others else ""),
            Entry(
                key="recorded_delay", value='"end_of_day"' if daily else '"0s"',
                why="a day is known when it is over" if daily else "known at once",
            ),
        ]  # fmt: skip
        if user is not None:
            entries.append(self._entry("user", user))
        count = next((one for one in self.numbers if has(one.name, words.COUNT)), None)
        if (
            count is not None
            and count.least >= 0
            and (count.numbers == count.numbers.round()).all()
        ):
            entries.append(self._entry("event_count", count, "how often on that row"))
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what=what,
            entries=[*entries, *self._written(when), *self._ignored()],
            properties=[self._entry("name", name)] if name is not None else [],
            used=() if name is None or people else _most_used(name),
            is_use=True,
            latest=latest_of(when),
        )

    def _few_words(self, user: Profile | None) -> Profile | None:
        """The column of text with few different values, the shortest of several."""
        others = (self.account, user, *self.times)
        few = [
            one
            for one in self.export.columns
            if one not in others
            and not one.is_number
            and not has(one.name, words.GAVE_AWAY)
            and 1 < one.distinct <= MOST_WORDS
        ]
        return min(few, key=lambda one: one.longest, default=None)

    def _survey(self) -> TableProposal:
        when = self.times[0]
        named = ("score", "rating", "answer", "nps", "csat")
        answer = next((one for one in self.numbers if has(one.name, named)), self.numbers[0])
        scale = "csat" if answer.most <= 5 else "nps"
        return TableProposal(
            name=self.export.name,
            export=self.export,
            what="answers to surveys",
            entries=[
                *self._head(),
                Entry(key="kind", value='"survey.answered"'),
                self._entry("occurred_at", when),
                Entry(key="recorded_delay", value='"0s"'),
                self._entry("quantity", answer),
                *self._written(when),
                *self._ignored(),
            ],
            constants=[
                Entry(
                    key="survey",
                    value=quoted(scale),
                    why=f"the largest answer is {answer.most:g}",
                )
            ],
            latest=latest_of(when),
        )

    def _events(self, name: str, kind: str, what: str) -> TableProposal:
        when = self._time((*words.START, "opened", "submitted", "date", "day")) or self.times[0]
        return TableProposal(
            name=self.export.name or name,
            export=self.export,
            what=what,
            entries=[
                *self._head(),
                Entry(
                    key="kind", value=quoted(kind), why="by the names of the file and its columns"
                ),
                self._entry("occurred_at", when),
                Entry(key="recorded_delay", value='"0s"', why="known at once"),
                *self._written(when),
                *self._ignored(),
            ],
            latest=latest_of(when),
        )

    def _accounts(self, since: Profile | None, attributes: list[Profile]) -> TableProposal:
        computed = []
        if since is None:
            computed.append(
                Entry(
                    key="always",
                    value=quoted("date('2000-01-01')"),
                    why="no column says since when",
                )
            )
        when = (
            self._entry("occurred_at", since)
            if since
            else Entry(key="occurred_at", value='"always"')
        )
        return TableProposal(
            name="attributes" if self._is("contracts") else self.export.name,
            export=self.export,
            what=f"attributes of accounts: {', '.join(one.name for one in attributes) or 'none'}",
            entries=[
                *self._head(),
                Entry(key="kind", value='"account.updated"', why="one row an account"),
                when,
                Entry(key="recorded_delay", value='"0s"'),
                *self._written(since),
                *self._ignored(),
            ],
            properties=[
                Entry(key=property_named(one.name), value=quoted(one.name)) for one in attributes
            ],
            computed=computed,
        )


def _most_used(name: Profile) -> tuple[str, ...]:
    counts = name.filled.value_counts(sort=True)
    return tuple(counts[name.filled.name].head(MOST_USED).to_list())
