"""Train and serve an outcome that only ``registry/outcomes.py`` was told of; prints JSON.

Run in a process of its own, because the table of outcomes is read when modules are imported.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import registry

DECLARED = """OUTCOMES: tuple[Outcome, ...] = (
    Outcome(
        name="downgrade",
        description="MRR first falls to 90 % of the cutoff's.",
        rule="mrr_falls",
        words=OutcomeWords(
            verb="downgrade",
            gerund="downgrading",
            statement="Moves to a smaller plan",
            happened="an account that moved down",
            not_happened="one that stayed on its plan",
            model="Downgrade model",
        ),
        horizons=(60,),
    ),
"""


def declare(folder: Path) -> None:
    """Put a copy of the table with one more entry in its place."""
    source = Path(next(iter(registry.__path__)), "outcomes.py").read_text(encoding="utf-8")
    opening = DECLARED.splitlines(keepends=True)[0]
    assert source.count(opening) == 1
    changed = folder / "outcomes.py"
    changed.write_text(source.replace(opening, DECLARED), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("registry.outcomes", changed)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["registry.outcomes"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    declare(Path(sys.argv[1]))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from features.compute.backfill import backfill, month_starts  # noqa: E402
from features.events.schema import EVENT_SCHEMA, Event, events_frame  # noqa: E402
from features.lake.lake import Lake  # noqa: E402
from features.store.feast import WorkspaceFeatures  # noqa: E402
from features.workspace import Workspace  # noqa: E402
from registry.outcomes import OUTCOME_OF_MODEL, OutcomeName  # noqa: E402
from registry.store.store import MemoryModelStore  # noqa: E402
from serving.api.app import create_app  # noqa: E402
from serving.settings import ServiceSettings  # noqa: E402
from training.pipeline.workspace import train_workspace  # noqa: E402

START, MONTHS, CUSTOMERS, TRIALS = datetime(2024, 1, 1, tzinfo=UTC), 16, 120, 240
END = datetime(2025, 5, 1, tzinfo=UTC)


def world() -> pl.DataFrame:
    """Customers that downgrade and trials that convert, the more so the less or more they use."""
    rng = np.random.default_rng(3)
    events: list[Event] = []

    def add(account: str, kind: str, day: float, quantity: float | None = None) -> None:
        at = START + timedelta(days=float(day))
        if at < END:
            events.append(
                Event(
                    account_id=account,
                    kind=kind,
                    occurred_at=at,
                    recorded_at=at,
                    quantity=quantity,
                    event_id=str(len(events)),
                )
            )

    def use(account: str, first: float, days: float, level: float) -> None:
        for at in rng.uniform(first, first + days, rng.poisson(days / 7 * np.exp(0.5 - level))):
            add(account, "feature.used", at)

    for number in range(CUSTOMERS):
        account, mrr, level = f"c{number:03}", 1000.0, rng.normal()
        add(account, "contract.started", 0, mrr)
        for month in range(MONTHS):
            use(account, 30.4 * month, 30, level)
            if rng.random() < 0.06 * np.exp(level):
                mrr *= 0.8
                add(account, "contract.changed", 30.4 * month + 15, mrr)
    for number in range(TRIALS):
        account, first, level = f"t{number:03}", rng.uniform(0, 470), rng.normal()
        add(account, "trial.started", first)
        use(account, first, 60, level)
        converts = rng.random() < 1 / (1 + np.exp(2 * level))
        add(account, "contract.started" if converts else "trial.ended", first + 50, 500.0)
    return events_frame(events)


def main(folder: Path) -> None:
    """Ingest, train, promote and ask the service and the page."""
    workspace = Workspace(folder / "workspace", environment={})
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        world().select(*EVENT_SCHEMA), source="test", file="events", now=END, complete_until=END
    )
    workspace.change_settings(complete_until=END)
    snapshots = backfill(workspace, month_starts(START + timedelta(days=31), END))
    WorkspaceFeatures(workspace).publish(snapshots.filter(pl.col("as_of") == END))
    store = MemoryModelStore()
    labels = ("downgrade", "trial_conversion")
    results = train_workspace(
        workspace, labels, store=store, as_of=END, clock=lambda: END, trials=0, seed=1, by=None
    )
    for label in labels:
        store.promote(label, 1, evidence={}, by="ann", at=END)
    app = create_app(workspace, store=store, now=lambda: END, settings=ServiceSettings())
    running = snapshots.filter((pl.col("as_of") == END) & (pl.col("contract_status") == "trial"))
    asked = {"customer": "c000", "trial": str(running["account_id"][0])}
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        answers = {who: client.get(f"/v1/accounts/{id}").json() for who, id in asked.items()}
        pages = {who: client.get(f"/accounts/{id}").text for who, id in asked.items()}
        models = client.get("/models").text
        document = client.get("/openapi.json").json()
    app.state.service.close()
    told = {
        "offered": [one.value for one in OutcomeName],
        "stored": list(OUTCOME_OF_MODEL),
        "loss": {
            result.label.name: {
                name: metrics[result.label.horizons[0]]["log_loss"].value
                for name, metrics in result.metrics.items()
            }
            for result in results
        },
        "answers": {who: {label: one[label] for label in labels} for who, one in answers.items()},
        "pages": pages,
        "models": models,
        "fields": list(document["components"]["schemas"]["AccountAnswer"]["properties"]),
    }
    Path(folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
