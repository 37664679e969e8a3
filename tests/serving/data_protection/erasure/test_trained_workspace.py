"""Forty canaries in a workspace that was trained, served, reported and planned by commands alone.

It has what hand-made ones lack: a database of MLflow, bundles with golden rows, cards, plots, reports,
shadow predictions, plans, messages and monitoring.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from canary_world import canary, everything
from workspace_answers import CLOCK, LOTTERY_KEY, asked_alone, command, served, standing

from features.workspace import Workspace
from serving.data_protection.places import files_of
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import FILE, Message
from serving.webhooks.secret_encryption import SecretEncryption

MAKER = Path(__file__).parents[3] / "workspaces" / "make_workspace.py"
RENAMED = "a_00056"
ACCOUNT, PERSON, CSM = canary(0), canary(1), canary(2)
USERS = tuple(map(canary, range(3, 7)))
OF_PERSON = {1, 15, 16, 17, 18, 19, 20}
OF_CSM = {2}
OF_ACCOUNT = {0, *range(3, 15), *range(21, 41)}
PROPERTIES = {
    "name": 7,
    "industry": 8,
    "country": 9,
    "topic": 10,
    "ticket_id": 11,
    "invoice_id": 12,
}
"""Properties of the account's events that become canaries, where nothing is computed from them."""

WRITTEN = {
    "Already in talks": 15,
    "No callers": 16,
    "Callers are back": 17,
    "On leave": 18,
    "New text": 19,
    "One writer": 20,
}
"""What ann says in the requests of the maker."""


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_workspace", MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_canaries(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of an export in which one account and its users are canaries, and so is a CSM."""
    found = []
    for number, row in enumerate(rows.iter_rows(named=True)):
        properties = json.loads(row["properties"])
        properties = {n: CSM if v == "csm_00" else v for n, v in properties.items()}
        if row["account_id"] == RENAMED:
            row["account_id"] = ACCOUNT
            row["event_id"] = f"{canary(13)}-{number}"
            if row["user_id"]:
                row["user_id"] = USERS[number % 4]
            if row["kind"] != "feature.used":
                properties |= {
                    name: canary(n) for name, n in PROPERTIES.items() if name in properties
                }
            properties["note"] = canary(21 + number % 20)
        row["properties"] = json.dumps(properties)
        found.append(row)
    return pl.DataFrame(found, schema=rows.schema)


class Renaming:
    """A client whose requests are by the canary person, with canaries in what that person writes."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def post(self, address: str, *, json: dict[str, Any], headers: dict[str, str]) -> Any:
        if json.get("by") == "ann":
            json = {**json, "by": PERSON}
            if json.get("reason") in WRITTEN:
                json["reason"] = canary(WRITTEN[json["reason"]])
        return self._client.post(address, json=json, headers=headers)


@pytest.fixture
def trained(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """By the commands of the maker of older workspaces."""
    folder, exports = tmp_path / "trained", tmp_path / "exports"
    plain = maker.command

    def renamed(*words: str | Path) -> tuple[int, str]:
        code, text = plain(*(PERSON if word == "ann" else word for word in words))
        return code, text

    monkeypatch.setattr(maker, "command", renamed)
    monkeypatch.setattr(maker, "TEAM", maker.TEAM.replace("csm_00", CSM))
    with asked_alone(), standing(CLOCK):
        os.environ["KEEPWELL_LOTTERY_KEY"] = LOTTERY_KEY
        os.environ["KEEPWELL_WEBHOOK_HOSTS"] = "hooks.example"
        maker.write_exports(exports)
        for file in exports.glob("*.csv"):
            with_canaries(pl.read_csv(file, infer_schema=False)).write_csv(file)
        refused = pl.read_csv(exports / "later.csv", infer_schema=False)
        bad = refused.filter(pl.col("account_id") == ACCOUNT).head(1)
        pl.concat([refused, bad.with_columns(occurred_at=pl.lit("yesterday"))]).write_csv(
            exports / "later.csv"
        )
        maker.by_command(folder, exports)
        with served(folder) as client:
            maker.by_request(Renaming(client))
            answers = client.post(
                "/v1/next-actions",
                json={"account_ids": [ACCOUNT]},
                headers={"idempotency-key": canary(14)},
            )
            assert answers.is_success, answers.text
        maker.after_requests(folder, exports)
        plant(folder)
        yield Workspace(folder, environment={})


def plant(root: Path) -> None:
    """What a service leaves that goes on running: a message that failed, and half a file."""
    body = json.dumps({"data": {"account_id": ACCOUNT, "by": PERSON, "reason": canary(15)}})
    message = Message(place=1, message_id="m1", account_id=ACCOUNT, kind="feedback", body=body)
    with closing(Outbox(root / FILE, SecretEncryption(root, None))) as outbox:
        outbox.put("crm", [message], after=0, up_to=1, now=0.0)
    (root / "plans").mkdir(exist_ok=True)
    draft = root / "plans" / ".newest.json.4711.tmp"
    draft.write_text(canary(0))
    os.utime(draft, (0, 0))


def places_with(root: Path, numbers: set[int]) -> dict[str, set[int]]:
    """By place: which canaries its files hold."""
    found: dict[str, set[int]] = {}
    for name, place in files_of(root):
        held = (root / name).read_bytes()
        if name.endswith(".parquet"):
            held += repr(pl.read_parquet(root / name).rows()).encode()
        hits = {n for n in numbers if canary(n).encode() in held}
        if hits:
            found.setdefault("none" if place is None else place.path, set()).update(hits)
    return found


def held_in(root: Path, numbers: set[int]) -> set[int]:
    held = everything(root)
    return {n for n in numbers if canary(n).encode() in held}


@pytest.mark.slow
def test_no_byte_is_left_in_a_trained_workspace(
    trained: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    root = trained.root
    assert [name for name, place in files_of(root) if place is None] == []
    before = held_in(root, OF_ACCOUNT | OF_PERSON | OF_CSM)
    where = places_with(root, OF_ACCOUNT | OF_PERSON | OF_CSM)
    print(f"{len(before)} canaries: { {name: len(one) for name, one in where.items()} }")  # noqa: T201
    assert len(before) == 41
    for name in ("mlflow.db", "ledger.db", "keys.db", "webhooks.db", "snapshots/*.parquet"):
        assert name in where, name
    here = ["--by", "data protection", "--reason", "letter 17", "--workspace", str(root)]
    with caplog.at_level(logging.DEBUG):
        for kind, name in (("account", ACCOUNT), ("person", PERSON), ("person", CSM)):
            code, text = command("erase", kind, name, *here)
            assert code == 0, text
            if kind == "account":
                assert len(re.findall(r"learned from up to \d+ rows", " ".join(text.split()))) >= 2
    assert held_in(root, OF_ACCOUNT | OF_PERSON | OF_CSM) == set()
    assert not [n for n in range(41) if canary(n) in caplog.text]
    receipts = [json.loads(one.read_text()) for one in (root / "erasures").glob("receipt-*")]
    assert [one["left"] for one in receipts] == [{}, {}, {}]
    learned = next(one["learned"] for one in receipts if one["kind"] == "account")
    assert any(one.startswith("churn version 1") for one in learned)
    with served(root) as client:
        assert client.get("/").status_code == 200
        assert client.get(f"/v1/accounts/{ACCOUNT}/score").status_code == 404
        assert client.get("/v1/accounts/a_00001/score").status_code in (200, 404)
        assert client.get("/models/churn/1").status_code == 200
    code, text = command("ledger", "verify", "--workspace", root)
    assert code == 0, text
    code, text = command("models", "list", "--workspace", root)
    assert code == 0, text
