"""Draws by a keyed hash that anyone with the key can repeat.

Chance decides only where it costs almost nothing: between offers of nearly equal value that have
all passed every filter and the capacity. A lottery draws k of n, so the propensity of the
recommendation is exactly k/n; all others have propensity 1 and are no causal evidence.

::

    HMAC-SHA256(key, [lottery, name])  →  a number in [0, 1)  →  the k lowest of n are drawn

Without the key nobody can predict the draw; with it anybody can check it afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field

from experiments.randomisation.assignment import LotteryError, draw_names

LEAST_KEY_BYTES = 32

Position = Callable[..., float]
"""From the names of a draw to a number in [0, 1)."""


@dataclass(frozen=True, kw_only=True)
class LotteryKey:
    """The secret key of draws; its id may be shown, the secret is never shown."""

    key_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < LEAST_KEY_BYTES:
            raise LotteryError(
                f"The lottery key {self.key_id!r} has {len(self.secret)} bytes; "
                f"use at least {LEAST_KEY_BYTES} random ones."
            )

    def position(self, *names: str) -> float:
        """A number in [0, 1), the same for the same key and names everywhere."""
        return _position(self.secret, names)

    def seed(self, *names: str) -> str:
        """A derived key for these names: it can be stored with a decision, so that the draw can be
        repeated without the secret, and it reveals no other draw."""
        return hmac.new(self.secret, _message(("seed", *names)), hashlib.sha256).hexdigest()


def draw_with_seed(seed: str) -> Position:
    """Positions by a seed that ``LotteryKey.seed`` gave.

    >>> key = LotteryKey(key_id="2026", secret=bytes(32))
    >>> draw_with_seed(key.seed("acme"))("call") == draw_with_seed(key.seed("acme"))("call")
    True
    """
    try:
        secret = bytes.fromhex(seed)
    except ValueError as exc:
        raise LotteryError(
            f"The seed of a draw is {seed!r:.20}, which is not hexadecimal. Give "
            f"the one that was stored with the decision."
        ) from exc
    return lambda *names: _position(secret, names)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """k of n names, drawn by a keyed hash; ``of`` in order, ``drawn`` in the order of the draw."""

    lottery_id: str
    key_id: str
    of: tuple[str, ...]
    drawn: tuple[str, ...]

    @property
    def propensity(self) -> float:
        """The probability to be drawn, the same for every name.

        >>> Draw(lottery_id="l", key_id="k", of=("a", "b", "c"), drawn=("b",)).propensity
        0.3333333333333333
        """
        return len(self.drawn) / len(self.of)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "of": list(self.of),
            "drawn": list(self.drawn),
            "k": len(self.drawn),
            "n": len(self.of),
            "propensity": self.propensity,
        }


def draw(
    position: Position, names: Collection[str], *, k: int, lottery_id: str, key_id: str
) -> Draw:
    """Draw k of these names.

    Args:
        position: of a key or a seed.
        names: each once, in any order.
        k: from 1 to the number of names less one, else there is nothing to draw.
        lottery_id: two draws with the same id and names are the same draw.
        key_id: the name of the key in the record.

    Raises:
        LotteryError: k does not fit, or a name is there twice.
    """
    ordered, drawn = draw_names(
        names, k, lambda name: position(lottery_id, name), what=f"The lottery {lottery_id!r}"
    )
    return Draw(lottery_id=lottery_id, key_id=key_id, of=ordered, drawn=drawn)


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """The rules of draws between nearly equal offers; all numbers are ours.

    ``closeness`` is the share of the better value that chance may cost. Above ``whole_up_to_mrr``
    it shrinks as the account grows, and above ``none_above_mrr``, or where the revenue is not
    known, chance decides nothing. Segments in ``off`` take no part.
    """

    closeness: float = 0.1
    whole_up_to_mrr: float = 1_000.0
    none_above_mrr: float = 10_000.0
    segment_attribute: str = "segment"
    off: tuple[str, ...] = ()
    most_actions: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.closeness < 1:
            raise LotteryError(
                f"The closeness of an exploration is {self.closeness!r}; it is a "
                f"share of at least 0 and below 1."
            )
        if not 0 < self.whole_up_to_mrr <= self.none_above_mrr:
            raise LotteryError(
                f"An exploration runs whole up to whole_up_to_mrr = {self.whole_up_to_mrr!r} and "
                f"ends at none_above_mrr = {self.none_above_mrr!r} (left out they are "
                f"{Exploration.whole_up_to_mrr!r} and {Exploration.none_above_mrr!r}). Give two "
                f"amounts above 0, the first at most as large as the second."
            )
        if self.most_actions < 2:
            raise LotteryError(
                f"An exploration between {self.most_actions} actions is none; give at least 2."
            )

    def closeness_for(self, mrr: float | None, attributes: Mapping[str, str | None]) -> float:
        """The share of value that chance may cost with this account; 0: no draw.

        >>> plan = Exploration(closeness=0.1, off=("public",))
        >>> plan.closeness_for(500.0, {}), plan.closeness_for(2000.0, {})
        (0.1, 0.05)
        >>> plan.closeness_for(500.0, {"segment": "public"}), plan.closeness_for(None, {})
        (0.0, 0.0)
        """
        is_off = attributes.get(self.segment_attribute) in self.off
        if mrr is None or is_off or not 0 <= mrr <= self.none_above_mrr:
            return 0.0
        return self.closeness * min(1.0, self.whole_up_to_mrr / mrr) if mrr else self.closeness


def _message(names: tuple[str, ...]) -> bytes:
    return json.dumps(list(names), ensure_ascii=True).encode()


def _position(secret: bytes, names: tuple[str, ...]) -> float:
    digest = hmac.new(secret, _message(("position", *names)), hashlib.sha256).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
