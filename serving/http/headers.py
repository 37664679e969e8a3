"""Headers that tell a browser what it may do with an answer; the same on each.

Transport security (HSTS) is set by the proxy that speaks TLS, since the service speaks HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

_NOTHING = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action"

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": f"{_NOTHING} 'self'; style-src 'self'; img-src 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "cache-control": "no-store",
}
"""Set on every answer unless the answer set its own. No page of ours has a script, and none has a
style of its own."""

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def self_contained_policy(page: str) -> str:
    """The policy of a page that is one file: the styles of its head by their hashes, and pictures
    that it holds itself. A style that stands further down is not taken, and no script is.

    >>> self_contained_policy("<head><style>b {}</style></head><style>i {}</style>").split("; ")[4:]
    ["style-src 'sha256-zy87ZYlZV4kMyp51wB+3ABJeEclAGRFupKDmlDS9DAw='", 'img-src data:']
    """
    styles = _STYLE.findall(page.partition("</head>")[0])
    hashes = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in styles)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return f"{_NOTHING} 'none'; style-src {allowed}; img-src data:"
