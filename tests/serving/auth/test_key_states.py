"""Every route × role × territory × scope × state of the key, in one table made of the declarations.

The gate itself is asked, with a route behind it that only says that it was reached: what happens
behind the gate is in ``test_every_route_and_role.py`` and ``test_nothing_beyond_reach.py``.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from small_company import AS_OF

from serving.api.app import ROUTES
from serving.auth.api_keys import ApiKeys
from serving.auth.gate import Gate, declared_needs
from serving.auth.roles import PERMITTED, ROLES, Caller, Permission, Role, caller_of
from serving.settings import ServiceSettings

OVERLAP, LIFE = timedelta(hours=2), timedelta(days=30)
NOW = AS_OF + timedelta(days=1)

VALID, INVALID = True, False
STATES = {
    "live": VALID,
    "in its last second": VALID,
    "rotated, the new secret": VALID,
    "rotated, the old secret within the overlap": VALID,
    "rotated, the old secret after the overlap": INVALID,
    "expired": INVALID,
    "revoked": INVALID,
    "revoked after it was rotated, the new secret": INVALID,
    "wrong": INVALID,
    "wrong in its last character": INVALID,
    "cut off": INVALID,
    "in other letters": INVALID,
    "with a blank": INVALID,
    "empty": INVALID,
    "none": INVALID,
}

Kind = tuple[Role, tuple[str, ...], frozenset[Permission] | None]
KINDS: list[Kind] = [
    (role, territories, permissions)
    for role in ROLES
    for territories in ((), ("emea",))
    if role != "admin" or not territories
    for permissions in (None, *(frozenset({one}) for one in sorted(PERMITTED[role])))
]
"""Every role, with and without a territory, whole and limited to each permission of its own."""


class Reached:
    """Stands behind the gate, and notes who came."""

    def __init__(self) -> None:
        self.caller: Caller | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.caller = scope["state"]["caller"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Door:
    """The gate of a workspace, asked directly, at a moment that can be moved."""

    def __init__(self, keys: ApiKeys) -> None:
        self.now, self.behind = NOW, Reached()
        self.app = SimpleNamespace(routes=ROUTES.routes)
        self.gate = Gate(self.behind, settings=ServiceSettings(), keys=keys, clock=lambda: self.now)

    async def ask(self, method: str, path: str, headers: dict[str, str]) -> int:
        statuses = []

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        self.behind.caller = None
        scope = {
            "type": "http",
            "app": self.app,
            "method": method,
            "path": path,
            "headers": [
                (name.encode(), value.encode("latin-1"))
                for name, value in {"host": "localhost", **headers}.items()
            ],
        }
        await self.gate(scope, None, send)
        return int(statuses[0])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiKeys]:
    opened = ApiKeys(tmp_path_factory.mktemp("states"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def presented(keys: ApiKeys) -> dict[tuple[Kind, str], tuple[str | None, datetime]]:
    """What a request carries, and when, for each kind of key in each state."""
    found: dict[tuple[Kind, str], tuple[str | None, datetime]] = {}
    for number, kind in enumerate(KINDS):
        role, territories, permissions = kind
        new, again, gone = (
            keys.create(
                name=f"k{number}",
                owner="ann",
                role=role,
                territories=territories,
                permissions=permissions,
                expires_at=AS_OF + LIFE,
                now=AS_OF,
            )
            for _ in range(3)
        )
        rotated = keys.rotate(again.key.key_id, overlap=OVERLAP, now=NOW)
        twice = keys.rotate(gone.key.key_id, overlap=OVERLAP, now=AS_OF)
        keys.revoke(gone.key.key_id, now=AS_OF + timedelta(hours=3))
        last = new.secret[:-1] + ("A" if new.secret[-1] != "A" else "B")
        stated: dict[str, tuple[str | None, datetime]] = {
            "live": (new.secret, NOW),
            "in its last second": (new.secret, AS_OF + LIFE - timedelta(seconds=1)),
            "rotated, the new secret": (rotated.secret, NOW),
            "rotated, the old secret within the overlap": (
                again.secret,
                NOW + OVERLAP - timedelta(seconds=1),
            ),
            "rotated, the old secret after the overlap": (again.secret, NOW + OVERLAP),
            "expired": (new.secret, AS_OF + LIFE),
            "revoked": (gone.secret, NOW),
            "revoked after it was rotated, the new secret": (twice.secret, NOW),
            "wrong": ("kw_" + "x" * 43, NOW),
            "wrong in its last character": (last, NOW),
            "cut off": (new.secret[:-1], NOW),
            "in other letters": (new.secret.swapcase(), NOW),
            "with a blank": (f"{new.secret} x", NOW),
            "empty": ("", NOW),
            "none": (None, NOW),
        }
        assert set(stated) == set(STATES)
        found |= {(kind, state): each for state, each in stated.items()}
    return found


def test_every_route_role_territory_scope_and_state_of_a_key(keys, presented) -> None:
    door, needs = Door(keys), declared_needs(ROUTES.routes)
    paths = {route: route.replace("{", "").replace("}", "") for route in needs}
    wrong, cells = [], 0

    async def walk() -> None:
        nonlocal cells
        for (kind, state), (secret, moment) in presented.items():
            role, territories, permissions = kind
            caller = caller_of(
                "key", role, owner="ann", territories=territories, permissions=permissions
            )
            door.now = moment
            headers = {} if secret is None else {"x-api-key": secret}
            for route, need in needs.items():
                method, _, path = paths[route].partition(" ")
                status = await door.ask(method, path.replace("version", "1"), headers)
                wanted = 204
                if need.permission is not None:
                    wanted = 401 if not STATES[state] else 403 if need.refusal(caller) else 204
                if status != wanted:
                    wrong.append((route, kind, state, status, wanted))
                elif (
                    status == 204 and need.permission is not None and door.behind.caller is not None
                ):
                    assert door.behind.caller.reach == caller.reach
                    assert door.behind.caller.permissions == caller.permissions
                cells += 1

    asyncio.run(walk())
    assert wrong == []
    assert cells == len(KINDS) * len(STATES) * len(needs) > 15_000


def test_the_table_is_of_all_routes() -> None:
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(ROUTES.routes)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert set(declared_needs(ROUTES.routes)) == routes


@pytest.mark.parametrize("state", STATES)
def test_a_key_is_the_same_in_each_form(keys, presented, state) -> None:
    door, kind = Door(keys), KINDS[0]
    secret, door.now = presented[kind, state]
    if secret is None:
        return
    basic = base64.b64encode(f"ann:{secret}".encode()).decode()
    forms = {"x-api-key": secret}, {"authorization": f"Basic {basic}"}
    both = [asyncio.run(door.ask("GET", "/v1/accounts", form)) for form in forms]
    assert both == [204 if STATES[state] else 401] * 2


def test_what_a_key_may_do_is_never_more_than_its_role(keys) -> None:
    for role, one in itertools.product(ROLES, sorted(PERMITTED["admin"])):
        if one not in PERMITTED[role]:
            with pytest.raises(ValueError, match="cannot have"):
                caller_of("key", role, permissions=frozenset({one}))
