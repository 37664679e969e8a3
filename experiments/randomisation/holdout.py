"""The standing holdout: accounts without any action for a whole contract term.

A small share of accounts gets "do nothing" until its term ends, so that the effect of all actions
together can always be measured. A keyed hash of account and term decides: it does
not change while the term runs, nobody can choose, and the next term draws anew. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.keyed_draw import LotteryKey


@dataclass(frozen=True, kw_only=True)
class HoldoutRule:
    """The share of accounts in the holdout; never large ones, nor segments in ``off``."""

    share: float
    none_above_mrr: float = 5_000.0
    segment_attribute: str = "segment"
    off: tuple[str, ...] = ()
    name: str = "standing"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise LotteryError(
                f"The holdout {self.name!r} leaves a share of {self.share!r} alone; "
                f"give one above 0 and at most 0.5, or no holdout."
            )


@dataclass(frozen=True, kw_only=True)
class HoldoutStatus:
    """Whether an account is held out in its term, until when, and how probable that was.

    ``until`` is None where the end of the term is not known.
    """

    is_held_out: bool
    until: datetime | None
    propensity: float
    lottery_id: str
    key_id: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "is_held_out": self.is_held_out,
            "until": self.until.isoformat() if self.until else None,
            "propensity": self.propensity,
            "lottery_id": self.lottery_id,
            "key_id": self.key_id,
        }


def holdout_status(
    rule: HoldoutRule,
    key: LotteryKey,
    account_id: str,
    *,
    mrr: float | None,
    attributes: Mapping[str, str | None],
    term_started_at: datetime | None,
    term_ends_at: datetime | None,
    as_of: datetime,
) -> HoldoutStatus | None:
    """The holdout status of an account in its contract term; None: it takes no part.

    An account takes part from the first to the last day of a known term, while its revenue is known
    and below the rule's bound and its segment is not off.

    Args:
        rule: share and bounds.
        key: of the draw; with it the draw can be repeated.
        account_id: the account.
        mrr: monthly revenue at the start of the term.
        attributes: where the segment is read.
        term_started_at: when the running term began.
        term_ends_at: when it ends, if that is known.
        as_of: the moment of the question.
    """
    if term_started_at is None or mrr is None or not 0 <= mrr <= rule.none_above_mrr:
        return None
    if attributes.get(rule.segment_attribute) in rule.off or as_of < term_started_at:
        return None
    if term_ends_at is not None and as_of >= term_ends_at:
        return None
    lottery_id = f"holdout-{rule.name}-{term_started_at:%Y-%m-%d}"
    is_held_out = key.position(lottery_id, account_id) < rule.share
    return HoldoutStatus(
        is_held_out=is_held_out,
        until=term_ends_at,
        key_id=key.key_id,
        propensity=rule.share if is_held_out else 1 - rule.share,
        lottery_id=lottery_id,
    )
