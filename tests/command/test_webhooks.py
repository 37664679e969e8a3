"""Webhooks are added, listed, given new secrets, replayed and removed by the command."""

from __future__ import annotations

import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from keepwell_command import run_keepwell

from serving.ledger.ledger import Decision, Ledger
from serving.ledger.stores.outbox import Outbox
from serving.webhooks.messages import messages_after
from serving.webhooks.secret_encryption import SecretEncryption
from serving.webhooks.signature import secret_bytes

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
URL = "https://hooks.example/keepwell"


def webhooks(
    *words: str, cwd: Path, hosts: str = "hooks.example"
) -> subprocess.CompletedProcess[str]:
    return run_keepwell("webhooks", *words, "-w", "w", cwd=cwd, KEEPWELL_WEBHOOK_HOSTS=hosts)


def opened(folder: Path) -> Outbox:
    return Outbox(folder / "w" / "webhooks.db", SecretEncryption(folder / "w", None))


def test_a_webhook_from_its_first_secret_to_its_end(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "w" / "ledger.db")) as ledger:
        ledger.append_decisions(
            [
                Decision(
                    decision_id=f"d-{n}",
                    account_id="acme",
                    decided_at=NOW,
                    as_of=NOW,
                    action="call",
                    expected_value=1.5,
                    currency="USD",
                    eligible=(),
                    withheld=(),
                    versions={},
                    input_digest="ab",
                )
                for n in range(4)
            ]
        )
        added = webhooks("add", URL, "--name", "crm", "--from-start", cwd=tmp_path)
        assert added.returncode == 0, added.stderr
        secret = added.stdout.split()[-1]
        assert len(secret_bytes(secret)) == 32
        later = webhooks("add", URL, "--name", "later", "--about", "outcome", cwd=tmp_path)
        assert later.returncode == 0, later.stderr
        with closing(opened(tmp_path)) as outbox:
            assert [(each.name, each.place, each.kinds) for each in outbox.endpoints()] == [
                ("crm", 0, ()),
                ("later", 4, ("outcome",)),
            ]
            messages, last = messages_after(ledger.database, "crm", (), after=0)
            outbox.put("crm", messages, after=0, up_to=last, now=0.0)
            for message in messages[:3]:
                outbox.mark_failed("crm", message, problem="answered 500", due_at=None, now=1.0)
    listed = webhooks("list", cwd=tmp_path, hosts="")
    assert "3 (places 1–3)" in listed.stdout
    assert "answered 500" in listed.stdout
    assert "4 of 4" in listed.stdout
    assert secret not in listed.stdout
    assert "Nothing is sent: KEEPWELL_WEBHOOK_HOSTS names no host." in listed.stdout
    again = webhooks("replay", "crm", "--from", "2", "--dead", cwd=tmp_path)
    assert "2 messages of places 2 to 4 wait to be sent to crm." in again.stdout, again.stderr
    changed = webhooks("rotate", "crm", cwd=tmp_path)
    newer = changed.stdout.split()[-1]
    with closing(opened(tmp_path)) as outbox:
        assert outbox.secrets("crm") == (newer, secret)
        assert (outbox.counts("crm").waiting, outbox.counts("crm").dead) == (3, 1)
        assert webhooks("rotate", "crm", "--finish", cwd=tmp_path).returncode == 0
        assert outbox.secrets("crm") == (newer,)
    removed = webhooks("remove", "crm", cwd=tmp_path)
    assert "4 messages that it had not taken" in removed.stdout


def test_what_can_not_be_a_webhook_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    none = webhooks("list", cwd=tmp_path)
    assert (none.returncode, "No webhook is there yet" in none.stdout) == (0, True)
    assert webhooks("add", URL, "--name", "crm", cwd=tmp_path).returncode == 0
    (tmp_path / "w" / "webhooks.secret").unlink()
    for words, said in (
        (("add", URL, "--name", "crm"), "There is a webhook 'crm' already"),
        (("add", URL, "--name", "a b"), "is no name of a webhook"),
        (("add", URL, "--name", "x", "--about", "gossip"), "cannot be about gossip"),
        (("add", "https://other.example/", "--name", "x"), "is not among the hosts that webhooks"),
        (("add", "http://ann:pw@hooks.example/", "--name", "x"), "holds no user, password"),
        (("rotate", "crm"), "webhooks.secret is missing, so no webhook can be signed"),
        (("remove", "erp"), "There is no webhook 'erp'; there are: crm"),
        (("rotate", "erp"), "There is no webhook 'erp'"),
        (("replay", "crm", "--from", "9"), "There is nothing between place 9 and place 0"),
    ):
        done = webhooks(*words, cwd=tmp_path)
        assert done.returncode == 3, (words, done.stdout, done.stderr)
        assert said in " ".join(done.stderr.split()), words
    (tmp_path / "w" / "webhooks.db").write_bytes(b"not a database, whatever its name says")
    broken = webhooks("list", cwd=tmp_path)
    assert broken.returncode == 3
    assert "The webhooks cannot be read now" in " ".join(broken.stderr.split())
