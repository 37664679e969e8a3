"""The champion changes under load, over real sockets: nobody is refused, no answer is of two."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from real_server import running
from small_company import AS_OF, READS, add_model, make_bundle

from registry.store.mlflow import MlflowModelStore
from registry.store.store import TrainingRun
from serving.api.app import create_app

CALLERS = 6


@pytest.fixture
def store(own_workspace) -> MlflowModelStore:
    """Version 1 serves; version 2 waits."""
    models = MlflowModelStore(own_workspace.tracking_uri)
    add_model(models, "churn", make_bundle(own_workspace, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    second = make_bundle(own_workspace, READS, [0.2, -0.1, -0.9, 0.4, 0.3])
    run = TrainingRun(label="churn", name="second", bundle=second, started_at=AS_OF, ended_at=AS_OF)
    models.register("churn", models.record_run(run))
    return models


@pytest.fixture
def address(own_workspace, store) -> Iterator[str]:
    served = MlflowModelStore(own_workspace.tracking_uri)  # as another process would open it
    app = create_app(own_workspace, store=served, now=lambda: AS_OF, refresh_seconds=0.1)
    with running(app) as address:
        yield address


Answered = list[tuple[str, tuple[tuple[str, float], ...]]]  # version, account and probability


def ask_until(done: threading.Event, address: str) -> tuple[set[int], Answered]:
    """Everything that one caller was told: the statuses, and each answer with its one version."""
    statuses: set[int] = set()
    answered: Answered = []
    with httpx.Client(base_url=address, timeout=60) as client:
        while not done.is_set():
            answer = client.get("/v1/accounts", params={"limit": 40})
            statuses.add(answer.status_code)
            items = [i for i in answer.json()["items"] if i["model_version"] is not None]
            (version,) = {item["model_version"] for item in items}
            answered.append(
                (
                    version,
                    tuple((item["account_id"], item["churn_probability_90d"]) for item in items),
                )
            )
    return statuses, answered


def wait_for(version: str, address: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        one = httpx.get(f"{address}/v1/accounts/acct-03", timeout=60).json()
        if one["model_version"] == version:
            return
        time.sleep(0.05)
    pytest.fail(f"{version} never came to serve.")


def test_a_promotion_and_a_rollback_lose_no_request(address, store):
    changes: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: store.promote("churn", 2, evidence={}, by="ann", at=AS_OF), "churn version 2"),
        (lambda: store.rollback("churn", by="ann", at=AS_OF), "churn version 1"),
    )
    done = threading.Event()
    with ThreadPoolExecutor(CALLERS) as callers:
        asking = [callers.submit(ask_until, done, address) for _ in range(CALLERS)]
        try:
            for change, version in changes:
                change()
                wait_for(version, address)
        finally:
            done.set()
        told = [one.result() for one in asking]
    assert set().union(*(statuses for statuses, _ in told)) == {200}
    by_version: dict[str, set[tuple[tuple[str, float], ...]]] = defaultdict(set)
    for version, answer in (one for _, answered in told for one in answered):
        by_version[version].add(answer)
    assert set(by_version) == {"churn version 1", "churn version 2"}
    # whoever asks of a version is told the same: nothing of the other one is mixed in
    assert [len(answers) for answers in by_version.values()] == [1, 1]
    assert by_version["churn version 1"] != by_version["churn version 2"]
