"""A parent says what its accounts come to, on the API and on its page, as fresh as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from small_company import AS_OF, event, family_events, make_store, make_workspace

from features.catalogue.catalogue import load_catalogue
from features.compute.hierarchy import rolled_up_features
from serving.api.serializers import MOST_CHILDREN, family_answer
from serving.pages.views.family_view import LABELS, family_view
from serving.problems import UnknownAccountError
from serving.scoring.account_families import SHOWN, families_of, family_of
from serving.scoring.portfolio import AccountFilter
from serving.state.refresh import FreshScores

CATALOGUE = load_catalogue()
PARENT, MEMBERS = "acct-04", {"acct-01", "acct-02", "acct-03", "acct-04", "acct-05"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("families") / "company", more=family_events())


@pytest.fixture
def client(workspace, make_client):
    return make_client(workspace, make_store(workspace))


@pytest.fixture
def portfolio(client):
    return client.app.state.service.portfolio


def linked(portfolio, **parents):
    """The scores of some accounts, with other parents."""
    return [
        replace(
            portfolio.by_id[name.replace("_", "-")],
            attributes={"parent": parent and parent.replace("_", "-")},
        )
        for name, parent in parents.items()
    ]


def test_a_parent_says_what_its_accounts_come_to(client):
    accounts = {name: client.get(f"/v1/accounts/{name}").json() for name in MEMBERS}
    family = accounts[PARENT]["family"]
    assert (family["accounts"], family["children"], family["currency"]) == (5, 3, "USD")
    assert family["as_of"] == family["oldest_as_of"] == "2026-03-01T00:00:00Z"
    figures = {figure["feature"]: figure for figure in family["figures"]}
    assert figures["mrr"]["value"] == sum(a["mrr"] for a in accounts.values()) == 1250
    assert (figures["mrr"]["unit"], figures["mrr"]["how"]) == ("money a month", "sum")
    assert family["features"]["errors_28d"] == 10
    assert set(family["features"]) == rolled_up_features(CATALOGUE)


def test_people_are_bounded_and_not_added(portfolio):
    scores = linked(portfolio, acct_01="acct_04", acct_02="acct_04", acct_04=None)
    scores = [
        replace(s, features={**s.features, "active_users_28d": users})
        for s, users in zip(scores, (3.0, 5.0, None), strict=True)
    ]
    family = family_of(PARENT, families_of(scores), {s.account_id: s for s in scores}, CATALOGUE)
    answer = family_answer(family, "USD")
    [people] = [f for f in answer.figures if f.feature == "active_users_28d"]
    assert (people.value, people.at_least, people.at_most) == (None, 5, 8)
    assert (people.how, people.known_of) == ("not known, but bounded", 2)
    [mrr] = [f for f in answer.figures if f.feature == "mrr"]
    assert (mrr.at_least, mrr.at_most) == (None, None)


def test_children_come_worst_health_first_and_link_to_their_parent(client):
    family = client.get(f"/v1/accounts/{PARENT}").json()["family"]
    healths = [child["health_score"] for child in family["worst_children"]]
    assert len(healths) == 3
    assert healths == sorted(healths)
    assert {child["source"] for child in family["worst_children"]} == {"model"}
    for child in family["worst_children"]:
        answer = client.get(f"/v1/accounts/{child['account_id']}").json()
        assert answer["parent"] == {"account_id": PARENT, "name": "Company 04", "is_scored": True}
    assert client.get(f"/v1/accounts/{PARENT}").json()["parent"] is None


def test_unknown_health_of_a_child_comes_last(portfolio):
    scores = linked(portfolio, acct_01="acct_04", acct_02="acct_04", acct_04=None)
    unknown = replace(scores[0].health, score=None)
    scores[0] = replace(scores[0], explain_health=lambda: unknown)
    family = family_of(PARENT, families_of(scores), {s.account_id: s for s in scores}, CATALOGUE)
    assert [child.account_id for child in family.children] == ["acct-02", "acct-01"]


def test_an_account_without_others_below_has_no_family(client, portfolio):
    answer = client.get("/v1/accounts/acct-09").json()
    assert (answer["parent"], answer["family"]) == (None, None)
    assert family_of("acct-09", portfolio.families, portfolio.by_id, CATALOGUE) is None


def test_a_circle_of_parents_is_opened(portfolio):
    scores = linked(portfolio, acct_01="acct_02", acct_02="acct_03", acct_03="acct_01")
    families = families_of(scores)
    assert families.parent_of == {"acct-02": "acct-03", "acct-03": "acct-01"}
    assert families.members("acct-01") == ("acct-01", "acct-03", "acct-02")


def test_the_list_can_be_asked_for_a_parent(client):
    content = client.get(f"/v1/accounts?parent={PARENT}").json()
    assert {row["account_id"] for row in content["items"]} == MEMBERS
    assert content["family"]["accounts"] == 5
    assert client.get("/v1/accounts").json()["family"] is None
    nobody = client.get("/v1/accounts?parent=nobody").json()
    assert (nobody["accounts"], nobody["family"]) == (0, None)


def test_a_parent_combines_with_other_filters(portfolio):
    chosen = portfolio.chosen(AccountFilter(parent=PARENT, segment="small"))
    assert {score.account_id for score in chosen} == {"acct-01", "acct-03", "acct-05"}


def test_a_parent_that_sends_nothing_is_added_up_in_the_list(client, portfolio):
    content = client.get("/v1/accounts?parent=holding").json()
    assert {row["account_id"] for row in content["items"]} == {"acct-06", "acct-07"}
    assert (content["family"]["accounts"], content["family"]["children"]) == (2, 2)
    assert content["family"]["features"]["mrr"] == 850
    assert client.get("/v1/accounts/acct-06").json()["parent"] == {
        "account_id": "holding",
        "name": None,
        "is_scored": False,
    }
    refused = client.get("/v1/accounts/holding")
    assert refused.status_code == 404
    assert "2 accounts name it as parent" in refused.json()["detail"]
    assert "GET /v1/accounts?parent=" in refused.json()["next"]
    with pytest.raises(UnknownAccountError, match="sends nothing itself"):
        portfolio.account("holding")


def test_a_parent_is_as_fresh_as_its_accounts(tmp_path, make_client):
    workspace = make_workspace(tmp_path / "own", more=family_events())
    client = make_client(workspace, make_store(workspace), now=lambda: AS_OF + timedelta(hours=1))
    service = client.app.state.service
    fresh = FreshScores(service)
    fresh.catch_up()  # what the newest snapshot cannot have seen
    before = client.get(f"/v1/accounts/{PARENT}").json()["family"]
    ticket = replace(
        event("acct-05", "ticket.created", 0, quantity=2.0),
        occurred_at=AS_OF + timedelta(minutes=1),
        recorded_at=AS_OF + timedelta(minutes=2),
    )
    service.timelines.append([ticket], now=service.now())
    assert fresh.catch_up() > 0
    after = client.get(f"/v1/accounts/{PARENT}").json()["family"]
    assert after["features"]["tickets_28d"] == (before["features"]["tickets_28d"] or 0) + 1
    assert after["oldest_as_of"] == "2026-03-01T00:00:00Z" < after["as_of"]
    assert after["accounts"] == 5


def test_a_large_family_shows_its_worst_and_says_how_many_there_are(portfolio):
    one = portfolio.by_id["acct-01"]
    scores = [
        replace(one, account_id=f"c{n:03d}", attributes={"parent": "top"})
        for n in range(MOST_CHILDREN + 5)
    ]
    by_id = {score.account_id: score for score in scores}
    family = family_of("top", families_of(scores), by_id, CATALOGUE)
    answer = family_answer(family, "USD")
    assert (answer.children, len(answer.worst_children)) == (MOST_CHILDREN + 5, MOST_CHILDREN)
    assert family.figure("mrr").value == (MOST_CHILDREN + 5) * one.mrr


def test_every_figure_that_is_shown_has_a_label_and_is_declared():
    assert set(LABELS) == set(SHOWN) <= set(CATALOGUE.names)


def test_a_view_says_bounds_and_of_how_many_it_is_known(portfolio, client):
    scores = linked(portfolio, acct_01="acct_04", acct_02="acct_04", acct_04=None)
    scores = [
        replace(s, features={**s.features, "active_users_28d": users, "mrr": mrr})
        for s, users, mrr in zip(scores, (3.0, 5.0, None), (10.0, None, None), strict=True)
    ]
    family = family_of(PARENT, families_of(scores), {s.account_id: s for s in scores}, CATALOGUE)
    view = family_view(
        family, name="Company 04", currency="EUR", formula=client.app.state.service.formula
    )
    shown = {figure.label: (figure.value, figure.note) for figure in view.figures}
    assert shown["Monthly revenue"] == ("10 EUR", "known of 1 of 3 accounts")
    assert shown["People active in 28 days"] == (
        "5 to 8",
        "one person may be in two accounts; known of 2 of 3 accounts",
    )


def test_the_pages_link_both_ways(client):
    accept = {"Accept": "text/html"}
    parent = client.get(f"/accounts/{PARENT}", headers=accept).text
    assert "What Company 04 and the accounts below it come to" in parent
    assert '<a href="/accounts/acct-02">Company 02</a>' in parent
    assert f'<a href="/?parent={PARENT}&amp;status=all">Show all 5 accounts</a>' in parent
    child = client.get("/accounts/acct-02", headers=accept).text
    assert f'<span>Parent</span> <a href="/accounts/{PARENT}">Company 04</a>' in child
    orphan = client.get("/accounts/acct-06", headers=accept).text
    assert '<a href="/?parent=holding&amp;status=all">Account holding</a>' in orphan
    listed = client.get("/?parent=holding&status=all", headers=accept).text
    assert "What Account holding and the accounts below it come to" in listed
    assert "2 accounts, most revenue at risk first." in listed
    assert '<option value="holding" selected>Account holding</option>' in listed
    assert 'name="parent"' in client.get("/", headers=accept).text
