"""Roles: what each permits, which route needs which permission, and whose accounts are reached.

Everything is denied that is not written here: a role has the permissions of its line, a key may
have fewer, and a route needs the one permission of its line in ``ROUTES``. A route without a line
is refused to everybody. Pure.

>>> needed("GET", "/v1/accounts/{account_id}").permission
'read'
>>> needed("GET", "/v1/nothing") is None
True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from serving.scoring.reach import Reach

Role = Literal["reader", "csm", "approver", "engine", "admin"]
Permission = Literal[
    "read", "watch", "recommend", "report", "judge", "send", "claim", "approve", "administer"
]

ROLES: tuple[Role, ...] = get_args(Role)
PERMISSIONS: Mapping[Permission, str] = {
    "read": "accounts, scores, reasons, pages, the playbook, models and reports",
    "watch": "plan weeks, and see figures of the whole company",
    "recommend": "ask for next actions, which are stored as decisions",
    "report": "report what came of a decision",
    "judge": "agree or disagree with a recommendation, or put it off",
    "send": "put events on timelines",
    "claim": "claim decisions and carry them out, as a playbook engine does",
    "approve": "approve what an action waits for, and stop actions",
    "administer": "everything else that changes how the service works",
}
"""The permissions a key can have, described."""

PERMITTED: Mapping[Role, frozenset[Permission]] = {
    "reader": frozenset({"read", "watch"}),
    "csm": frozenset({"read", "recommend", "report", "judge"}),
    "approver": frozenset({"read", "watch", "judge", "approve"}),
    "engine": frozenset({"read", "watch", "recommend", "report", "send", "claim"}),
    "admin": frozenset(PERMISSIONS),
}
"""The permissions of a role; a key may have fewer."""


class RoleError(ValueError):
    """A role, permission or territory can not be given as it is."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A caller: the key, its owner, and its permissions.

    ``reach`` is None where every account is within it; ``owner`` where nobody is named.
    """

    key_id: str
    role: Role
    owner: str | None = None
    permissions: frozenset[Permission]
    reach: Reach | None = None

    def by(self, named: str | None) -> str | None:
        """The name that a record stores: the key's owner and whom the request names, or the latter.

        >>> caller_of("k-1", "engine", owner="mailer").by("ann")
        'mailer, for ann'
        >>> EMBEDDED.by("ann"), EMBEDDED.by(None)
        ('ann', None)
        """
        if self.owner is None or named == self.owner:
            return named
        return self.owner if named is None else f"{self.owner}, for {named}"

    def own(self, key: str) -> str:
        """An Idempotency-Key as one of this caller's, which nobody else's can be.

        >>> caller_of("key-1", "engine", owner="mailer").own("a"), EMBEDDED.own("a")
        ('key-1:a', 'a')
        """
        return key if self.owner is None else f"{self.key_id}:{key}"


def caller_of(
    key_id: str,
    role: Role,
    *,
    owner: str | None = None,
    territories: tuple[str, ...] = (),
    permissions: frozenset[Permission] | None = None,
) -> Caller:
    """The caller with a key of this role.

    A CSM always has a reach; any other role has one where territories are listed.

    Raises:
        RoleError: the role does not have a permission, or can not have territories.
    """
    check_role(role, territories=territories, permissions=permissions)
    reach = None
    if role == "csm" or territories:
        reach = Reach(csm=owner if role == "csm" else None, territories=territories)
    allowed = PERMITTED[role]
    return Caller(
        key_id=key_id,
        role=role,
        owner=owner,
        reach=reach,
        permissions=allowed if permissions is None else allowed & permissions,
    )


def check_role(
    role: Role,
    *,
    territories: tuple[str, ...] = (),
    permissions: frozenset[Permission] | None = None,
) -> None:
    """See that a key can be what it is said to be.

    Raises:
        RoleError: what can not be, and what could.
    """
    if role not in PERMITTED:
        raise RoleError(f"There is no role {role!r}; there are {', '.join(ROLES)}.")
    if role == "admin" and territories:
        raise RoleError(
            "An admin reaches every account, so territories would promise what does "
            "not hold. Leave them out, or choose another role."
        )
    if any(not territory.strip() for territory in territories):
        raise RoleError("A territory is empty. Write the region as the accounts have it.")
    beyond = sorted((permissions or frozenset()) - PERMITTED[role])
    if beyond:
        raise RoleError(
            f"A key of role {role} can not have {', '.join(beyond)}; it can have "
            f"{', '.join(sorted(PERMITTED[role]))}."
        )
    if permissions is not None and not permissions:
        raise RoleError(
            "A key without any permission opens nothing. Name one, or leave them out "
            "for all of its role."
        )


def permissions_named(names: Iterable[str]) -> frozenset[Permission]:
    """Permissions by their names.

    Raises:
        RoleError: there is none of a name.
    """
    known: dict[str, Permission] = {one: one for one in PERMISSIONS}
    names = list(names)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise RoleError(
            f"There is no permission {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(PERMISSIONS)}."
        )
    return frozenset(known[name] for name in names)


EMBEDDED = caller_of("embedded", "admin")
"""Whoever reaches a service that was given no key: it trusts everybody on its machine."""

PROBE = Caller(key_id="probe", role="reader", permissions=frozenset())
"""Whoever asks whether the service works; no key is needed for that."""

OF_THE_ENVIRONMENT = caller_of("environment", "admin")
"""Whoever has the one key of the environment."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a caller needs for a route.

    ``of`` says what it tells about: ``accounts`` are those within the caller's reach, and the
    route answers as if there were no others; ``company`` is the whole, refused to whoever does not
    reach every account; ``product`` is nothing about any account. ``may_repeat`` says of a write
    that doing it again under the same Idempotency-Key finds what is there, and adds nothing.
    """

    permission: Permission | None
    of: Literal["accounts", "company", "product"]
    writes: bool = False
    may_repeat: bool = False

    def refusal(self, caller: Caller) -> str | None:
        """Why a caller may not use the route; None when they may."""
        if self.permission is not None and self.permission not in caller.permissions:
            return (
                f"A key of role {caller.role} may not do this; it needs the permission "
                f"{self.permission!r} ({PERMISSIONS[self.permission]})."
            )
        if self.of == "company" and caller.reach is not None:
            return (
                "This tells about every account, and the key reaches only those of its territories."
            )
        return None


_READ = Need(permission="read", of="accounts")
_PRODUCT = Need(permission="read", of="product")
_CLAIM = Need(permission="claim", of="accounts", writes=True, may_repeat=True)
_PROBE = Need(permission=None, of="product")

ROUTES: Mapping[str, Need] = {
    "GET /v1/accounts": _READ,
    "GET /v1/accounts/{account_id}": _READ,
    "GET /v1/accounts/{account_id}/score": _READ,
    "GET /v1/accounts/{account_id}/timeline": _READ,
    "POST /v1/scores": _READ,
    "POST /v1/next-actions": Need(permission="recommend", of="accounts", writes=True),
    "POST /v1/decisions/{decision_id}/outcomes": Need(
        permission="report", of="accounts", writes=True, may_repeat=True
    ),
    "POST /v1/decisions/{decision_id}/feedback": Need(
        permission="judge", of="accounts", writes=True, may_repeat=True
    ),
    "GET /v1/decisions/{decision_id}/feedback": _READ,
    "POST /v1/events": Need(permission="send", of="company", writes=True, may_repeat=True),
    "GET /v1/decisions/{decision_id}": _READ,
    "POST /v1/decisions/{decision_id}/approvals": Need(
        permission="approve", of="accounts", writes=True, may_repeat=True
    ),
    "POST /v1/decisions/{decision_id}/claims": _CLAIM,
    "GET /v1/claims/{claim_id}": _READ,
    "POST /v1/claims/{claim_id}/heartbeat": _CLAIM,
    "POST /v1/claims/{claim_id}/complete": _CLAIM,
    "POST /v1/claims/{claim_id}/fail": _CLAIM,
    "GET /v1/controls": Need(permission="watch", of="company"),
    "POST /v1/controls/stop": Need(permission="approve", of="company", writes=True),
    "POST /v1/controls/resume": Need(permission="administer", of="company", writes=True),
    "POST /v1/controls/levels": Need(permission="administer", of="company", writes=True),
    "POST /v1/controls/capacities": Need(permission="administer", of="company", writes=True),
    "POST /v1/plans": Need(permission="watch", of="accounts"),
    "GET /v1/actions": _PRODUCT,
    "GET /v1/models": _PRODUCT,
    "GET /v1/reports": _PRODUCT,
    "GET /v1/reports/{name}": _PRODUCT,
    "GET /": _READ,
    "GET /accounts/{account_id}": _READ,
    "POST /accounts/{account_id}/feedback": Need(permission="judge", of="accounts", writes=True),
    "GET /approvals": _READ,
    "POST /decisions/{decision_id}/approvals": Need(
        permission="approve", of="accounts", writes=True, may_repeat=True
    ),
    "GET /models": _PRODUCT,
    "GET /models/{label}/{version}": _PRODUCT,
    "GET /models/{label}/{version}/plots/{name}": _PRODUCT,
    "GET /reports": _PRODUCT,
    "GET /reports/{name}": _PRODUCT,
    "GET /problems": _PRODUCT,
    "GET /docs": _PRODUCT,
    "GET /help": _PRODUCT,
    "GET /help/{page}": _PRODUCT,
    "GET /help/{folder}/{page}": _PRODUCT,
    "GET /openapi.json": _PRODUCT,
    "GET /assets/keepwell.svg": _PRODUCT,
    "GET /assets/{name}": _PRODUCT,
    "GET /metrics": Need(permission="watch", of="company"),
    "GET /healthz": _PROBE,
    "GET /readyz": _PROBE,
}
"""Every route, and what it needs. A route that is not here is refused to everybody."""


def needed(method: str, path: str) -> Need | None:
    """The need of a route by its method and pattern; None if the route has no line in ``ROUTES``."""
    return ROUTES.get(f"{'GET' if method == 'HEAD' else method} {path}")
