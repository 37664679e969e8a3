"""Read the body of a request as a whole, and give it again to whoever reads it next."""

from __future__ import annotations

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from serving.problems import TooLargeError


async def read_body(
    receive: Receive, count: Callable[[int], None] = lambda _: None
) -> bytes | None:
    """The body of a request; None where the caller went away.

    ``count`` is told the bytes of each piece as it comes, and may refuse them.

    Raises:
        TooLargeError: it is larger than is read.
    """
    pieces: list[bytes] = []
    while True:
        try:
            message = await receive()
        except HTTPException as error:  # what the bound of the body raises
            raise TooLargeError(str(error.detail)) from error
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        count(len(pieces[-1]))
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """What gives the body that was read already, and then whatever comes."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
