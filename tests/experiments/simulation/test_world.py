"""The timeline of a simulated company: its form, its grammar, its rates, its repeatability."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from experiments.simulation.interventions import Programme
from experiments.simulation.settings import PRESETS
from experiments.simulation.world import (
    PRICES,
    TRUTH_FOLDER,
    read_truth,
    simulate,
    write_world,
)
from features.events.schema import EVENT_SCHEMA, KINDS, properties_text
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.playbook.prices import read_prices

KIND = {kind.name: kind for kind in KINDS}
WITHOUT_QUANTITY_SOMETIMES = {"feature.used", "action.decided", "ticket.updated"}
WRITTEN_BY_KEEPWELL = {"alert.raised", "alert.closed", "action.outcome", "action.judged"}

WORDS = {
    ("billing.invoice", "status"): {"issued", "paid", "late", "failed"},
    ("ticket.created", "repeat"): {"yes", "no"},
    ("ticket.updated", "change"): {"first_reply", "sentiment", "reopened"},
    ("ticket.resolved", "sla_met"): {"yes", "no"},
    ("integration.state", "state"): {"connected", "error", "disconnected"},
    ("sponsor.contacted", "role"): {"sponsor", "champion"},
    ("contact.changed", "state"): {"joined", "left"},
    ("consent.updated", "state"): {"given", "withdrawn"},
    ("feature.requested", "state"): {"open", "answered"},
    ("goal.measured", "reached"): {"yes", "no"},
    ("action.decided", "arm"): {"treated", "control"},
    ("trial.ended", "result"): {"converted", "expired"},
    ("milestone.updated", "status"): {"pending", "overdue", "completed"},
}
RANGES = {
    "ticket.created": (1, 4),
    "ticket.resolved": (0, 800),
    "review.held": (0, 10),
    "user.session": (30, 14_000),
    "incident.opened": (1, 3),
    "action.decided": (0, 1),
    "contract.started": (20, 50_000),
    "usage.metered": (1, 1e8),
    "goal.measured": (1, 1000),
}
SURVEYS = {"nps": (10, 0, 10), "csat": (5, 1, 5), "ces": (7, 1, 7)}

WITHOUT_CONTRACTS = {"order.placed"}
"""Sent by companies without contracts only; the simulated one has contracts."""


def content_hash(frame: pl.DataFrame) -> str:
    content = BytesIO()
    frame.write_ipc(content)
    return hashlib.sha256(content.getvalue()).hexdigest()


def test_events_have_the_schema_and_only_known_kinds(small):
    assert dict(small.events.schema) == EVENT_SCHEMA
    assert set(small.events["kind"].unique()) == set(KIND) - WRITTEN_BY_KEEPWELL - WITHOUT_CONTRACTS
    needed = [name for name in EVENT_SCHEMA if name not in ("user_id", "quantity")]
    assert sum(small.events.select(needed).null_count().row(0)) == 0
    assert small.events.select((pl.col("event_count") >= 1).all()).item()
    assert small.events.select((pl.col("user_count") <= pl.col("event_count")).all()).item()


def test_nothing_is_recorded_before_it_happened_or_after_the_end(small):
    assert small.events.filter(pl.col("recorded_at") < pl.col("occurred_at")).is_empty()
    assert small.events["recorded_at"].max() < small.settings.calendar.ends_at
    assert small.events["occurred_at"].min() >= small.settings.calendar.starts_at
    assert small.events["recorded_at"].is_sorted()


def test_properties_are_canonical_and_those_of_their_kind(small):
    for kind, text in small.events.select("kind", "properties").unique().rows():
        properties = json.loads(text)
        assert properties_text(properties) == text
        assert set(properties) <= set(KIND[kind].properties), kind


@pytest.mark.parametrize(
    ("place", "words"), WORDS.items(), ids=[".".join(place) for place in WORDS]
)
def test_words_are_those_that_the_kind_allows(small, place, words):
    kind, name = place
    rows = small.events.filter(pl.col("kind") == kind)
    found = rows.select(pl.col("properties").str.json_path_match(f"$.{name}")).to_series()
    assert set(found) <= words


def test_quantities_are_there_where_the_kind_has_one_and_within_reason(small):
    for (kind,), rows in small.events.group_by("kind"):
        known = rows["quantity"].drop_nulls()
        if not KIND[kind].quantity:
            assert len(known) == 0, kind
        elif kind not in WITHOUT_QUANTITY_SOMETIMES:
            assert len(known) == rows.height, kind
        low, high = RANGES.get(kind, (-np.inf, np.inf))
        assert known.is_between(low, high).all(), kind


@pytest.mark.parametrize("survey", SURVEYS)
def test_answers_are_on_the_scale_of_their_survey(small, survey):
    scale, low, high = SURVEYS[survey]
    answers = small.events.filter(
        pl.col("kind") == "survey.answered", pl.col("properties").str.contains(f'"{survey}"')
    )
    assert answers.height > 20
    assert answers["properties"].str.contains(f'"scale":{scale},').all()
    assert answers["quantity"].is_between(low, high).all()


def test_people_are_named_by_pseudonym_and_belong_to_one_account(small):
    people = small.events.filter(pl.col("user_id").is_not_null())
    assert people["user_id"].str.contains("^u_[0-9a-f]{12}$").all()
    assert people.group_by("user_id").agg(pl.col("account_id").n_unique())["account_id"].max() == 1


def contract_stories(events: pl.DataFrame) -> dict[str, list[tuple[datetime, str, dict, float]]]:
    """Per account its contract and trial events, in order."""
    rows = events.filter(pl.col("kind").str.contains(r"^(contract|trial)\.")).sort(
        "account_id", "occurred_at", maintain_order=True
    )
    stories: dict[str, list[tuple[datetime, str, dict, float]]] = {}
    for account, at, kind, text, quantity in rows.select(
        "account_id", "occurred_at", "kind", "properties", "quantity"
    ).rows():
        stories.setdefault(account, []).append((at, kind, json.loads(text), quantity))
    return stories


def test_contracts_follow_their_grammar(small):
    seen = set()
    for account, story in contract_stories(small.events).items():
        state, renewal_on = "new", date.min
        for at, kind, terms, mrr in story:
            step = (state, kind.removeprefix("contract."))
            assert step in {
                ("new", "trial.started"),
                ("trial", "trial.ended"),
                ("new", "started"),
                ("ended", "started"),
                ("active", "changed"),
                ("active", "renewed"),
                ("active", "paused"),
                ("paused", "resumed"),
                ("active", "cancelled"),
                ("paused", "cancelled"),
            }, (account, step)
            seen.add(step)
            if kind == "contract.renewed" or step == ("active", "cancelled"):
                assert at == datetime(*renewal_on.timetuple()[:3], tzinfo=UTC), account
            if "renewal_on" in terms:
                renewal_on = date.fromisoformat(terms["renewal_on"])
                assert renewal_on > at.date()
                assert mrr > 0
            state = {
                "trial.started": "trial",
                "trial.ended": "ended",
                "contract.paused": "paused",
                "contract.cancelled": "left",
            }.get(kind, "active")
    assert len(seen) >= 9


def test_nothing_happens_to_an_account_after_its_end(small):
    ends = small.events.filter(pl.col("kind") == "contract.cancelled").select(
        "account_id", end="occurred_at"
    )
    after = small.events.join(ends, on="account_id").filter(
        (pl.col("occurred_at") >= pl.col("end")) & (pl.col("kind") != "contract.cancelled")
    )
    assert after.is_empty()
    recorded = small.events.filter(pl.col("kind") == "contract.cancelled")
    assert (recorded["recorded_at"] == recorded["occurred_at"]).all()


def test_nobody_uses_the_product_before_the_account_begins_or_while_it_is_paused(small):
    first = small.events.group_by("account_id").agg(
        pl.col("kind").sort_by("occurred_at", maintain_order=True).first()
    )
    assert set(first["kind"]) == {"account.updated"}
    stories = contract_stories(small.events)
    used = small.events.filter(pl.col("kind").is_in(["user.session", "feature.used"]))
    pauses = 0
    for account, story in stories.items():
        for (since, kind, _, _), (until, _, _, _) in pairwise(story):
            if kind == "contract.paused":
                pauses += 1
                midnight = since.replace(hour=0)
                during = used.filter(
                    pl.col("account_id") == account,
                    pl.col("occurred_at").is_between(midnight, until, "left"),
                )
                assert during.is_empty()
    assert pauses > 0


def test_rates_are_those_of_a_company_of_this_kind(small):
    months = small.truth.chances.height
    count = dict(small.events.group_by("kind").len().rows())
    assert 0.015 < count["contract.cancelled"] / months < 0.03
    terms = small.events.filter(
        pl.col("kind").is_in(["contract.started", "contract.changed", "contract.renewed"])
    ).sort("account_id", "occurred_at")
    before = pl.col("quantity").shift(1).over("account_id")
    grown = terms.select((pl.col("quantity") >= 1.1 * before).sum()).item()
    shrunk = terms.select((pl.col("quantity") <= 0.9 * before).sum()).item()
    assert 0.015 < grown / months < 0.04
    assert 0.004 < shrunk / months < 0.02
    trials = small.events.filter(pl.col("kind") == "trial.ended")
    assert 0.25 < trials["properties"].str.contains("converted").mean() < 0.55
    assert 0.05 < small.truth.chances.filter("is_mature")["left_90d"].mean() < 0.10


def test_some_sources_are_late_and_some_rows_are_corrected(small):
    delay = small.events.select("kind", delay=pl.col("recorded_at") - pl.col("occurred_at"))
    for kind in ("sponsor.contacted", "review.held", "feature.used", "billing.invoice"):
        late = (delay.filter(pl.col("kind") == kind)["delay"] > timedelta(hours=20)).mean()
        assert 0.003 < late < 0.8, kind
    versions = small.events.group_by("event_id").agg(
        pl.len(),
        pl.col("account_id", "kind", "occurred_at").n_unique().name.suffix("_variants"),
        pl.col("quantity").n_unique(),
        pl.col("recorded_at").n_unique(),
    )
    again = versions.filter(pl.col("len") > 1)
    assert again.height > 10
    assert (again["len"] == 2).all()
    assert (again.select(pl.col("^.*_variants$").max()).row(0)) == (1, 1, 1)
    assert (again["quantity"] == 2).all()
    assert (again["recorded_at"] == 2).all()


def test_a_seed_gives_the_same_world_to_the_bit(tiny):
    again = simulate(PRESETS["tiny"], np.random.default_rng(1))
    other = simulate(PRESETS["tiny"], np.random.default_rng(2))
    assert content_hash(again.events) == content_hash(tiny.events) != content_hash(other.events)
    assert content_hash(again.truth.decisions) == content_hash(tiny.truth.decisions)


def test_another_company_tries_what_it_is_told_to() -> None:
    calls = Programme(
        name="calls",
        action="success_call",
        assignment="judgement",
        group="runway",
        lane=None,
        factors=(0.3, 0.3, 0.3),
    )
    other = simulate(PRESETS["tiny"], np.random.default_rng(7), programmes=(calls,))
    assert set(other.truth.decisions["intervention"]) == {"calls"}


def test_the_product_can_ingest_what_is_written_and_never_meets_the_truth(tiny, tmp_path):
    mapping = write_world(tiny, tmp_path / "world")
    assert read_prices(mapping.parent) == PRICES
    workspace = Workspace(tmp_path / "workspace")
    summary = ingest(workspace, [mapping.parent], mapping)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir).scan().collect()
    assert lake.height == tiny.events.height
    assert summary.unmapped_files == ("prices.toml",)
    same = [name for name in EVENT_SCHEMA if name != "event_id"]
    assert lake.select(same).sort(same).equals(tiny.events.select(same).sort(same))
    assert {path.name for path in mapping.parent.iterdir()} == {
        "events.parquet",
        "mapping.toml",
        "prices.toml",
    }
    assert (tmp_path / "world" / TRUTH_FOLDER).is_dir()
    assert read_truth(tmp_path / "world").effects.equals(tiny.truth.effects)


@pytest.mark.bench
def test_two_thousand_accounts_take_at_most_thirty_seconds(record_property):
    began = datetime.now(UTC)
    world = simulate(PRESETS["standard"], np.random.default_rng(0))
    seconds = (datetime.now(UTC) - began).total_seconds()
    record_property("seconds", seconds)
    record_property("events", world.events.height)
    assert seconds < 30
