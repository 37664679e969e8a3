"""Answers that follow from the portfolio alone: the same bytes, never older, never another's."""

from __future__ import annotations

import gc
import weakref
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from small_company import AS_OF

from serving.api.encoded_answers import EncodedAnswer, EncodedAnswers
from serving.api.serializers import score_answer
from serving.auth.api_keys import ApiKeys
from serving.scoring.portfolio import LivePortfolio, Portfolio, with_scores

ADDRESSES = (
    "/v1/accounts/acct-01",
    "/v1/accounts/acct-01/score",
    "/v1/accounts/acct-01/score?horizon_days=30",
    "/v1/accounts?limit=3",
)


def cached(client: TestClient) -> EncodedAnswers:
    found = client.app.state.encoded_answers  # type: ignore[attr-defined]
    assert isinstance(found, EncodedAnswers)
    return found


def portfolio_of(client: TestClient) -> Portfolio:
    found = client.app.state.service.live.current()  # type: ignore[attr-defined]
    assert isinstance(found, Portfolio)
    return found


@pytest.mark.parametrize("address", ADDRESSES)
def test_asked_again_the_answer_is_the_same_to_the_last_byte(own_client, address):
    first = own_client.get(address)
    assert len(cached(own_client)) == 1
    again = own_client.get(address)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers == first.headers
    series = 'route="/v1/accounts'
    counted = [x for x in own_client.get("/metrics").text.splitlines() if series in x]
    assert any(x.startswith("keepwell_requests_total") and x.endswith(" 2.0") for x in counted)


def test_another_portfolio_is_answered_from_at_once(own_client):
    before = own_client.get("/v1/accounts/acct-01").json()
    own_client.get("/v1/accounts/acct-02")
    live = own_client.app.state.service.live
    live.exchange(lambda one: replace(one, now=one.now + timedelta(hours=5)))
    after = own_client.get("/v1/accounts/acct-01").json()
    assert after["freshness"][0]["age_hours"] == before["freshness"][0]["age_hours"] + 5
    assert len(cached(own_client)) == 1


def test_a_portfolio_of_before_is_not_held(own_client):
    own_client.get("/v1/accounts/acct-01")
    live, older = own_client.app.state.service.live, weakref.ref(portfolio_of(own_client))
    live.exchange(lambda one: replace(one, now=one.now + timedelta(hours=5)))
    gc.collect()
    assert older() is None


def test_who_reaches_other_accounts_has_other_answers(own_workspace, store, make_client):
    with closing(ApiKeys(own_workspace.root)) as keys:
        secrets = [
            keys.create(name=name, owner="ann", role=role, territories=(), now=AS_OF).secret
            for name, role in (("all", "reader"), ("own", "csm"))
        ]  # ann is the CSM of no account
    client = make_client(own_workspace, store)
    for _ in range(2):
        everything, nothing = (
            client.get("/v1/accounts?limit=50", headers={"X-API-Key": one}) for one in secrets
        )
        assert everything.json()["accounts"] > 0
        assert nothing.json()["accounts"] == 0
    assert client.get("/v1/accounts?limit=50").status_code == 401


def test_only_good_answers_from_the_portfolio_are_cached(own_client):
    for address in ("/v1/accounts/nobody", "/v1/accounts?limit=0", "/healthz", "/", "/metrics"):
        own_client.get(address)
    own_client.post("/v1/scores", json={"account_ids": ["acct-01"]})
    assert len(cached(own_client)) == 0


def test_the_cache_is_bounded_and_drops_what_was_asked_for_longest_ago(client):
    portfolio = portfolio_of(client)
    answers = EncodedAnswers(most_bytes=10_000)
    answers.find(portfolio, ("", b"", None))
    for number in range(50):
        answers.find(portfolio, ("/0", b"", None))  # is asked for all the time
        size = 1_000 + number
        one = EncodedAnswer(headers=(), body=b"x" * size, route=None)
        answers.add(portfolio, (f"/{number}", b"", None), one)
        assert answers.bytes <= 10_000
    assert answers.find(portfolio, ("/0", b"", None)) is not None
    assert answers.find(portfolio, ("/1", b"", None)) is None
    assert answers.find(portfolio, ("/49", b"", None)) is not None
    huge = EncodedAnswer(headers=(), body=b"x" * 10_000, route=None)
    answers.add(portfolio, ("/huge", b"", None), huge)
    assert answers.find(portfolio, ("/huge", b"", None)) is None


def test_what_was_answered_from_a_portfolio_of_before_is_not_cached(client):
    portfolio = portfolio_of(client)
    answers = EncodedAnswers()
    answers.find(portfolio, ("/", b"", None))
    newer = replace(portfolio, now=portfolio.now + timedelta(hours=1))
    one = EncodedAnswer(headers=(), body=b"x", route=None)
    answers.add(newer, ("/", b"", None), one)
    assert len(answers) == 0


SCORES = "/v1/accounts/acct-{:02d}/score"
SAME_ADDRESS = "/v1/accounts/acct-{:02d}/score?horizon_days=90"
"""The same question as the plain address, asked of the route, as it is another address."""


def exchange(client: TestClient, *touched: str) -> None:
    """A batch of events: some accounts are scored anew, and sources are fresher."""

    def change(portfolio: Portfolio) -> Portfolio:
        scores = [
            replace(portfolio.by_id[one], mrr=(portfolio.by_id[one].mrr or 0.0) + 1)
            for one in touched
        ]
        freshness = [
            replace(one, last_recorded_at=one.last_recorded_at + timedelta(minutes=7))
            for one in portfolio.freshness
        ]
        return with_scores(
            portfolio,
            scores,
            now=portfolio.now + timedelta(hours=1),
            freshness=tuple(freshness),
            alerts=portfolio.alerts,
        )

    client.app.state.service.live.exchange(change)  # type: ignore[attr-defined]


def test_a_batch_drops_the_scores_of_the_accounts_it_touches_alone(own_client, monkeypatch):
    before = {n: own_client.get(SCORES.format(n)).json() for n in range(4)}
    own_client.get("/v1/accounts/acct-00")
    exchange(own_client, "acct-02")
    asked: list[str] = []
    account = Portfolio.account
    monkeypatch.setattr(
        Portfolio, "account", lambda self, name: asked.append(name) or account(self, name)
    )
    after = {n: own_client.get(SCORES.format(n)) for n in range(4)}
    assert asked == ["acct-02"]
    for number, answer in after.items():
        assert answer.content == own_client.get(SAME_ADDRESS.format(number)).content
        changed = {name for name, value in answer.json().items() if value != before[number][name]}
        assert changed == {"freshness", "mrr"} if number == 2 else {"freshness"}
    assert len(cached(own_client)) == 8  # the whole account followed from the portfolio of before


@pytest.mark.parametrize("rounds", [3])
def test_after_any_batch_each_caller_gets_what_the_route_answers(
    own_workspace, store, make_client, rounds
):
    """Everybody with a reach of their own, accounts that come into and leave it, and full refreshes."""
    with closing(ApiKeys(own_workspace.root)) as keys:
        secrets = [
            keys.create(name=owner, owner=owner, role=role, territories=(), now=AS_OF).secret
            for owner, role in (("ann", "reader"), ("csm-1", "csm"), ("csm-2", "csm"))
        ]
        callers = {secret: keys.caller(secret, AS_OF) for secret in secrets}
    reaches = {secret: caller.reach for secret, caller in callers.items() if caller}
    client = make_client(own_workspace, store)
    live = client.app.state.service.live
    seen = set()
    for number in range(rounds * 4):
        for secret in secrets:
            for account in range(6):
                address, name = SCORES.format(account), f"acct-{account:02d}"
                first, again = (
                    client.get(address, headers={"X-API-Key": secret}) for _ in range(2)
                )
                portfolio = live.current().within(reaches[secret])
                expected = None
                if name in portfolio.by_id:
                    answer = score_answer(portfolio.by_id[name], portfolio, 90)
                    expected = answer.model_dump_json().encode()
                for one in (first, again):
                    assert (one.content if one.status_code == 200 else None) == expected
                seen.add(first.status_code)
        name = f"acct-{number % 6:02d}"
        if number % 4 == 3:
            live.exchange(lambda one: replace(one, scores=one.scores))
        elif number % 4 == 2:
            _give_to(live, name, f"csm-{number % 3}")
        else:
            exchange(client, *([name] if number % 2 else []))
    assert seen == {200, 404}


def _give_to(live: LivePortfolio, account: str, csm: str) -> None:
    def change(portfolio: Portfolio) -> Portfolio:
        score = portfolio.by_id[account]
        given = replace(score, attributes={**score.attributes, "csm": csm})
        return with_scores(
            portfolio,
            [given],
            now=portfolio.now,
            freshness=portfolio.freshness,
            alerts=portfolio.alerts,
        )

    live.exchange(change)


def test_an_answer_that_does_not_end_with_the_freshness_is_of_its_portfolio(client):
    portfolio = portfolio_of(client)
    answers, address = EncodedAnswers(), ("/", b"", None)
    answers.find(portfolio, address)
    one = EncodedAnswer(headers=((b"content-length", b"1"),), body=b"x", route=None)
    answers.add(portfolio, address, one, portfolio.scores[0])
    assert answers.find(portfolio, address) == one
    assert answers.find(replace(portfolio, now=portfolio.now), address) is None
    assert (len(answers), answers.bytes, answers.holds("/")) == (0, 0, False)


def test_a_score_that_is_gone_is_answered_no_more_and_not_held(client):
    portfolio = portfolio_of(client)
    answers, address = EncodedAnswers(), ("/v1/accounts/acct-00/score", b"", None)
    answers.find(portfolio, address)
    body = client.get(address[0]).content
    score = replace(portfolio.by_id["acct-00"])
    mine = replace(portfolio, by_id={**portfolio.by_id, "acct-00": score})
    answers.find(mine, address)
    answers.add(mine, address, EncodedAnswer(headers=(), body=body, route=None), score)
    found = answers.find(mine, address)
    assert found is not None
    assert found.body == body
    held = weakref.ref(score)
    del score, mine, found
    gc.collect()
    assert held() is None
    assert answers.find(portfolio, address) is None
    assert len(answers) == 0
