"""Count over all running accounts how believable the reasons of the risk are.

A fact reads backwards where it is said to raise the risk although its value lies on the safe side
of what is usual among similar accounts, by the direction that the catalogue declares, or the other
way round. This is worked out here from values, medians and directions alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.feature import AnyFeature, Derived, Direction
from features.catalogue.parts import whole_of
from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.outcomes import CHURN
from serving.cli.models import store_of
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.explanations import (
    Evidence,
    Peers,
    Reason,
    peer_words,
    peers_of,
    reason_text,
)
from serving.scoring.score import AccountScore

SIGN: Mapping[Direction, int] = {"risk": 1, "safety": -1, "open": 0}


@dataclass(frozen=True, kw_only=True)
class ShownList:
    """The reasons of one account, as they are shown, and what its facts are compared with."""

    score: AccountScore
    peers: Peers
    catalogue: Mapping[str, AnyFeature]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All reasons, of whatever list."""
        shown = self.score.reasons
        return (*shown.signals, *shown.levers, *shown.context)

    @property
    def is_high(self) -> bool:
        """Whether the account is in one of the two highest tiers."""
        return self.score.risk_tier in ("high", "critical")

    def facts(self, reason: Reason) -> Iterator[tuple[str, float | None, float]]:
        """Feature, value and points of each fact that a reason shows."""
        for fact in reason.evidence:
            yield fact.feature, fact.value, fact.points

    @property
    def all_facts(self) -> list[tuple[str, float | None, float]]:
        """The facts of all reasons."""
        return [fact for reason in self.reasons for fact in self.facts(reason)]

    def is_backward(self, fact: tuple[str, float | None, float]) -> bool:
        """Whether a fact points against the direction that is declared for it."""
        feature, value, points = fact
        declared = self.catalogue.get(feature)
        sign = -1 if feature == HEALTH_SCORE else SIGN[declared.direction] if declared else 0
        groups = self.peers.of(peer_words(self.score.attributes, self.score.features))
        usual = next((g.medians[feature] for g in groups if feature in g.medians), None)
        if value is None or usual is None:
            return False
        return sign * (value - usual) * points < 0

    def reads_backwards(self, reason: Reason) -> bool:
        """Whether any fact of a reason points against its direction."""
        return any(self.is_backward(fact) for fact in self.facts(reason))

    def reads_either_way(self, feature: str) -> bool:
        """Whether no direction is declared for a feature that is no fact of the contract."""
        declared = self.catalogue.get(feature)
        return declared is not None and declared.direction == "open" and declared.role != "context"

    def is_older_than_account(self, feature: str) -> bool:
        """Whether a feature compares with a window that begins before the account does."""
        declared, age = self.catalogue.get(feature), self.score.features.get("account_age_days")
        if not isinstance(declared, Derived) or age is None:
            return False
        return _days_back(declared, self.catalogue) > age


def _days_back(derived: Derived, catalogue: Mapping[str, AnyFeature]) -> float:
    """The days before now at which the earlier window of a comparison begins; 0 without one."""
    starts = [0.0]
    for name in derived.inputs:
        one = catalogue[name]
        if isinstance(one, Derived):
            starts.append(_days_back(one, catalogue))
        elif one.ends_before and one.lookback:
            starts.append((one.ends_before + one.lookback).days)
    return max(starts)


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted and the figure in words, of the newest snapshot of a finished workspace."""
    place = Workspace(workspace)
    catalogue = place.settings.catalogue.by_name
    snapshots = SnapshotStore(place.snapshots_dir)
    as_of = snapshots.moments()[-1]
    peers = peers_of(snapshots.read(as_of), catalogue)
    shown = [
        ShownList(score=score, peers=peers, catalogue=catalogue)
        for score in scores_as_of(place, store_of(place), as_of)
        if score.source == "model"
    ]
    facts = [(one, fact) for one in shown for fact in one.all_facts]
    evidence = [fact for one in shown for reason in one.reasons for fact in reason.evidence]
    first = [(one, one.score.reasons.foremost) for one in shown]
    named = [(one, reason) for one, reason in first if reason is not None]
    return [
        ("accounts scored by a model", f"{len(shown)}"),
        ("segments that answer for themselves, with accounts that left", _segments_of(place)),
        ("reasons told", f"{sum(len(one.reasons) for one in shown):,}"),
        (
            "accounts of high risk without a reason toward it",
            _share(
                sum(all(r.points <= 0 for r in one.reasons) for one in shown if one.is_high),
                sum(one.is_high for one in shown),
            ),
        ),
        (
            "accounts with a reason that reads backwards",
            _share(sum(any(map(one.reads_backwards, one.reasons)) for one in shown), len(shown)),
        ),
        (
            "accounts whose first reason reads backwards",
            _share(sum(one.reads_backwards(reason) for one, reason in named), len(shown)),
        ),
        (
            "first reasons that are the largest of those that point the same way",
            _share(
                sum(reason.points == _largest(one.reasons) for one, reason in named),
                len(named),
            ),
        ),
        ("accounts where nothing stands out", _share(len(first) - len(named), len(shown))),
        (
            "of those, accounts of which it is said what speaks for staying",
            _share(
                sum(one.score.reasons.against is not None for one in shown),
                len(first) - len(named),
            ),
        ),
        (
            "facts of what an account does that read either way, since no direction is declared",
            _share(sum(one.reads_either_way(fact[0]) for one, fact in facts), len(facts)),
        ),
        (
            "facts that are a part of another count, told with their share of it",
            _share(
                sum(_tells_a_share(fact, catalogue) for fact in evidence),
                sum(whole_of(fact.feature) is not None for fact in evidence),
            ),
        ),
        (
            "facts told with what is usual, compared within the same term",
            _share(
                sum("term" in (fact.comparison or "") for fact in evidence),
                sum(fact.comparison is not None for fact in evidence),
            ),
        ),
        (
            "facts whose number is not known",
            _share(sum(value is None for _, (_, value, _) in facts), len(facts)),
        ),
        (
            "facts that compare with a time before the account",
            _share(sum(one.is_older_than_account(fact[0]) for one, fact in facts), len(facts)),
        ),
    ]


def _segments_of(place: Workspace) -> str:
    evidence = store_of(place).champion(CHURN.name).reason_evidence
    found = {} if evidence is None else evidence.segments
    return ", ".join(f"{name} ({one.outcomes})" for name, one in found.items()) or "none"


def _tells_a_share(fact: Evidence, catalogue: Mapping[str, AnyFeature]) -> bool:
    return fact.text != reason_text(fact.feature, fact.value, catalogue)


def _largest(reasons: tuple[Reason, ...]) -> float:
    return max(reason.points for reason in reasons)


def _share(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({count / of:.1%})" if of else "none to count"
