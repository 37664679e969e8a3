"""Split cutoffs in time into those that train and those that test.

Time-ordered, and with an embargo, so that no label window of the older part reaches into the newer
one::

    before the test ───────────── windows close ──┤ test ───── known_until
                    (cutoffs whose windows would cross are embargoed)

The same account may be on both sides, but at different cutoffs. Calibration needs no cutoffs of its
own: it holds accounts out (`training.models.fitting.held_out`). Where there are too few cutoffs for
that, accounts are held out to judge too (`held_out_accounts`), at the same cutoffs. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from training.dataset.errors import TrainingError

TEST_SHARE = 1 / 4
"""Share of the mature cutoffs that judge: the newest ones."""

LEAST_BEFORE_TEST = 3
"""The fewest cutoffs to learn from: with monthly ones and windows of 90 days, seven in all."""

FEWEST_BEFORE_TEST = 1
"""What that shrinks to before accounts are held out instead: one cutoff fits, a later one judges."""

MOST_FOLDS = 4
"""The most refits of a rolling origin; neighbouring cutoffs share one."""


class SplitError(TrainingError):
    """There are too few cutoffs to learn from one part and judge on another."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One step of a rolling origin: fit on the older cutoffs, score the newer ones."""

    train: tuple[datetime, ...]
    held_out: tuple[datetime, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cutoffs by the part they play; ``embargoed`` ones play none."""

    before_test: tuple[datetime, ...]  # every cutoff whose window closes before the test opens
    embargoed: tuple[datetime, ...]
    test: tuple[datetime, ...]
    by_accounts: bool = False  # the same cutoffs on both sides, of other accounts

    @property
    def judged_on(self) -> str:
        """What the test rows are, as the start of a sentence."""
        if not self.by_accounts:
            return "Judged on later months"
        months = "month" if len(self.test) == 1 else "months"
        return f"Judged on other accounts of the same {months}; nothing is known of later months"


def closed_by(
    cutoffs: tuple[datetime, ...], moment: datetime, *, reach: timedelta
) -> tuple[datetime, ...]:
    """The cutoffs whose label windows, ``reach`` long, have closed by the moment."""
    return tuple(at for at in cutoffs if at + reach <= moment)


def newest(cutoffs: tuple[datetime, ...], share: float) -> tuple[datetime, ...]:
    """The newest cutoffs, this share of them, at least one."""
    return cutoffs[-max(1, math.ceil(share * len(cutoffs))) :]


def account_split(cutoffs: tuple[datetime, ...]) -> Split:
    """The split of accounts: every cutoff trains, and every cutoff tests."""
    return Split(before_test=cutoffs, embargoed=(), test=cutoffs, by_accounts=True)


def time_split(
    cutoffs: tuple[datetime, ...], *, reach: timedelta, least: int = LEAST_BEFORE_TEST
) -> Split:
    """Cut the mature cutoffs into those that train and those that test.

    Args:
        cutoffs: mature cutoffs in order.
        reach: from a cutoff to the end of its label window: lead plus horizon.
        least: the fewest cutoffs to learn from.

    Raises:
        SplitError: too few cutoffs for two parts with an embargo between them.
    """
    if list(cutoffs) != sorted(set(cutoffs)):
        raise SplitError("Cutoffs to split must be in order, each once.")
    test = newest(cutoffs, TEST_SHARE) if cutoffs else ()
    before_test = closed_by(cutoffs, test[0], reach=reach) if test else ()
    if len(before_test) < least:
        raise SplitError(
            f"{len(cutoffs)} mature cutoff(s) are too few to train and test with label windows of "
            f"{reach.days} days: the windows of {least} cutoffs must close before the "
            f"newest quarter of all cutoffs begins, and {len(before_test)} do. Build older "
            f"snapshots (keepwell snapshot --from … --to … --every month), wait for labels to "
            f"mature, or ask for another horizon alone (keepwell train … --horizon DAYS)."
        )
    placed = {*before_test, *test}
    return Split(
        test=test,
        before_test=before_test,
        embargoed=tuple(at for at in cutoffs if at not in placed),
    )


def rolling_folds(
    cutoffs: tuple[datetime, ...],
    held_out: tuple[datetime, ...],
    *,
    reach: timedelta,
    most: int = MOST_FOLDS,
) -> tuple[Fold, ...]:
    """Score each held-out cutoff by a fit on the cutoffs whose windows had closed by then.

    Neighbouring held-out cutoffs share a fold where there are more of them than ``most``; its
    training part is closed by the first of them. Cutoffs with nothing before them are left out.
    """
    size = math.ceil(len(held_out) / most) if held_out else 1
    blocks = [held_out[i : i + size] for i in range(0, len(held_out), size)]
    folds = (
        Fold(train=closed_by(cutoffs, block[0], reach=reach), held_out=block) for block in blocks
    )
    return tuple(fold for fold in folds if fold.train)
