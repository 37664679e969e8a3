"""A document that holds a digest of itself is read as it was written, or not at all."""

from __future__ import annotations

import json

import pytest

from registry.integrity.sealed_document import (
    AlteredDocumentError,
    seal,
    seal_again,
    seal_page,
    unseal,
    unseal_page,
)

DOCUMENT = {"title": "Calls", "low": -0.25, "n": 1234, "rows": [{"a": None, "b": "é\ud800"}]}
PAGE = "<!doctype html>\n<html><p>0.25 of 1234</p></html>\n"


def test_no_bit_of_a_document_changes_unnoticed():
    whole = json.dumps(seal(DOCUMENT), indent=1).encode()
    assert unseal(json.loads(whole)) == DOCUMENT
    taken = []
    for place in range(len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            try:
                found = json.loads(content)
                if isinstance(found, dict) and unseal(found) != DOCUMENT:
                    taken.append((place, bit))
            except ValueError:
                pass
    assert taken == []


def test_no_bit_of_a_page_changes_unnoticed():
    whole = seal_page(PAGE).encode()
    assert unseal_page(whole.decode()) == PAGE
    taken = []
    for place in range(len(whole) - len("</html>\n")):  # a page without that end is refused anyway
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            try:
                if unseal_page(content.decode()) != PAGE:
                    taken.append((place, bit))
            except ValueError:
                pass
    assert taken == []


def test_what_an_older_version_wrote_is_read_as_it_is():
    assert unseal(DOCUMENT) == DOCUMENT
    assert unseal_page(PAGE) == PAGE


def test_what_is_changed_on_purpose_has_a_new_digest():
    text = json.dumps(seal({"who": "ann", "n": 3}))
    assert unseal(json.loads(seal_again(text, text.replace("ann", "erased")))) == {
        "who": "erased",
        "n": 3,
    }
    page = seal_page("<html>ann</html>")
    changed = seal_again(page, page.replace("ann", "erased"))
    assert unseal_page(changed) == "<html>erased</html>"
    for plain in ('{"who": "ann"}', "<html>ann</html>", "# ann"):
        assert seal_again(plain, plain.replace("ann", "x")) == plain.replace("ann", "x")


def test_what_was_damaged_before_it_was_changed_stays_damaged():
    text = json.dumps(seal({"who": "ann", "n": 3})).replace("3", "4", 1)
    with pytest.raises(AlteredDocumentError, match="altered since it was written"):
        unseal(json.loads(seal_again(text, text.replace("ann", "erased"))))
    page = seal_page("<html>ann 3</html>").replace(" 3", " 4")
    with pytest.raises(AlteredDocumentError, match="altered since it was written"):
        unseal_page(seal_again(page, page.replace("ann", "erased")))
