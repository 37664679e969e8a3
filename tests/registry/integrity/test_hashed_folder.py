from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from registry.integrity.hashed_folder import (
    MANIFEST,
    SIGNATURE,
    HashedFolderError,
    read_hashed_folder,
    write_hashed_folder,
)
from registry.integrity.signing import SigningKey

FILES = {"a.json": b"{}", "b.npz": b"\x00" * 1000}


def write(folder, files=FILES):
    write_hashed_folder(folder, files, kind="thing", version=2)


def listed(folder):
    return [path.name for path in folder.iterdir()]


def read(folder):
    return read_hashed_folder(folder, kind="thing", version=2)


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "deep" / "x")
    assert read(tmp_path / "deep" / "x") == FILES
    assert listed(tmp_path / "deep") == ["x"]


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_whoever_may_read_the_folder_around_it_may_read_the_folder(tmp_path, mode):
    tmp_path.chmod(mode)
    write(tmp_path / "x")
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_equal_content_again_changes_nothing(tmp_path):
    write(tmp_path / "x")
    before = (tmp_path / "x" / MANIFEST).stat().st_mtime_ns
    write(tmp_path / "x")
    assert (tmp_path / "x" / MANIFEST).stat().st_mtime_ns == before
    assert listed(tmp_path) == ["x"]


def test_other_content_is_never_overwritten(tmp_path):
    write(tmp_path / "x")
    with pytest.raises(HashedFolderError, match="already holds something else"):
        write(tmp_path / "x", {"a.json": b"[]"})
    assert read(tmp_path / "x") == FILES
    assert listed(tmp_path) == ["x"]


def test_a_folder_that_can_not_be_made_is_the_systems_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        write(tmp_path / "file" / "x")


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "x").mkdir()
    write(tmp_path / "x")
    assert read(tmp_path / "x") == FILES


def damage_manifest(folder, **changes):
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


DAMAGE = {
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "has no manifest.json, so it is no thing"),
    "half a manifest": (
        lambda f: (f / MANIFEST).write_bytes((f / MANIFEST).read_bytes()[:50]), "cannot be read",
    ),
    "a list as manifest": (lambda f: (f / MANIFEST).write_text("[1]"), "cannot be read"),
    "files without digests": (lambda f: damage_manifest(f, files={"a": {}}), "cannot be read"),
    "files that are a list": (lambda f: damage_manifest(f, files=[]), "cannot be read"),
    "another format": (lambda f: damage_manifest(f, format="bag"), "holds a 'bag', not a 'thing'"),
    "an older format": (lambda f: damage_manifest(f, version=1), "version 1; this Keepwell"),
    "a file outside": (
        lambda f: damage_manifest(f, files={"../x": {"sha256": ""}}), "names '../x', outside",
    ),
    "a missing file": (lambda f: (f / "b.npz").unlink(), "lacks its file 'b.npz'"),
    "a truncated file": (
        lambda f: (f / "b.npz").write_bytes(b"\x00" * 999), "'b.npz' .* truncated or altered",
    ),
    "an altered file": (lambda f: (f / "a.json").write_bytes(b"[]"), "'a.json' .* or altered"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_not_whole_is_refused_with_the_reason(tmp_path, case):
    write(tmp_path / "x")
    damage, reason = DAMAGE[case]
    damage(tmp_path / "x")
    with pytest.raises(HashedFolderError, match=reason) as refused:
        read(tmp_path / "x")
    assert str(tmp_path) not in str(refused.value)


def test_no_folder_is_no_bundle(tmp_path):
    with pytest.raises(HashedFolderError, match="has no manifest"):
        read(tmp_path / "nowhere")


def test_a_killed_writer_leaves_a_whole_folder_or_none(tmp_path):
    code = (
        "import sys, pathlib; from registry.integrity.hashed_folder import write_hashed_folder\n"
        "n = 0\n"
        "while True:\n"
        "    files = {f'{i}.bin': bytes([n % 256]) * 50_000 for i in range(8)}\n"
        "    write_hashed_folder(pathlib.Path(sys.argv[1]) / f'x{n}', files, kind='thing', version=2)\n"
        "    n += 1; print('one more', flush=True)\n"
    )
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, env=os.environ
        )
        writer.stdout.readline()
        time.sleep(0.05 + 0.037 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        written = [f for f in folder.glob("*") if not f.name.startswith(".")]
        assert written
        for whole in written:
            assert len(read(whole)) == 8


# ── signed ─────────────────────────────────────────────────────────────────────────────────────

KEY = SigningKey(secret=b"sixteen bytes 16")


def write_signed(folder, files=FILES):
    write_hashed_folder(folder, files, kind="thing", version=2, key=KEY)


def read_signed(folder, key=KEY):
    return read_hashed_folder(folder, kind="thing", version=2, key=key)


def test_what_was_signed_is_read_with_the_key_and_without(tmp_path):
    write_signed(tmp_path / "x")
    assert read_signed(tmp_path / "x") == read(tmp_path / "x") == FILES


def test_the_manifest_is_the_same_with_a_signature_and_without(tmp_path):
    write(tmp_path / "plain")
    write_signed(tmp_path / "signed")
    assert (tmp_path / "plain" / MANIFEST).read_bytes() == (
        tmp_path / "signed" / MANIFEST
    ).read_bytes()


def test_signed_content_again_changes_nothing_and_unsigned_is_not_taken_for_it(tmp_path):
    write_signed(tmp_path / "x")
    write_signed(tmp_path / "x")
    assert listed(tmp_path) == ["x"]
    write(tmp_path / "y")
    with pytest.raises(HashedFolderError, match="already holds something else"):
        write_signed(tmp_path / "y")


def forge(folder):
    """Other content with a manifest that fits it: whole, but not by whom it should be."""
    signature = (folder / SIGNATURE).read_text()
    for name in (*FILES, MANIFEST, SIGNATURE):
        (folder / name).unlink()
    write(folder, {"a.json": b"[]"})
    (folder / SIGNATURE).write_text(signature)


NOT_SIGNED = {
    "never signed": (
        lambda f: (f / SIGNATURE).unlink(), "is not signed, .* while KEEPWELL_BUNDLE_KEY is set",
    ),
    "another's signature": (
        lambda f: (f / SIGNATURE).write_text(
            SigningKey(secret=b"another 16 bytes").signature((f / MANIFEST).read_bytes())
        ),
        "was not signed with the key in KEEPWELL_BUNDLE_KEY",
    ),
    "half a signature": (
        lambda f: (f / SIGNATURE).write_text((f / SIGNATURE).read_text()[:30]), "was not signed",
    ),
    "bytes that are no text": (
        lambda f: (f / SIGNATURE).write_bytes(b"\xff\xfe\x00"), "was not signed",
    ),
    "a folder for a signature": (
        lambda f: ((f / SIGNATURE).unlink(), (f / SIGNATURE).mkdir()), "cannot be read",
    ),
    "other content under an old signature": (forge, "was not signed"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_SIGNED)
def test_what_the_key_did_not_sign_is_refused_with_the_reason(tmp_path, case):
    write_signed(tmp_path / "x")
    damage, reason = NOT_SIGNED[case]
    damage(tmp_path / "x")
    with pytest.raises(HashedFolderError, match=reason) as refused:
        read_signed(tmp_path / "x")
    assert "sixteen" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
