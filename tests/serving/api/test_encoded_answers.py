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
from serving.auth.api_keys import ApiKeys
from serving.scoring.portfolio import Portfolio

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
