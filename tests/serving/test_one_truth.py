"""No two places state one figure differently: pages, API, scores file, next actions, gauges, reports.

Every figure on a page carries its name, so a new place is compared as soon as it names what it
states. The demo worlds are walked by ``tests/benchmarks/believable/one_truth.py``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from believable.one_truth import ask
from causal_worlds import event_world
from keepwell_command import run_keepwell
from small_company import AS_OF
from stated_figures import (
    Stated,
    agree,
    by_figure,
    disagreements,
    figures_of_effects,
    figures_of_report,
    walk,
)

from experiments.report.workspace import write_workspace_report
from experiments.uplift.workspace import write_effects
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.recommendations.snapshot import recommendations_as_of
from serving.scoring.scores_file.scores_file import write_scores

SUMS = {
    *("accounts_low", "accounts_medium", "accounts_high", "accounts_critical"),
    *("revenue_at_risk", "yearly_revenue", "expected_expansion"),
}


@pytest.fixture(scope="module")
def stated(client, shared_workspace, store, tmp_path_factory) -> list[Stated]:
    """Every figure of the small company, wherever it stands."""
    folder = tmp_path_factory.mktemp("files")
    files = {"scores": folder / "scores.parquet", "actions": folder / "actions.json"}
    write_scores(shared_workspace, store, AS_OF, files["scores"])
    answer = recommendations_as_of(shared_workspace, store, AS_OF)
    files["actions"].write_text(json.dumps(answer), encoding="utf-8")
    return list(walk(client, shared_workspace.reports_dir, files=files))


def test_no_two_places_disagree(stated):
    assert [str(one) for one in disagreements(stated)] == []


@pytest.mark.parametrize("name", sorted(SUMS))
def test_a_sum_stands_on_the_page_in_the_api_and_in_the_file(stated, name):
    places = {one.place for one in by_figure(stated)[name, "accounts"]}
    assert {"the list (running)", "GET /v1/accounts", "the scores file"} <= places


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("churn_probability_90d", 5),
        ("churn_probability_90d_low", 5),
        ("churn_base_rate_90d", 2),
        ("risk_tier", 5),
        ("health_score", 6),
        ("health_level", 5),
        ("revenue_at_risk", 6),
        ("mrr", 4),
    ],
)
def test_what_is_said_of_an_account_is_compared_where_it_stands(stated, name, places):
    found = {one.place for one in by_figure(stated)[name, "acct-03"]}
    assert len(found) >= places, sorted(found)


@pytest.mark.parametrize(
    ("name", "of", "places"),
    [
        ("model_version", "churn", {"the list (all)", "GET /v1/accounts", "the scores file"}),
        ("as_of", "accounts", {"the account's page", "GET /v1/accounts", "the scores file"}),
        ("log_loss_90d_low", "churn 1", {"the page of models", "GET /v1/models"}),
    ],
)
def test_which_model_of_when_and_how_good_is_compared_too(stated, name, of, places):
    assert places <= {one.place for one in by_figure(stated)[name, of]}


@pytest.mark.slow
@pytest.mark.parametrize(("world", "preset"), [("crm", "small"), ("simulated", "small")])
def test_no_two_places_disagree_in_a_demo_world(world, preset, tmp_path):
    """All of it, from the sample's rows to the report; the preset is of the simulated company."""
    done = run_keepwell(
        *("demo", "--workspace", "w", "--world", world, "--preset", preset, "--no-serve"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    stated, scores = ask(tmp_path / "w")
    assert len(by_figure(stated)) > 10 * len(scores)
    assert [str(one) for one in disagreements(stated)] == []


def test_a_figure_that_is_rounded_otherwise_is_found():
    page = Stated(name="p", of="a", value=0.13, within=0.005, place="page")
    assert not agree(page, replace(page, value=0.1361, within=0.0))
    [apart] = disagreements([page, replace(page, value=0.14, within=0.0, place="api")])
    assert str(apart) == "p of a: 0.14 (api), 0.13 (page)"
    assert asdict(apart.one)["place"] == "api"


def test_a_report_and_the_effects_that_the_ranking_reads_state_one_number(tmp_path):
    """The effect of a lottery on leaving is that on staying, with the other sign."""
    workspace = Workspace(tmp_path / "ws", environment={})
    world = event_world(np.random.default_rng(3), programmes=("pilot",))
    end = world.as_of
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        world.events, source="test", file="events", now=end
    )
    SnapshotStore(workspace.snapshots_dir).write(world.features)
    write_effects(workspace, as_of=end)
    page, _ = write_workspace_report(workspace, as_of=end, written_at=end)
    found = []
    for name, read in (("report", figures_of_report), ("effects", figures_of_effects)):
        content = (workspace.reports_dir / f"{name}.json").read_text(encoding="utf-8")
        found += list(read(json.loads(content), name))
    compared = [key for key, group in by_figure(found).items() if len({o.place for o in group}) > 1]
    assert any(name == "effect_on_leaving_estimate" for name, _ in compared)
    assert any(" in " in of for _, of in compared), "the segments too"
    assert "the effects that the ranking of actions counts on" in page.read_text(encoding="utf-8")
    assert [str(one) for one in disagreements(found)] == []
