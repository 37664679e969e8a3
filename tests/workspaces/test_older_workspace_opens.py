"""A workspace that an earlier version made opens, answers as it did then, and goes on."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from workspace_answers import (
    ABSENT,
    CLOCK,
    Answers,
    Difference,
    answers_of,
    asked_alone,
    command,
    differences,
    read,
    served,
    standing,
)

from features.cli.options import out
from serving.data_protection.places import files_of

HERE = Path(__file__).parent
NAMES = ("before_rooms",)
ADMIN_KEY = "kw_7_TJ_f3eJaLOJ6cZL6dhBh2r5jP1iw-XQLDLABvFYNM"
HEAD = "31193ce6d507cac1bd2360c17790764c3fdb458faa024524ca6e03fe4aa535ca"

ROUNDED_TO = 1e-8
"""What was answered is kept with nine digits."""

PARTS = ("accounts", "decisions", "actions", "features")
PAGES = (
    "/",
    "/approvals",
    "/models",
    "/models/churn/1",
    "/reports",
    "/reports/report",
    "/accounts/a_00056",
)
IN_WORDS = {
    "also",
    "because",
    "comparison",
    "evidence",
    "measure",
    "name",
    "note",
    "notes",
    "phrase",
    "reason_1",
    "reason_2",
    "reason_3",
    "reason_4",
    "reason_5",
    "text",
    "top_reason",
    "until",
    "unit",
    "points_unit",
    "why",
    "words",
}
"""Fields that hold words for people, which may become better."""

RENAMED = {"003": "balanced"}
"""Values that are called otherwise today."""

ADDED = {"trial_conversion", "subjects", "part_of"}
"""Fields of answers that the version before did not have."""


TOLD_OTHERWISE = {"reasons", "expansion_reasons"}
"""Answers that go by other rules today: that they sum to the probability is asked below."""

WITHOUT_CONTRACT = ("a_00003", "a_00026", "a_00050")
"""Accounts of the workspace that never had a contract: no model is asked about them any more."""


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def unpacked(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(name)
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def before(name: str) -> Answers:
    return read(HERE / f"{name}.json.gz")


@pytest.fixture(scope="module")
def now(unpacked: Path) -> Answers:
    return answers_of(unpacked / "workspace", parts=PARTS)


@pytest.fixture
def alone() -> Iterator[None]:
    with asked_alone(), standing(CLOCK):
        yield


RECOMMENDED = {"next actions", "plan"}
"""Answers that go by today's playbook. Stored decisions go by that of then, and are compared."""


def is_of_substance(one: Difference) -> bool:
    names = set(one.field.replace("[]", "").split("."))
    if isinstance(one.before, str) and RENAMED.get(one.before) == one.after:
        return False
    if one.asked.startswith(WITHOUT_CONTRACT):
        return False
    is_added = one.before == ABSENT and bool(names & ADDED)
    is_of_today = one.kind in RECOMMENDED or one.asked.endswith(", new")
    if is_of_today or names & TOLD_OTHERWISE:
        return False
    return one.kind != "command" and not names & IN_WORDS and not is_added


def test_every_number_and_name_is_as_it_was(before: Answers, now: Answers) -> None:
    found = [one for one in differences(before, now, tolerance=ROUNDED_TO) if is_of_substance(one)]
    assert Counter((one.kind, one.field) for one in found) == {}
    counts, then = (
        Counter(len(found) for kind, found in answers.items() if kind != "replay")
        for answers in (now, before)
    )
    assert counts == then


def test_reasons_of_an_older_model_sum_to_the_probability_it_had(now: Answers) -> None:
    asked = 0
    for answer in now["score"].values():
        if answer["source"] != "model" or answer["horizon_days"] != 90:
            continue
        reasons = answer["reasons"]
        told = [*reasons["signals"], *reasons["levers"], *reasons["context"]]
        total = reasons["start"] + reasons["rest"] + sum(one["points"] for one in told)
        assert total == pytest.approx(100 * answer["churn_probability"], abs=1e-6)
        assert all(one["evidence"] and one["value"] is not None for one in told)
        asked += bool(told)
    assert asked > 20


def test_every_stored_decision_comes_out_the_same(now: Answers) -> None:
    assert len(now["stored decision"]) == 24
    assert {one["code"] for one in now["replay"].values()} == {0}


def test_its_ledger_is_whole(unpacked: Path, alone: None) -> None:
    code, text = command("ledger", "verify", "--head", HEAD, "-w", unpacked / "workspace")
    assert (code, text.splitlines()[-1]) == (0, f"head {HEAD}")


def test_its_models_load_with_what_was_measured_of_them(unpacked: Path, alone: None) -> None:
    shown = {}
    for label, version in (("churn", 1), ("churn", 2), ("expansion", 1), ("expansion", 2)):
        code, text = command(
            "models", "show", label, "--version", str(version), "-w", unpacked / "workspace"
        )
        assert code == 0, text
        shown[label, version] = json.loads(text)
    assert {key: one["form"] for key, one in shown.items()} == {
        ("churn", 1): "formula_prior",
        ("churn", 2): "formula_prior",
        ("expansion", 1): "lightgbm",
        ("expansion", 2): "logistic",
    }
    assert all(len(one["metrics"]) > 50 and len(one["history"]) == 1 for one in shown.values())


def test_its_keys_open_its_pages_and_its_webhook_is_there(
    unpacked: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 200)  # a narrow terminal cuts addresses
    place = unpacked / "workspace"
    with served(place) as client:
        client.headers.pop("x-api-key")
        assert client.get("/v1/models").status_code == 401
        client.headers["x-api-key"] = ADMIN_KEY
        controls = client.get("/v1/controls").json()
        pages = {address: client.get(address) for address in PAGES}
    assert [one["action"] for one in controls["stopped"]] == ["sponsor_touch"]
    assert {address: page.status_code for address, page in pages.items()} == dict.fromkeys(
        PAGES, 200
    )
    assert all(
        "Small company" in page.text
        for address, page in pages.items()
        if address != "/reports/report"
    )
    code, text = command("webhooks", "list", "-w", place)
    assert code == 0
    assert "https://hooks.example/keepwell" in text


def test_it_goes_on(unpacked: Path, tmp_path: Path, alone: None) -> None:
    place = tmp_path / "workspace"
    shutil.copytree(unpacked / "workspace", place)
    here = ("-w", place)
    for words, wanted in (
        (
            ("ingest", unpacked / "afterwards.csv", "--mapping", unpacked / "afterwards.toml"),
            "5 landed",
        ),
        (
            ("ingest", unpacked / "afterwards.csv", "--mapping", unpacked / "afterwards.toml"),
            "5 already there",
        ),
        (("snapshot", "--as-of", "2025-12-31"), "as of 1 moment"),
        (("score", "--as-of", "2025-12-31", "--out", tmp_path / "scores.parquet"), "60 accounts"),
        (("train", "churn", "--trials", "0"), "of today's features were declared"),
        (("snapshot", "--from", "2024-02-01", "--to", "2026-01-01", "--every", "month"), "moments"),
        (("snapshot", "--as-of", "2025-12-04"), "as of 1 moment"),
        (("snapshot", "--as-of", "2025-12-25"), "as of 1 moment"),
        (("train", "churn", "--trials", "0"), "as version 3"),
        (("models", "show", "churn"), '"version": 1'),
    ):
        code, text = command(*words, *here)
        assert code == (3 if "were declared" in wanted else 0), text
        assert wanted in text
    frame = pl.read_parquet(tmp_path / "scores.parquet")
    assert set(frame["score_source"]) == {"model", "none"}
    assert [name for name, where in files_of(place) if where is None] == []
