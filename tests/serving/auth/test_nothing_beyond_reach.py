"""Accounts beyond a caller's reach change no answer to that caller: two companies, one answer.

The companies share the accounts of the caller's territory. All the rest differs: how many other
accounts there are, what they are called and worth, their risk, events, parents, decisions, claims,
approvals, judgements, stops and levels. Whatever is counted, summed, ordered, compared or dated over
all accounts would show in some answer. Each company has fewer accounts than a group of peers needs,
since medians of such groups are the one figure that is meant to cross (``LEAST_PEERS``).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient
from small_company import AS_OF, BEFORE, account_events, event

from features.compute.backfill import backfill
from features.events.schema import Event, events_frame
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from serving.auth.api_keys import KEYS_FILE, PEPPER_FILE, ApiKeys
from serving.auth.gate import declared_needs
from serving.auth.roles import Role
from serving.scoring.explanations import LEAST_PEERS

SHARED = (0, 2, 3, 5, 6, 9)
"""Numbers of the accounts within reach: of emea. All of csm-0 to csm-2 are there."""

CALLERS: tuple[Role, ...] = ("reader", "csm", "approver", "engine")
IN, OUT, NOBODY, CHILD = "acct-02", "acct-11", "acct-99", "acct-05"
EMEA = ("emea",)


@dataclass(frozen=True, kw_only=True)
class Others:
    """The accounts beyond reach: their numbers, and how they differ."""

    numbers: tuple[int, ...]
    region: str | None
    factor: float
    name: str
    days_ago: float  # of their newest events


FEW = Others(numbers=(11,), region="apac", factor=1.0, name="Rival", days_ago=30)
MANY = Others(
    numbers=(11, 12, 13, 14, 16, 17, 20, 21, 23, 25),
    region=None,
    factor=37.0,
    name="Zebra",
    days_ago=0.01,
)


def others_events(others: Others) -> list[Event]:
    events = []
    for number in others.numbers:
        account = f"acct-{number:02d}"
        events += [
            e
            if e.quantity is None or e.kind != "contract.started"
            else type(e)(**{**vars(e), "quantity": e.quantity * others.factor})
            for e in account_events(number)
        ]
        words = {"name": f"{others.name} {number}", "parent": IN, "csm": f"csm-of-{others.name}"}
        if others.region is not None:
            words["region"] = others.region
        else:
            words["segment"] = "secret"
        events.append(event(account, "account.updated", 300, **words))
        for error in range(int(others.factor)):
            events.append(event(account, "error.raised", 2 + error * 0.3, name=others.name))
        events.append(event(account, "ticket.opened", others.days_ago, name=others.name))
        if number > 16:
            events.append(event(account, "contract.cancelled", 0.5, reason="bought by a rival"))
            events.append(event(account, "custom.takeover_talks", 0.2))
    return events


def make_company(root: Path, others: Others) -> Workspace:
    """The accounts of emea, and the others. Account 5 is below 2, and so are all others."""
    workspace = Workspace(root, environment={})
    workspace.change_settings(tenant="Sample", complete_until=AS_OF)
    events = [e for number in SHARED for e in account_events(number)]
    events += [event(f"acct-{n:02d}", "account.updated", 300, region="emea") for n in SHARED]
    events += [event(CHILD, "account.updated", 299, parent=IN)]
    events += [event("acct-03", "account.updated", 299, parent=OUT)]
    events += others_events(others)
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events_frame(events), source="hand", file="hand", now=AS_OF
    )
    snapshots = backfill(workspace, [BEFORE, AS_OF])
    WorkspaceFeatures(workspace).publish(snapshots.filter(pl.col("as_of") == AS_OF))
    return workspace


class Company:
    """A service, and an admin who works on its accounts."""

    def __init__(self, client: TestClient, secrets: Mapping[str, str]) -> None:
        self.app, self.client, self.secrets, self.numbers = client.app, client, secrets, 0

    def write(self, path: str, who: str = "admin", **body: Any) -> dict[str, Any]:
        self.numbers += 1
        answer = self.client.post(
            path,
            json=body,
            headers={"X-API-Key": self.secrets[who], "Idempotency-Key": f"n-{self.numbers}"},
        )
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    def decide(self, *accounts: str) -> list[dict[str, Any]]:
        return list(self.write("/v1/next-actions", account_ids=list(accounts))["items"])

    def carry_out(self, items: list[dict[str, Any]]) -> str:
        """Approve and claim the first action that a program may carry out; the claim's id."""
        decision, action = next(
            (item["decision_id"], ranked["action"])
            for item in items
            for ranked in item["ranked"]
            if ranked["max_autonomy"] > 1
        )
        self.write(
            f"/v1/decisions/{decision}/approvals", "second", verdict="approved", action=action
        )
        return str(self.write(f"/v1/decisions/{decision}/claims", action=action)["claim_id"])

    def live(self) -> dict[str, str]:
        """What happens to the shared accounts in both companies; the ids of what was made."""
        decided = self.decide(IN, "acct-09")
        return {"decision_in": decided[0]["decision_id"], "decision_too": decided[1]["decision_id"]}

    def live_apart(self, others: Others) -> dict[str, str]:
        """What happens to the others, and to the company as far as it concerns only them."""
        if others is MANY:
            self.write("/v1/controls/levels", level=2, segment="secret", reason="trusted")
        items = self.decide(*(f"acct-{n:02d}" for n in others.numbers))
        decided = [item["decision_id"] for item in items]
        self.write(f"/v1/decisions/{decided[0]}/feedback", verdict="agree")
        if others is FEW:
            return {"decision_out": decided[0], "claim_out": "none"}
        self.write(
            f"/v1/decisions/{decided[1]}/feedback",
            verdict="snooze",
            reason="merger",
            snooze_until=f"{AS_OF + timedelta(days=9):%Y-%m-%dT%H:%M:%SZ}",
        )
        self.write(
            f"/v1/decisions/{decided[2]}/outcomes", kind="outcome", result="renewed", by="spy"
        )
        claim_out = self.carry_out(items)
        self.write("/v1/controls/stop", segment="secret", reason="bad news")
        self.write("/v1/controls/stop", csm=f"csm-of-{others.name}", reason="bad news")
        self.write("/v1/controls/capacities", segment="secret", most_a_week=1, reason="few")
        sent = {"kind": "note.added", "occurred_at": "2026-02-28T10:00:00Z"}
        self.write("/v1/events", events=[{**sent, "event_id": "s-1", "account_id": OUT}])
        self.app.state.service.refresh()
        return {"decision_out": decided[0], "claim_out": claim_out}


def make_keys(workspace: Workspace) -> dict[str, str]:
    """A key for each caller, one for the admin of the company and one for who approves."""
    callers: list[tuple[str, str, Role, tuple[str, ...]]] = [
        ("admin", "boss", "admin", ()),
        ("second", "vera", "approver", ()),
        *((role, "csm-0", role, EMEA) for role in CALLERS),
    ]
    with closing(ApiKeys(workspace.root)) as keys:
        return {
            name: keys.create(
                name=name, owner=owner, role=role, territories=territories, now=AS_OF
            ).secret
            for name, owner, role, territories in callers
        }


@pytest.fixture(scope="module")
def companies(
    tmp_path_factory: pytest.TempPathFactory, store: Any, new_clients: Any
) -> Iterator[tuple[Company, Company, Mapping[str, str]]]:
    assert len(SHARED) + len(MANY.numbers) < LEAST_PEERS
    with new_clients() as make:
        folders = [tmp_path_factory.mktemp(name) / "w" for name in ("few", "many")]
        workspaces = [
            make_company(root, others) for root, others in zip(folders, (FEW, MANY), strict=True)
        ]
        secrets = make_keys(workspaces[0])
        for name in (KEYS_FILE, PEPPER_FILE):  # what a caller writes has an id made of its key's
            shutil.copy(workspaces[0].root / name, workspaces[1].root)
        both = [
            Company(make(each, store, wall_clock=lambda: AS_OF), secrets) for each in workspaces
        ]
        few, many = both
        made = few.live()
        assert many.live() == made
        few.live_apart(FEW)
        made |= many.live_apart(MANY)
        for company in both:  # when that is done is a matter of minutes, whoever wrote what
            assert company.app.state.service.deliver()
        yield few, many, made


Asked = tuple[str, str, dict[str, Any]]


def requests_of(ids: Mapping[str, str], role: str) -> Iterator[Asked]:
    """Every route of the service as this caller may ask it, about what is in and beyond reach."""
    both = [IN, OUT, NOBODY]
    yield "GET", "/v1/accounts?limit=500", {}
    yield "GET", "/v1/accounts?limit=2", {}
    for name, value in (
        ("parent", IN),
        ("parent", OUT),
        ("csm", f"csm-of-{MANY.name}"),
        ("segment", "secret"),
        ("search", "Zebra"),
        ("status", "ended"),
        ("tier", "critical"),
    ):
        yield "GET", f"/v1/accounts?{name}={value}", {}
        yield "GET", f"/?status=all&{name}={value}" if name != "status" else "/?status=ended", {}
    yield "GET", "/", {}
    yield "GET", "/?status=all", {}
    for account in (*both, CHILD, "acct-03"):
        yield "GET", f"/v1/accounts/{account}", {}
        yield "GET", f"/v1/accounts/{account}/score", {}
        yield "GET", f"/v1/accounts/{account}/timeline", {}
        yield "GET", f"/accounts/{account}", {}
    yield "POST", "/v1/scores", {"json": {"account_ids": both}}
    yield "POST", "/v1/next-actions", {"json": {"account_ids": both}}
    yield "POST", "/v1/next-actions", {"json": {"limit": 500}}
    yield "POST", "/v1/plans", {"json": {"csms": [{"id": "csm-0", "hours": 40}]}}
    yield (
        "POST",
        "/v1/plans",
        {"json": {"csms": [{"id": "x", "hours": 40, "territories": ["apac"]}]}},
    )
    for decision in (ids["decision_out"], ids["decision_in"], "none"):
        yield "GET", f"/v1/decisions/{decision}", {}
        yield "GET", f"/v1/decisions/{decision}/feedback", {}
        yield "POST", f"/v1/decisions/{decision}/feedback", {"json": {"verdict": "agree"}}
        yield "POST", f"/v1/decisions/{decision}/outcomes", {"json": {"kind": "executed"}}
        yield "POST", f"/v1/decisions/{decision}/approvals", {"json": {"verdict": "rejected"}}
        yield "POST", f"/v1/decisions/{decision}/claims", {"json": {}}
        yield "POST", f"/decisions/{decision}/approvals", {"data": {"verdict": "rejected"}}
    for claim in (ids["claim_out"], "none"):
        yield "GET", f"/v1/claims/{claim}", {}
        yield "POST", f"/v1/claims/{claim}/heartbeat", {"json": {}}
        yield "POST", f"/v1/claims/{claim}/complete", {"json": {}}
        yield "POST", f"/v1/claims/{claim}/fail", {"json": {"reason": "x"}}
    own = "acct-06" if role == "csm" else "acct-09"  # what a form stores has an id that is drawn
    for account in (own, OUT, NOBODY):
        yield "POST", f"/accounts/{account}/feedback", {"data": {"verdict": "agree"}}
    yield "GET", "/approvals", {}
    yield "GET", "/approvals?action=tips_email&segment=secret", {}
    yield "GET", "/approvals?segment=mid", {}
    reason = {"segment": "secret", "reason": "asked"}
    yield "GET", "/v1/controls", {}
    yield "POST", "/v1/controls/stop", {"json": reason}
    yield "POST", "/v1/controls/resume", {"json": reason}
    yield "POST", "/v1/controls/levels", {"json": {**reason, "level": 2}}
    yield "POST", "/v1/controls/capacities", {"json": {**reason, "most_a_week": 5}}
    yield "POST", "/v1/events", {"json": {"events": []}}
    for path in (
        "/v1/actions",
        "/v1/models",
        "/v1/reports",
        "/v1/reports/none",
        "/models",
        "/models/churn/1",
        "/models/churn/1/plots/calibration.png",
        "/reports",
        "/reports/none",
        "/problems",
        "/docs",
        "/help",
        "/help/glossary",
        "/help/how-to/manage-keys",
        "/openapi.json",
        "/assets/keepwell.svg",
        "/assets/none.css",
        "/metrics",
        "/healthz",
        "/readyz",
    ):
        yield "GET", path, {}


def heard(company: Company, role: str, asked: Asked, number: int) -> tuple[int, str, list[Any]]:
    method, path, body = asked
    headers = {"X-API-Key": company.secrets[role]}
    if method == "POST":
        headers["Idempotency-Key"] = f"walk-{number}"
    answer = company.client.request(method, path, headers=headers, follow_redirects=False, **body)
    return answer.status_code, answer.text, sorted(answer.headers.items())


@pytest.mark.parametrize("role", CALLERS)
def test_what_lies_beyond_reach_changes_no_answer(companies, role) -> None:
    few, many, ids = companies
    differing = []
    for number, asked in enumerate(requests_of(ids, role)):
        one, other = (heard(company, role, asked, number) for company in (few, many))
        if one != other:
            differing.append(f"{asked[0]} {asked[1]}: {first_difference(one, other)}")
    assert not differing, "\n".join(differing)


def first_difference(one: object, other: object) -> str:
    texts = [json.dumps(each, ensure_ascii=False) for each in (one, other)]
    at = next(n for n, (x, y) in enumerate(zip(*texts, strict=False)) if x != y)
    return " | ".join(text[max(0, at - 60) : at + 40] for text in texts)


def test_the_companies_differ_to_who_reaches_all_of_both(companies) -> None:
    few, many, _ = companies
    counts = [
        company.client.get("/v1/accounts", headers={"X-API-Key": company.secrets["admin"]}).json()[
            "accounts"
        ]
        for company in (few, many)
    ]
    assert counts == [len(SHARED) + 1, len(SHARED) + len(MANY.numbers)]


def test_every_route_is_asked(companies) -> None:
    few, _, ids = companies
    asked = {f"{method} {path.partition('?')[0]}" for method, path, _ in requests_of(ids, "reader")}
    for route in declared_needs(few.app.routes):
        method, _, path = route.partition(" ")
        address = re.compile(re.sub(r"\\{[^/]+?\\}|\{[^/]+?\}", "[^/]+", path))
        assert any(
            one.startswith(f"{method} ") and address.fullmatch(one.partition(" ")[2])
            for one in asked
        ), route
