"""A text from data is text on every page, whatever it says, and adds no header."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser

import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_company import AS_OF, event

from features.events.schema import KINDS, Event
from features.workspace import Workspace
from serving.state.refresh import FreshScores

ACCOUNT = "acct-00"
HARMLESS = "harmless"
TEXTS = (
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table><h1>gone</h1>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}{0!r}%s%(name)s",
    "zzz\r\nset-cookie: b=c\r\n\r\n<p>",
    "&lt;b&gt;&#60;b&#62;",
    "[a](javascript:alert(1)) **b** | c |",
)
LISTS = ("/", "/?status=all", "/approvals", "/reports")


class Structure(HTMLParser):
    """What a page is made of, without its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self.targets: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.targets += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data):
        self.words.append(data)


def told(text: str) -> list[Event]:
    """An event of each kind that others send, with the text wherever a text may stand."""
    return [
        event(
            ACCOUNT,
            kind.name,
            1 + number / 100,
            **{name: text for name in kind.properties if name not in ("csm", "parent")},
        )
        for number, kind in enumerate(KINDS)
        if kind.name not in ("contract.cancelled", "contract.paused", "consent.updated")
    ]


def pages_after(make_client, workspace, store, text):
    client = make_client(workspace, store)
    service = client.app.state.service
    service.timelines.append(told(text), now=AS_OF)
    service.timelines.append(
        [event("acct-01", "account.updated", 1, name=text, csm=text, segment=text)], now=AS_OF
    )
    FreshScores(service).catch_up()
    addresses = [*LISTS, *(f"/accounts/acct-{number:02d}" for number in range(3))]
    answers = {address: client.get(address) for address in addresses}
    unknown = "/accounts/" + "".join(f"%{byte:02x}" for byte in text.encode())
    answers["of nobody"] = client.get(unknown, headers={"accept": "text/html"})
    return answers


@pytest.fixture(scope="module")
def structures(untouched_workspace, store, new_clients, tmp_path_factory):
    """The pages where each of the texts was a harmless word."""
    root = tmp_path_factory.mktemp("harmless") / "own"
    shutil.copytree(untouched_workspace.root, root)
    with new_clients() as make:
        answers = pages_after(make, Workspace(root, environment={}), store, HARMLESS)
    return {address: Structure(answer.text) for address, answer in answers.items()}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_from_data_changes_no_page(own_workspace, store, make_client, structures, text):
    answers = pages_after(make_client, own_workspace, store, text)
    seen = 0
    for address, answer in answers.items():
        assert answer.status_code == (404 if address == "of nobody" else 200), address
        assert answer.headers["content-type"].startswith("text/html"), address
        page = Structure(answer.text)
        assert page.tags == structures[address].tags, address
        assert all(target.startswith(("/", "#")) for target in page.targets), address
        assert " ".join(page.words).count(HARMLESS) == 0
        seen += "".join(page.words).count(text.split("\r\n")[0])
        assert "set-cookie" not in answer.headers, address
    assert seen == sum("".join(page.words).count(HARMLESS) for page in structures.values())
    assert seen > 40


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_from_data_changes_no_header_and_no_figure(own_workspace, store, make_client, text):
    """Prometheus can read the figures, JSON the answers; a refusal repeats no line break."""
    pages_after(make_client, own_workspace, store, text)
    client = make_client(own_workspace, store)
    address = "/v1/accounts/" + "".join(f"%{byte:02x}" for byte in text.encode())
    answers = [client.get(f"/v1/accounts/{ACCOUNT}"), client.get(address), client.get("/metrics")]
    for answer in answers:
        for name, value in answer.headers.items():
            assert name.isascii()
            assert value.isprintable()
            assert text.split("\r\n")[0] not in value
        assert "set-cookie" not in answer.headers
    assert [answer.status_code for answer in answers[1:]] == [404, 200]
    assert answers[1].json()["status"] == 404
    families = list(text_string_to_metric_families(answers[2].text))
    assert families
    labels = {
        value for family in families for one in family.samples for value in one.labels.values()
    }
    assert all(value.isprintable() for value in labels)
    assert not any(text.split("\r\n")[0] in value for value in labels)
