"""Go through the snapshots of the last year with two sets of warning signs.

A sign's episodes are runs of snapshots in which an account has it. An account has left where its
contract status is ``ended`` in a snapshot and was not in the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from features.alerts.alert import Reading, is_week_before, raise_alerts
from features.alerts.rule_set import AlertRules
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.health.score import score_health
from features.workspace import Workspace
from registry.store.store import ModelStore
from serving.decisions.company_rules import CompanyRules
from serving.recommendations.snapshot import decisions_as_of
from serving.scoring.score import columns_of, features_of

YEAR, AHEAD, AFTER = timedelta(days=365), timedelta(days=30), timedelta(days=90)

STATUS, ENDED = "contract_status", "ended"


@dataclass(kw_only=True)
class SignCounts:
    """How often a sign was raised, for whom, and what came of them.

    ``caught`` left and had the sign at least 30 days before; ``judged`` are the episodes that began at
    least 90 days before the end, of which ``left_after`` are followed by leaving within 90 days.
    """

    episodes: int = 0
    accounts: int = 0
    caught: int = 0
    judged: int = 0
    left_after: int = 0


@dataclass(frozen=True, kw_only=True)
class PreviewedSign:
    """One sign by the rules of now and by those that are looked at."""

    id: str
    now: SignCounts
    then: SignCounts


@dataclass(frozen=True, kw_only=True)
class RulesPreview:
    """What the signs that differ would have done in the last year."""

    first: datetime
    last: datetime
    moments: int
    accounts: int
    left: int
    of_all: int
    left_of_all: int
    signs: tuple[PreviewedSign, ...]


@dataclass(kw_only=True)
class _Seen:
    """When each account began an episode of each sign, and whether it is in one."""

    begun: dict[str, dict[str, list[datetime]]] = field(default_factory=dict)
    open: dict[str, frozenset[str]] = field(default_factory=dict)

    def take(self, account_id: str, raised: frozenset[str], at: datetime) -> None:
        for sign in raised - self.open.get(account_id, frozenset()):
            self.begun.setdefault(sign, {}).setdefault(account_id, []).append(at)
        self.open[account_id] = raised


def preview_signs(workspace: Workspace, *, now: AlertRules, then: AlertRules) -> RulesPreview:
    """The signs that differ between two sets of rules, over the snapshots of the last year.

    Raises:
        SnapshotError: there is no snapshot.
    """
    store = SnapshotStore(workspace.snapshots_dir)
    moments = store.moments()
    if not moments:
        raise SnapshotError("There is no snapshot yet. Make some: keepwell snapshot --every week.")
    moments = tuple(m for m in moments if m > moments[-1] - YEAR)
    by_rules = {"now": (now, _Seen()), "then": (then, _Seen())}
    left: dict[str, datetime] = {}
    was: dict[str, str | None] = {}
    present: list[tuple[str, datetime]] = []
    before: dict[datetime, dict[str, Reading]] = {}
    for at in moments:
        readings = dict(_readings(workspace, store, at))
        week = next((one for m, one in before.items() if is_week_before(m, at)), {})
        for account_id, reading in readings.items():
            status = reading.attributes.get(STATUS)
            if status == ENDED:
                if was.get(account_id, ENDED) != ENDED:
                    left.setdefault(account_id, at)
                was[account_id] = status
                continue
            was[account_id] = status
            present.append((account_id, at))
            for rules, seen in by_rules.values():
                raised = raise_alerts(reading, week.get(account_id), rules)
                seen.take(account_id, frozenset(alert.id for alert in raised), at)
        before = {m: one for m, one in before.items() if at - m < timedelta(days=9)} | {
            at: readings
        }
    last = moments[-1]
    judged = [(name, at) for name, at in present if at <= last - AFTER]
    return RulesPreview(
        first=moments[0],
        last=last,
        moments=len(moments),
        accounts=len(was),
        left=len(left),
        of_all=len(judged),
        left_of_all=sum(_left_within(left, name, at) for name, at in judged),
        signs=tuple(
            PreviewedSign(
                id=name,
                **{
                    which: _counts(seen.begun.get(name, {}), left, last)
                    for which, (_, seen) in by_rules.items()
                },
            )
            for name in _differing(now, then)
        ),
    )


def _differing(now: AlertRules, then: AlertRules) -> list[str]:
    """The signs of which the rule differs; all of them where none does."""
    before, after = ({rule.id: rule for rule in rules.rules} for rules in (now, then))
    differ = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    return differ or list(after)


def _readings(
    workspace: Workspace, store: SnapshotStore, at: datetime
) -> Iterator[tuple[str, Reading]]:
    settings = workspace.settings
    frame = store.read(at)
    catalogue = settings.catalogue
    columns = columns_of(frame, catalogue.by_name)
    for values in frame.iter_rows(named=True):
        features = features_of(values, columns)
        yield (
            values["account_id"],
            Reading(
                as_of=values["as_of"],
                health=score_health(settings.formula, features),
                features=features,
                attributes={name: values[name] for name in columns.attributes},
            ),
        )


def _counts(
    begun: Mapping[str, list[datetime]], left: Mapping[str, datetime], last: datetime
) -> SignCounts:
    found = SignCounts(accounts=len(begun))
    for name, starts in begun.items():
        found.episodes += len(starts)
        found.caught += name in left and any(at <= left[name] - AHEAD for at in starts)
        for at in starts:
            if at <= last - AFTER:
                found.judged += 1
                found.left_after += _left_within(left, name, at)
    return found


def _left_within(left: Mapping[str, datetime], name: str, at: datetime) -> bool:
    return name in left and at < left[name] <= at + AFTER


def proposals_of(
    workspace: Workspace, store: ModelStore, company: CompanyRules
) -> dict[str, tuple[int, int]]:
    """For how many accounts of the newest snapshot each action comes first, and is in the list."""
    newest = SnapshotStore(workspace.snapshots_dir).moments()[-1]
    found: dict[str, tuple[int, int]] = {}
    for one in decisions_as_of(workspace, store, newest, company=company):
        for place, candidate in enumerate(one.recommendation.ranked):
            first, listed = found.get(candidate.action_id, (0, 0))
            found[candidate.action_id] = (first + (place == 0), listed + 1)
    return found
