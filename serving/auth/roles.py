"""Roles: what each permits, whose accounts are reached, and what a route needs of its callers.

Everything is denied that is not declared: a role has the permissions of its line, a key may have
fewer, and a route needs the one permission that ``needs`` declares at its function. A service with
a route that declares nothing does not start. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from serving.scoring.visible_accounts import VisibleAccounts

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
    """A role, permission or territory cannot be given as it is."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A caller: the key, its owner, and its permissions.

    ``reach`` is None where every account is within it; ``owner`` where nobody is named.
    """

    key_id: str
    role: Role
    owner: str | None = None
    permissions: frozenset[Permission]
    reach: VisibleAccounts | None = None

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
        RoleError: the role does not have a permission, or cannot have territories.
    """
    check_role(role, territories=territories, permissions=permissions)
    reach = None
    if role == "csm" or territories:
        reach = VisibleAccounts(csm=owner if role == "csm" else None, territories=territories)
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
        RoleError: what cannot be, and what could.
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
            f"A key of role {role} cannot have {', '.join(beyond)}; it can have "
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
    that doing it again under the same Idempotency-Key finds what is there, and adds nothing;
    ``one_change`` that all it does is one transaction, which remembers its answer: nothing is written
    down under the key before.
    """

    permission: Permission | None
    of: Literal["accounts", "company", "product"]
    writes: bool = False
    may_repeat: bool = False
    one_change: bool = False

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


READ = Need(permission="read", of="accounts")
PRODUCT = Need(permission="read", of="product")
CLAIM = Need(permission="claim", of="accounts", writes=True, may_repeat=True)
PROBE_NEED = Need(permission=None, of="product")

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def needs(need: Need) -> Callable[[Endpoint], Endpoint]:
    """Declare at a route what it asks of its callers.

    >>> @needs(READ)
    ... def show() -> str:
    ...     return "shown"
    >>> need_of(show).permission
    'read'
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["need"] = need
        return endpoint

    return declare


def need_of(endpoint: object) -> Need | None:
    """What a route declares that it needs; None where it declares nothing."""
    need = getattr(endpoint, "need", None)
    return need if isinstance(need, Need) else None
