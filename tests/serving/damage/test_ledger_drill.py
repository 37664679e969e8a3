"""A used ledger is cut back with its note, missed by the second note, restored, and written to again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from keepwell_command import run_keepwell
from served_workspace import Served, served
from store_degradation import SECONDS_TO_ANSWER, check_recovered, degraded, wait_until_degraded


def decide(service: Served, account: str) -> str | None:
    with service.client(SECONDS_TO_ANSWER) as client:
        answer = client.post("/v1/next-actions", json={"account_ids": [account]})
    assert answer.status_code == 200, answer.text
    found: str | None = answer.json()["items"][0]["decision_id"]
    return found


def put_back(copies: Path, workspace: Path) -> None:
    """The ledger of before, and its note: all that the workspace holds is of one moment."""
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (workspace / name).unlink(missing_ok=True)
    for name in ("ledger.db", "ledger.head"):
        shutil.copy(copies / name, workspace / name)


def test_from_a_ledger_cut_back_with_its_note_to_new_decisions(workspace, tmp_path):
    second = {"KEEPWELL_LEDGER_HEAD": str(tmp_path / "elsewhere" / "head")}
    (tmp_path / "elsewhere").mkdir()
    target, copies = tmp_path / "backups", tmp_path / "copies"
    with served(workspace, **second) as service:
        check_recovered(service)
        first = decide(service, "acct-03")
    with closing(sqlite3.connect(workspace / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copies.mkdir()
    for name in ("ledger.db", "ledger.head"):
        shutil.copy(workspace / name, copies / name)
    with served(workspace, **second) as service:
        kept = decide(service, "acct-05")
        words = ("backup", str(target), "-w", str(workspace))
        made = run_keepwell(*words, cwd=tmp_path, **second)
        assert made.returncode == 0, made.stdout + made.stderr
        put_back(copies, workspace)
        wait_until_degraded(service, "ledger")
        assert decide(service, "acct-06") is None
        assert service.ask("stop").status_code == 503
    with served(workspace) as service:  # without a second place nobody can miss what is gone
        assert degraded(service) == {}
    put_back(copies, workspace)
    with served(workspace, **second) as service:
        assert set(degraded(service)) == {"ledger"}
        assert service.ask("stop").status_code == 503
        assert service.ask("score").status_code == 200
    words = ("restore", str(target), "-w", str(workspace), "--replace")
    done = run_keepwell(*words, cwd=tmp_path, **second)
    assert done.returncode == 0, done.stdout + done.stderr
    with served(workspace, **second) as service:
        check_recovered(service)
        new = decide(service, "acct-06")
        with service.client() as client:
            for name in (first, kept, new):
                assert client.get(f"/v1/decisions/{name}").status_code == 200
    verified = run_keepwell("ledger", "verify", "-w", str(workspace), cwd=tmp_path, **second)
    assert verified.returncode == 0, verified.stdout + verified.stderr
