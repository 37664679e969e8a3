"""The alert rules that hold for a company: the shipped ones, changed by its own ``rules.toml``.

``[[alert]]`` with the id of a shipped rule changes the keys that it names; another id is a new rule. What
is named in ``off`` raises nothing. A case is a list of comparisons that all hold and the sentence that is
then true::

    off = ["login_none_30d"]

    [[alert]]
    id = "health_below_60"
    urgency = 2

    [[alert]]
    id = "pallets_fell"
    title = "Far fewer pallets"
    urgency = 3
    responses = ["success_call"]
    cases = [{ when = ["pallets_28d < 10", "health_score < 60"], words = "moved {pallets_28d:.0f} pallets" }]
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from string import Formatter
from typing import cast

from features.alerts.rules import ALERTS, COMPARES, FIGURES, AlertRule, Bound, Case, Operator
from features.toml_table import Table, TableError, toml_values

RULES_FILE = "rules.toml"

ALWAYS_READ = ("incidents_felt_90d", "features_used_28d", "features_unused_7d", "days_to_notice")
"""The features that the figures are made of."""

OWN_SOURCE = "own"

KEYS = ("id", "title", "urgency", "cases", "responses", "silent_while", "of_prospects")

_ID = re.compile(r"[a-z][a-z0-9_]*")

_FORM = re.compile(r",?(\.\d)?[f%]?")
"""How a figure in the words may be written: 1,234, 12.3 or 12%."""

_BOUND = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")


class RulesError(ValueError):
    """The rules of a company cannot be used."""


@dataclass(frozen=True, kw_only=True)
class AlertRules:
    """The rules that hold, in order, and the digest of the file that changed them ("": none did)."""

    rules: tuple[AlertRule, ...] = ALERTS
    digest: str = ""

    @cached_property
    def features_read(self) -> tuple[str, ...]:
        """The features that a rule reads, or writes in its words."""
        named = {name for rule in self.rules for name in (*rule.figures, *rule.figures_in_words)}
        return tuple(sorted({*ALWAYS_READ} | named - FIGURES.keys()))

    @cached_property
    def words(self) -> Mapping[str, str]:
        """The id of each shipped and each own rule, to what a person calls it."""
        return {rule.id: rule.title for rule in (*ALERTS, *self.rules)}


SHIPPED = AlertRules()


def read_alert_rules(text: str, *, features: Collection[str] | None = None) -> AlertRules:
    """The rules of a company from the text of its ``rules.toml``; an empty text changes nothing.

    Args:
        text: of the file; its tables ``action`` and ``sequence`` are the playbook's.
        features: the names that rules may read besides the figures; None: any.

    Raises:
        RulesError: what is wrong, with the line.
    """
    if not text.strip():
        return SHIPPED
    try:
        values = toml_values(text)
    except tomllib.TOMLDecodeError as exc:
        raise RulesError(f"{RULES_FILE} is not valid TOML: {exc}.") from exc
    try:
        file = Table(values, RULES_FILE, allowed=("off", "alert", "action", "sequence"))
        off = file.texts("off", ())
        rules = {rule.id: rule for rule in ALERTS}
        for number, entry in enumerate(file.tables("alert", ())):
            where = f"{RULES_FILE}, line {line_of(text, 'alert', number)}"
            rule = _rule(entry, where, rules, features)
            rules[rule.id] = rule
        for rule in rules.values():
            if unknown := [name for name in rule.silent_while if name not in rules]:
                raise RulesError(
                    f"{RULES_FILE}: {rule.id!r} is silent while {unknown[0]!r} is raised, and there is "
                    f"no such warning sign."
                )
        _check_silence(rules)
    except TableError as exc:
        raise RulesError(str(exc)) from exc
    return AlertRules(
        rules=tuple(rule for rule in rules.values() if rule.id not in off),
        digest=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    )


def _check_silence(rules: Mapping[str, AlertRule]) -> None:
    """No sign keeps itself silent, also not by way of others: none of them would ever be seen."""
    try:
        TopologicalSorter({rule.id: rule.silent_while for rule in rules.values()}).prepare()
    except CycleError as exc:
        circle = " while ".join(repr(name) for name in reversed(exc.args[1]))
        raise RulesError(
            f"{RULES_FILE}: {circle} is silent, so none of them is ever seen. Take one out of "
            f"`silent_while`."
        ) from exc


def rules_text(folder: Path) -> str:
    """The text of a company's own rules; "" where it has none.

    Raises:
        RulesError: it cannot be read.
    """
    try:
        return (folder / RULES_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise RulesError(f"{RULES_FILE} cannot be read ({exc}). Write it again as UTF-8.") from exc


def line_of(text: str, kind: str, number: int) -> int:
    """The line, from 1, of the table ``[[kind]]`` with this number, from 0; 1 where it is inline."""
    found = [
        line
        for line, content in enumerate(text.splitlines(), 1)
        if re.match(rf"\s*\[\[\s*{kind}\s*\]\]", content)
    ]
    return found[number] if number < len(found) else 1


def _rule(
    entry: Mapping[str, object],
    where: str,
    known: Mapping[str, AlertRule],
    features: Collection[str] | None,
) -> AlertRule:
    table = Table(entry, where, allowed=KEYS)
    name = table.text("id")
    if not _ID.fullmatch(name):
        raise RulesError(
            f"{where}, alert {name!r}: an id is lower-case words joined by underscores. Give it such a one."
        )
    before = known.get(name)
    table.where = f"{where}, alert {name!r}"
    changed: dict[str, object] = {}
    if before is None or table.has("title"):
        changed["title"] = table.text("title")
    if before is None or table.has("urgency"):
        changed["urgency"] = table.whole("urgency")
        if changed["urgency"] not in range(1, 6):
            raise RulesError(
                f"{table.where}: `urgency` is 5 (at once), 4 (today), 3 (within two days), 2 (this "
                f"week) or 1 (when there is time)."
            )
    if before is None or table.has("cases"):
        changed["cases"] = tuple(_case(one, table.where, features) for one in table.tables("cases"))
        if not changed["cases"]:
            raise RulesError(f"{table.where}: `cases` needs one case at least.")
    for key in ("responses", "silent_while"):
        if table.has(key):
            changed[key] = table.texts(key)
    if table.has("of_prospects"):
        changed["of_prospects"] = table.flag("of_prospects")
    if before is not None:
        return replace(before, **changed)  # type: ignore[arg-type]
    return AlertRule(**{"id": name, "source": OWN_SOURCE, "responses": (), **changed})  # type: ignore[arg-type]


def _case(entry: Mapping[str, object], where: str, features: Collection[str] | None) -> Case:
    table = Table(entry, f"{where}, a case", allowed=("when", "words"))
    bounds = tuple(_bound(text, where, features) for text in table.texts("when"))
    if not bounds:
        raise RulesError(
            f"{where}: a case compares nothing, so it would hold for every account. Give `when` a "
            f"comparison, such as health_score < 60."
        )
    words = table.text("words")
    try:
        parts = [
            (name, form or "", how)
            for _, name, form, how in Formatter().parse(words)
            if name is not None
        ]
    except ValueError as exc:
        raise _unfilled(where, words, str(exc)) from exc
    for name, form, conversion in parts:
        if conversion or not _FORM.fullmatch(form):
            raise _unfilled(where, words, f"{{{name}}} is written in a way that is not known")
        _known(name, where, features)
        if name not in {bound.figure for bound in bounds}:
            raise RulesError(
                f"{where}: the words say {name!r}, which `when` does not compare, so it may be unknown."
            )
    return Case(bounds, words)


def _unfilled(where: str, words: str, why: str) -> RulesError:
    return RulesError(
        f"{where}: the words {words!r:.200} cannot be filled in ({why}). Write figures like "
        f"{{health_score:.0f}}, {{health_score:,.0f}} or {{health_score:.1%}}."
    )


def _bound(text: str, where: str, features: Collection[str] | None) -> Bound:
    found = _BOUND.fullmatch(text)
    if found is None:
        raise RulesError(
            f"{where}: {text!r} is no comparison of a figure with a number, such as "
            f"health_score < 60. Known are {', '.join(COMPARES)}."
        )
    figure, sign, number = found.groups()
    _known(figure, where, features)
    return Bound(figure, cast(Operator, sign), float(number))


def _known(name: str, where: str, features: Collection[str] | None) -> None:
    if features is None or name in features or name in FIGURES:
        return
    near = get_close_matches(name, [*features, *FIGURES], 1)
    raise RulesError(
        f"{where}: there is no feature or figure {name!r}."
        + (f" Did you mean {near[0]!r}?" if near else " keepwell features lists them.")
    )
