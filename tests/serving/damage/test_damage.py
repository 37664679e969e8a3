"""Damage each store of a workspace in each way, and see that the service does what the table says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from damage_table import DAMAGES, OUTCOMES, REQUESTS, STORES, Cell, Outcome, cells
from damaged_workspace import STORES as PLACES
from damaged_workspace import damaged, make_key
from served_workspace import Served, StartRefusedError, served
from small_company import AS_OF
from store_degradation import (
    SECONDS_TO_ANSWER,
    check_recovered,
    degraded,
    ready,
    wait_until_degraded,
)

from features.compute.snapshot_store import SnapshotStore
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.store.mlflow import MlflowModelStore
from serving.api.app import create_app
from serving.settings import ServiceSettings

REPRESENTATIVE = {
    ("manifest", "deleted", "while serving"),
    ("manifest", "truncated", "at start"),
    ("part", "flipped", "while serving"),
    ("snapshot", "flipped", "at start"),
    ("online store", "truncated", "at start"),
    ("tracking store", "truncated", "while serving"),
    ("bundle", "flipped", "at start"),
    ("ledger", "truncated", "at start"),
    ("report", "truncated", "at start"),
    ("report", "altered", "at start"),
    ("settings", "deleted", "at start"),
    ("draws", "flipped", "at start"),
    ("keys", "deleted", "at start"),
}
"""The cells that are tested each time; the others are tested by ``make soak``."""


SECONDS_TO_MEND = 180.0

REFUSED = 3
"""The exit code of a command that cannot use its workspace."""


def check(service: Served, outcome: Outcome) -> None:
    """See that all requests are answered as the table says."""
    wait_until_degraded(service, outcome.degraded)
    expected = {kind: outcome.refused.get(kind, 200) for kind in REQUESTS}
    assert service.statuses(seconds=SECONDS_TO_ANSWER) == expected
    if "score" not in outcome.refused:
        assert service.ask("score").json()["source"] == outcome.scored_by
    if outcome.degraded is not None:
        assert outcome.says in degraded(service)[outcome.degraded]
        is_failing = "readyz" in outcome.refused
        assert ready(service)["status"] == ("failing" if is_failing else "degraded")
    for kind, status in outcome.refused.items():
        if status == 503 and kind != "readyz" and "page" not in kind:
            refusal = service.ask(kind, seconds=SECONDS_TO_ANSWER)
            assert refusal.headers["content-type"] == "application/problem+json"
            assert int(refusal.headers["retry-after"]) > 0
            assert refusal.json()["next"]


MENDED: dict[str, Callable[[Path], bool]] = {
    "snapshot": lambda root: not SnapshotStore(root / "snapshots").damaged(),
    "online store": lambda root: (
        (root / "online.db").is_file()
        and WorkspaceFeatures(Workspace(root, environment={})).online_problem() is None
    ),
}
"""Whether a store is as it was written, of those that the service mends itself."""


def check_mended(cell: Cell, workspace: Path) -> None:
    """See that the service mends a store by itself."""
    until = time.monotonic() + SECONDS_TO_MEND
    while not MENDED[cell.store](workspace):
        assert time.monotonic() < until, f"{cell} was not mended"
        time.sleep(0.1)


def of(store: str, when: str, *, fast: bool) -> list[Cell]:
    return [
        cell
        for cell in cells()
        if (cell.store, cell.when) == (store, when)
        and ((store, cell.damage, when) in REPRESENTATIVE) == fast
    ]


def parameters(*, fast: bool) -> Iterator[object]:
    marks = () if fast else (pytest.mark.slow,)
    for row in STORES:
        if chosen := of(row.store, "while serving", fast=fast):
            yield pytest.param(chosen, id=f"{row.store} while serving", marks=marks)
        for cell in of(row.store, "at start", fast=fast):
            yield pytest.param([cell], id=str(cell), marks=marks)


@pytest.mark.parametrize("of_one_service", [*parameters(fast=True), *parameters(fast=False)])
def test_a_damaged_store_degrades_what_needs_it(
    of_one_service: list[Cell], workspace: Path, other: Path
) -> None:
    if of_one_service[0].when == "at start":
        [cell] = of_one_service
        started_on(cell, workspace, other)
        return
    if not all(cell.outcome.comes_back for cell in of_one_service):
        for cell in of_one_service:
            check_while_serving([cell], workspace, other)
        return
    check_while_serving(of_one_service, workspace, other)


def check_while_serving(cells: list[Cell], workspace: Path, other: Path) -> None:
    with started(workspace, cells[0]) as service:
        check_recovered(service)  # all is well, and what is cached is in memory
        for cell in cells:
            with (
                in_cell(cell),
                damaged(PLACES[cell.store], cell.damage, workspace, other=other),
            ):
                if cell.outcome.heals:
                    check_mended(cell, workspace)
                check(service, cell.outcome)
            with in_cell(cell):
                if cell.outcome.comes_back:
                    check_recovered(service)


def started(workspace: Path, cell: Cell) -> AbstractContextManager[Served]:
    """The service; its requests have a key where the cell is about keys."""
    key = make_key(workspace) if cell.store == "keys" else None
    return served(workspace, key=key)


@contextmanager
def in_cell(cell: Cell) -> Iterator[None]:
    """Say in which cell a test failed that goes through several."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"in the cell: {cell}")
        raise


def started_on(cell: Cell, workspace: Path, other: Path) -> None:
    service = started(workspace, cell)
    with damaged(PLACES[cell.store], cell.damage, workspace, other=other):
        if not cell.outcome.starts:
            with pytest.raises(StartRefusedError) as refused, service:
                pass
            assert PLACES[cell.store].file(workspace).name in str(refused.value)
            assert refused.value.exit_code == REFUSED
            return
        running = service.__enter__()
        try:
            if cell.outcome.heals:
                check_mended(cell, workspace)
            check(running, cell.outcome)
        except BaseException:
            service.__exit__(None, None, None)
            raise
    try:
        if cell.outcome.comes_back:
            check_recovered(running)
    finally:
        service.__exit__(None, None, None)


def test_every_cell_of_the_table_is_there_once():
    found = [(cell.store, cell.damage, cell.when) for cell in cells()]
    assert len(found) == len(set(found)) == sum(2 * len(row.damages) for row in STORES)
    assert all(set(DAMAGES) <= set(row.damages) for row in STORES)
    assert set(found) >= REPRESENTATIVE
    assert {row.store for row in STORES} <= set(PLACES)


def test_no_outcome_is_said_in_vain():
    used = set(itertools.chain.from_iterable([*row.while_serving.values(), *row.at_start.values()]
                                             for row in STORES))  # fmt: skip
    assert used == set(OUTCOMES)


def test_settings_that_break_while_serving_are_those_of_before(workspace):
    file = workspace / "workspace.toml"
    whole = file.read_bytes()
    with served(workspace) as service:
        check_recovered(service)
        file.write_bytes(b"tenant = ")
        wait_until_degraded(service, "settings")
        assert set(service.statuses(seconds=SECONDS_TO_ANSWER).values()) == {200}
        page = service.ask("page").text
        assert "Sample &amp; Sons" in page
        assert "Something is wrong with the settings of this workspace since" in page
        file.write_bytes(whole)
        check_recovered(service)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for at in range(len(content) // 2, len(content), max(1, len(content) // 8)):
        content[at] = 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["snapshots/as_of_20260201T000000Z.parquet", "feast/feature_store.yaml", "feast/registry.db"],
)
def test_a_service_starts_on_a_file_that_it_can_do_without(name: str, workspace: Path) -> None:
    flip(workspace / name)
    place = Workspace(workspace, environment={})
    app = create_app(
        place,
        store=MlflowModelStore(place.tracking_uri),
        now=lambda: AS_OF,
        settings=ServiceSettings(lottery_key="ab" * 32),
    )
    service = app.state.service
    service.look_at_stores()
    found = {one.store: one.reason for one in service.conditions.degraded()}
    service.close()
    assert service.portfolio.scores
    is_snapshot = name.startswith("snapshots")
    assert set(found) == ({"snapshots"} if is_snapshot else set())
    if is_snapshot:
        assert "as_of_20260201T000000Z.parquet is damaged" in str(found["snapshots"])
