"""A feature that a company declares in its workspace is computed, learned from and told like others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from keepwell_command import run_keepwell
from small_company import AS_OF, READS, add_model, make_bundle, make_workspace

from features.catalogue.own_features import OWN_FEATURES_FILE
from features.compute.backfill import backfill
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from features.workspace_files import WorkspaceError
from registry.store.store import MemoryModelStore

OWN = """
[[feature]]
name = "searches_28d"
description = "Searches in 28 days."
reads = ["feature.used"]
where = { name = "search" }
aggregate = { operation = "count" }
lookback_days = 28
when_empty = 0
unit = "searches"
direction = "safety"
phrase = "searched {value:,.0f} times in the last 28 days"

[[feature]]
name = "search_share"
description = "Searches as a share of all use in 28 days."
ratio_of = ["searches_28d", "feature_uses_28d"]
unit = "share"
phrase = "{value:.0%} of its use is searching"
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A company that counts searches by ``use_names`` and by a declaration of its own."""
    place = make_workspace(tmp_path_factory.mktemp("own") / "w", use_names=("search",))
    (place.root / OWN_FEATURES_FILE).write_text(OWN, encoding="utf-8")
    backfill(place, [AS_OF], publish=WorkspaceFeatures(place).publish)
    return place


def copied(place: Workspace, root: Path) -> Workspace:
    shutil.copytree(place.root, root)
    return Workspace(root, environment={})


def test_it_has_the_values_of_the_same_declaration_in_the_catalogue(declared: Workspace) -> None:
    online = WorkspaceFeatures(declared).online([f"acct-{n:02}" for n in range(48)])
    assert online["searches_28d"].sum() > 0
    assert online["searches_28d"].equals(online["use_search_count_28d"].rename("searches_28d"))
    share = online["searches_28d"] / online["feature_uses_28d"]
    known = online["feature_uses_28d"] > 0
    assert online.filter(known)["search_share"].to_list() == pytest.approx(
        share.filter(known).to_list()
    )
    assert online.filter(~known)["search_share"].null_count() == (~known).sum()


def test_a_model_learns_from_it_and_its_words_are_told(
    declared: Workspace, tmp_path: Path, make_client
) -> None:
    place, store = copied(declared, tmp_path / "w"), MemoryModelStore()
    names = (*READS, "searches_28d")
    add_model(store, "churn", make_bundle(place, names, [0.0, 0.0, 0.0, 0.0, 0.0, -2.0]))
    client = make_client(place, store)
    scores = client.get("/v1/accounts?limit=48").json()["items"]
    assert {one["source"] for one in scores if one["contract_status"] == "active"} == {"model"}
    told = " ".join(client.get(f"/accounts/{one['account_id']}").text for one in scores[:12])
    assert "earched " in told
    assert "times in the last 28 days" in told


def test_after_a_change_the_model_that_learned_the_former_one_does_not_answer(
    declared: Workspace, tmp_path: Path, make_client
) -> None:
    place, store = copied(declared, tmp_path / "w"), MemoryModelStore()
    names = (*READS, "searches_28d")
    add_model(store, "churn", make_bundle(place, names, [0.0, 0.0, 0.0, 0.0, 0.0, -2.0]))
    for changed in (OWN.replace('{ name = "search" }', '{ name = "export" }'), ""):
        (place.root / OWN_FEATURES_FILE).write_text(changed, encoding="utf-8")
        backfill(place, [AS_OF], publish=WorkspaceFeatures(place).publish)
        client = make_client(place, store)
        answer = client.get("/v1/accounts/acct-03").json()
        assert answer["source"] != "model"
        assert "searches_28d" in answer["degraded"]


def test_the_commands_list_it_and_say_what_is_wrong_with_the_line(
    declared: Workspace, tmp_path: Path
) -> None:
    place = copied(declared, tmp_path / "w")
    words = ("-w", str(place.root))
    done = run_keepwell("features", "--json", *words, cwd=tmp_path)
    assert '"searches_28d"' in done.stdout
    done = run_keepwell("rules", "check", *words, cwd=tmp_path)
    assert "own features: searches_28d, search_share" in done.stdout, done.stderr
    (place.root / OWN_FEATURES_FILE).write_text(OWN.replace("count", "cuont"), encoding="utf-8")
    done = run_keepwell("rules", "check", *words, cwd=tmp_path)
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "features.toml, line 2" in said
    assert "There is no operation 'cuont'" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "searches_28d"', 'name = "searches"'), "must end in its lookback: _28d"),
        (
            ('name = "searches_28d"', 'name = "feature_uses_28d"'),
            "feature 'feature_uses_28d' already",
        ),
        (('reads = ["feature.used"]', 'reads = ["feature.use"]'), "Did you mean 'feature.used'?"),
        (("{value:,.0f} times", "{value!r:>9} times"), "has to hold the value as"),
        (("{value:,.0f} times", "many times"), "has to hold the value as"),
        (
            ('["searches_28d", "feature_uses_28d"]', '["searches_28d", "uses"]'),
            "no feature 'uses' before",
        ),
        (('direction = "safety"', 'direction = "good"'), "allowed are risk, safety, open"),
        (("lookback_days = 28", "lookback_days = 0"), "write 1 to 3660 days"),
        (("when_empty = 0", "when_emty = 0"), "Did you mean when_empty?"),
        (('where = { name = "search" }', "where = { name = 3 }"), "has to be a list of texts"),
        (('unit = "searches"', 'unit = "searches"\nquantities = "x"'), "a list of numbers"),
        (("[[feature]]", "[[feature]"), "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_and_the_settings_of_before_hold(
    declared: Workspace, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    place = copied(declared, tmp_path / "w")
    assert "searches_28d" in place.settings.catalogue.names
    (place.root / OWN_FEATURES_FILE).write_text(OWN.replace(*change), encoding="utf-8")
    assert "searches_28d" in place.settings.catalogue.names  # of this process, which read it before
    fresh = copied(place, tmp_path / "fresh")
    with pytest.raises(WorkspaceError) as error:
        _ = fresh.settings
    assert said in str(error.value)
    assert str(error.value).startswith("features.toml")
