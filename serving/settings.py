"""The settings of the service, and where each value comes from.

The environment is read once, here, when the command starts; nothing below reads it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.workspace import Workspace
from registry.integrity.signing import KEY_VARIABLE
from serving.ledger.database.dialects.protocol import BUSY_SECONDS
from serving.ledger.database.url import LedgerUrlError, ledger_url
from serving.webhooks.url import (
    HOSTS_VARIABLE,
    NETWORKS_VARIABLE,
    NOWHERE,
    WEBHOOK_KEY_VARIABLE,
    AllowedAddresses,
    WebhookAddressError,
    allowed_addresses,
)

LOTTERY_KEY_VARIABLE = "KEEPWELL_LOTTERY_KEY"
HEAD_VARIABLE = "KEEPWELL_LEDGER_HEAD"
WAIT_VARIABLE = "KEEPWELL_LEDGER_WAIT_SECONDS"
BACKUP_KEY_VARIABLE = "KEEPWELL_BACKUP_KEY"
WRITES_VARIABLE = "KEEPWELL_KEY_WRITES_PER_SECOND"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class ServiceSettingError(ValueError):
    """A setting of the service cannot be used as it is."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One environment variable: its name and the sentence that explains it."""

    name: str
    help: str


VARIABLES = (
    Variable(
        name="KEEPWELL_API_KEY",
        help="When set, every request but the two probes must carry this key: as "
        "`Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password that a "
        "browser asks for. At least 16 characters.",
    ),
    Variable(
        name="KEEPWELL_KEY_PEPPER",
        help="When set, the keys that `keepwell keys` makes are hashed under it instead of "
        "under one that is kept in the workspace. At least 16 characters; the same for "
        "every process, and from the first key on.",
    ),
    Variable(
        name="KEEPWELL_ALLOWED_HOSTS",
        help="Host names, separated by commas, that a request may name besides "
        "127.0.0.1 and localhost.",
    ),
    Variable(
        name="KEEPWELL_MAX_BODY_BYTES",
        help="The largest request body that is read. 16777216 by default.",
    ),
    Variable(
        name="KEEPWELL_LEDGER_URL",
        help="Where decisions are kept: postgresql://USER:PASSWORD@HOST/DATABASE, one "
        "database a workspace. Without it, the file ledger.db of the workspace.",
    ),
    Variable(
        name=HEAD_VARIABLE,
        help="A file, best on another disk, in which the newest head of the ledger is noted as "
        "well as in ledger.head of the workspace. One file a workspace.",
    ),
    Variable(
        name=WAIT_VARIABLE,
        help="Seconds that a request which writes waits for other writers of the ledger, all in "
        "all, before it is refused with 503. 5 by default.",
    ),
    Variable(
        name=WRITES_VARIABLE,
        help="Writes a second that one key may send to one process, and ten times as many at "
        "once; more are refused with 429. 100 by default, 0 for no bound.",
    ),
    Variable(
        name=LOTTERY_KEY_VARIABLE,
        help="The secret of the draws that chance.toml of the workspace asks for: 64 "
        "hexadecimal characters or more, the same for every process.",
    ),
    Variable(
        name=HOSTS_VARIABLE,
        help="Hosts that webhooks may go to, as `host` or `host:port`, separated by commas. "
        "Without it none is sent.",
    ),
    Variable(
        name=NETWORKS_VARIABLE,
        help="Private networks that webhooks may reach, as `10.1.0.0/16`, separated by "
        "commas; none by default. http goes nowhere else.",
    ),
    Variable(
        name=WEBHOOK_KEY_VARIABLE,
        help="When set, the secrets of webhooks are encrypted under it instead of under the file "
        "webhooks.secret of the workspace. At least 16 characters; the same for every "
        "process, and from the first webhook on.",
    ),
    Variable(
        name="KEEPWELL_WORKER_OF",
        help="Set by `keepwell serve --workers` for the workers that it starts. Leave it unset.",
    ),
    Variable(
        name=KEY_VARIABLE,
        help="When set, models are signed with this key as they are trained, and one that it "
        "did not sign is refused. At least 16 characters; the same for every process.",
    ),
    Variable(
        name=BACKUP_KEY_VARIABLE,
        help="When set, `keepwell backup` encrypts all that it stores under this key, and `keepwell "
        "restore` reads it with the same. At least 16 characters; keep it apart from the "
        "backups, which nobody can read without it.",
    ),
)
"""Every variable that the service reads, besides those of the workspace. The key of models is read
where the model store is opened, that of backups by the two commands about them."""

SHORTEST_KEY = 16
MOST_WRITES = 1_000_000
LONGEST_WAIT = 60
"""Seconds; whoever waits longer is better asked again."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What the service was told at its start. The key never shows in a representation."""

    api_key: str | None = field(default=None, repr=False)
    key_pepper: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = LOCAL_HOSTS
    max_body_bytes: int = 16_777_216
    ledger_url: str | None = field(default=None, repr=False)  # it may hold a password
    ledger_head: Path | None = None
    ledger_wait_seconds: float = BUSY_SECONDS
    key_writes_per_second: float = 100.0
    lottery_key: str | None = field(default=None, repr=False)
    webhooks: AllowedAddresses = NOWHERE
    webhook_key: str | None = field(default=None, repr=False)
    most_accounts_per_call: int = 1_000
    most_events_per_call: int = 10_000

    def __post_init__(self) -> None:
        if self.api_key is not None and len(self.api_key) < SHORTEST_KEY:
            raise ServiceSettingError(
                f"KEEPWELL_API_KEY has fewer than {SHORTEST_KEY} characters and could be guessed. "
                f'Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if self.key_pepper is not None and len(self.key_pepper) < SHORTEST_KEY:
            raise ServiceSettingError(
                f"KEEPWELL_KEY_PEPPER has fewer than {SHORTEST_KEY} characters and could be "
                f'guessed. Make one with: python -c "import secrets; '
                f'print(secrets.token_urlsafe(32))"'
            )
        if self.webhook_key is not None and len(self.webhook_key) < SHORTEST_KEY:
            raise ServiceSettingError(
                f"{WEBHOOK_KEY_VARIABLE} has fewer than {SHORTEST_KEY} characters and could be "
                f'guessed. Make one with: python -c "import secrets; '
                f'print(secrets.token_urlsafe(32))"'
            )
        if self.ledger_url is not None:
            try:
                ledger_url(self.ledger_url)
            except LedgerUrlError as error:
                raise ServiceSettingError(f"KEEPWELL_LEDGER_URL: {error}") from error
        if not 0 < self.ledger_wait_seconds <= LONGEST_WAIT:
            raise ServiceSettingError(
                f"{WAIT_VARIABLE} is {self.ledger_wait_seconds:g}; it must be above 0 and at most "
                f"{LONGEST_WAIT}."
            )
        if not 0 <= self.key_writes_per_second <= MOST_WRITES:
            raise ServiceSettingError(
                f"{WRITES_VARIABLE} is {self.key_writes_per_second:g}; it must be 0 or more, and at "
                f"most {MOST_WRITES:,}."
            )
        if self.max_body_bytes < 1:
            raise ServiceSettingError(
                f"KEEPWELL_MAX_BODY_BYTES is {self.max_body_bytes}; it must be at least 1."
            )

    def head_places(self, workspace: Workspace) -> tuple[Path, ...]:
        """The files in which the head of the workspace's ledger is noted."""
        elsewhere = () if self.ledger_head is None else (self.ledger_head,)
        return (workspace.ledger_head, *elsewhere)


def service_settings(environment: Mapping[str, str]) -> ServiceSettings:
    """The settings that an environment states, with defaults where it is silent.

    >>> service_settings({"KEEPWELL_MAX_BODY_BYTES": "2048"}).max_body_bytes
    2048

    Raises:
        ServiceSettingError: a value that cannot be used, by its name.
    """
    size = environment.get("KEEPWELL_MAX_BODY_BYTES", "16777216")
    if not size.isascii() or not size.isdigit():
        raise ServiceSettingError(
            f"KEEPWELL_MAX_BODY_BYTES is {size!r}; write a whole number of bytes, such as 16777216."
        )
    seconds = environment.get(WAIT_VARIABLE) or f"{BUSY_SECONDS:g}"
    try:
        wait_seconds = float(seconds)
    except ValueError as error:
        raise ServiceSettingError(
            f"{WAIT_VARIABLE} is {seconds!r}; write a number of seconds, such as 5."
        ) from error
    writes = environment.get(WRITES_VARIABLE) or "100"
    try:
        writes_per_second = float(writes)
    except ValueError as error:
        raise ServiceSettingError(
            f"{WRITES_VARIABLE} is {writes!r}; write a number, such as 100."
        ) from error
    head = environment.get(HEAD_VARIABLE)
    more = environment.get("KEEPWELL_ALLOWED_HOSTS", "")
    hosts = tuple(host.strip().lower() for host in more.split(",") if host.strip())
    try:
        webhooks = allowed_addresses(
            environment.get(HOSTS_VARIABLE, ""), environment.get(NETWORKS_VARIABLE, "")
        )
    except WebhookAddressError as error:
        raise ServiceSettingError(str(error)) from error
    return ServiceSettings(
        api_key=environment.get("KEEPWELL_API_KEY") or None,
        key_pepper=environment.get("KEEPWELL_KEY_PEPPER") or None,
        allowed_hosts=LOCAL_HOSTS + hosts,
        max_body_bytes=int(size),
        ledger_url=environment.get("KEEPWELL_LEDGER_URL") or None,
        ledger_head=Path(head).absolute() if head else None,
        ledger_wait_seconds=wait_seconds,
        key_writes_per_second=writes_per_second,
        lottery_key=environment.get(LOTTERY_KEY_VARIABLE) or None,
        webhooks=webhooks,
        webhook_key=environment.get(WEBHOOK_KEY_VARIABLE) or None,
    )
