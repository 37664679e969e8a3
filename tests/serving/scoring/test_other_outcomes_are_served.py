"""Contraction and silence all the way: events, `train`, promotion on evidence, the served answer.

On 30 simulated months, and silence on the purchases of real customers (CDNOW), who have no
contract: nothing but what they bought is known of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.compute.backfill import backfill, month_starts
from features.events.schema import EVENT_SCHEMA, Event, events_frame
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.api.app import create_app
from serving.settings import ServiceSettings
from training.pipeline.workspace import train_workspace

CDNOW = Path(__file__).resolve().parents[4] / "shared" / "data" / "cdnow" / "CDNOW_master.txt"


def workspace_of(root: Path, events: pl.DataFrame, first: datetime, end: datetime) -> Workspace:
    workspace = Workspace(root, environment={})
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events.select(*EVENT_SCHEMA), source="test", file="events", now=end, complete_until=end
    )
    workspace.change_settings(complete_until=end)
    snapshots = backfill(workspace, month_starts(first, end))
    WorkspaceFeatures(workspace).publish(snapshots.filter(pl.col("as_of") == end))
    return workspace


def trained(workspace: Workspace, labels: tuple[str, ...], end: datetime):
    store = MemoryModelStore()
    results = train_workspace(
        workspace, labels, store=store, as_of=end, clock=lambda: end, trials=0, seed=1, by="ann"
    )
    return store, {result.label.name: result for result in results}


def served(workspace: Workspace, store: MemoryModelStore, end: datetime):
    app = create_app(workspace, store=store, now=lambda: end, settings=ServiceSettings())
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        rows = client.get("/v1/accounts", params={"limit": 100}).json()["items"]
        assert len(rows) == 100
        answers = [client.get(f"/v1/accounts/{row['account_id']}").json() for row in rows]
        asked = next(a for a in answers if a["silent_churn"]["probability"] is not None)
        asked = next((a for a in answers if a["contraction"]["probability"] is not None), asked)
        page = client.get(f"/accounts/{asked['account_id']}").text
    app.state.service.close()
    return answers, page


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    settings = WorldSettings(accounts=300, months=30)
    starts = settings.calendar.starts_at
    end = starts.replace(year=starts.year + 2, month=7)
    events = simulate(settings, np.random.default_rng(5)).events
    workspace = workspace_of(
        tmp_path_factory.mktemp("simulated"), events, starts.replace(month=2), end
    )
    store, results = trained(workspace, ("contraction", "silent_churn"), end)
    return workspace, store, results, end


@pytest.mark.parametrize("label", ["contraction", "silent_churn"])
def test_the_simulated_outcome_is_trained_promoted_and_better_than_what_it_must_beat(
    simulated,
    label,
) -> None:
    _, store, results, _ = simulated
    result = results[label]
    assert result.promoted, result.summary
    assert store.champion_version(label).version == 1
    loss = {name: m[90]["log_loss"].value for name, m in result.metrics.items()}
    assert loss[result.best.name] < min(loss["base_rate"], loss["formula"], loss["usage"])
    assert result.metrics[result.best.name][90]["auc"].value > 0.75


def test_the_service_says_both_outcomes_in_the_simulated_company(simulated) -> None:
    workspace, store, results, end = simulated
    answers, page = served(workspace, store, end)
    for label in ("contraction", "silent_churn"):
        known = [a[label]["probability"] for a in answers if a[label]["probability"] is not None]
        why = {a[label]["note"] for a in answers if a[label]["probability"] is None}
        assert len(known) > 20
        assert all(0 < p["low"] <= p["probability"] <= p["high"] < 1 for p in known)
        assert {p["horizon_days"] for p in known} == {90}
        assert known[0]["base_rate"] == pytest.approx(results[label].bundle.base_rate(90))
        assert len({round(p["probability"], 6) for p in known}) > 10  # it tells them apart
        assert all(re.search("silent for|contract has (ended|begun)", reason) for reason in why)
    outlooks = page.partition('id="outlooks"')[2].partition("</section>")[0]
    assert "From contraction version 1." in outlooks
    assert "No contraction model" not in outlooks


@pytest.fixture(scope="module")
def customers(tmp_path_factory):
    """Every tenth customer of CDNOW; what somebody bought is use."""
    if not CDNOW.exists():
        pytest.skip("the purchases are not here: ../shared/data/cdnow")
    bought = (
        pl.read_csv(CDNOW, has_header=False, skip_rows=1, new_columns=["line"], separator="\t")
        .select(part=pl.col("line").str.extract_all(r"\S+"))
        .select(
            account_id=pl.col("part").list.get(0),
            amount=pl.col("part").list.get(3).cast(pl.Float64),
            day=pl.col("part").list.get(1).str.to_datetime("%Y%m%d", time_zone="UTC"),
        )
    )
    kept = bought["account_id"].unique().sort().gather_every(10)
    bought = bought.filter(pl.col("account_id").is_in(kept.implode()))
    events = events_frame(
        [
            Event(
                account_id=account,
                kind="feature.used",
                quantity=amount,
                occurred_at=day,
                recorded_at=day,
                event_id=str(number),
            )
            for number, (account, amount, day) in enumerate(bought.iter_rows())
        ]
    )
    end = datetime(1998, 7, 1, tzinfo=UTC)
    workspace = workspace_of(
        tmp_path_factory.mktemp("cdnow"), events, datetime(1997, 3, 1, tzinfo=UTC), end
    )
    store, results = trained(workspace, ("silent_churn",), end)
    return workspace, store, results["silent_churn"], end


def test_silence_of_real_customers_is_learned_and_promoted_on_its_evidence(customers) -> None:
    _, store, result, _ = customers
    assert result.promoted, result.summary
    assert store.champion_version("silent_churn").version == 1
    assert "The health formula gives no probability here" in result.summary
    found = result.metrics[result.best.name][90]
    assert found["auc"].low > 0.7
    assert found["log_loss"].value < result.metrics["base_rate"][90]["log_loss"].value


def test_the_service_says_how_likely_a_real_customer_falls_silent(customers) -> None:
    workspace, store, result, end = customers
    answers, _ = served(workspace, store, end)
    silent = [a for a in answers if "has been silent for" in (a["silent_churn"]["note"] or "")]
    asked = [
        a["silent_churn"]["probability"]
        for a in answers
        if a["silent_churn"]["probability"] is not None
    ]
    assert len(silent) + len(asked) == len(answers)
    assert silent
    for answer in answers:
        assert answer["contraction"]["note"] == "No contraction model has been promoted."
        assert answer["renewal"]["note"] == "No renewal date is known."
    for said in asked:
        assert 0 < said["low"] <= said["probability"] <= said["high"] < 1
        assert said["base_rate"] == pytest.approx(result.bundle.base_rate(90))
