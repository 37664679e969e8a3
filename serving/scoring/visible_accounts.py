"""The accounts that a person sees and acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VisibleAccounts:
    """The accounts that a caller sees and acts on: those that name them, and those of territories.

    A territory is a region and a CSM the account's ``csm``, as in ``keepwell plan``.

    >>> VisibleAccounts(csm="ann", territories=("emea",)).holds({"csm": "bob", "region": "emea"})
    True
    >>> VisibleAccounts(csm="ann").holds({"csm": None, "region": "emea"})
    False
    """

    csm: str | None = None
    territories: tuple[str, ...] = ()

    def holds(self, attributes: Mapping[str, str | None]) -> bool:
        """Whether an account with these attributes is within reach."""
        named = self.csm is not None and attributes.get("csm") == self.csm
        return named or attributes.get("region") in self.territories
