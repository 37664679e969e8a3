"""Read ``retention.toml``: for how many days events of a kind and entries of a place are kept, and why.

::

    [[keep]]
    what = "feature.used"      # a kind of event, or a place
    days = 400
    because = "Art. 6(1)(f): reasons of scores look back 90 days, trainings a year"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from features.catalogue.catalogue import Catalogue
from features.compute.lost_columns import longest_look_at_users, properties_read
from features.events.schema import KINDS
from features.lake.admission.horizons import Horizon
from features.lake.erased_subjects import WRITTEN
from features.toml_table import Table, toml_values
from features.workspace_files import WorkspaceError

POLICY_FILE = "retention.toml"

QUARANTINE, MESSAGES, SHADOW, PLANS = "quarantine", "messages", "shadow", "plans"
KEEP_PLACES = {
    QUARANTINE: "rows that were refused",
    MESSAGES: "messages to webhooks that were sent or given up",
    SHADOW: "predictions of challengers",
    PLANS: "plans of a week",
}
"""The places that a rule can name, with what is removed there."""

LATE_DAYS = 31
"""A source may be so many days late: what reads back from its last day must still find everything."""

NEEDED_FOR_GOOD = ("account.", "contract.", "trial.", "action.")
"""Kinds whose events say what holds until the next one, or what was done: figures need each for good."""

MOST_DAYS = 36_500


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How long one thing is kept, and why."""

    what: str
    days: int
    because: str

    def before(self, now: datetime) -> datetime:
        """What is older than this is not kept."""
        return now - timedelta(days=self.days)

    @property
    def is_place(self) -> bool:
        """Whether it is about a place, and not a kind of event."""
        return self.what in KEEP_PLACES


class RetentionError(WorkspaceError):
    """The rules of retention cannot be read, or would remove what figures need."""


class _RetentionTable(Table):
    error = RetentionError


def read_rules(workspace: Path) -> tuple[Rule, ...]:
    """The rules of a workspace; none where it has no file of them.

    Raises:
        RetentionError: the file is not valid.
    """
    path = workspace / POLICY_FILE
    try:
        values = toml_values(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise RetentionError(
            f"{POLICY_FILE} in {workspace} is not valid TOML ({exc}). Mend it; nothing is removed "
            f"before."
        ) from exc
    table = _RetentionTable(values, POLICY_FILE, allowed=("keep",))
    rules: list[Rule] = []
    for number, one in enumerate(table.tables("keep", ()), 1):
        where = f"{POLICY_FILE}, rule {number}"
        inner = _RetentionTable(one, where, allowed=("what", "days", "because"))
        rule = Rule(
            what=inner.text("what"), days=inner.whole("days"), because=inner.text("because")
        )
        if not 1 <= rule.days <= MOST_DAYS:
            raise RetentionError(f"{where}: `days` is {rule.days}; 1 to {MOST_DAYS:,} are allowed.")
        if rule.what in {other.what for other in rules}:
            raise RetentionError(f"{where}: {rule.what!r} has a rule already. Leave one out.")
        rules.append(rule)
    return tuple(rules)


def horizons_of(
    rules: tuple[Rule, ...], features: Catalogue, *, now: datetime
) -> dict[str, Horizon]:
    """What the rules take from which kinds of events as of now.

    Raises:
        RetentionError: a rule would take away what figures of today need.
    """
    declared = {kind.name: kind for kind in KINDS}
    found = {}
    for rule in rules:
        if rule.is_place:
            continue
        if rule.what.startswith(NEEDED_FOR_GOOD):
            raise RetentionError(
                f"{POLICY_FILE}: events {rule.what!r} say what holds until the next one, or what was "
                f"done, and figures need them for good. Forget a person or an account with "
                f"keepwell erase, and leave this rule out."
            )
        _check_days(rule, features)
        read = properties_read(features, rule.what)
        is_read = rule.what in declared or rule.what in features.kinds_read
        names = {*read, *(declared[rule.what].properties if rule.what in declared else ())}
        found[rule.what] = Horizon(
            kind=rule.what,
            before=rule.before(now),
            rows_stay=is_read,
            properties=frozenset(names.difference(WRITTEN)),
        )
    return found


def _check_days(rule: Rule, features: Catalogue) -> None:
    look = longest_look_at_users(features, rule.what)
    if look is None:
        raise RetentionError(
            f"{POLICY_FILE}: a feature looks back to the first event {rule.what!r} for who caused it, "
            f"so none of them can be without. Leave this rule out."
        )
    least = look.days + LATE_DAYS if look else 1
    if rule.days < least:
        raise RetentionError(
            f"{POLICY_FILE}: {rule.days} days of {rule.what!r} are too few: features count its users "
            f"over {look.days} days, and a source may be {LATE_DAYS} days late. Keep at least {least}."
        )
