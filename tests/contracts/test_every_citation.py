"""Every source that data cite is a heading of docs/sources.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from source_signals import SIGNALS

from features.alerts.rules import ALERTS
from features.health.formula import FORMULAS
from registry.playbook.playbook import load_playbook

TEXT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
HEADINGS = {
    f"{document}#{re.sub(r'[^a-z0-9 -]', '', heading.lower()).replace(' ', '-')}"
    for document, heading in re.findall(r"^### ([a-z-]+): (.+)$", TEXT, flags=re.MULTILINE)
}
BOOK = load_playbook()
CITED = {
    f"{kind} {name}": source
    for kind, cited in {
        "action": {one.id: one.source for one in BOOK.actions},
        "sequence": {one.id: one.source for one in BOOK.sequences},
        "rule": {one.id: one.source for one in ALERTS},
        "signal": {one.id: one.source for one in SIGNALS},
        "formula": {one.id: one.source for one in FORMULAS.values()},
        "component": {
            f"{formula.id} {one.name}": one.source
            for formula in FORMULAS.values()
            for one in formula.components
        },
    }.items()
    for name, source in cited.items()
}


def test_all_that_cites_is_asked():
    assert len(CITED) > 200
    assert len(HEADINGS) > 50


@pytest.mark.parametrize("name", CITED)
def test_a_citation_leads_to_a_heading(name):
    assert set(CITED[name].split(", ")) <= HEADINGS
