"""How far a workspace lets chance decide, from ``chance.toml`` and a secret key.

Without the file, or with none of its draws asked for, nothing is drawn and every propensity is 1.

::

    key_id = "2026"          # what the key is called in the records
    explore = true           # lots between near-equal actions of one account
    last_hours = true        # lots for the last hours of a week's plan
    holdout_share = 0.05     # of accounts, left alone for a contract term
    lotteries = true         # lotteries of one action that somebody asks for
    off = ["public"]         # segments in which nothing is drawn

How close to equal, how far for large accounts and between how many can be set beside these; what is
left out is as ``Exploration`` and ``HoldoutRule`` have it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from experiments.planning.ties_by_lot import CapacityLottery
from experiments.policy.exploration import AccountChance, chance_for
from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.holdout import HoldoutRule, HoldoutStatus, holdout_status
from experiments.randomisation.keyed_draw import Exploration, LotteryKey
from registry.toml_table import Table, TableError, toml_values
from serving.scoring.score import AccountScore
from serving.settings import LOTTERY_KEY_VARIABLE

CHANCE_FILE = "chance.toml"


class ExplorationSettingsError(ValueError):
    """The exploration settings of a workspace cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ExplorationSettings:
    """Which draws a workspace asks for; None: not this one."""

    key: LotteryKey
    exploration: Exploration
    explore: bool
    last_hours: bool
    lotteries: bool = False
    holdout: HoldoutRule | None

    def chance_of(self, score: AccountScore, now: datetime) -> AccountChance | None:
        """The account's chance this week."""
        if not self.explore:
            return None
        return chance_for(self.exploration, self.key, score.account_id, period=week_of(now))

    def standing_of(
        self, score: AccountScore, term_started_at: datetime | None, now: datetime
    ) -> HoldoutStatus | None:
        """The account's place in the holdout."""
        if self.holdout is None:
            return None
        days = score.features.get("days_to_renewal")
        ends = None if days is None or days != days else score.as_of + timedelta(days=days)
        return holdout_status(
            self.holdout,
            self.key,
            score.account_id,
            mrr=score.features.get("mrr"),
            attributes=score.attributes,
            term_started_at=term_started_at,
            term_ends_at=ends,
            as_of=now,
        )

    def segments_of_nobody(self, scores: Iterable[AccountScore]) -> tuple[str, ...]:
        """Segments in which nothing is to be drawn, and that no account has: misspelt, perhaps."""
        there = {score.attributes.get(self.exploration.segment_attribute) for score in scores}
        return tuple(name for name in self.exploration.off if name not in there)

    def capacity_lottery(
        self, scores: Iterable[AccountScore], now: datetime
    ) -> CapacityLottery | None:
        """The draws for the last hours of this week."""
        if not self.last_hours:
            return None
        return CapacityLottery(
            key=self.key,
            week=week_of(now),
            closeness={
                score.account_id: self.exploration.closeness_for(
                    score.features.get("mrr"), score.attributes
                )
                for score in scores
            },
        )


def _exploration(table: Table) -> Exploration:
    usual = Exploration()
    return Exploration(
        off=table.texts("off", ()),
        most_actions=table.whole("most_actions", usual.most_actions, least=2),
        closeness=table.number("closeness", usual.closeness),
        whole_up_to_mrr=table.number("whole_up_to_mrr", usual.whole_up_to_mrr),
        none_above_mrr=table.number("none_above_mrr", usual.none_above_mrr),
        segment_attribute=table.text("segment_attribute", usual.segment_attribute),
    )


def week_of(moment: datetime) -> str:
    """The week in which a draw stays the same.

    >>> from datetime import UTC
    >>> week_of(datetime(2026, 3, 2, tzinfo=UTC))
    '2026-W10'
    """
    return f"{moment:%G-W%V}"


def read_exploration_settings(folder: Path, secret: str | None) -> ExplorationSettings | None:
    """The exploration settings of a workspace; None if it has none.

    Args:
        folder: of the workspace.
        secret: hexadecimal, at least 64 characters; from ``KEEPWELL_LOTTERY_KEY``.

    Raises:
        ExplorationSettingsError: the file or the key cannot be used.
    """
    path = folder / CHANCE_FILE
    if not path.exists():
        return None
    try:
        table = Table(toml_values(path.read_text(encoding="utf-8")), CHANCE_FILE)
        share = table.number("holdout_share", 0, least=0)
        key_id = table.text("key_id")
        explore, last_hours = table.flag("explore", False), table.flag("last_hours", False)
        lotteries = table.flag("lotteries", False)
        exploration = _exploration(table)
        holdout = (
            HoldoutRule(
                share=share,
                off=exploration.off,
                segment_attribute=exploration.segment_attribute,
                none_above_mrr=table.number(
                    "holdout_none_above_mrr", HoldoutRule.none_above_mrr, least=0
                ),
            )
            if share
            else None
        )
        table.end()
        if not (explore or last_hours or share or lotteries):
            return None
        if not secret:
            raise ExplorationSettingsError(
                f"{CHANCE_FILE} asks for draws, and {LOTTERY_KEY_VARIABLE} is not set. Set it to a "
                f'secret made with: python -c "import secrets; print(secrets.token_hex(32))"'
            )
        return ExplorationSettings(
            key=LotteryKey(key_id=key_id, secret=bytes.fromhex(secret)),
            exploration=exploration,
            explore=explore,
            last_hours=last_hours,
            lotteries=lotteries,
            holdout=holdout,
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
        raise ExplorationSettingsError(
            f"{CHANCE_FILE} cannot be read ({exc}). Mend the file, or remove it to draw nothing."
        ) from exc
    except TableError as exc:
        raise ExplorationSettingsError(str(exc)) from exc
    except LotteryError as exc:
        raise ExplorationSettingsError(f"{CHANCE_FILE}: {exc}") from exc
    except ValueError as exc:
        if isinstance(exc, ExplorationSettingsError):
            raise
        raise ExplorationSettingsError(
            f"{LOTTERY_KEY_VARIABLE} is not hexadecimal. Make one with: "
            f'python -c "import secrets; print(secrets.token_hex(32))"'
        ) from exc
