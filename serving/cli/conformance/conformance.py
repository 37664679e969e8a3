"""Check whether a Keepwell keeps its promises to playbook engines that misbehave.

The kit plays engines that repeat themselves, crash, come late, talk out of order and all at once,
over HTTP against any Keepwell, and says of every promise whether it was kept. It claims decisions
and says that they were carried out: it is for a service whose decisions nobody needs.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from serving.cli.conformance.api_client import EngineCalls, Reply

Verdict = Literal["kept", "broken", "not tested"]

LEASE, SHORTEST_LEASE = 600, 10
AT_ONCE = 12
PATIENCE = 30.0
LOOK_SECONDS = 0.25
MOST_DECISIONS = 200
APPROVED, BY_ITSELF = 2, 4
"""Levels: what waits until a person approves, and what goes ahead by itself."""

NOT_NOW = frozenset({"stopped", "not-claimable", "capacity-used", "quiet-hours"})
"""Refusals that are about the decision and not about who asks."""

PROBLEM_KEYS = frozenset({"type", "title", "status", "detail", "instance", "next"})
FIRST, SECOND = "conformance engine 1", "conformance engine 2"


class BrokenPromiseError(Exception):
    """What was answered is not what was promised."""


class NotTestableError(Exception):
    """This service is in a state in which the promise cannot be tested."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One promise, whether it was kept, and what was seen where not."""

    name: str
    promise: str
    verdict: Verdict
    seen: str


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A promise, and the play that shows whether it is kept."""

    name: str
    words: str
    play: Callable[[Stage], None]


class Stage:
    """One service, and decisions of it that can be claimed, each for one play."""

    def __init__(self, calls: EngineCalls) -> None:
        self.calls = calls
        self._decisions = self._claimable()
        self._why_none = "No decision recommends an action. Nothing can be claimed here."

    def decision(self) -> str:
        """A decision that nobody has claimed and that may be claimed.

        Raises:
            NotTestableError: there is none left.
        """
        found = next(self._decisions, None)
        if found is None:
            raise NotTestableError(self._why_none)
        return found

    def claim(
        self, decision: str, *, by: str = FIRST, key: str | None = None, lease: int = LEASE
    ) -> Reply:
        """Ask for a claim."""
        return self.calls.post(
            f"/v1/decisions/{decision}/claims",
            {"by": by, "lease_seconds": lease},
            idempotency_key=key or new_key(),
        )

    def claimed(self, decision: str, *, by: str = FIRST, lease: int = LEASE) -> str:
        """A claim that has to be granted; its id."""
        return granted(self.claim(decision, by=by, lease=lease))

    def tell(self, claim: str, what: str, *, by: str = FIRST, key: str | None = None) -> Reply:
        """Send a heartbeat, complete or fail."""
        body: dict[str, object] = {"by": by}
        if what == "fail":
            body["reason"] = "the conformance kit says so"
        return self.calls.post(f"/v1/claims/{claim}/{what}", body, idempotency_key=key or new_key())

    def state(self, claim: str) -> str:
        """What a claim is in now."""
        return str(expect(self.calls.get(f"/v1/claims/{claim}"), 200).content["state"])

    def _claimable(self) -> Iterator[str]:
        asked = expect(
            self.calls.post(
                "/v1/next-actions",
                {"limit": MOST_DECISIONS, "actions_per_account": 1},
                idempotency_key=new_key(),
            ),
            200,
        )
        items = asked.content["items"]
        assert isinstance(items, list)
        for item in items:
            ranked, decision = item["ranked"], item.get("decision_id")
            if decision is None or not ranked or ranked[0]["action"] == "do_nothing":
                continue
            if item["autonomy"] < APPROVED:
                self._why_none = (
                    "Every decision left is for people only, or stopped (levels 0 and 1)."
                )
                continue
            if item["autonomy"] < BY_ITSELF:
                reply = self.calls.post(
                    f"/v1/decisions/{decision}/approvals",
                    {"verdict": "approved", "by": "conformance approver"},
                    idempotency_key=new_key(),
                )
                if reply.status != 201:
                    self._why_none = f"No decision may be claimed: {reply.words}."
                    continue
            yield str(decision)


def new_key() -> str:
    """An Idempotency-Key that nobody used."""
    return f"conformance-{uuid.uuid4()}"


def expect(reply: Reply, *statuses: int) -> Reply:
    """See that a call was answered as it has to be.

    Raises:
        BrokenPromiseError: it was not.
    """
    if reply.status not in statuses:
        raise BrokenPromiseError(f"{reply.words}, and not {' or '.join(map(str, statuses))}.")
    return reply


def granted(reply: Reply) -> str:
    """The id of a claim that has to be granted.

    Raises:
        BrokenPromiseError: it was not, and nothing was said against claims of such decisions.
        NotTestableError: such decisions may not be claimed now.
    """
    if reply.kind in NOT_NOW:
        raise NotTestableError(f"No decision may be claimed: {reply.words}.")
    return str(expect(reply, 201).content["claim_id"])


def same(what: str, one: object, other: object) -> None:
    """See that two things are the same.

    Raises:
        BrokenPromiseError: they are not.
    """
    if one != other:
        raise BrokenPromiseError(f"{what}: {one!r:.200}, then {other!r:.200}.")


def _repeats(stage: Stage) -> None:
    decision, key = stage.decision(), new_key()
    first = stage.claim(decision, key=key)
    granted(first)
    again = expect(stage.claim(decision, key=key), 200, 201)
    same("the same claim was answered otherwise", first.content, again.content)
    claim, key = str(first.content["claim_id"]), new_key()
    done = expect(stage.tell(claim, "complete", key=key), 200, 201)
    same(
        "the same completion was answered otherwise",
        done.content,
        expect(stage.tell(claim, "complete", key=key), 200, 201).content,
    )
    expect(stage.claim(decision, by=SECOND), 409)


def _other_body(stage: Stage) -> None:
    decision, key = stage.decision(), new_key()
    claim = granted(stage.claim(decision, key=key))
    expect(stage.claim(decision, key=key, lease=LEASE + 1), 422)
    expect(stage.tell(claim, "complete"), 200, 201)


def _two_engines(stage: Stage) -> None:
    decision = stage.decision()
    claim = stage.claimed(decision)
    refused = expect(stage.claim(decision, by=SECOND), 409)
    if "retry-after" not in refused.headers:
        raise BrokenPromiseError(f"{refused.words}, without Retry-After.")
    for what in ("heartbeat", "complete", "fail"):
        expect(stage.tell(claim, what, by=SECOND), 403, 409)
    same("the claim after somebody else's words", "claimed", stage.state(claim))
    expect(stage.tell(claim, "complete"), 200, 201)


def _stampede(stage: Stage) -> None:
    decision = stage.decision()
    with ThreadPoolExecutor(AT_ONCE) as engines:
        replies = list(
            engines.map(
                lambda n: stage.claim(decision, by=f"conformance engine {n}"), range(AT_ONCE)
            )
        )
    if not any(reply.status == 201 for reply in replies):
        granted(replies[0])
    same(
        f"claims granted to {AT_ONCE} engines at once",
        1,
        sum(reply.status == 201 for reply in replies),
    )
    for reply in replies:
        expect(reply, 201, 409)


def _same_key_at_once(stage: Stage) -> None:
    decision, key = stage.decision(), new_key()
    with ThreadPoolExecutor(AT_ONCE) as engines:
        replies = list(engines.map(lambda _: stage.claim(decision, key=key), range(AT_ONCE)))
    after = stage.claim(decision, key=key)
    one = granted(after) if after.status != 200 else str(after.content["claim_id"])
    for reply in replies:  # 409: it was still being worked on
        if expect(reply, 200, 201, 409).status != 409:
            same("the claim of one key", one, str(reply.content["claim_id"]))


def _failed(stage: Stage) -> None:
    decision = stage.decision()
    expect(stage.tell(stage.claimed(decision), "fail"), 200, 201)
    expect(stage.tell(stage.claimed(decision, by=SECOND), "complete", by=SECOND), 200, 201)


def _out_of_order(stage: Stage) -> None:
    decision = stage.decision()
    claim = stage.claimed(decision)
    expect(stage.tell(claim, "complete"), 200, 201)
    for what in ("heartbeat", "fail", "complete"):
        expect(stage.tell(claim, what), 409)
    expect(
        stage.calls.post(
            f"/v1/decisions/{decision}/outcomes",
            {"kind": "declined", "reason": "too late", "by": FIRST},
            idempotency_key=new_key(),
        ),
        409,
    )
    same("the claim after words out of order", "completed", stage.state(claim))


def _crash(stage: Stage) -> None:
    decision, other = stage.decision(), stage.decision()
    crashed = stage.claimed(decision, lease=SHORTEST_LEASE)
    late = stage.claimed(other, lease=SHORTEST_LEASE)
    expect(stage.claim(decision, by=SECOND), 409)
    until = time.monotonic() + SHORTEST_LEASE + PATIENCE
    while stage.state(late) == "claimed":
        if time.monotonic() > until:
            raise BrokenPromiseError(
                "A lease does not end here: the clock of this service stands "
                "still, or it runs late."
            )
        time.sleep(LOOK_SECONDS)
    same("a lease that is over", "lapsed", stage.state(crashed))
    taken = stage.claimed(decision, by=SECOND)
    expect(stage.tell(crashed, "complete"), 409)
    expect(stage.tell(taken, "complete", by=SECOND), 200, 201)
    # nobody else has claimed this one since: what was done is heard
    expect(stage.tell(late, "complete"), 200, 201)
    expect(stage.claim(other, by=SECOND), 409)


def _refusals(stage: Stage) -> None:
    decision = stage.decision()
    replies = (
        expect(stage.claim(f"none-{uuid.uuid4()}"), 404),
        expect(stage.calls.post(f"/v1/decisions/{decision}/claims", {"by": FIRST}), 400),
        expect(stage.claim(decision, lease=SHORTEST_LEASE - 1), 422),
        expect(stage.tell(f"none-{uuid.uuid4()}", "complete"), 404),
    )
    for reply in replies:
        missing = sorted(PROBLEM_KEYS - set(reply.content))
        if missing or not reply.headers.get("content-type", "").startswith(
            "application/problem+json"
        ):
            raise BrokenPromiseError(
                f"{reply.words}, and not as a problem (RFC 9457) with "
                f"{', '.join(missing) or 'its media type'}."
            )


PROMISES = (
    Promise(name="refusals", words="a refusal has one shape and says what helps", play=_refusals),
    Promise(
        name="repeats",
        words="what is sent again is answered as before and done once",
        play=_repeats,
    ),
    Promise(
        name="other body", words="another request under a used key is refused", play=_other_body
    ),
    Promise(
        name="two engines",
        words="a claimed decision is nobody else's, and refusals say when",
        play=_two_engines,
    ),
    Promise(name="stampede", words="of many engines at once one gets the decision", play=_stampede),
    Promise(
        name="one key at once",
        words="one key sent many times at once is one claim",
        play=_same_key_at_once,
    ),
    Promise(name="failed", words="what failed may be claimed by another", play=_failed),
    Promise(
        name="out of order", words="what comes after the end changes nothing", play=_out_of_order
    ),
    Promise(
        name="crash",
        words="who is silent loses the claim; who is late is heard, unless "
        "somebody else has taken over",
        play=_crash,
    ),
)
"""Every promise, in the order in which they are played."""


def play(calls: EngineCalls) -> tuple[Finding, ...]:
    """Play every misbehaviour against a service, one after the other.

    Raises:
        EngineCallError: the service cannot be reached.
    """
    stage = Stage(calls)
    found = []
    for promise in PROMISES:
        verdict: Verdict = "kept"
        seen = ""
        before = len(calls.failures)
        try:
            promise.play(stage)
        except BrokenPromiseError as error:
            verdict, seen = "broken", str(error)
        except NotTestableError as error:
            verdict, seen = "not tested", str(error)
        except (KeyError, TypeError, AssertionError) as error:
            verdict, seen = "broken", f"An answer lacks {error}, which it has to hold."
        inside = calls.failures[before:]
        if inside:
            verdict, seen = "broken", f"{inside[0].words}: a fault inside."
        found.append(Finding(name=promise.name, promise=promise.words, verdict=verdict, seen=seen))
    return tuple(found)
