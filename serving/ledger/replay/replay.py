"""Ask a stored decision again and compare: the same ranking, to the bit.

A decision holds its whole question; what all questions have in common (the playbook's text, the
words of figures and warning signs) is in the ledger once, under its digest. Both are in the chain,
so what is replayed is what was asked. The code is named by a digest of the text of all that the
policy imports: where the ranking differs, the report says whether the code or the numbers did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.policy.request import PolicyInputs
from registry.playbook.playbook import ACTIONS_FILE, SEQUENCES_FILE, read_playbook
from serving.ledger.ledger import Decision
from serving.ledger.replay._imported_code import imported_code

POLICY = (PolicyInputs.__module__, read_playbook.__module__)
"""The modules that a decision is asked of."""


class ReplayError(Exception):
    """A decision cannot be asked again."""


@dataclass(frozen=True, kw_only=True)
class SharedInputs:
    """The inputs that all questions of one moment have in common."""

    digest: str
    content: str


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The result of asking again."""

    decision_id: str
    difference: str | None
    decided_by: str | None
    code: str

    @property
    def words(self) -> str:
        """The finding as a sentence."""
        if self.difference is None:
            return f"Decision {self.decision_id} comes out the same, to the bit."
        by = (
            "the same code"
            if self.decided_by == self.code
            else f"other code (digest {self.decided_by or 'unknown'}; this is {self.code})"
        )
        return (
            f"Decision {self.decision_id} comes out otherwise: {self.difference}. It was "
            f"decided by {by}."
        )


def shared_inputs(
    phrases: Mapping[str, str], alert_words: Mapping[str, str], own: str = ""
) -> SharedInputs:
    """The playbook of this moment, with the company's own rules, and the words that are read out."""
    return _shared(tuple(sorted(phrases.items())), tuple(sorted(alert_words.items())), own)


@cache
def _shared(
    phrases: tuple[tuple[str, str], ...], alert_words: tuple[tuple[str, str], ...], own: str
) -> SharedInputs:
    content = json.dumps(
        {
            "actions": ACTIONS_FILE.read_text(encoding="utf-8"),
            "sequences": SEQUENCES_FILE.read_text(encoding="utf-8"),
            "phrases": dict(phrases),
            "alert_words": dict(alert_words),
            **({"own": own} if own else {}),
        },
        sort_keys=True,
    )
    return SharedInputs(content=content, digest=_digest(content))


@cache
def policy_code() -> str:
    """The digest of the code that ranks, as it was when this process first asked."""
    return policy_digest()


def policy_digest(read: Callable[[Path], bytes] = Path.read_bytes) -> str:
    """The digest of the policy's modules and of all that they import.

    The playbook's own files are no part of it: they are stored with each decision.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, text in sorted(imported_code(POLICY, read).items()):
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def shared_digest(decision: Decision) -> str:
    """The digest under which the ledger holds what a decision has in common with others.

    Raises:
        ReplayError: it was stored before questions were kept.
    """
    return str(_stored(decision)["shared"])


def replay(decision: Decision, shared: str) -> ReplayResult:
    """Ask again what was asked, with the playbook of then, and compare every number.

    Raises:
        ReplayError: the question is not there, or is not what it was.
        PolicyError: the question cannot be read by this Keepwell.
    """
    stored = _stored(decision)
    if _digest(shared) != shared_digest(decision):
        raise ReplayError(
            f"The playbook of decision {decision.decision_id} is not what it was. "
            f"Look at the ledger with keepwell ledger verify."
        )
    common = json.loads(shared)
    answer = (
        PolicyInputs.from_dict(stored["question"])
        .answer(
            read_playbook(common["actions"], common["sequences"], common.get("own", "")),
            phrases=common["phrases"],
            alert_words=common["alert_words"],
        )
        .to_dict()
    )
    again = json.loads(json.dumps(answer, allow_nan=False))
    then = {"ranked": list(decision.eligible), "withheld": list(decision.withheld)}
    difference = next(
        (
            found
            for name, rows in then.items()
            if (found := _difference(name, rows, again[name])) is not None
        ),
        None,
    )
    return ReplayResult(
        decision_id=decision.decision_id,
        difference=difference,
        decided_by=decision.versions.get("policy"),
        code=policy_code(),
    )


def _difference(what: str, then: object, now: object) -> str | None:
    """The first place at which two answers differ, with what stood and stands there."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted({*then, *now}):
            if name not in then or name not in now:
                return f"{what}.{name} is only {'now' if name in now else 'then'}"
            if found := _difference(f"{what}.{name}", then[name], now[name]):
                return found
        return None
    if isinstance(then, list) and isinstance(now, list):
        for number, (one, other) in enumerate(zip(then, now, strict=False)):
            if found := _difference(f"{what}[{number}]", one, other):
                return found
        return None if len(then) == len(now) else f"{what} had {len(then)} entries, now {len(now)}"
    same = type(then) is type(now) and then == now
    return None if same else f"{what} was {then!r}, now {now!r}"


def _stored(decision: Decision) -> Mapping[str, Any]:
    if decision.inputs is None:
        raise ReplayError(
            f"Decision {decision.decision_id} was stored before its question was "
            f"kept, so it cannot be asked again."
        )
    stored: Mapping[str, Any] = json.loads(decision.inputs)
    return stored


def _digest(content: str) -> str:
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
