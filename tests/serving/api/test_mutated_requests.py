"""Whatever is asked, the service answers at once, in one shape, and never with a fault of its own."""

from __future__ import annotations

from collections import Counter

import pytest
from mutated_requests import BASE, FORM, JSON, Sent, ask, broken_promise, good_requests, names_of

SAMPLE, WHOLE, AT_ONCE = 1_000, 1_000_000, 50_000


def broken_in(own_client, *, count, seed):
    good = good_requests(own_client.app, names_of(own_client.app))
    found = ask(own_client.app, good, count=count, seed=seed)
    assert found.statuses.total() == count
    assert {200, 400, 404, 405, 422} <= set(found.statuses)
    return [f"{problem} | {sent}" for problem, sent in found.broken[:5]]


def test_a_sample_of_mutated_requests_is_answered(own_client):
    assert broken_in(own_client, count=SAMPLE, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 2 + WHOLE // AT_ONCE))
def test_a_million_mutated_requests_are_answered(own_client, seed):
    assert broken_in(own_client, count=AT_ONCE, seed=seed) == []


def test_good_requests_are_understood(own_client):
    """Else the mutants would be variations of a refusal."""
    app = own_client.app
    good = good_requests(app, names_of(app))
    found = Counter()
    for one in good:
        statuses = ask(app, [one], count=1, seed=0, mutates=False).statuses
        found.update(statuses)
    assert found[200] + found[201] + found[303] > 0.6 * len(good)
    assert max(found) < 500


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (422, Sent("POST", "/accounts/acct-00/feedback", FORM, b"&".join([b"a=b"] * 11))),
        (422, Sent("POST", "/decisions/x/approvals", FORM, b"&".join([b"a=b"] * 2000))),
        (403, Sent("POST", "/v1/scores", (*JSON, (b"origin", b"http://[")), b"{}")),
        (200, Sent("GET", "/v1/actions", (*BASE, (b"origin", b"http://[")), b"")),
        (422, Sent("GET", "/v1/accounts/acct-00/timeline?since=9999-12-31T23:59:59-12:00", BASE, b"")),
        (422, Sent("GET", "/v1/accounts/acct-00/timeline?since=0001-01-01T00:00:00%2B12:00", BASE, b"")),
        (413, Sent("POST", "/v1/scores", (*JSON, (b"content-length", b"9" * 5000)), b"{}")),
    ],
)  # fmt: skip
def test_what_once_was_a_fault_of_the_service_is_answered(own_client, status, sent):
    found = ask(own_client.app, [sent], count=1, seed=0, mutates=False)
    assert found.broken == []
    assert set(found.statuses) == {status}


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, b"application/problem+json", b"{}"),
        (404, b"text/plain", b"Not found"),
        (404, b"application/problem+json", b'{"status": 404}'),
    ],
)
def test_a_broken_promise_is_noticed(status, kind, body):
    sent = Sent("GET", "/", BASE, b"")
    assert broken_promise(sent, status, {b"content-type": kind}, body) is not None
