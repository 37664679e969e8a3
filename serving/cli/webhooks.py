"""Commands about webhooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    out,
    plural,
    time_of,
)
from features.workspace import Workspace
from serving.cli.ledger import open_ledger

if TYPE_CHECKING:
    from serving.ledger.stores.outbox import Outbox

WhichWebhook = Annotated[str, typer.Argument(help="The name of the webhook.")]


def add(
    url: Annotated[
        str,
        typer.Argument(
            help="The address, such as https://hooks.example/keepwell; its host "
            "has to be in KEEPWELL_WEBHOOK_HOSTS."
        ),
    ],
    name: Annotated[str, typer.Option(help="A name for it.")],
    about: Annotated[
        list[str] | None,
        typer.Option(help="decision, outcome, claim, feedback or control; all, by default."),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Also send what the ledger holds already.")
    ] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Add a webhook, and print its secret, once.

    Messages are signed by Standard Webhooks. The service sends them while it runs, where
    KEEPWELL_WEBHOOK_HOSTS names the host.
    """
    import secrets

    from serving.ledger.stores.outbox_tables import Endpoint
    from serving.ledger.stores.records import newest_place
    from serving.settings import service_settings
    from serving.webhooks.messages import ALL_KINDS
    from serving.webhooks.signature import SECRET_BYTES, secret_text
    from serving.webhooks.url import checked_url

    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise CommandError(
            f"{name!r:.80} is no name of a webhook: up to 60 letters, digits, dots, "
            f"dashes and underlines."
        )
    unknown = sorted(set(about or ()) - set(ALL_KINDS))
    if unknown:
        raise CommandError(
            f"A webhook cannot be about {', '.join(unknown)}; it can be about "
            f"{', '.join(ALL_KINDS)}."
        )
    checked_url(url, service_settings(os.environ).webhooks)
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    place = Workspace(workspace)
    with open_ledger(place, must_exist=False) as ledger, open_outbox(place) as outbox:
        outbox.add(
            Endpoint(
                name=name,
                url=url,
                kinds=tuple(about or ()),
                place=0 if from_start else newest_place(ledger.database),
            ),
            secret,
        )
    out.print(
        f"The webhook {name} is told from now on. Its secret is shown this once:", markup=False
    )
    out.print(secret, markup=False, highlight=False, soft_wrap=True)


def list_webhooks(workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """List the webhooks, and how their messages stand."""
    from serving.ledger.stores.records import newest_place
    from serving.settings import service_settings

    place = Workspace(workspace)
    with open_ledger(place, must_exist=False) as ledger, open_outbox(place) as outbox:
        newest = newest_place(ledger.database)
        found = [(each, outbox.counts(each.name)) for each in outbox.endpoints()]
    if not found:
        out.print(
            "No webhook is there yet: nobody is told of decisions. Add one with: keepwell "
            "webhooks add URL --name NAME",
            markup=False,
        )
        return
    table = Table("webhook", "address", "about", "read", "waiting", "sent", "given up", "problem")
    for endpoint, counts in found:
        given_up = f"{counts.dead:,}"
        if counts.dead_places is not None:
            given_up += " (places {}–{})".format(*counts.dead_places)
        table.add_row(
            endpoint.name,
            endpoint.url,
            ", ".join(endpoint.kinds) or "all",
            f"{endpoint.place:,} of {newest:,}",
            f"{counts.waiting:,}",
            f"{counts.sent:,}",
            given_up,
            counts.problem or "",
        )
    out.print(table)
    if not service_settings(os.environ).webhooks.hosts:
        out.print("Nothing is sent: KEEPWELL_WEBHOOK_HOSTS names no host.", highlight=False)


def remove(name: WhichWebhook, workspace: InWorkspace = DEFAULT_WORKSPACE) -> None:
    """Remove a webhook and its messages; the ledger keeps what they would have told."""
    with open_outbox(Workspace(workspace)) as outbox:
        unsent = outbox.remove(name)
    out.print(
        f"The webhook {name} is gone, and with it {plural(unsent, 'message')} that it had not taken.",
        markup=False,
    )


def rotate(
    name: WhichWebhook,
    finish: Annotated[
        bool, typer.Option("--finish", help="Sign with the newest secret alone from now on.")
    ] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Give a webhook a new secret; messages are signed with both until --finish."""
    import secrets

    from serving.webhooks.signature import SECRET_BYTES, secret_text

    with open_outbox(Workspace(workspace)) as outbox:
        newest, *_ = outbox.secrets(name)
        if finish:
            outbox.change_secrets(name, (newest,))
            out.print(f"{name} is signed with its newest secret alone.", markup=False)
            return
        secret = secret_text(secrets.token_bytes(SECRET_BYTES))
        outbox.change_secrets(name, (secret, newest))
    out.print(
        f"{name} is signed with both secrets until keepwell webhooks rotate {name} --finish. "
        f"The new one is shown this once:",
        markup=False,
        highlight=False,
    )
    out.print(secret, markup=False, highlight=False, soft_wrap=True)


def replay(
    name: WhichWebhook,
    first: Annotated[int, typer.Option("--from", min=1, help="The first place of the ledger.")] = 1,
    last: Annotated[
        int | None,
        typer.Option("--to", min=1, help="The last place; as far as was read, by default."),
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only messages that were given up.")] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Tell a webhook again what these places of the ledger hold; every message keeps its id."""
    from serving.webhooks.messages import messages_after

    place = Workspace(workspace)
    replayed = 0
    with open_ledger(place, must_exist=True) as ledger, open_outbox(place) as outbox:
        endpoint = outbox.endpoint(name)
        end = min(last or endpoint.place, endpoint.place)
        if first > end:
            raise CommandError(
                f"There is nothing between place {first} and place {end}: {name} "
                f"was read up to place {endpoint.place}."
            )
        after, only = first - 1, outbox.dead(name) if dead else None
        while after < end:
            messages, read = messages_after(
                ledger.database, name, endpoint.kinds, after=after, up_to=end
            )
            if read == after:
                break
            after = read
            chosen = [each for each in messages if only is None or each.place in only]
            outbox.replay(name, chosen, now=time_of(place).timestamp())
            replayed += len(chosen)
    out.print(
        f"{plural(replayed, 'message')} of places {first} to {end} wait to be sent to {name}.",
        markup=False,
    )


@contextmanager
def open_outbox(place: Workspace) -> Iterator[Outbox]:
    """The webhooks of a workspace, opened."""
    from serving.ledger.database.database import database_errors
    from serving.ledger.errors import UnreadableDatabaseError
    from serving.ledger.stores.outbox import Outbox
    from serving.ledger.stores.outbox_tables import FILE
    from serving.settings import service_settings
    from serving.webhooks.secret_encryption import SecretEncryption

    try:
        settings = service_settings(os.environ)
        with (
            database_errors(),
            closing(
                Outbox(
                    settings.ledger_url or place.root / FILE,
                    SecretEncryption(place.root, settings.webhook_key),
                )
            ) as found,
        ):
            yield found
    except UnreadableDatabaseError as error:
        raise CommandError(
            f"The webhooks cannot be read now: {error}. Try again, or look at "
            f"the database and its disk."
        ) from error
