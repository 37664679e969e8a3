"""The playbook reads only what there is, or is refused before anybody asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from features.catalogue.catalogue import load_catalogue
from registry.playbook.actions import PlaybookError
from registry.playbook.condition_grammar import parse_condition
from registry.playbook.playbook import load_playbook
from serving.decisions.validated_playbook import load_validated_playbook

FEATURES = load_catalogue().by_name


def test_the_playbook_reads_only_what_every_tenant_has():
    assert load_validated_playbook(FEATURES) is load_playbook()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            "moon_phase > 3",
            "Action 'success_call': the condition 'moon_phase > 3' reads 'moon_phase', "
            "and there is no such feature or attribute",
        ),
        ("alert eclipse", "reads 'eclipse', and there is no such warning sign"),
    ],
)
def test_an_action_that_reads_what_nobody_declared_is_refused(condition, message):
    call = replace(load_playbook().by_id["success_call"], triggers=(parse_condition(condition),))
    book = replace(load_playbook(), actions=(call,), sequences=(), conflicts=())
    with pytest.raises(PlaybookError, match=message):
        load_validated_playbook(FEATURES, book)


def test_a_tenant_without_a_feature_that_is_read_is_told_so():
    with pytest.raises(PlaybookError, match="reads 'severe_tickets_open'"):
        load_validated_playbook([name for name in FEATURES if name != "severe_tickets_open"])
