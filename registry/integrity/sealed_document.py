"""Documents that hold a digest of themselves, so that a number that was altered on disk is noticed.

A JSON document holds it as one more value, ``content_digest``, of what the document says: spaces and the
order of keys do not count. A page holds it in a comment before its end. A document without a digest is of an
older version, and is read as it is. This guards against disks and accidents, not against people, who can
write another digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

DIGEST, PREFIX = "content_digest", "sha256:"

END_OF_PAGE = "</html>"
"""How every page ends; one that does not was cut short."""

_SEAL = "<!-- digest {} -->"
_SEALED = re.compile(r"<!-- digest (.*?) -->\s*</html>\s*\Z", re.DOTALL)
_LIKE_A_SEAL = re.compile(r"sha256:[0-9a-f]{60}")


class AlteredDocumentError(ValueError):
    """A document is not what its digest says."""


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its digest.

    >>> unseal(seal({"estimate": 0.05}))
    {'estimate': 0.05}
    """
    content = {name: value for name, value in document.items() if name != DIGEST}
    return {**content, DIGEST: _digest(content)}


def unseal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its digest, which was compared.

    Raises:
        AlteredDocumentError: it says something else than when it was written.
    """
    content = {name: value for name, value in document.items() if name != DIGEST}
    stated = document.get(DIGEST)
    if stated is None:
        stated = next(
            (v for v in content.values() if isinstance(v, str) and _LIKE_A_SEAL.match(v)), None
        )  # the name of the digest itself was altered
    if stated is not None and stated != _digest(content):
        raise AlteredDocumentError("it was altered since it was written")
    return content


def seal_page(page: str) -> str:
    """A page with its digest before its end.

    >>> unseal_page(seal_page("<html></html>"))
    '<html></html>'
    """
    whole = unseal_page(page)
    head, end, tail = whole.rpartition(END_OF_PAGE)
    if not end:
        raise ValueError(f"A page ends with {END_OF_PAGE}.")
    return f"{head}{_SEAL.format(_digest_of(whole))}{end}{tail}"


def unseal_page(page: str) -> str:
    """The page without its digest, which was compared.

    Raises:
        AlteredDocumentError: it is not the page that was written.
    """
    found = _SEALED.search(page)
    if found is None:
        if _LIKE_A_SEAL.search(page[-200:]):
            raise AlteredDocumentError("it was altered since it was written")
        return page
    whole = _without_seal(page)
    if found[1] != _digest_of(whole):
        raise AlteredDocumentError("it was altered since it was written")
    return whole


def seal_again(before: str, after: str) -> str:
    """A text that was changed on purpose, with a new digest where the one before had a right one."""
    if END_OF_PAGE in before[-100:]:
        try:
            return seal_page(_without_seal(after)) if unseal_page(before) != before else after
        except ValueError:
            return after
    try:
        document, changed = json.loads(before), json.loads(after)
        if not (isinstance(document, dict) and isinstance(changed, dict) and DIGEST in document):
            return after
        unseal(document)
        return json.dumps(seal(changed), indent=1, ensure_ascii=False) + "\n"
    except (ValueError, RecursionError):
        return after


def _without_seal(page: str) -> str:
    found = _SEALED.search(page)
    if found is None:
        return page
    return page[: found.start()] + page[found.end(1) + len(" -->") :]


def _digest(content: Mapping[str, Any]) -> str:
    return _digest_of(json.dumps(content, sort_keys=True, separators=(",", ":")))


def _digest_of(text: str) -> str:
    # a text of JSON may hold half of a pair of signs, which UTF-8 has no bytes for
    return PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
