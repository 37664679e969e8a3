"""Commands about API keys; find whose key a command is typed with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AnyWorkspace,
    CommandError,
    InWorkspace,
    out,
    plural,
    require_workspace,
    steady_clock,
    time_of,
)
from features.workspace import Workspace

if TYPE_CHECKING:
    from serving.auth.api_keys import ApiKeys
    from serving.auth.roles import Permission


class KeyRole(StrEnum):
    """What the holder of an API key is."""

    READER = "reader"
    CSM = "csm"
    APPROVER = "approver"
    ENGINE = "engine"
    ADMIN = "admin"


KeyId = Annotated[str, typer.Argument(help="Its id, as `keepwell keys list` shows it.")]
DecidedBy = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Your name, which is recorded. The owner of the API key in KEEPWELL_KEY, where "
        "that is set.",
    ),
]


def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as 'playbook engine'.")],
    owner: Annotated[
        str,
        typer.Option(
            help="Recorded as the author of what is done with it; for a CSM, the name in `csm` of "
            "the accounts."
        ),
    ],
    role: Annotated[KeyRole, typer.Option(help="What the holder may do.")],
    territory: Annotated[
        list[str] | None,
        typer.Option(
            help="A region whose accounts are reached; may be given several times. A CSM also "
            "reaches accounts that name them, any other role without territories all."
        ),
    ] = None,
    permission: Annotated[
        list[str] | None,
        typer.Option(help="Only this permission of the role; may be given several times."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, max=3650, help="Days until it ends; 0 is until it is revoked.")
    ] = 90,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Make an API key and show it, this once.

    From the first key on the service answers nobody without one.
    """
    from serving.auth.roles import permissions_named

    place = Workspace(workspace)
    now = time_of(place)
    with open_keys(place) as keys:
        new = keys.create(
            name=name,
            owner=owner,
            role=role.value,
            territories=tuple(territory or ()),
            permissions=permissions_named(permission) if permission else None,
            expires_at=now + timedelta(days=days) if days else None,
            now=now,
        )
    until = "it is revoked" if new.key.expires_at is None else f"{new.key.expires_at:%Y-%m-%d}"
    out.print(
        f"Key {new.key.key_id} of {owner} ({role.value}), until {until}. Keep it now: it is "
        f"not shown again.",
        highlight=False,
        markup=False,
    )
    typer.echo(new.secret)


def list_keys(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """List every key: whose it is, what it may, until when, and when it was last used. Shows none."""
    place = Workspace(workspace)
    now = time_of(place)
    words = ("name", "owner", "role", "territories", "until", "last used", "is", "secrets")
    table = Table(Column("id", no_wrap=True), *words)  # whole on any terminal: commands take it
    with open_keys(place) as keys:
        for key in keys.all():
            role = key.role + (
                "" if key.permissions is None else f" ({', '.join(sorted(key.permissions))})"
            )
            until = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
            live = sum(one.is_live(now) for one in key.secrets)
            table.add_row(
                key.key_id,
                key.name,
                key.owner,
                role,
                ", ".join(key.territories),
                until,
                key.last_use,
                key.state(now),
                str(live),
            )
    out.print(table)


def rotate(
    key_id: KeyId,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap-hours",
            min=0,
            max=24 * 90,
            help="How long the previous secret stays valid; 0 ends it now.",
        ),
    ] = 24.0,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Give a key a new secret and show it, this once; the one before goes on for a while."""
    place = Workspace(workspace)
    with open_keys(place) as keys:
        new = keys.rotate(key_id, overlap=timedelta(hours=overlap), now=time_of(place))
    out.print(
        f"Key {key_id} has a new secret; the one before goes on for {overlap:g} hours. Keep "
        f"it now: it is not shown again.",
        highlight=False,
        markup=False,
    )
    typer.echo(new.secret)


def revoke(key_id: KeyId, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """End a key now; services that run see it at the next request."""
    place = Workspace(workspace)
    with open_keys(place) as keys:
        key = keys.revoke(key_id, now=time_of(place))
    out.print(
        f"Key {key_id} of {key.owner} is revoked since {key.revoked_at:%Y-%m-%d %H:%M} UTC.",
        highlight=False,
        markup=False,
    )


def review(
    file: Annotated[
        Path | None,
        typer.Option("--out", help="A .json or .csv file to write; its signature lies beside it."),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(help="Only check that this file is as it was signed; ends with 1 if not."),
    ] = None,
    signed_by: Annotated[
        str | None,
        typer.Option(
            help="The fingerprint of the key that has to have signed it; that of the workspace "
            "where it is left out."
        ),
    ] = None,
    by: DecidedBy = None,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Show who may see and do what, until when, last used and refused; with --out as a signed file."""
    from serving.auth.access_review import review_access, sign_file
    from serving.settings import service_settings

    if verify is not None:
        _verify(verify, signed_by, Workspace(workspace))
        return
    place = Workspace(require_workspace(workspace))
    now = time_of(place)
    if file is not None:
        if file.suffix.lower() not in (".json", ".csv"):
            raise CommandError(
                f"{file.name} ends neither in .json nor in .csv. Name one that does."
            )
        by = who(place, by, "administer")
    has_key_of_environment = service_settings(os.environ).api_key is not None
    with open_keys(place) as keys:
        found = review_access(
            keys,
            tenant=place.settings.tenant,
            by=by or "",
            now=now,
            has_key_of_environment=has_key_of_environment,
        )
    if file is not None:
        content = found.as_csv() if file.suffix.lower() == ".csv" else found.as_json()
        fingerprint = sign_file(place.root, file, content, now=now)
        out.print(
            f"{file} holds {plural(len(found.keys), 'key')} and is signed by the key {fingerprint}. "
            f"Hand out both files and, by another way, that fingerprint.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    words = ("owner", "role", "may", "reaches", "is", "until", "last used", "refused")
    table = Table(Column("key", no_wrap=True), *words)
    for one in found.keys:
        until = one.expires_at[:10]
        cells = (one.key_id, one.owner, one.role, one.scopes, one.reaches, one.state, until)
        table.add_row(*cells, one.last_used, str(one.refused_attempts))
    out.print(table)
    if not found.needs_a_key:
        out.print(
            "No key was made yet: everybody who reaches the port is an admin, unless the service has "
            "KEEPWELL_API_KEY."
        )
    elif has_key_of_environment:
        out.print(
            "KEEPWELL_API_KEY is set here: where the service has it too, whoever knows it is an admin, and "
            "every request needs a key."
        )
    if found.unknown_secrets:
        out.print(f"{plural(found.unknown_secrets, 'attempt')} had a secret that is of no key.")


def _verify(file: Path, signed_by: str | None, place: Workspace) -> None:
    """Check a review; ends with 1 where it is not as it was signed."""
    from serving.auth.access_review import ReviewError, fingerprint_of, verify_file

    expected = signed_by or fingerprint_of(place.root)
    try:
        signed = verify_file(file, expected=expected)
    except ReviewError as error:
        out.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FOUND) from error
    out.print(
        f"{file} is as it was signed at {signed['signed_at']} by the key {expected}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def open_keys(place: Workspace) -> Iterator[ApiKeys]:
    """The keys of a workspace that is there, opened."""
    from serving.auth.api_keys import ApiKeys
    from serving.settings import service_settings

    with closing(ApiKeys(place.root, pepper=service_settings(os.environ).key_pepper)) as keys:
        yield keys


def who(place: Workspace, by: str | None, needs: Permission, *, is_named: bool = True) -> str:
    """Who does it: the owner of the key in KEEPWELL_KEY where there is one, else who is named."""
    from serving.auth.api_keys import acting_as

    own = os.environ.get("KEEPWELL_KEY")
    if own:
        with open_keys(place) as keys:
            return acting_as(
                keys, own, named=by if is_named else None, needs=needs, now=steady_clock(place)()
            )
    if by is None or not by.strip():
        raise CommandError(
            "--by is missing or empty. Say who decides, or set KEEPWELL_KEY to an "
            "API key of your own; it is recorded."
        )
    return by
