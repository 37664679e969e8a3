from __future__ import annotations

import math
from dataclasses import replace

import pytest

from features.compute.snapshot_store import SnapshotStore
from serving.problems import BadCursorError, NotReadyError, UnknownAccountError
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.portfolio import AccountFilter, LivePortfolio, page_of, portfolio_order, sum_of


@pytest.fixture(scope="module")
def portfolio(client):
    return client.app.state.service.portfolio


def test_most_revenue_at_risk_comes_first_and_unknown_last(portfolio):
    known = [s.revenue_at_risk for s in portfolio.scores if s.revenue_at_risk is not None]
    assert known == sorted(known, reverse=True)
    assert portfolio.scores[-1].revenue_at_risk is None


@pytest.mark.parametrize("limit", [1, 7, 48, 500])
def test_pages_together_are_all_accounts_once(portfolio, limit):
    seen, cursor = [], None
    for _ in range(100):
        page = page_of(portfolio.scores, cursor=cursor, limit=limit)
        seen += [score.account_id for score in page.scores]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [score.account_id for score in portfolio.scores]


def test_accounts_of_equal_risk_are_paged_by_id(portfolio):
    same = sorted(
        (replace(score, revenue_at_risk=10.0) for score in portfolio.scores), key=portfolio_order
    )
    first = page_of(same, cursor=None, limit=20)
    second = page_of(same, cursor=first.next_cursor, limit=100)
    ids = [s.account_id for s in (*first.scores, *second.scores)]
    assert ids == sorted(s.account_id for s in portfolio.scores)


def test_a_cursor_goes_on_where_it_was_when_its_account_is_gone(portfolio):
    page = page_of(portfolio.scores, cursor=None, limit=5)
    without = [s for s in portfolio.scores if s.account_id != page.scores[-1].account_id]
    following = page_of(without, cursor=page.next_cursor, limit=1)
    assert following.scores[0] == portfolio.scores[5]


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "WyIxLjAiXQ", "bnVsbA", "WzEuMCwgImEiXQ"])
def test_a_cursor_that_is_not_ours_is_refused(portfolio, cursor):
    with pytest.raises(BadCursorError, match="not made by this service"):
        page_of(portfolio.scores, cursor=cursor, limit=5)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (AccountFilter(), 48),
        (AccountFilter(segment="mid"), 24),
        (AccountFilter(csm="csm-1"), 16),
        (AccountFilter(service_tier="enterprise"), 24),
        (AccountFilter(status="ended"), 1),
        (AccountFilter(search="ACCT-1"), 10),
        (AccountFilter(search="company 07"), 1),
        (AccountFilter(segment="nobody"), 0),
        (AccountFilter(segment="mid", csm="csm-1"), 8),
    ],
)
def test_filters_keep_what_is_wanted(portfolio, wanted, count):
    assert len(portfolio.chosen(wanted)) == count


def test_tier_and_level_filters_split_the_portfolio(portfolio):
    tiers = [portfolio.chosen(AccountFilter(tier=t)) for t in ("low", "medium", "high", "critical")]
    assert sum(map(len, tiers)) == 47  # the account that left has no tier
    levels = {s.health.band for s in portfolio.scores}
    chosen = [portfolio.chosen(AccountFilter(level=level)) for level in levels if level]
    assert sum(map(len, chosen)) == sum(s.health.band is not None for s in portfolio.scores)


def test_a_sum_counts_what_is_known_and_brackets_itself(portfolio):
    total = sum_of(portfolio.scores)
    assert (total.accounts, total.with_revenue_at_risk) == (48, 47)
    assert total.revenue_at_risk_low < total.revenue_at_risk < total.revenue_at_risk_high
    assert total.expected_expansion_low < total.expected_expansion < total.expected_expansion_high
    assert sum(total.by_tier.values()) == sum(total.by_level.values()) == 48
    assert math.isfinite(total.mrr)


def test_accounts_whose_contract_ended_are_counted_by_themselves(portfolio):
    total = sum_of(portfolio.scores)
    assert total.contract_ended == total.by_tier["contract ended"] == 1
    assert "unknown" not in total.by_tier


@pytest.mark.parametrize("status", [None, "ended"], ids=["no account", "ended contracts"])
def test_a_sum_that_no_account_is_part_of_is_unknown_and_not_zero(portfolio, status):
    total = sum_of(() if status is None else portfolio.chosen(AccountFilter(status=status)))
    assert {
        total.mrr,
        total.revenue_at_risk,
        total.revenue_at_risk_low,
        total.revenue_at_risk_high,
        total.expected_expansion,
    } == {None}


def test_an_account_that_is_not_there_is_unknown(portfolio):
    with pytest.raises(UnknownAccountError, match="'nobody' is in the snapshot of 2026-03-01"):
        portfolio.account("nobody")


class Maker:
    """Makes portfolios, or fails, as it is told."""

    def __init__(self, portfolio):
        self.portfolio, self.stamp, self.made, self.error = portfolio, 1, 0, None

    def make(self):
        if self.error is not None:
            raise self.error
        self.made += 1
        return replace(self.portfolio)


@pytest.fixture
def maker(portfolio):
    return Maker(portfolio)


@pytest.fixture
def live(maker):
    return LivePortfolio(make=maker.make, stamp=lambda: maker.stamp)


def test_before_the_first_refresh_nothing_is_ready(live):
    with pytest.raises(NotReadyError, match="are being scored"):
        live.current()


def test_it_is_made_anew_only_when_something_changed(live, maker):
    assert live.refresh()
    first = live.current()
    assert not live.refresh()
    assert live.current() is first
    maker.stamp = 2
    assert live.refresh()
    assert live.current() is not first
    assert maker.made == 2


def test_while_nothing_can_be_made_the_old_one_stays_and_the_reason_is_told(live, maker):
    live.refresh()
    before = live.current()
    maker.stamp, maker.error = 2, NotReadyError("The online store has no features.")
    assert not live.refresh()
    assert live.current() is before
    assert live.problem == "The online store has no features"


def test_a_fault_is_not_taken_for_done(live, maker):
    maker.error = RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken"):
        live.refresh()
    maker.error = None
    assert live.refresh()


def test_the_score_of_before_is_that_of_a_whole_snapshot_and_of_accounts_within_reach_alone(
    client, shared_workspace, store
) -> None:
    service = client.app.state.service
    earlier = SnapshotStore(shared_workspace.snapshots_dir).moments()[0]
    whole = {one.account_id: one for one in scores_as_of(shared_workspace, store, earlier)}
    previous = service.portfolio.previous
    name = next(n for n in whole if previous.get(n) is not None)
    found = previous.get(name)
    assert found is not None
    assert (found.as_of, found.churn, found.health) == (
        whole[name].as_of,
        whole[name].churn,
        whole[name].health,
    )
    assert previous.get("nobody") is None
    assert previous.within({"acct-99"}).get(name) is None
