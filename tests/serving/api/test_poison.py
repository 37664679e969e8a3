"""Whatever is on a timeline, every route answers; what is absurd is refused at the door."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import httpx2
import polars as pl
import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from small_company import AS_OF, event

from features.cli.commands import take_snapshots
from features.events.schema import KINDS, Event, properties_text
from features.ingest.properties import flat_properties
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.lake.manifest import CHECKSUM, MANIFEST
from features.workspace import Workspace
from serving.recommendations.snapshot import recommendations_as_of
from serving.scoring.scores_file.scores_file import write_scores
from serving.state.refresh import FreshScores

ACCOUNT = "acct-00"

TEAM = {"csms": [{"id": "csm-0", "hours": 30}, {"id": "csm-1", "hours": 30}]}

END_OF_TIME = "9999-12-31T23:59:59-12:00"

POISON = {
    "MRR of 1e308": [event(ACCOUNT, "contract.changed", 1, quantity=1e308, price_plan="x")],
    "MRR of 1e100": [event(ACCOUNT, "contract.changed", 1, quantity=1e100, price_plan="x")],
    "units that add up to infinity": [
        event(ACCOUNT, "usage.metered", 1, quantity=1e308, unit="a"),
        event(ACCOUNT, "usage.metered", 2, quantity=1e308, unit="a"),
    ],
    "a goal that is infinitely far": [
        event(ACCOUNT, "goal.measured", 1, quantity=1e308, kpi="a", baseline=-1e308, target=1e308)
    ],
    "seats without number": [
        event(ACCOUNT, "contract.changed", 1, quantity=100.0, seats=1e300, unit_limit=-1e300)
    ],
    "renewal in the year 1": [
        event(ACCOUNT, "contract.changed", 1, quantity=100.0, renewal_on="0001-01-01")
    ],
    "renewal in the year 9999": [
        event(ACCOUNT, "contract.changed", 1, quantity=100.0, renewal_on="9999-12-31")
    ],
    "an execution of nothing": [event(ACCOUNT, "action.executed", 1)],
    "an execution of what nobody knows": [event(ACCOUNT, "action.executed", 1, action="x")],
    "an outcome with half of its words": [event(ACCOUNT, "action.outcome", 1, window_days=14)],
    "a judgement of nothing": [
        event(ACCOUNT, "action.judged", 1, verdict="snooze", until=END_OF_TIME)
    ],
    "put off to the end of time": [
        event(ACCOUNT, "action.judged", 1, verdict="snooze", until=END_OF_TIME, action="tips_email")
    ],
    "put off until a moment in no zone": [
        event(ACCOUNT, "action.judged", 1, verdict="snooze", until="2026-09-01", action="x")
    ],
}


def put_past_the_door(workspace: Workspace, service, events: list[Event]) -> None:
    """Write events into the lake as a version did that refused none of them."""
    words = {"action": "x", "verdict": "agree"}
    harmless = [
        Event(
            **{
                name: getattr(one, name)
                for name in ("event_id", "account_id", "kind", "occurred_at", "recorded_at")
            },
            quantity=None if one.quantity is None else 1.0,
            properties=properties_text(words),
        )
        for one in events
    ]
    service.timelines.append(harmless, now=AS_OF)
    ids = [one.event_id for one in events]
    poison = pl.DataFrame(
        {name: [getattr(one, name) for one in events] for name in ("event_id", "properties")}
        | {
            "quantity_": pl.Series([one.quantity for one in events], dtype=pl.Float64),
            "count_": pl.Series([one.event_count for one in events], dtype=pl.Int64),
        }
    ).rename({"properties": "properties_"})
    found = 0
    for path in workspace.events_dir.rglob("*.parquet"):
        part = pl.read_parquet(path)
        if "event_id" not in part.columns or not part["event_id"].is_in(ids).any():
            continue
        found += part["event_id"].is_in(ids).sum()
        part.join(poison, on="event_id", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("properties_").is_null())
            .then("quantity")
            .otherwise("quantity_")
            .alias("quantity"),
            pl.coalesce("properties_", "properties").alias("properties"),
            pl.coalesce("count_", "event_count").alias("event_count"),
        ).select(part.columns).write_parquet(path)
    assert found == len(events)
    manifest = workspace.events_dir / MANIFEST  # as older workspaces have it, without digests
    content = json.loads(manifest.read_text())
    for name in ("digests", CHECKSUM):
        content.pop(name)
    manifest.write_text(json.dumps(content))


def failures(client: TestClient) -> list[tuple[str, int, str]]:
    """The routes that answer with an error of the server, of all that need no other id."""
    paths = sorted(
        {
            str(route.path).replace("{account_id}", ACCOUNT)
            for route in iter_route_contexts(client.app.routes)
            if "GET" in (route.methods or ())
            and "{" not in str(route.path).replace("{account_id}", "")
        }
    )
    assert f"/accounts/{ACCOUNT}" in paths
    answers = [(path, client.get(path)) for path in paths]
    answers += [
        (path, client.post(path, json=body))
        for path, body in (
            ("/v1/scores", {"account_ids": [ACCOUNT]}),
            ("/v1/next-actions", {"account_ids": [ACCOUNT]}),
            ("/v1/plans", TEAM),
        )
    ]
    return [
        (path, answer.status_code, answer.text[:200])
        for path, answer in answers
        if answer.status_code >= 500 or not is_finite(answer)
    ]


AMOUNT_OF_NOTHING = re.compile(r"(?<![\w.])-?(?:nan|inf)\s?(?:USD|%|days|hours|units|points)", re.I)


def is_finite(answer: httpx2.Response) -> bool:
    """Whether an answer holds no number that is none; a page none with its unit."""
    if answer.headers["content-type"].startswith("application/json"):
        try:
            json.loads(answer.content, parse_constant=no_number)
        except ValueError:
            return False
        return True
    return AMOUNT_OF_NOTHING.search(answer.text) is None


def no_number(word: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(word)


def not_finite_in_files(workspace: Workspace, store: object) -> list[str]:
    """What `keepwell score` and `keepwell actions` would write that is no number."""
    take_snapshots(workspace, (AS_OF,))
    file = workspace.root / "scores.parquet"
    write_scores(workspace, store, AS_OF, file)
    scores = pl.read_parquet(file)
    assert ACCOUNT in scores["account_id"]
    found = [
        name
        for name in scores.select(pl.selectors.float()).columns
        if not scores[name].drop_nulls().is_finite().all()
    ]
    answer = recommendations_as_of(workspace, store, AS_OF, rules=None, asked_at=None)
    assert ACCOUNT in {one["account_id"] for one in answer["accounts"]}
    json.dumps(answer, allow_nan=False)
    return found


@pytest.mark.parametrize("case", POISON)
def test_poison_of_an_older_workspace_breaks_no_route(own_workspace, store, make_client, case):
    with_poison = make_client(own_workspace, store)
    put_past_the_door(own_workspace, with_poison.app.state.service, POISON[case])
    client = make_client(own_workspace, store)
    fresh = FreshScores(client.app.state.service)
    fresh.catch_up()
    client.app.state.service.timelines.append(
        [event(ACCOUNT, "feature.used", 0.5, name="search")], now=AS_OF
    )
    fresh.catch_up()
    assert failures(client) == []


def test_what_an_older_workspace_holds_is_shown_as_not_known(own_workspace, store, make_client):
    poison = [
        *POISON["MRR of 1e308"],
        *POISON["a goal that is infinitely far"],
        event(ACCOUNT, "goal.measured", 2, quantity=-1e308, kpi="b", baseline=1, target=2),
    ]
    first = make_client(own_workspace, store)
    put_past_the_door(own_workspace, first.app.state.service, poison)
    client = make_client(own_workspace, store)
    items = client.get(f"/v1/accounts/{ACCOUNT}/timeline").json()["items"]
    texts = [one["text"] for one in items if one["kind"] == "contract.changed"]
    assert texts == [
        "Contract changed to the plan x: not known, because 1e+308 is no plausible quantity"
    ]
    fresh = FreshScores(client.app.state.service)
    client.app.state.service.timelines.append([event(ACCOUNT, "error.raised", 0.5)], now=AS_OF)
    fresh.catch_up()
    [score] = [
        one for one in client.app.state.service.portfolio.scores if one.account_id == ACCOUNT
    ]
    assert score.features["mrr"] == 100.0  # the newest that is known
    assert score.features["goal_progress"] is None


ABSURD = {
    "contract.changed": ({"quantity": 1.1e12}, "quantity is beyond 1,000,000,000,000 in either"),
    "usage.metered": ({"quantity": -1e308}, "quantity is beyond 1,000,000,000,000 in either"),
    "ticket.resolved": ({"quantity": 1.1e6}, "quantity is beyond 1,000,000 in either direction"),
    "user.session": ({"quantity": 1.1e9}, "quantity is beyond 1,000,000,000 in either direction"),
    "survey.answered": ({"quantity": 1001}, "quantity is beyond 1,000 in either direction"),
    "action.decided": ({"quantity": 1.5}, "quantity is beyond 1 in either direction"),
    "contract.started": (
        {"properties": {"renewal_on": "0001-01-01"}},
        "renewal_on is no date from 1970 to 2100; leave it out where there is none",
    ),
    "contract.renewed": (
        {"properties": {"renewal_on": "9999-12-31T00:00:00Z"}},
        "renewal_on is no date from 1970 to 2100",
    ),
    "billing.invoice": (
        {"properties": {"due_on": "2026-02-30"}},
        "due_on is no date from 1970 to 2100",
    ),
    "action.executed": ({"properties": {"by": "x"}}, "action.executed needs the property action"),
    "action.declined": ({}, "action.declined needs the property action"),
    "action.outcome": ({}, "action.outcome needs the property action"),
    "action.judged": (
        {"properties": {"action": "tips_email", "verdict": " "}},
        "action.judged needs the property verdict",
    ),
}
"""Kind to what is wrong with an event of it, and how its reason begins."""


@pytest.mark.parametrize("kind", ABSURD)
def test_what_is_absurd_is_refused_with_what_is_wrong(own_client, kind):
    wrong, reason = ABSURD[kind]
    row = {"account_id": ACCOUNT, "kind": kind, "occurred_at": "2026-02-27T10:00:00Z"} | wrong
    [item] = own_client.post("/v1/events", json={"events": [row]}).json()["items"]
    assert item["status"] == "refused"
    assert item["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("contract.changed", {"quantity": 1e12, "properties": {"renewal_on": "2100-12-31"}}),
        ("contract.changed", {"properties": {"renewal_on": "next spring"}}),
        ("ticket.resolved", {"quantity": 1e6}),
        ("action.decided", {"quantity": 1.0}),
        ("action.executed", {"properties": {"action": "what_we_do"}}),
        ("custom.pallets", {"quantity": 1e12, "properties": {"renewal_on": "9999-12-31"}}),
    ],
)
def test_what_is_at_the_bound_is_accepted(own_client, kind, more):
    row = {"account_id": ACCOUNT, "kind": kind, "occurred_at": "2026-02-27T10:00:00Z"} | more
    [item] = own_client.post("/v1/events", json={"events": [row]}).json()["items"]
    assert item["status"] == "on_timeline"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_are_refused_by_the_same_bounds(own_workspace, tmp_path, form):
    rows = pl.DataFrame(
        {
            "company": [ACCOUNT] * 3,
            "at": ["2026-02-27T10:00:00Z"] * 3,
            "mrr": [1e308, 100.0, 100.0],
            "until": ["2027-01-01", "9999-12-31", "2027-01-01"],
        }
    )
    files = tmp_path / "files"
    files.mkdir()
    getattr(rows, f"write_{form}")(files / f"terms.{form}")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        'name = "crm"\n[tables.terms]\nfiles = ["terms.*"]\naccount = "company"\n'
        'kind = "contract.changed"\noccurred_at = "at"\nquantity = "mrr"\n'
        'recorded_delay = "0s"\nproperties = { renewal_on = "until" }\n'
    )
    ingest(own_workspace, [files], mapping)
    lake = Lake(own_workspace.events_dir, own_workspace.quarantine_dir)
    assert lake.quarantined().sort("line").collect()["reason"].to_list() == [
        "quantity is beyond 1,000,000,000,000 in either direction; check its unit",
        "renewal_on is no date from 1970 to 2100; leave it out where there is none",
    ]


QUANTITIES = st.sampled_from(
    [None, 0.0, -0.0, 1.0, -1.0, 5e-324, 999.0, 1e3, 1e6, 1e9, 1e12, -1e12, 1.1e12, 1e100, -1e308]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "-1",
            "NaN",
            "inf",
            "1e999",
            "x" * 500,
            "<b>",
            "{0}",
            "{name}",
            "%s",
            "\u202e",
        ]
    ),
    st.sampled_from(["0001-01-01", "9999-12-31", "2026-13-45", "2026-02-27", END_OF_TIME]),
    st.sampled_from(["holdout", "held_out", "snooze", "agree", "given", "yes", "tips_email"]),
    st.sampled_from([0, -1, 2**53, 2**63, 10**300, 0.5, 1e308, True, False, None]),
)
COUNTS = st.sampled_from([0, 1, 2, 10**6, 10**12])


def late(draw: st.DrawFn, at: datetime) -> datetime:
    """When it became known: at once, or only today."""
    return draw(st.sampled_from([at, AS_OF]))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    """An event as somebody may send it: any kind, extreme values, sometimes a correction."""
    kind = draw(st.sampled_from([*KINDS]))
    ago = draw(st.sampled_from([timedelta(0), timedelta(hours=1), timedelta(days=40), 20_000]))
    at = AS_OF - ago if isinstance(ago, timedelta) else datetime(1970, 1, 2, tzinfo=UTC)
    names = [*kind.properties, "subjects", "other"]
    return {
        "account_id": ACCOUNT,
        "kind": kind.name,
        "event_id": draw(st.sampled_from(["a", "b", "c"])),  # so that some correct others
        "user_id": draw(st.sampled_from([None, "u", "=1+1", "<script>"])),
        "occurred_at": (at - timedelta(seconds=1)).isoformat(),
        "recorded_at": (late(draw, at) - timedelta(seconds=1)).isoformat(),
        "event_count": draw(COUNTS),
        "user_count": draw(COUNTS),
        "quantity": draw(QUANTITIES),
        "properties": {
            name: draw(VALUES) for name in draw(st.lists(st.sampled_from(names), unique=True))
        },
    }


@settings(max_examples=settings().max_examples // 4)
@given(sequence=st.lists(rows(), min_size=1, max_size=6), is_old=st.booleans())
def test_whatever_is_accepted_every_route_answers(
    untouched_workspace, store, new_clients, tmp_path_factory, sequence, is_old
):
    root = tmp_path_factory.mktemp("poison") / "own"
    shutil.copytree(untouched_workspace.root, root)
    workspace = Workspace(root, environment={})
    with new_clients() as make:
        client = make(workspace, store)
        if is_old:
            put_past_the_door(workspace, client.app.state.service, as_old_events(sequence))
            client = make(workspace, store)
        else:
            answer = client.post("/v1/events", json={"events": sequence})
            assert answer.status_code < 500, answer.text
        fresh = FreshScores(client.app.state.service)
        client.app.state.service.timelines.append([event(ACCOUNT, "error.raised", 0.5)], now=AS_OF)
        fresh.catch_up()
        assert failures(client) == []
        assert not_finite_in_files(workspace, store) == []
    shutil.rmtree(root)


def as_old_events(sequence: list[dict[str, object]]) -> list[Event]:
    """The rows as events, unchecked."""
    return [
        Event(
            account_id=ACCOUNT,
            kind=str(row["kind"]),
            event_id=f"old-{number}",
            occurred_at=datetime.fromisoformat(str(row["occurred_at"])),
            recorded_at=datetime.fromisoformat(str(row["recorded_at"])),
            event_count=row["event_count"],
            quantity=row["quantity"],
            properties=flat_properties(row["properties"]),
        )
        for number, row in enumerate(sequence)
    ]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("application/json", '{"a": NaN}', False),
        ("application/json", '{"a": -Infinity}', False),
        ("application/json", '{"a": "NaN", "b": 1}', True),
        ("text/html", "<td>nan USD</td>", False),
        ("text/html", "<td>Used inf</td><td>12 days</td>", True),
    ],
)
def test_a_number_that_is_none_is_noticed(kind, text, expected):
    answer = httpx2.Response(200, headers={"content-type": kind}, text=text)
    assert is_finite(answer) is expected
