"""Write and read a folder of files that is there whole or not at all.

Written beside its place and renamed into it, so a killed writer leaves nothing. A manifest lists
every file with its SHA-256; reading checks each before anyone looks inside. Where there is a key,
a signature of the manifest lies beside it, and a folder that the key did not sign is refused. Knows
bytes, not models.
An error names files without their folder on this machine, because it is shown to other people.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from registry.integrity.signing import KEY_VARIABLE, SigningKey

MANIFEST, SIGNATURE = "manifest.json", "manifest.hmac"


class HashedFolderError(Exception):
    """The folder is not whole, was altered, or is of another format."""


def manifest_of(files: Mapping[str, bytes], *, kind: str, version: int) -> bytes:
    """The manifest's bytes: equal files give equal bytes."""
    content = {
        "format": kind,
        "version": version,
        "files": {
            name: {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            for name in sorted(files)
        },
    }
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def write_hashed_folder(
    folder: Path, files: Mapping[str, bytes], *, kind: str, version: int,
    key: SigningKey | None = None,
) -> None:  # fmt: skip
    """Put the files and their manifest at ``folder`` in one step; equal content may be written again."""
    manifest = manifest_of(files, kind=kind, version=version)
    seals = {MANIFEST: manifest}
    if key is not None:
        seals[SIGNATURE] = f"{key.signature(manifest)}\n".encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in {**files, **seals}.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        # mkdtemp makes it private to one user, and it is for those of the folder around it
        beside.chmod(stat.S_IMODE(folder.parent.stat().st_mode))
        try:
            beside.rename(folder)  # replaces an empty folder, never a full one
        except OSError:
            if not folder.exists():
                raise
            with contextlib.suppress(OSError):
                if all((folder / name).read_bytes() == seal for name, seal in seals.items()):
                    return
            raise HashedFolderError(
                f"{folder.name} already holds something else and is not overwritten. Choose "
                "another folder, or remove it."
            ) from None
        _sync(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read_hashed_folder(
    folder: Path, *, kind: str, version: int, key: SigningKey | None = None
) -> dict[str, bytes]:
    """The files by name, each with the content that was written; else an error with the reason."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
        listed = json.loads(manifest)
        found_kind, found_version = listed["format"], listed["version"]
        digests = {str(name): str(entry["sha256"]) for name, entry in listed["files"].items()}
    except FileNotFoundError:
        raise HashedFolderError(f"{folder.name} has no {MANIFEST}, so it is no {kind}.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise HashedFolderError(
            f"{MANIFEST} of {folder.name} cannot be read ({type(exc).__name__})."
        ) from exc
    if found_kind != kind:
        raise HashedFolderError(f"{folder.name} holds a {found_kind!r}, not a {kind!r}.")
    if found_version != version:
        raise HashedFolderError(
            f"{folder.name} is of format version {found_version}; this Keepwell reads {version}."
        )
    if key is not None:
        _check_signature(folder, manifest, key)
    files = {}
    for name, digest in digests.items():
        if Path(name).name != name:
            raise HashedFolderError(f"The manifest of {folder.name} names {name!r}, outside of it.")
        try:
            content = (folder / name).read_bytes()
        except OSError as exc:
            raise HashedFolderError(
                f"{folder.name} lacks its file {name!r} ({type(exc).__name__})."
            ) from exc
        if hashlib.sha256(content).hexdigest() != digest:
            raise HashedFolderError(
                f"The file {name!r} in {folder.name} is not the one that was saved: truncated or "
                "altered."
            )
        files[name] = content
    return files


def _check_signature(folder: Path, manifest: bytes, key: SigningKey) -> None:
    try:
        signature = (folder / SIGNATURE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise HashedFolderError(
            f"{folder.name} is not signed, and only signed ones are used while {KEY_VARIABLE} is "
            "set."
        ) from None
    except OSError as exc:
        raise HashedFolderError(
            f"{SIGNATURE} of {folder.name} cannot be read ({type(exc).__name__})."
        ) from exc
    if not key.has_signed(manifest, signature):
        raise HashedFolderError(
            f"{folder.name} was not signed with the key in {KEY_VARIABLE}: it comes from "
            "elsewhere, was altered, or the key was changed."
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
