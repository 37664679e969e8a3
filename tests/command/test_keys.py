"""The command makes, lists, changes and ends API keys, and shows each secret once."""

from __future__ import annotations

import re
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keepwell_command import run_keepwell

from serving.auth.api_keys import ApiKeys

ROOT = Path(__file__).parents[2]


def keys(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_keepwell("keys", *words, "--workspace", "w", cwd=cwd, **environment)


def secret_in(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stderr
    [secret] = re.findall(r"^kw_[\w-]{43}$", run.stdout, flags=re.MULTILINE)
    return secret


def test_a_key_from_its_making_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    made = keys(
        "create",
        "laptop",
        "--owner",
        "ann",
        "--role",
        "csm",
        "--territory",
        "emea",
        "--territory",
        "apac",
        "--days",
        "30",
        cwd=tmp_path,
    )
    first = secret_in(made)
    [key_id] = re.findall(r"key-[0-9a-f]{8}", made.stdout)
    now = datetime.now(UTC)
    with closing(ApiKeys(tmp_path / "w")) as opened:
        caller = opened.caller(first, now)
        assert caller is not None
        assert caller.reach is not None
        assert (caller.owner, caller.reach.territories) == ("ann", ("emea", "apac"))
        assert opened.caller(first, now + timedelta(days=31)) is None

        second = secret_in(keys("rotate", key_id, "--overlap-hours", "2", cwd=tmp_path))
        assert opened.caller(first, now) == opened.caller(second, now) == caller
        assert opened.caller(first, now + timedelta(hours=3)) is None

        listed = keys("list", cwd=tmp_path)
        assert listed.returncode == 0
        assert all(word in listed.stdout for word in (key_id, "laptop", "ann", "csm", "live"))
        assert first not in listed.stdout
        assert second not in listed.stdout

        narrow = keys("list", cwd=tmp_path, COLUMNS="60")
        assert key_id in narrow.stdout, "whole on any terminal, for other commands take it"

        assert keys("revoke", key_id, cwd=tmp_path).returncode == 0
        assert opened.caller(second, now) is None
    assert "revoked" in keys("list", cwd=tmp_path).stdout


def test_what_can_not_be_made_is_one_paragraph_and_code_3(tmp_path: Path) -> None:
    nowhere = keys("list", cwd=tmp_path)
    assert nowhere.returncode == 3
    assert "There is no workspace" in " ".join(nowhere.stderr.split())
    (tmp_path / "w").mkdir()
    beyond = keys(
        "create", "x", "--owner", "ann", "--role", "reader", "--permission", "send", cwd=tmp_path
    )
    assert beyond.returncode == 3
    assert "A key of role reader cannot have send" in " ".join(beyond.stderr.split())
    short = keys("list", cwd=tmp_path, KEEPWELL_KEY_PEPPER="short")
    assert short.returncode == 3
    assert "KEEPWELL_KEY_PEPPER has fewer than 16 characters" in " ".join(short.stderr.split())
    assert list((tmp_path / "w").iterdir()) == []


def test_who_promotes_is_the_owner_of_their_key(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    secret = secret_in(keys("create", "laptop", "--owner", "ann", "--role", "csm", cwd=tmp_path))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def promote(*words: str, **more: str) -> str:
        run = run_keepwell(
            "models",
            "promote",
            "churn",
            "1",
            "--workspace",
            "w",
            *words,
            cwd=tmp_path,
            columns=80,
            **environment,
            **more,
        )
        assert run.returncode == 3
        return " ".join(run.stderr.split())

    assert "Say who decides, or set KEEPWELL_KEY" in promote()
    assert "of role csm and may not administer" in promote(KEEPWELL_KEY=secret)
    assert "none of this workspace, or has ended" in promote("--by", "ann", KEEPWELL_KEY="kw_x")
