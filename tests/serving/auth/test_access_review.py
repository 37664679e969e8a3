"""Who may see what, as a file that nobody can change unnoticed."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

import keepwell
from features.workspace import Workspace
from serving.auth.access_review import (
    SECRET_FILE,
    AccessReview,
    ReviewError,
    fingerprint_of,
    review_access,
    sign_file,
    verify_file,
)
from serving.auth.api_keys import ApiKeys

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with three keys: one in use, one that has ended, one that was never used."""
    workspace = Workspace(tmp_path / "own", environment={})
    workspace.change_settings(tenant="Sample & Sons")
    with closing(ApiKeys(workspace.root)) as keys:
        used = keys.create(name="laptop", owner="ann", role="csm", territories=("emea",), now=NOW)
        ended = keys.create(name="=1+1", owner="old engine", role="engine", now=NOW)
        keys.create(
            name="board",
            owner="lee",
            role="reader",
            permissions=frozenset({"read"}),
            expires_at=NOW + timedelta(days=9),
            now=NOW,
        )
        keys.revoke(ended.key.key_id, now=NOW)
        assert keys.caller(used.secret, NOW + timedelta(hours=1)) is not None
        for minute in range(3):
            assert keys.caller(ended.secret, NOW + timedelta(minutes=minute)) is None
        for _ in range(5):
            assert keys.caller("kw_guessed", NOW) is None
    return workspace


def reviewed(place: Workspace) -> AccessReview:
    with closing(ApiKeys(place.root)) as keys:
        return review_access(keys, tenant=place.settings.tenant, by="dpo", now=NOW)


def command(place: Workspace, *words: str) -> Result:
    return CliRunner().invoke(
        keepwell.app, ["keys", "review", *words, "--workspace", str(place.root)]
    )


def said(result: Result) -> str:
    return " ".join(f"{result.output} {result.exception or ''}".split())


def test_it_says_who_may_what_and_whether_they_used_it(place: Workspace) -> None:
    review = reviewed(place)
    ann, lee, engine = sorted(review.keys, key=lambda key: key.owner)
    assert (ann.reaches, ann.last_used) == ("own accounts and emea", "2026-03-02 10:30")
    assert "recommend" in ann.scopes
    assert (engine.state, engine.last_used) == ("revoked", "never")
    assert (engine.refused_attempts, engine.last_refused_at) == (3, "2026-03-02T09:32:00+00:00")
    assert (lee.scopes, lee.reaches, lee.expires_at[:10]) == ("read", "all accounts", "2026-03-11")
    assert review.unknown_secrets == 5
    assert review.needs_a_key


def test_the_key_of_the_environment_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace(tmp_path / "new", environment={})
    place.change_settings(tenant="New")
    monkeypatch.setenv("KEEPWELL_API_KEY", "a key of sixteen characters or more")
    file = tmp_path / "review.json"
    assert command(place, "--out", str(file), "--by", "dpo").exit_code == 0
    assert json.loads(file.read_bytes())["needs_a_key"] is True
    told = said(command(place))
    assert "whoever knows it is an admin" in told
    assert "everybody who reaches the port" not in told
    monkeypatch.delenv("KEEPWELL_API_KEY")
    assert "everybody who reaches the port is an admin" in said(command(place))


def test_attempts_add_up_over_processes(place: Workspace) -> None:
    for _ in range(2):
        with closing(ApiKeys(place.root)) as keys:
            assert keys.caller("kw_guessed", NOW) is None
            keys.save_uses()
            keys.save_uses()
    assert reviewed(place).unknown_secrets == 7


def test_a_workspace_without_keys_is_open_and_says_so(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "new", environment={})
    place.change_settings(tenant="New")
    review = reviewed(place)
    assert (review.needs_a_key, review.keys) == (False, ())
    assert not (place.root / "keys.db").exists()
    assert "everybody who reaches the port is an admin" in said(command(place))


def test_it_holds_nothing_that_opens_anything(place: Workspace) -> None:
    with closing(ApiKeys(place.root)) as keys:
        made = keys.create(name="x", owner="y", role="admin", now=NOW)
        digests = [one.digest for key in keys.all() for one in key.secrets]
    content = reviewed(place).as_json() + reviewed(place).as_csv()
    pepper = (place.root / "keys.secret").read_bytes()
    for secret in (made.secret, *digests, pepper.hex()):
        assert secret.encode() not in content
    assert pepper not in content


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_a_review_is_as_it_was_signed_or_is_not_taken(
    place: Workspace, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"review{suffix}"
    made = command(place, "--out", str(file), "--by", "dpo")
    assert made.exit_code == 0, said(made)
    assert fingerprint_of(place.root) in said(made)
    assert file.stat().st_mode & 0o077 == 0
    assert (place.root / SECRET_FILE).stat().st_mode & 0o077 == 0
    checked = command(place, "--verify", str(file))
    assert checked.exit_code == 0, said(checked)
    assert "is as it was signed at" in said(checked)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"reader", b"admin "))
    altered = command(place, "--verify", str(file))
    assert altered.exit_code == 1
    assert "is not as it was signed" in said(altered)
    file.write_bytes(content)
    other = Workspace(tmp_path / "other", environment={})
    other.root.mkdir()
    sign_file(other.root, tmp_path / "theirs.json", content, now=NOW)
    forged = json.loads((tmp_path / "theirs.json.signature").read_text())
    signature = file.with_name(f"{file.name}.signature")
    mine = signature.read_text()
    signature.write_text(json.dumps(forged))
    assert "was signed by the key" in said(command(place, "--verify", str(file)))
    signature.write_text(json.dumps({**json.loads(mine), "signature": forged["signature"]}))
    assert command(place, "--verify", str(file)).exit_code == 1
    for broken, why in (("{}", "is no signature"), (None, "go together")):
        if broken is None:
            signature.unlink()
        else:
            signature.write_text(broken)
        assert why in said(command(place, "--verify", str(file)))


def test_an_auditor_needs_the_fingerprint_and_no_workspace(
    place: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "review.json"
    fingerprint = sign_file(place.root, file, reviewed(place).as_json(), now=NOW)
    away = Workspace(tmp_path / "away", environment={})
    assert command(away, "--verify", str(file), "--signed-by", fingerprint).exit_code == 0
    without = command(away, "--verify", str(file))
    assert without.exit_code != 0
    assert "--signed-by" in said(without)
    with pytest.raises(ReviewError, match="was signed by the key"):
        verify_file(file, expected="ab" * 32)
    assert not away.root.exists()


def test_a_csv_holds_no_formula_and_reads_as_a_table(place: Workspace) -> None:
    content = reviewed(place).as_csv()
    assert b'"=1+1"' not in content
    assert b",=1+1" not in content
    table = pl.read_csv(content)
    assert table.height == 3
    assert table["refused_attempts"].sum() == 3


def test_the_table_and_what_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "COLUMNS", "220")
    shown = command(place)
    assert shown.exit_code == 0, said(shown)
    for text in ("ann", "emea", "5 attempts had a secret"):
        assert text in said(shown)
    assert "ends neither in .json" in said(command(place, "--out", "review.pdf", "--by", "dpo"))
    assert "--by is missing" in said(command(place, "--out", "review.json"))
    (place.root / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(ReviewError, match="is damaged"):
        fingerprint_of(place.root)
