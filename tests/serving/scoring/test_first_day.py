"""Before anything was learned there are chances, money and order, each marked as a prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_company import AS_OF

from features.workspace import Workspace, WorkspaceError
from registry.store.store import MemoryModelStore
from serving.recommendations.snapshot import decisions_as_of, scores_as_of
from serving.scoring.first_day.prior import first_day_model, prior_model, rate_within
from serving.scoring.models_served import models_of

HORIZONS = (30, 60, 90)


@given(
    st.floats(0.005, 0.9),
    st.floats(20, 95),
    st.lists(st.floats(0, 100), min_size=2, max_size=8, unique=True),
)
def test_it_falls_with_health_rises_with_days_and_has_the_stated_rate_at_the_usual_health(
    yearly: float, usual: float, health: list[float]
) -> None:
    model = prior_model(
        round(yearly, 3), usual_health=round(usual, 1), horizons=HORIZONS, formula="f"
    ).model
    rows = np.array([[one] for one in sorted(health)])
    chances = np.column_stack([model.probability(rows, days) for days in HORIZONS])
    assert (np.diff(chances, axis=0) <= 0).all()
    assert (np.diff(chances, axis=1) > 0).all()
    for days in HORIZONS:
        at_usual = model.probability(np.array([[round(usual, 1)], [np.nan]]), days)
        assert at_usual == pytest.approx(rate_within(round(yearly, 3), days))
        low, high = model.probability_interval(rows, days)
        chance = model.probability(rows, days)
        assert (low <= chance).all()
        assert (chance <= high).all()
        points, base = model.points(rows, days)
        assert points.sum(axis=1) + base == pytest.approx(chance)


@pytest.fixture
def stated(own_workspace: Workspace) -> Workspace:
    own_workspace.change_settings(yearly_churn=0.2)
    return own_workspace


def test_without_a_model_there_are_chances_money_and_order_and_each_says_that_it_is_a_prior(
    stated: Workspace,
) -> None:
    scores = scores_as_of(stated, MemoryModelStore(), AS_OF)
    running = [one for one in scores if not one.has_left and one.mrr]
    assert len(running) > 10
    for one in running:
        assert one.source == "health_formula"
        assert "not yet learned from your data" in one.degraded
        assert [chance.horizon_days for chance in one.churn] == [30, 60, 90]
        assert one.risk_tier is not None
        assert one.revenue_at_risk == pytest.approx(one.churn_probability_90d * one.mrr * 12)
    by_health = sorted(
        (o for o in running if o.health.score is not None), key=lambda o: o.health.score
    )
    assert by_health[0].churn_probability_90d > by_health[-1].churn_probability_90d
    notes = {
        n
        for d in decisions_as_of(stated, MemoryModelStore(), AS_OF)
        for n in d.recommendation.notes
    }
    assert any("comes from the health formula" in note for note in notes)


def test_pages_and_answers_say_that_it_is_a_prior(stated: Workspace, make_client) -> None:
    client = make_client(stated, MemoryModelStore())
    item = client.get("/v1/accounts").json()["items"][0]
    assert item["revenue_at_risk"] > 0
    for address in ("/", f"/accounts/{item['account_id']}", "/models"):
        page = client.get(address)
        assert page.status_code == 200, address
    page = client.get(f"/accounts/{item['account_id']}").text
    assert "not yet learned from your data" in page
    assert "starts from the 20 of 100 customers" in page
    for text in (page, client.get("/").text):
        assert "Little or nothing was learned from your data yet." in text
        assert "calibrated on past accounts" not in text
        assert "95 times out of 100" not in text
    whole = client.get(f"/v1/accounts/{item['account_id']}").json()
    assert "not yet learned from your data" in str(whole)


def test_a_model_or_a_fitted_formula_takes_its_place(stated: Workspace, store) -> None:
    assert models_of(stated, store).churn_formula.version != first_day_model(stated).version
    assert models_of(stated, MemoryModelStore()).churn_formula is first_day_model(stated)


def test_nothing_changes_where_no_rate_is_stated(own_workspace: Workspace) -> None:
    assert first_day_model(own_workspace) is None
    assert models_of(own_workspace, MemoryModelStore()).churn_formula is None


@pytest.mark.parametrize("wrong", ["0", "1", "15", "-0.1"])
def test_a_rate_that_is_none_is_refused(tmp_path, wrong: str) -> None:
    (tmp_path / "workspace.toml").write_text(f"yearly_churn = {wrong}\n")
    with pytest.raises(WorkspaceError, match="15 of 100"):
        _ = Workspace(tmp_path, environment={}).settings
