"""Check who may approve a promotion that somebody else asked for.

Names are taken as they are given; nobody is authenticated here. Pure.
"""

from __future__ import annotations

from registry.store.store import ModelStoreError, PromotionRequest


class ApprovalError(ModelStoreError):
    """The promotion cannot be approved like this."""


def check_approval(
    request: PromotionRequest | None, *, label: str, version: int, by: str
) -> PromotionRequest:
    """The request, if this person may approve it for this version.

    Raises:
        ApprovalError: nobody asked for it, or this person did.
    """
    ask = f"keepwell models promote {label} {version} --by NAME"
    if request is None:
        raise ApprovalError(
            f"Nobody has asked for a promotion of {label!r} version {version}, or the champion was "
            f"changed after it. One person asks ({ask}), another one approves."
        )
    if request.version != version:
        raise ApprovalError(
            f"{request.by} asked for version {request.version} of {label!r}, not {version}. "
            f"Approve that one, or ask for this one ({ask})."
        )
    if person(request.by) == person(by):
        raise ApprovalError(
            f"{by} asked for the promotion of {label!r} version {version}, so somebody else has to "
            f"approve it: {ask} --approve"
        )
    return request


def person(name: str) -> str:
    """A name without differences of case and blanks.

    >>> person(" Ann  Lee") == person("ann lee")
    True
    """
    return " ".join(name.split()).casefold()
