"""What leaving means in a workspace: the contract ends, or nothing is used or bought any more.

A company without contracts states it in ``workspace.toml``::

    [leaving]
    means = "no_use"
    kinds = ["order.placed"]   # what counts as use
    days = 90                  # left: none of it in so many days after the moment of the question
    used_within_days = 365     # asked about: accounts with some of it in so many days before
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from features.events.schema import is_kind

Meaning = Literal["contract_ends", "no_use"]


class LeavingError(ValueError):
    """The settings of leaving contradict themselves."""


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """When an account counts as one that left.

    Args:
        means: ``contract_ends``, or ``no_use`` where there are no contracts.
        kinds: the kinds of event that are use.
        days: of no use after the moment of the question.
        used_within_days: accounts are asked about that had use in so many days before it.

    Raises:
        LeavingError: no kind, one that does not exist, or days that are none.
    """

    means: Meaning = "contract_ends"
    kinds: tuple[str, ...] = ("order.placed",)
    days: int = 90
    used_within_days: int = 365

    def __post_init__(self) -> None:
        if not self.kinds:
            raise LeavingError(
                'kinds is empty. Name the kinds of event that are use, such as ["order.placed"].'
            )
        for kind in self.kinds:
            if not is_kind(kind):
                raise LeavingError(
                    f'There is no kind of event {kind!r}. Orders are "order.placed", use is '
                    f'"feature.used" or "user.session"; your own start with "custom.".'
                )
        for name, value, most in (
            ("days", self.days, 365),
            ("used_within_days", self.used_within_days, 3650),
        ):
            if not 1 <= value <= most:
                raise LeavingError(f"{name} is {value}; it lies between 1 and {most}.")

    @property
    def is_no_use(self) -> bool:
        """Whether accounts leave without a contract that ends."""
        return self.means == "no_use"

    @property
    def is_of_orders(self) -> bool:
        """Whether it is orders that stop, and not use."""
        return set(self.kinds) <= {"order.placed"}
