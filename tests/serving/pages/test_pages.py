"""Pages by the sentences a person reads."""

from __future__ import annotations

import html
import re
from dataclasses import fields, replace
from datetime import timedelta
from html.parser import HTMLParser

import jinja2.meta
import pytest
from small_company import event, make_store, make_workspace

from features.alerts.alert import Alert
from features.events.schema import Event
from registry.store.store import MemoryModelStore
from serving.pages.account_page import AccountPage, health_note
from serving.pages.approvals_page import ApprovalsPage
from serving.pages.developer_pages import ApiPage, ProblemsPage
from serving.pages.frame import FOLDER, ProblemPage, Templates
from serving.pages.model_card_page import ModelCardPage
from serving.pages.models_page import (
    ModelsPage,
    ReportsPage,
    beside_baselines,
    evidence_sentences,
    metrics_by_horizon,
    models_page,
)
from serving.pages.portfolio_page import PortfolioPage
from serving.pages.views.history_view import use_note, use_picture
from serving.pages.views.policy_words import refusal_words
from serving.scoring.models_served import SERVED_LABELS, model_rows
from serving.text_format import INTERVAL_COVERS
from serving.timeline.days import weeks_of_use

PAGES = {
    "portfolio.html": PortfolioPage,
    "account.html": AccountPage,
    "models.html": ModelsPage,
    "reports.html": ReportsPage,
    "problem.html": ProblemPage,
    "problems.html": ProblemsPage,
    "api.html": ApiPage,
    "model_card.html": ModelCardPage,
    "approvals.html": ApprovalsPage,
}
ADDRESSES = (
    "/",
    "/?status=all",
    "/accounts/acct-00",
    "/accounts/acct-47",
    "/models",
    "/models/churn/1",
    "/reports",
    "/approvals",
    "/problems",
    "/docs",
)
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Reader(HTMLParser):
    """Reads a page as text, and checks that its elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def read(client):
    def read(path, of=client):
        answer = of.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text[:500]
        reader = Reader()
        reader.feed(answer.text)
        assert reader.open == []
        return " ".join("".join(reader.words).split()), reader.tags

    return read


def test_the_portfolio_says_what_is_at_stake_and_of_when(read):
    text, _ = read("/")
    assert "Accounts by revenue at risk" in text
    assert "As of 1 March 2026 · churn scored by the model (" in text
    assert "churn version 1" in text
    assert re.search(
        r"Yearly revenue at risk within 90 days [\d,]+ USD between [\d,]+ USD and [\d,]+ USD; of "
        r"[\d,]+ USD yearly revenue",
        text,
    )
    assert "47 accounts, most revenue at risk first." in text
    assert "Sample & Sons" in text
    assert "Company 00" in text
    assert "Company 47" not in text  # its contract has ended


@pytest.mark.parametrize("path", ["/", "/accounts/acct-00"])
def test_an_interval_says_what_it_covers(read, path):
    assert INTERVAL_COVERS in read(path)[0]


def test_money_of_the_portfolio_can_be_compared_at_a_glance(client):
    page = client.get("/", headers={"Accept": "text/html"}).text
    for label in ("Yearly revenue at risk within 90 days", "Revenue, a year"):
        cells = re.findall(
            rf'class="number" data-label="{label}"><span class="value"><span [^>]*>([^<]*)', page
        )
        assert len(cells) == 47
        assert all(re.fullmatch(r"[\d,]+ USD", cell) for cell in cells)


def test_the_portfolio_can_be_filtered_by_links_alone(read):
    text, _ = read("/?tier=critical&search=")
    assert "Company 00" in text
    assert "Clear filters" in text
    nothing, _ = read("/?search=zzz")
    assert "No account fits these filters." in nothing


def test_an_account_page_answers_how_likely_why_and_what_next(read):
    text, _ = read("/accounts/acct-00")
    assert "Company 00" in text
    assert "Chance to leave within 90 days 98% critical risk, next 90 days" in text
    assert "95% interval 90% to 99%" in text
    assert "98% chance to leave × 100 USD a month × 12 months" in text
    assert "40 errors in the last 28 days" in text
    assert "2 is usual in this segment and plan" in text
    assert "that does not show that they cause it" in text
    assert "What goes with leaving" in text
    assert "an action can move it" in text
    assert "Next actions" in text
    assert "Do nothing" in text
    assert "Our estimate, not measured yet (as sure as if of" in text
    assert "Not known: satisfaction (would count 20)" in text


def test_an_account_page_shows_warning_signs_changes_and_the_timeline(read):
    text, _ = read("/accounts/acct-00")
    assert "Warning signs" in text
    assert "An invoice is unpaid" in text
    assert "What changed since 1 February 2026" in text
    assert "40 errors in the last 28 days; before: not known: errors met" in text
    assert "27 February 2026" in text
    assert "Met an error (timeout)" in text
    assert "Feature uses a week, the last 26 weeks up to 1 March 2026" in text


def test_ended_contracts_are_a_state_of_their_own_and_not_unknown(read):
    text, _ = read("/?status=ended")
    assert "1 account, by id." in text
    assert "Yearly growth expected within 90 days contract ended" in text
    assert "accounts without a running contract are not scored" in text
    assert "expansion model" not in text
    assert "not known" not in text.partition("What do these numbers mean?")[0]
    everything, _ = read("/?status=all")
    assert "1 contract ended" in everything


def test_growth_is_unknown_for_the_reason_that_the_accounts_give(
    read, shared_workspace, make_client
):
    text, _ = read("/", of=make_client(shared_workspace, MemoryModelStore()))
    assert (
        "Yearly growth expected within 90 days not known no expansion model has been promoted"
        in text
    )
    assert "High or critical churn risk within 90 days not known" in text


def test_a_usual_week_is_one_since_the_account_is_known(own_client, as_of):
    timelines = own_client.app.state.service.timelines
    for days_ago, count in ((20, 4), (12, 8), (3, 6)):
        at = as_of - timedelta(days=days_ago)
        timelines.append(
            [
                Event(
                    event_id=f"u-{days_ago}",
                    account_id="new",
                    kind="feature.used",
                    event_count=count,
                    occurred_at=at,
                    recorded_at=at,
                    properties="{}",
                )
            ],
            now=as_of,
        )
    weeks = weeks_of_use(
        timelines.events("new", as_of=as_of),
        as_of=as_of,
        weeks=26,
        known_since=timelines.known_since("new", as_of=as_of),
    )
    assert use_note(weeks) == (
        "Feature uses a week, the 3 weeks since the account is known, up to 1 March 2026: "
        "6 in the last week, 6 in a usual week."
    )
    assert use_picture(weeks).count("<rect") == 3
    assert use_note(weeks[:23]) == "Nothing is known of the use of the product yet."


@pytest.mark.parametrize(("urgency", "is_named"), [(None, True), (1, True), (2, False), (5, False)])
def test_no_step_is_named_by_the_health_while_a_sign_of_this_week_is_open(
    client, urgency, is_named
):
    """A healthy account that said it does not renew is no place to look for expansion."""
    scores = client.app.state.service.portfolio.scores
    calm = next(s for s in scores if not s.has_no_contract and s.risk_tier == "low")
    sign = Alert(
        id="renewal_refused", title="", words="", urgency=urgency or 0, responses=(), source="",
        as_of=calm.as_of,
    )  # fmt: skip
    note = health_note(calm, None, () if urgency is None else (sign,))
    assert (f"usual step at this health: {calm.health.action}" in note) is is_named


def test_an_account_that_left_says_so(read):
    text, _ = read("/accounts/acct-47")
    assert "Chance to leave within 90 days contract ended not scored" in text
    assert "Yearly revenue at risk within 90 days contract ended" in text
    assert "usual step at this health" not in text
    assert "Chance to grow contract ended" in text
    assert "The contract has ended, so there is nothing left to predict." in text
    assert "Contract ended without renewal (too expensive)" in text


def test_an_account_without_a_contract_says_so_and_nothing_of_a_risk(tmp_path, make_client, read):
    """Not that the health formula answers for it: nothing could end."""
    visit = event("visitor", "feature.used", 3, count=2, name="search")
    workspace = make_workspace(tmp_path / "visited", more=[visit])
    client = make_client(workspace, make_store(workspace))
    text, _ = read("/accounts/visitor", client)
    assert "no contract not scored" in text
    assert "No contract has begun, so there is none that could end." in text
    assert "there is no revenue that could be lost" in text
    assert "The health formula answers" not in text
    assert "points in all" not in text  # there is no score to take from
    assert "Why this score Not enough data: " in text
    assert "The score rests on" not in text
    assert "No contract has begun, so there is no chance to leave or to grow" in text
    assert "playbook's assumption" not in text
    assert "What else may come" not in text
    assert "As of 1 March 2026 · not scored: no contract" in text
    listed, _ = read("/?status=none", client)
    assert "High or critical churn risk within 90 days no contract" in listed


def test_withheld_actions_say_why_as_the_api_does(read, own_client):
    text, _ = read("/accounts/acct-00")
    answer = own_client.post("/v1/next-actions", json={"account_ids": ["acct-00"]}).json()["items"][
        0
    ]
    assert f"Held back: {len(answer['withheld'])} action" in text
    for withheld in answer["withheld"]:
        assert " ".join(refusal_words(withheld["why"], "USD").split()) in text


def test_looking_at_a_page_stores_no_decision(own_client):
    own_client.get("/accounts/acct-00")
    assert own_client.app.state.service.ledger.counts() == (0, 0)


def test_without_models_the_pages_still_help(shared_workspace, make_client, read):
    other = make_client(shared_workspace, MemoryModelStore())
    text, _ = read("/", of=other)
    assert "The health formula answers for every account" in text
    assert "There are no probabilities; health scores and warning signs still hold." in text
    account, _ = read("/accounts/acct-00", of=other)
    assert "The health formula takes away" in account
    assert "health points" in account
    assert "Next actions" in account
    models, _ = read("/models", of=other)
    assert "No model has been trained in this workspace." in models


def test_models_show_metrics_with_their_interval(read):
    text, _ = read("/models")
    assert "Churn model, version 1 serving" in text
    assert "0.210 (0.180 to 0.240)" in text


def test_each_model_is_measured_in_the_words_of_what_it_predicts():
    words = {
        label: metrics_by_horizon({"auc_90d": 0.7}, label).lines[0].name for label in SERVED_LABELS
    }
    assert words == {
        "churn": "AUC: how often an account that left is ranked above one that stayed",
        "expansion": "AUC: how often an account that expanded is ranked above one that did not",
        "contraction": "AUC: how often an account that shrank is ranked above one that did not",
        "silent_churn": "AUC: how often an account that fell silent is ranked above one that did "
        "not",
        "trial_conversion": "AUC: how often a trial that became a contract is ranked above one that "
        "did not",
        "churn-formula": "AUC: how often an account that left is ranked above one that stayed",
    }


@pytest.fixture
def model_row(client):
    """A row of the list of models, changed as a test needs it."""
    [row] = [r for r in model_rows(client.app.state.service.store)[0] if r.label == "churn"]
    return lambda **changes: replace(row, **changes)


def states(*rows):
    return [m.state for m in models_page(rows, {}, source="", tenant="T").models]


def test_the_calibrated_formula_is_in_reserve_while_a_churn_model_serves(read, model_row):
    text, _ = read("/models")
    assert "Health formula, calibrated for churn, version 1 in reserve" in text
    assert "Answers where the churn model cannot" in text
    formula = model_row(label="churn-formula")
    assert states(model_row(), formula) == ["serving", "in reserve"]
    assert states(model_row(serving=False), formula) == ["not serving", "serving"]


def test_the_challenger_is_marked(model_row):
    rows = (model_row(version=2, serving=False, challenger=True), model_row())
    assert states(*rows) == ["challenger", "serving"]


def test_no_table_of_models_is_repeated(model_row):
    race = {"auc_90d": 0.7, "baseline_formula_log_loss_90d": 0.26}
    page = models_page(
        (model_row(metrics=race), model_row(label="churn-formula", metrics=race)),
        {},
        source="",
        tenant="T",
    )
    assert [len(m.beside.lines) for m in page.models] == [1, 0]
    assert page.models[1].beside_note == "Compared with the others under Churn model, version 1."


def test_models_show_why_they_were_promoted(client):
    gain = {"mean": 0.01, "low": 0.001, "high": 0.02, "confidence": 0.97}
    sentences = evidence_sentences(
        {
            "n_rows": 1626,
            "n_accounts": 585,
            "over_base_rate": gain,
            "over_formula": None,
            "over_champion": None,
        }
    )
    assert sentences[0].startswith("Judged on 1,626 held-out rows of 585 accounts")
    assert "better in 97% of the draws of accounts" in sentences[1]
    assert len(sentences) == 2
    assert evidence_sentences({"what": "calibration of the formula"}) == ()


def test_baselines_stand_beside_the_model_on_the_same_rows():
    metrics = {
        "auc_90d": 0.7,
        "baseline_usage_log_loss_90d": 0.27,
        "baseline_lightgbm_log_loss_90d": 0.26,
        "rows": 900.0,
    }
    beside = beside_baselines(metrics)
    assert [line.name for line in beside.lines] == ["LightGBM", "Use in the last month"]
    assert [line.values[0].striptags() for line in metrics_by_horizon(metrics).lines] == ["0.700"]
    assert beside_baselines({}).lines == ()


def test_the_api_page_has_an_example_of_each_request(read):
    text, _ = read("/docs")
    assert "POST /v1/next-actions" in text
    assert "`" not in text
    assert '"account_ids"' in text


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_page_is_sound_and_loads_nothing_from_elsewhere(read, path):
    _, tags = read(path)
    names = [tag for tag, _ in tags]
    assert names.count("h1") == 1
    assert names.count("main") == 1
    assert "script" not in names
    assert dict(tags)["html"]["lang"] == "en"
    for tag, attributes in tags:
        assert not [a for a in attributes if a.startswith("on")], tag
        assert "style" not in attributes, tag  # the policy would drop it
        link = attributes.get("href") or attributes.get("src") or "/"
        assert link.startswith(("/", "#")), link
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_link_of_a_page_leads_somewhere(read, client, path):
    _, tags = read(path)
    links = {html.unescape(a["href"]) for tag, a in tags if tag in ("a", "link") and "href" in a}
    for link in sorted(links)[:60]:
        if link.startswith("/"):
            assert client.get(link).status_code == 200, link


def test_fields_have_labels_and_tables_have_headings(read):
    _, tags = read("/")
    assert all(a.get("scope") for tag, a in tags if tag == "th")
    labels = sum(tag == "label" for tag, _ in tags)
    assert labels == sum(tag in ("select", "input") for tag, _ in tags)


def test_names_from_data_are_text_and_never_markup(tmp_path, store, make_client):
    from serving.text_format import plain

    templates = Templates("<script>alert(1)</script>")
    page = ProblemPage.__new__(ProblemPage)
    from serving.pages.frame import Frame

    page = ProblemPage(
        frame=Frame(title="<b>", section="", tenant=templates.tenant),
        heading="<img src=x onerror=1>",
        detail=plain("<i>a</i>"),
        next="n",
    )
    body = templates.page("problem.html", page).body.decode()
    assert "<script>alert" not in body
    assert "<img" not in body
    assert "<i>a" not in body


@pytest.mark.parametrize("template", PAGES)
def test_a_template_reads_only_fields_that_its_page_has_and_all_of_them(template):
    sources = [
        (FOLDER / "templates" / name).read_text(encoding="utf-8")
        for name in (template, "frame.html", "notices.html")
    ]
    used = {match for source in sources for match in re.findall(r"\bpage\.(\w+)", source)}
    known = {field.name for field in fields(PAGES[template])}
    assert used - known == set()
    assert known - used == set()


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "templates").glob("*.html")), ids=lambda p: p.name
)
def test_templates_compare_no_numbers_and_trust_no_text(path):
    source = path.read_text(encoding="utf-8")
    blocks = re.findall(r"{[{%].*?[%}]}", source)
    assert not [b for b in blocks if re.search(r"[<>]=?\s|\|\s*(safe|round|float|int)", b)]
    jinja2.Environment(autoescape=True).parse(source)


def test_the_style_sheet_is_kept_by_browsers_and_changes_its_address(client):
    templates = client.app.state.templates
    answer = client.get(f"/assets/keepwell-{templates.style_version}.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert b"url(" not in answer.content
    assert b"@import" not in answer.content


def test_colours_can_be_told_apart_in_light_and_dark():
    """Text on its ground has a contrast of at least 4.5, by the formula of WCAG 2."""
    sheet = (FOLDER / "assets" / "keepwell.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", sheet, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        pairs = [
            ("ink", "ground"),
            ("ink", "card"),
            ("soft", "ground"),
            ("soft", "card"),
            ("accent", "card"),
            ("accent", "ground"),
            ("accent-ink", "accent"),
            ("ink", "notice"),
            ("risk", "card"),
            ("safe", "card"),
        ]
        pairs += [(n, f"{n}-ground") for n in ("low", "medium", "high", "critical", "unknown")]
        low = {
            pair: round(contrast(colour[pair[0]], colour[pair[1]]), 2)
            for pair in pairs
            if contrast(colour[pair[0]], colour[pair[1]]) < 4.5
        }
        assert low == {}


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
