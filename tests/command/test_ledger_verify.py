"""The command says whether the ledger is as it was written, and where it is not."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from keepwell_command import run_keepwell
from ledger_decision import decision

from serving.ledger.database.noted_head import accepted_heads
from serving.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]


def verify(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell("ledger", "verify", "--workspace", "w", *words, cwd=cwd)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_ledger_is_verified_against_a_noted_head(tmp_path: Path) -> None:
    none_yet = verify(cwd=tmp_path)
    assert none_yet.returncode == 3
    assert "no decision was stored yet" in " ".join(none_yet.stderr.split())
    path = tmp_path / "w" / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.append_decisions([decision("d-1")])
    whole = verify(cwd=tmp_path)
    assert whole.returncode == 0
    assert "1 record, each as it was written" in whole.stdout
    head = whole.stdout.split("head ")[-1].strip()
    assert verify("--head", head, cwd=tmp_path).returncode == 0
    other = verify("--head", "f" * 64, cwd=tmp_path)
    assert other.returncode == 1
    assert "does not hold the head" in other.stdout
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER decisions_no_update")
        connection.execute("UPDATE decisions SET expected_value = 2.5")
        connection.commit()
    altered = verify(cwd=tmp_path)
    assert altered.returncode == 1
    assert "Place 1: record 'd-1' of decisions is not what was written." in altered.stdout


def test_a_ledger_that_was_put_back_from_an_older_copy_is_found_and_accepted_on_purpose(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "w"
    path = folder / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.append_decisions([decision("d-1")])
    older = path.read_bytes()
    with closing(Ledger(path)) as ledger:
        ledger.append_decisions([decision("d-2")])
    assert f"the head that {folder / 'ledger.head'} holds is among them" in said(
        verify(cwd=tmp_path)
    )
    path.write_bytes(older)
    found = verify(cwd=tmp_path)
    assert found.returncode == 1
    assert "does not hold the head" in said(found)

    def accept(*words: str) -> subprocess.CompletedProcess[str]:
        return run_keepwell(
            "ledger", "accept-head", "--workspace", "w", "--by", "ann", *words, cwd=tmp_path
        )

    assert "The reason is empty" in said(accept("--reason", " "))
    accepted = accept("--reason", "the disk of Monday is gone")
    assert accepted.returncode == 0, said(accepted)
    assert "goes on at place 1; noted before was a head at place 2" in said(accepted)
    assert verify(cwd=tmp_path).returncode == 0
    [written] = accepted_heads(folder / "ledger.head")
    assert (written.by, written.reason) == ("ann", "the disk of Monday is gone")
    with closing(Ledger(path)) as ledger:
        ledger.append_decisions([decision("d-3")])
    path.unlink()
    gone = verify(cwd=tmp_path)
    assert gone.returncode == 3
    assert "there was one: its head at place 2 was noted" in said(gone)
    assert accept("--reason", "it burnt").returncode == 0
    with closing(Ledger(path)) as ledger:
        assert ledger.counts() == (0, 0)
    (folder / "ledger.head").write_bytes(b"0" * 2_000)
    unknown = verify(cwd=tmp_path)
    assert unknown.returncode == 3
    assert "does not hold the head of a ledger: it is damaged" in said(unknown)
    assert accept("--reason", "it was scratched").returncode == 0
    assert verify(cwd=tmp_path).returncode == 0


def test_what_is_no_ledger_or_no_head_is_one_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "w" / "ledger.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database, whatever its name says")
    broken = verify(cwd=tmp_path)
    assert broken.returncode == 3
    assert (
        "w/ledger.db: The ledger cannot be read: its database is damaged. file is not a database."
    ) in said(broken)
    assert path.read_bytes() == b"not a database, whatever its name says"
    path.unlink()
    path.mkdir()
    closed = verify(cwd=tmp_path)
    assert closed.returncode == 3
    assert "cannot be opened now" in " ".join(closed.stderr.split())
    odd = verify("--head", "xyz", cwd=tmp_path)
    assert odd.returncode == 3
    assert "'xyz' is no head of a ledger" in " ".join(odd.stderr.split())
