from __future__ import annotations

import pytest

from features.events.schema import KIND_NAMES
from serving.timeline.sentences import QUANTITIES, SENTENCES, sentence


def test_every_kind_has_its_words():
    assert set(SENTENCES) == KIND_NAMES
    assert set(QUANTITIES) <= KIND_NAMES


@pytest.mark.parametrize("kind", sorted(KIND_NAMES))
@pytest.mark.parametrize("quantity", [None, 3.0])
def test_a_sentence_reads_well_without_any_property(kind, quantity):
    text = sentence(kind, {}, quantity, "USD")
    assert text
    assert "{" not in text
    assert "()" not in text
    assert not text.endswith((":", " "))


def test_a_tenants_own_kind_is_said_by_its_name():
    assert sentence("custom.pallet_shipped", {}, None, "USD") == "Pallet shipped"


def test_a_brace_in_a_property_is_only_text():
    assert sentence("feature.used", {"name": "{0.__class__}"}, None, "USD") == "Used {0 class }"
