"""Refuse a request from its first line alone, as bytes, where its class has no place.

A refusal by the application runs all the code that a request runs. At five times the load that can be
served, these refusals took the processor time of the requests that were served. Here a refusal only
writes bytes. Authentication is not needed for it: nothing is done, and the answer says only that
the class is full.
Whose request it is follows from the key that it carries, if one of that key was refused behind the
gate before; one of another key goes to the gate, where it may find a place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache

from serving.http.admission import Places, RawHeaders, RouteClass
from serving.http.headers import SECURITY_HEADERS
from serving.http.problem_details import MEDIA_TYPE, problem_content

LONGEST_PATH = 200
"""Characters of an address whose class is remembered; a longer one goes to the gate."""

REMEMBERED = 4_096

KEY_HEADERS = (b"x-api-key", b"authorization")


def credential_of(headers: RawHeaders) -> int:
    """A hash of what a request carries of a key, by which it is known again in this process."""
    return hash(tuple(one for one in headers if one[0] in KEY_HEADERS))


class EarlyRefusal:
    """The refusal of a request by its method and path; None where it may go on.

    Args:
        places: those of the application.
        class_of_address: the class of the route that answers a method and a path.
        refused: called with the name of the class for each refusal.
        needs_no_place: whether a path is answered from memory, so that a read of it costs less than
            its refusal saves.
    """

    def __init__(
        self,
        places: Mapping[RouteClass, Places],
        class_of_address: Callable[[str, str], RouteClass | None],
        refused: Callable[[str], None],
        needs_no_place: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._places = places
        self._class_of = lru_cache(maxsize=REMEMBERED)(class_of_address)
        self._refused = refused
        self._needs_no_place = needs_no_place
        self._parts: dict[RouteClass, tuple[bytes, bytes, bytes]] = {}
        self._callers: dict[int, str] = {}

    def know(self, headers: RawHeaders, caller: str) -> None:
        """Remember the caller whose request with these headers was refused behind the gate."""
        if len(self._callers) >= REMEMBERED:
            self._callers.clear()
        self._callers[credential_of(headers)] = caller

    def __call__(self, method: str, path: str, headers: RawHeaders = ()) -> bytes | None:
        """Headers and body of the refusal, without the status line; None where there is none."""
        if method == "HEAD" or len(path) > LONGEST_PATH:
            return None
        of = self._class_of(method, path)
        if of is None or not self._places[of].is_full(self._caller_of(of, headers)):
            return None
        if method == "GET" and self._needs_no_place(path):
            return None
        refusal = self._places[of].refusal()
        self._refused(of.name)
        parts = self._parts.get(of)
        if parts is None:
            marked = json.dumps(problem_content(refusal, "\x00"))
            before, _, after = marked.partition('"\\u0000"')
            answered = {"content-type": MEDIA_TYPE, **SECURITY_HEADERS, **refusal.headers}
            lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in answered.items())
            parts = self._parts[of] = (lines.encode(), before.encode(), after.encode())
        lines_, before_, after_ = parts
        body = before_ + json.dumps(path).encode() + after_
        return lines_ + b"content-length: %d\r\n\r\n" % len(body) + body

    def _caller_of(self, of: RouteClass, headers: RawHeaders) -> str:
        if not self._places[of].busy:
            return ""
        return self._callers.get(credential_of(headers), "")
