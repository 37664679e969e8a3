"""Model cards as pages: what the training wrote, and nothing that could run or load."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta

import pytest
from small_company import AS_OF

from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.bundle.segment_gate import (
    SWITCH_FILE,
    TO_WITHHOLD,
    Look,
    SegmentSwitch,
    segment_key,
)
from registry.store.store import MemoryModelStore, TrackingError, TrainingRun
from serving.pages.model_card_page import model_card_page

PNG = b"\x89PNG\r\n\x1a\n"
CARD = """# churn: LightGBM

The contract ends.

## Calibration, 90 days

![promised and observed](plots/calibration.png)

| group | rows | promised |
|---|---|---|
| <script>alert(1)</script> | 40 | **7.4%** |
| segment `a&b` | 3 | |

- one
- two
"""


@pytest.fixture
def models(store):
    """The champions of the shared store, churn's with a card and its picture."""
    own = MemoryModelStore()
    for label in ("churn", "expansion", "churn-formula"):
        kept = {"documents": {"model_card.md": CARD}, "plots": {"calibration.png": PNG}}
        run = TrainingRun(
            label=label,
            name=label,
            bundle=store.champion(label),
            started_at=AS_OF,
            ended_at=AS_OF,
            **(kept if label == "churn" else {}),
        )
        own.promote(
            label, own.register(label, own.record_run(run)), evidence={}, by="ann", at=AS_OF
        )
    return own


@pytest.fixture
def own_workspace(shared_workspace, tmp_path):
    return Workspace(shutil.copytree(shared_workspace.root, tmp_path / "own"), environment={})


@pytest.fixture
def service(own_workspace, models, make_client):
    return make_client(own_workspace, models)


def page(service, path: str) -> str:
    answer = service.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text[:300]
    return answer.text


def test_the_models_page_leads_to_the_card_and_the_card_to_its_picture(service) -> None:
    href = re.search(r'href="(/models/churn/1)"', page(service, "/models"))[1]
    text = page(service, href)
    assert "<h1>churn: LightGBM, version 1</h1>" in text
    assert "<td><strong>7.4%</strong></td>" in text
    assert re.search(r"<li>one</li>\s*<li>two</li>", text)
    picture = service.get(re.search(r'<img src="([^"]+)"', text)[1])
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    assert service.get("/v1/models").json()["items"][0]["card"] == href


def test_nothing_of_a_card_can_run_or_load_from_elsewhere(service) -> None:
    text = page(service, "/models/churn/1")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text
    assert "a&amp;b" in text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(
        address.startswith(("/", "#")) and not address.startswith("//") for address in addresses
    )


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://example.org/a.png)",
        "![x](plots/../../a.png)",
        "![x](plots/a.svg)",
        "[link](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
    ],
)
def test_what_is_no_mark_of_a_card_is_text(text: str) -> None:
    made = model_card_page(text, label="churn", version=1, tenant="Acme").content
    assert made.startswith("<p>")
    assert re.findall(r"<(\w+)", made) == ["p"]


def test_the_words_beside_a_picture_are_escaped() -> None:
    card = '![" onerror="alert(1)](plots/x.png)'
    made = model_card_page(card, label="churn", version=1, tenant="Acme").content
    assert made == (
        '<p><img src="/models/churn/1/plots/x.png" alt="&quot; onerror=&quot;alert(1)" '
        'loading="lazy" /></p>\n'
    )


def test_a_card_without_a_heading_is_shown_under_the_name_of_its_model() -> None:
    made = model_card_page("Only words.", label="churn", version=2, tenant="Acme")
    assert made.heading == "churn, version 2"
    assert made.content == "<p>Only words.</p>\n"


@pytest.mark.parametrize(
    "path",
    ["/models/expansion/1", "/models/churn/9", "/models/other/1", "/models/churn/1/plots/none.png"],
)
def test_what_is_not_kept_is_not_found_and_says_so(service, path) -> None:
    answer = service.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems#unknown-model-card"
    assert "GET /v1/models" in answer.json()["next"]


def test_a_store_that_does_not_answer_is_a_problem_and_no_crash(
    own_workspace,
    make_client,
    models,
) -> None:
    class Away(MemoryModelStore):
        def __getattribute__(self, name: str):
            if name == "load_document":
                raise TrackingError("The tracking store file:///srv/mlflow.db does not answer.")
            return getattr(models, name)

    answer = make_client(own_workspace, Away()).get("/models/churn/1")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "The tracking store mlflow.db does not answer."


def withhold(workspace: Workspace, fingerprint: str) -> None:
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        look = Look(
            finding="worse",
            known_to=AS_OF + timedelta(hours=number),
            because="its log loss was 0.02 above the formula's",
        )
        switch = switch.looked(fingerprint, {segment_key("<small>"): look}, at=AS_OF)
    write_atomically(workspace.monitoring_dir / SWITCH_FILE, switch.text().encode())


def test_whom_a_model_is_withheld_from_is_listed_with_the_reason_and_since_when(
    service,
    own_workspace,
    models,
) -> None:
    assert 'aria-label="Whom it does not answer for"' not in page(service, "/models")
    assert all(item["withheld"] == [] for item in service.get("/v1/models").json()["items"])
    withhold(own_workspace, models.champion("churn").fingerprint)
    why = (
        "for accounts of segment <small> the model is withheld since 2026-03-01: its log loss "
        "was 0.02 above the formula's"
    )
    found = {item["label"]: item["withheld"] for item in service.get("/v1/models").json()["items"]}
    assert found == {
        "churn": [{"segment": "segment <small>", "since": "2026-03-01T00:00:00Z", "why": why}],
        "expansion": [],
        "churn-formula": [],
    }
    text = page(service, "/models")
    section = text.partition("Churn model, version 1 <span")[2].partition("</section>")[0]
    assert "For accounts of segment &lt;small&gt; the model is withheld since 2026-03-01" in section
    assert text.count("the model is withheld since") == 1


def test_where_the_switch_can_not_be_read_every_model_it_switches_says_so(
    service,
    own_workspace,
) -> None:
    write_atomically(own_workspace.monitoring_dir / SWITCH_FILE, json.dumps({"kind": 1}).encode())
    found = {item["label"]: item["withheld"] for item in service.get("/v1/models").json()["items"]}
    assert [one["segment"] for one in found["churn"]] == ["everyone"]
    assert found["churn"][0]["since"] is None
    assert "cannot be read" in found["expansion"][0]["why"]
    assert found["churn-formula"] == []
    assert page(service, "/models").count("cannot be read") == 2
