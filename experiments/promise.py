"""This module is about how much of what the playbook promises has come true where it was measured.

The playbook's effects are guesses of the same people, so what was measured of some actions tells
something of the others: if four promises of a tenth turn out as nothing, the fifth is worth less.
Every measured effect, relative to the risk it was measured at, is a noisy multiple of its promise::

    relative effect_a ~ N(kept · promised_a, error_a² + deviation_a²)      kept ~ N(1, 0.5²)

``kept`` is the posterior mean, between 0 and 1; an action that does far worse or better than
promised counts as ``FAR`` deviations off, so that one surprise does not decide. What an action's
own measurement says is left out of its own ``kept``: it is mixed in where beliefs are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

from experiments.evidence import DOUBT, GOOD, Evidence
from registry.playbook import Playbook

DEVIATION = 0.5
"""How far off the playbook as a whole may be, before looking: promises half kept are no surprise.
Chosen on simulated companies (``bench_policy_worlds.py``)."""

FAR = 2.5


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The share of the playbook's promises to count on: in general, and for measured actions."""

    kept: float = 1.0
    measured: int = 0
    kept_without: Mapping[str, float] | None = None

    def of(self, action_id: str) -> float:
        """The share for one action, by what was measured of the others."""
        return (self.kept_without or {}).get(action_id, self.kept)


BELIEVED = Promise()
"""Nothing was measured: the playbook is taken at its word."""


def promise_of(evidence: Evidence, playbook: Playbook) -> Promise:
    """What the measured actions say of the playbook as a whole.

    >>> from registry.playbook import playbook
    >>> promise_of(Evidence(), playbook()).kept
    1.0
    """
    terms: dict[str, tuple[float, float]] = {}
    for effect in evidence.over_all:
        action = playbook.by_id.get(effect.action_id)
        if (action is None or effect.untouched_risk is None or action.prior.mean == 0
                or GOOD.get(action.prior.outcome) != effect.outcome):
            continue
        promised, apart = action.prior.mean, action.prior.deviation
        error = hypot(effect.standard_error / effect.untouched_risk,
                      apart * (1 + DOUBT[effect.grade]) ** 0.5)
        if error == 0:
            continue
        off = (effect.estimate / effect.untouched_risk - promised) / error
        seen = promised + max(-FAR, min(FAR, off)) * error
        terms[action.id] = promised * seen / error**2, promised**2 / error**2
    if not terms:
        return BELIEVED
    return Promise(
        kept=_kept(terms), measured=len(terms),
        kept_without={action_id: _kept({k: v for k, v in terms.items() if k != action_id})
                      for action_id in terms})


def promise_for(evidence: Evidence, playbook: Playbook) -> Promise:
    """The same, found once for the same evidence and kept with it: every account asks for it."""
    if not evidence.effects:
        return BELIEVED
    known: dict[int, tuple[Playbook, Promise]] = evidence.__dict__.setdefault("_promises", {})
    found = known.get(id(playbook))
    if found is None or found[0] is not playbook:
        found = known[id(playbook)] = playbook, promise_of(evidence, playbook)
    return found[1]


def _kept(terms: Mapping[str, tuple[float, float]]) -> float:
    before = DEVIATION**-2
    top = before + sum(agrees for agrees, _ in terms.values())
    return max(0.0, min(1.0, top / (before + sum(weight for _, weight in terms.values()))))
