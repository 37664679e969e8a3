"""A shop without contracts, by commands alone: from a table of orders to scores, actions and pages."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from keepwell_command import run_keepwell

from features.workspace import Workspace
from registry.playbook.playbook import load_playbook
from registry.store.open_store import store_at
from serving.api.app import create_app
from serving.settings import ServiceSettings

SAMPLE = Path(__file__).parents[2] / "examples" / "cdnow"
END = datetime(1998, 7, 1, tzinfo=UTC)
SETTING = '[leaving]\nmeans = "no_use"\n'


def keepwell(*words: str, folder: Path) -> str:
    done = run_keepwell(*words, "--workspace", "shop", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 400 customers' orders, ingested before anybody says what leaving means."""
    folder = tmp_path_factory.mktemp("journey")
    header, *rows = (SAMPLE / "orders.txt").read_text(encoding="utf-8").splitlines()
    few = set(sorted({row.split()[0] for row in rows})[::6])
    kept = [row for row in rows if row.split()[0] in few]
    (folder / "orders.txt").write_text("\n".join([header, *kept]), encoding="utf-8")
    mapping = str(SAMPLE / "mapping.toml")
    assert "landed" in keepwell("ingest", "orders.txt", "--mapping", mapping, folder=folder)
    months = ("--from", "1997-04-01", "--to", "1998-07-01", "--every", "month")
    keepwell("snapshot", *months, folder=folder)
    return folder


def test_the_journey_from_orders_to_a_page(shop: Path) -> None:
    refused = run_keepwell("train", "churn", "--workspace", "shop", cwd=shop)
    assert refused.returncode != 0
    assert 'workspace.toml: [leaving] and means = "no_use"' in " ".join(refused.stderr.split())

    settings = shop / "shop" / "workspace.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + SETTING, encoding="utf-8")
    trained = keepwell("train", "churn", "--trials", "0", folder=shop)
    assert re.search(r"churn: .* may serve; it waits as version 1\.", trained)
    assert "The refined health formula takes no part: health_score is unknown" in trained
    keepwell("models", "promote", "churn", "1", "--by", "ann", folder=shop)

    said = keepwell("score", "--out", "scores.parquet", folder=shop)
    assert "Nothing was ordered for more than 365 days, so that it counts as gone." in said
    scores = pl.read_parquet(shop / "scores.parquet")
    scored = scores.filter(pl.col("score_source") == "model")
    gone = scores.filter(pl.col("score_source") == "none")
    assert scored.height > 50
    assert gone["churn_probability_90d"].null_count() == gone.height > 50
    assert scored["churn_probability_90d"].is_between(0, 1, closed="none").all()
    assert set(scored["risk_tier"].unique()) >= {"low", "medium"}
    worth = scored["churn_probability_90d"] * scored["mrr"] * 12
    assert (scored["revenue_at_risk"] - worth).abs().max() < 1e-6
    bought = scored.sort("mrr", descending=True).row(0, named=True)

    keepwell("actions", "--out", "actions.json", folder=shop)
    actions = json.loads((shop / "actions.json").read_text(encoding="utf-8"))
    assert len(actions["accounts"]) == scores.height
    proposed = {one["action_id"] for each in actions["accounts"] for one in each["ranked"]}
    book = load_playbook().by_id
    audiences = {book[name].audience for name in proposed - {"do_nothing"}}
    assert "orders" in audiences
    assert "contracts" not in audiences

    workspace = Workspace(shop / "shop", environment={})
    app = create_app(
        workspace,
        store=store_at(workspace.tracking_uri, {}),
        now=lambda: END,
        settings=ServiceSettings(),
    )
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        portfolio = client.get("/").text
        account = client.get(f"/accounts/{bought['account_id']}").text
        left = client.get(f"/accounts/{gone['account_id'][0]}").text
        answer = client.get(f"/v1/accounts/{bought['account_id']}").json()
        settings.write_text(
            settings.read_text(encoding="utf-8").replace("no_use", "contract_ends"),
            encoding="utf-8",
        )
    app.state.service.close()
    assert "Accounts by orders at risk" in portfolio
    assert "No order in the next 90 days" in portfolio
    assert "Chance of no order in the next 90 days" in account
    assert "bought in the last 365 days" in account
    assert "no order in 365 days" in left
    for page in (portfolio, account):
        text = re.sub(r"<[^>]+>", " ", page)
        assert not re.findall(r"[^.]*\b(?:[Cc]ontract|[Rr]enew)\w*[^.]*", text)
    [chance] = answer["churn"]  # one horizon: that of the setting
    assert chance["horizon_days"] == 90
    assert chance["probability"] == pytest.approx(bought["churn_probability_90d"])
    assert answer["revenue_at_risk"] == pytest.approx(bought["revenue_at_risk"])

    said = keepwell("score", "--out", "again.parquet", folder=shop)
    assert "learned another meaning of leaving than the workspace states now: the contract" in said
