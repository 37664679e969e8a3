"""The access review: who may see and do what, until when, and whether they used it, as a signed file.

The file is signed with an Ed25519 key of the workspace, in a file of its own beside it: whoever has the
fingerprint of that key can tell that nothing was changed since, without any secret.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from experiments.table_file import table_bytes
from features.workspace_files import write_atomically
from serving.auth.api_keys import ApiKey, ApiKeys

SECRET_FILE = "reviews.secret"
SIGNATURE_SUFFIX = ".signature"
FORMAT, SIGNATURE_FORMAT, VERSION = "keepwell access review", "keepwell signature", 1


class ReviewError(Exception):
    """A review cannot be read, or is not as it was signed."""


@dataclass(frozen=True, kw_only=True)
class KeyReview:
    """One key in a review. It holds nothing that opens anything."""

    key_id: str
    name: str
    owner: str
    role: str
    scopes: str  # the permissions it has, of its role or fewer
    reaches: str  # whose accounts
    state: str
    created_at: str
    expires_at: str
    revoked_at: str
    last_used: str  # "never" since it was made, "not known" where it is older than the record
    refused_attempts: int  # with this key after it or its secret had ended
    last_refused_at: str


@dataclass(frozen=True, kw_only=True)
class AccessReview:
    """All keys of a workspace as of a moment."""

    tenant: str
    made_at: str
    by: str
    needs_a_key: bool  # False: everybody who reaches the port is an admin
    keys: tuple[KeyReview, ...]
    unknown_secrets: int  # attempts with a secret that is of no key

    def as_json(self) -> bytes:
        """The review as JSON."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

    def as_csv(self) -> bytes:
        """The keys as CSV, in which no cell is a formula."""
        names = [one.name for one in fields(KeyReview)]
        whole = {"tenant": self.tenant, "reviewed_at": self.made_at}
        rows = [{**whole, **asdict(key)} for key in self.keys]
        texts = {name: pl.String for name in (*whole, *names) if name != "refused_attempts"}
        schema = {name: texts.get(name, pl.Int64) for name in (*whole, *names)}
        return table_bytes(pl.DataFrame(rows, schema=schema), ".csv")


def review_access(
    keys: ApiKeys, *, tenant: str, by: str, now: datetime, has_key_of_environment: bool = False
) -> AccessReview:
    """Look at every key that was ever made.

    ``has_key_of_environment``: the service has KEEPWELL_API_KEY, a key of an admin beside these.

    Raises:
        ApiKeyError: the keys cannot be read.
    """
    known = keys.all()
    unknown = keys.unknown_secrets if known else None
    return AccessReview(
        tenant=tenant,
        made_at=_text(now),
        by=by,
        needs_a_key=bool(known) or has_key_of_environment,
        keys=tuple(_reviewed(one, now) for one in known),
        unknown_secrets=0 if unknown is None else unknown.attempts,
    )


def _reviewed(key: ApiKey, now: datetime) -> KeyReview:
    refused = key.refused
    return KeyReview(
        key_id=key.key_id,
        name=key.name,
        owner=key.owner,
        role=key.role,
        scopes=", ".join(sorted(key.caller.permissions)),
        reaches=_reach(key),
        state=key.state(now),
        created_at=_text(key.created_at),
        expires_at=_text(key.expires_at),
        revoked_at=_text(key.revoked_at),
        last_used=key.last_use,
        refused_attempts=0 if refused is None else refused.attempts,
        last_refused_at="" if refused is None else _text(refused.last_at),
    )


def _reach(key: ApiKey) -> str:
    """Whose accounts a key reaches, in words."""
    territories = ", ".join(key.territories)
    if key.role == "csm":
        return f"own accounts and {territories}" if territories else "own accounts"
    return territories or "all accounts"


def sign_file(workspace: Path, file: Path, content: bytes, *, now: datetime) -> str:
    """Write a file and its signature, for their owner's eyes; the fingerprint of the key."""
    key = _key_of(workspace, may_make=True)
    public = _raw(key.public_key())
    signed = {
        "format": SIGNATURE_FORMAT,
        "version": VERSION,
        "algorithm": "Ed25519",
        "public_key": public.hex(),
        "signed_at": _text(now),
        "signature": key.sign(content).hex(),
    }
    for path, data in (
        (file, content),
        (_beside(file), (json.dumps(signed, indent=1) + "\n").encode()),
    ):
        write_atomically(path, data)
        path.chmod(0o600)
    return public.hex()


def verify_file(file: Path, *, expected: str) -> Mapping[str, object]:
    """What is said of a file by its signature, if this key signed it as it is.

    Args:
        file: the file; its signature lies beside it.
        expected: the fingerprint of the key that has to have signed it.

    Raises:
        ReviewError: the file or its signature is missing or altered, or another key signed it.
    """
    try:
        content = file.read_bytes()
        signed: Mapping[str, object] = json.loads(_beside(file).read_text(encoding="utf-8"))
        found, version = signed["format"], int(str(signed["version"]))
        public, signature = (bytes.fromhex(str(signed[one])) for one in ("public_key", "signature"))
    except FileNotFoundError as exc:
        raise ReviewError(
            f"{exc.filename} is missing. A review and its signature ({SIGNATURE_SUFFIX}) go together."
        ) from exc
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as exc:
        raise ReviewError(
            f"{_beside(file)} is no signature ({exc}). Ask for both files again."
        ) from exc
    if found != SIGNATURE_FORMAT or version > VERSION:
        raise ReviewError(
            f"{_beside(file)} is of another form, or of a newer Keepwell. Use that one."
        )
    if public.hex() != expected.strip().lower():
        raise ReviewError(
            f"{file} was signed by the key {public.hex()}, and not by {expected}. Somebody else made "
            f"this file, or it is of another workspace."
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError) as exc:
        raise ReviewError(
            f"{file} is not as it was signed. Do not rely on it; make another review."
        ) from exc
    return signed


def fingerprint_of(workspace: Path) -> str:
    """The fingerprint of the workspace's own key: its public half.

    Raises:
        ReviewError: nothing was signed in this workspace yet, or the key cannot be read.
    """
    return _raw(_key_of(workspace, may_make=False).public_key()).hex()


def _key_of(workspace: Path, *, may_make: bool) -> Ed25519PrivateKey:
    path = workspace / SECRET_FILE
    if not path.exists():
        if not may_make:
            raise ReviewError(
                f"No review was signed in {workspace} yet, so its key is not known. Say by which key "
                f"the file has to be signed with --signed-by."
            )
        draft = path.with_name(f"{SECRET_FILE}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # whoever is first has made it
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    except ValueError as exc:
        raise ReviewError(
            f"{SECRET_FILE} is damaged. Put it back from a backup, or remove it: reviews of before are "
            f"then checked with --signed-by and the fingerprint they were made with."
        ) from exc


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _beside(file: Path) -> Path:
    return file.with_name(file.name + SIGNATURE_SUFFIX)


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
