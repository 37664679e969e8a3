"""Read the playbook as a whole: actions, sequences, guards and assumptions.

``load_playbook()`` reads ``actions.toml`` and ``sequences.toml`` once and checks that they fit each
other. The registry knows no features and no alerts; a caller that does uses ``check_reads``.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from registry.playbook.actions import Action, PlaybookError, read_action
from registry.playbook.condition_grammar import Condition
from registry.playbook.conflicts import (
    Conflict,
    ConflictOfAction,
    conflicts_by_action,
    read_conflict,
)
from registry.playbook.group_rules import (
    Conversation,
    Family,
    Guard,
    LookAgainRules,
    Stage,
    Urgency,
    read_conversation,
    read_family,
    read_guard,
    read_look_again,
    read_stage,
    read_urgency,
)
from registry.playbook.own_rules import put_in
from registry.playbook.sequences import Sequence, read_sequence
from registry.toml_table import Table, TableError, toml_values

ACTIONS_FILE = Path(__file__).with_name("actions.toml")
SEQUENCES_FILE = Path(__file__).with_name("sequences.toml")


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How likely an account grows within 90 days, and by what share of its MRR."""

    probability: float
    amount_ratio: float


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """The probabilities that are assumed where no model answers; every number is ours.

    ``churn_by_health`` holds (lowest health score, churn probability in 90 days), highest first.
    """

    churn_by_health: tuple[tuple[float, float], ...]
    churn_health_unknown: float
    churn_at_least: Mapping[str, float]
    stays_away: float
    growth_by_plan: Mapping[str, Growth]
    growth_otherwise: Growth
    trial_conversion: float
    trial_mrr_usd: float


@dataclass(frozen=True, kw_only=True)
class Playbook:
    """All actions, sequences and rules, in one value."""

    actions: tuple[Action, ...]
    sequences: tuple[Sequence, ...]
    guards: tuple[Guard, ...]
    conflicts: tuple[Conflict, ...]
    families: Mapping[str, Family]
    stages: tuple[Stage, ...]
    contact_channels: frozenset[str]
    alert_shows: Mapping[str, str]
    assumptions: Assumptions
    urgencies: tuple[Urgency, ...] = ()
    conversation: Conversation | None = None
    uncapped_channels: frozenset[str] = frozenset()
    renewal_counts_days: float | None = None  # so long before it the coming renewal is at stake
    renewal_counts_signs: frozenset[str] = frozenset()  # and at any distance while one is open
    look_again: LookAgainRules | None = None
    one_next_step: bool = False  # of a sequence, and the steps say which earlier ones were left out
    fingerprint: str = ""  # of the texts it was read from
    off: frozenset[str] = frozenset()  # ids of what a company switched off

    @cached_property
    def by_id(self) -> Mapping[str, Action]:
        """The actions by their id."""
        return {action.id: action for action in self.actions}

    @cached_property
    def guards_of(self) -> Mapping[str, tuple[Guard, ...]]:
        """The guards that concern each action, by its id."""
        return {
            action.id: tuple(guard for guard in self.guards if guard.concerns(action))
            for action in self.actions
        }

    @cached_property
    def siblings(self) -> Mapping[str, Mapping[str, Action]]:
        """The other actions of each action's family, by their ids; none where it has no family."""
        return {
            action.id: {
                other.id: other
                for other in self.actions
                if action.family is not None
                and other.family == action.family
                and other.id != action.id
            }
            for action in self.actions
        }

    @cached_property
    def gives_way(self) -> Mapping[str, tuple[ConflictOfAction, ...]]:
        """The conflicts of each action; actions to which others give way come first."""
        return conflicts_by_action(self.actions, self.conflicts)

    @cached_property
    def conditions(self) -> tuple[tuple[str, Condition], ...]:
        """Every condition, with where it stands."""
        return (
            *(
                (f"Action {action.id!r}", condition)
                for action in self.actions
                for condition in (*action.triggers, *action.eligibility, *action.due)
            ),
            *(
                (f"Urgency {urgency.name!r}", condition)
                for urgency in self.urgencies
                for condition in urgency.when
            ),
            *(
                (f"Guard number {number}", condition)
                for number, guard in enumerate(self.guards, 1)
                for condition in (guard.only_if, guard.condition)
                if condition is not None
            ),
            *(
                (f"Stage {stage.name!r}", condition)
                for stage in self.stages
                for condition in stage.conditions
            ),
            *(
                (f"Sequence {sequence.id!r}", condition)
                for sequence in self.sequences
                for condition in (
                    *sequence.applies,
                    *sequence.stop,
                    *(c for step in sequence.steps for c in step.only_if),
                )
            ),
        )

    @cached_property
    def reads(self) -> tuple[frozenset[str], frozenset[str]]:
        """All figures and attributes, and all warning signs, that anything here reads."""
        starts = [start for sequence in self.sequences for start in sequence.day_zero]
        return (
            frozenset(start.name for start in starts if start.kind in ("age", "ahead")).union(
                *(condition.names for _, condition in self.conditions)
            ),
            self.renewal_counts_signs.union(
                (start.name for start in starts if start.kind == "alert"),
                *(condition.alerts for _, condition in self.conditions),
            ),
        )

    def rows(self) -> list[dict[str, object]]:
        """The actions as rows, each with the sequences it is a step of."""
        steps: dict[str, list[str]] = {action.id: [] for action in self.actions}
        for sequence in self.sequences:
            for action_id in dict.fromkeys(step.action for step in sequence.steps):
                steps[action_id].append(sequence.id)
        return [{**action.as_row(), "sequences": steps[action.id]} for action in self.actions]


@cache
def load_playbook(own_text: str = "") -> Playbook:
    """The playbook of the two files beside this module, changed by a company's own ``rules.toml``."""
    return read_playbook(
        ACTIONS_FILE.read_text(encoding="utf-8"),
        SEQUENCES_FILE.read_text(encoding="utf-8"),
        own_text,
    )


def read_playbook(actions_text: str, sequences_text: str, own_text: str = "") -> Playbook:
    """The playbook of two TOML texts and, perhaps, a company's own rules, checked as a whole."""
    try:
        actions, sequences = tomllib.loads(actions_text), tomllib.loads(sequences_text)
        off = put_in(actions, sequences, toml_values(own_text)) if own_text else frozenset()
    except tomllib.TOMLDecodeError as exc:
        raise PlaybookError(f"The playbook is not valid TOML: {exc}") from exc
    actions_file, sequences_file = (
        Table(actions, "actions.toml"),
        Table(sequences, "sequences.toml"),
    )
    try:
        book = Playbook(
            actions=tuple(read_action(table) for table in actions_file.tables("action")),
            sequences=tuple(read_sequence(table) for table in sequences_file.tables("sequence")),
            guards=tuple(read_guard(table) for table in actions_file.tables("guard")),
            conflicts=tuple(read_conflict(table) for table in actions_file.tables("conflict", ())),
            families={
                family.id: family
                for family in (read_family(table) for table in actions_file.tables("family"))
            },
            stages=tuple(read_stage(table) for table in actions_file.tables("stage")),
            contact_channels=frozenset(actions_file.texts("contact_channels")),
            alert_shows=_texts(actions_file.table("alert_shows")),
            assumptions=_assumptions(actions_file.table("assumed")),
            urgencies=tuple(read_urgency(table) for table in actions_file.tables("urgency", ())),
            conversation=read_conversation(actions_file.table("conversation"))
            if actions_file.has("conversation")
            else None,
            uncapped_channels=frozenset(actions_file.texts("uncapped_channels", ())),
            renewal_counts_days=actions_file.optional_number("renewal_counts_days", least=0),
            renewal_counts_signs=frozenset(actions_file.texts("renewal_counts_signs", ())),
            look_again=read_look_again(actions_file.table("look_again"))
            if actions_file.has("look_again")
            else None,
            one_next_step=sequences_file.flag("one_next_step", False),
            off=off,
            fingerprint=hashlib.blake2b(
                "\0".join(filter(None, (actions_text, sequences_text, own_text))).encode(),
                digest_size=16,
            ).hexdigest(),
        )
        actions_file.end()
        sequences_file.end()
    except TableError as exc:
        raise PlaybookError(str(exc)) from exc
    _check(book)
    return book


def check_reads(book: Playbook, *, names: Collection[str], alerts: Collection[str]) -> None:
    """Refuse a playbook that reads undeclared features or alerts.

    Args:
        book: the playbook.
        names: the features, attributes and figures that exist.
        alerts: the ids of the warning signs that exist.

    Raises:
        PlaybookError: an entry reads something undeclared; the message names both.
    """
    read_names, read_alerts = book.reads
    if read_names.issubset(names) and read_alerts.issubset(alerts):
        return
    for where, condition in book.conditions:
        for what, missing in (
            ("feature or attribute", condition.names.difference(names)),
            ("warning sign", condition.alerts.difference(alerts)),
        ):
            if missing:
                raise PlaybookError(
                    f"{where}: the condition {condition.text!r} reads "
                    f"{', '.join(map(repr, sorted(missing)))}, and there is no such {what}. "
                    f"Correct the name, or declare it."
                )
    if unknown := sorted(book.renewal_counts_signs.difference(alerts)):
        raise PlaybookError(
            f"renewal_counts_signs names {', '.join(unknown)}, and there is no such warning sign. "
            f"Correct the name."
        )
    for sequence in book.sequences:
        for start in sequence.day_zero:
            known = alerts if start.kind == "alert" else names
            if start.kind in ("age", "ahead", "alert") and start.name not in known:
                raise PlaybookError(
                    f"Sequence {sequence.id!r}: its clock starts with "
                    f"{start.name!r}, which nobody declared. Correct the name."
                )


def _assumptions(table: Table) -> Assumptions:
    plans = table.table("growth_by_plan")
    floors = table.table("churn_at_least")
    bands = [
        (band.number("from", least=0, most=100), band.number("probability", least=0, most=1))
        for band in table.tables("churn_by_health")
    ]
    assumptions = Assumptions(
        churn_by_health=tuple(sorted(bands, reverse=True)),
        churn_health_unknown=table.number("churn_health_unknown", least=0, most=1),
        churn_at_least={key: floors.number(key, least=0, most=1) for key in floors.names()},
        stays_away=table.number("stays_away", least=0, most=1),
        growth_by_plan={key: _growth(plans.table(key)) for key in plans.names()},
        growth_otherwise=_growth(table.table("growth_otherwise")),
        trial_conversion=table.number("trial_conversion", least=0, most=1),
        trial_mrr_usd=table.number("trial_mrr_usd", least=0),
    )
    table.text("basis")
    table.end()
    return assumptions


def _texts(table: Table) -> dict[str, str]:
    return {key: table.text(key) for key in table.names()}


def _growth(table: Table) -> Growth:
    growth = Growth(
        probability=table.number("probability", least=0, most=1),
        amount_ratio=table.number("amount_ratio", least=0),
    )
    table.end()
    return growth


def _check(book: Playbook) -> None:
    for number, conflict in enumerate(book.conflicts, 1):
        _refuse_unknown(
            f"Conflict number {number}", set(book.by_id), {*conflict.actions, *conflict.to_actions}
        )
    for guard in book.guards:
        _refuse_unknown(f"The guard {guard.why!r}", set(book.by_id), set(guard.actions))
    for urgency in book.urgencies:
        talk = () if urgency.talk is None else urgency.talk.actions
        _refuse_unknown(f"Urgency {urgency.name!r}", set(book.by_id), {*urgency.first, *talk})
    _check_ids(book)
    _ = book.gives_way  # refuses a cycle


def _check_ids(book: Playbook) -> None:
    ids = [action.id for action in book.actions] + [sequence.id for sequence in book.sequences]
    twice = sorted({identifier for identifier in ids if ids.count(identifier) > 1})
    if twice:
        raise PlaybookError(f"The id(s) {', '.join(twice)} are used twice. Rename one.")
    known = set(book.by_id)
    stepped: set[str] = set()
    for sequence in book.sequences:
        stepped.update(step.action for step in sequence.steps)
        conditions = [
            *sequence.applies,
            *sequence.stop,
            *(c for step in sequence.steps for c in step.only_if),
        ]
        _refuse_unknown(
            f"Sequence {sequence.id!r}",
            known,
            {step.action for step in sequence.steps}.union(
                *(condition.actions for condition in conditions)
            ),
        )
    for action in book.actions:
        where = f"Action {action.id!r}"
        _refuse_unknown(
            where,
            known,
            set().union(
                *(condition.actions for condition in (*action.triggers, *action.eligibility))
            ),
        )
        if action.family is not None and action.family not in book.families:
            raise PlaybookError(
                f"{where}: there is no family {action.family!r}. Known are "
                f"{', '.join(book.families)}."
            )
        if not action.triggers and action.id not in stepped | book.off:
            raise PlaybookError(
                f"{where} has no trigger and is no step of a sequence: nothing "
                f"would ever bring it up."
            )


def _refuse_unknown(where: str, known: set[str], named: set[str]) -> None:
    missing = sorted(named - known)
    if missing:
        raise PlaybookError(
            f"{where} names the action(s) {', '.join(missing)}, which the playbook does not have."
        )
