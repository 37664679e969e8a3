"""The running service shows the documentation: every page, with links that lead somewhere."""

from __future__ import annotations

import re

import pytest

from serving.pages.help_page import DOCS, help_address, help_names, help_page
from serving.pages.markdown import render_markdown

NAMES = sorted(help_names())


def test_every_page_is_there():
    assert len(NAMES) > 60
    assert {"README", "glossary", "how-to/set-limits"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_shown_and_its_links_lead_to_pages(name):
    page = help_page(name, tenant="Acme")
    assert page.content.count("<h1") == 1
    assert page.frame.title
    for address in re.findall(r'href="([^"]*)"', page.content):
        path, _, part = address.partition("#")
        target = path.removeprefix("/help/") if path else name
        assert target in NAMES
        if part:
            shown = help_page(target, tenant="Acme").content
            assert f'id="{part}"' in shown


@pytest.mark.parametrize("name", ["../README", "/etc/passwd", "how-to", "reference/generate"])
def test_what_is_no_page_is_not_opened(name):
    assert help_page(name, tenant="Acme") is None


def test_a_link_out_of_the_folder_is_text():
    assert help_address("README", "../README.md") is None
    made = render_markdown(
        "[here](https://example.org)", link=lambda to: help_address("README", to)
    )
    assert made == "<p>here</p>\n"


def test_the_service_shows_them(client):
    answer = client.get("/help", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "Documentation</h1>" in answer.text
    assert 'href="/help" aria-current="page"' in answer.text
    assert client.get("/help/glossary").status_code == 200
    missing = client.get("/help/none")
    assert missing.status_code == 404
    assert missing.json()["next"] == "GET /help lists every page."


def test_the_docs_are_where_the_service_looks():
    assert (DOCS / "README.md").exists()
