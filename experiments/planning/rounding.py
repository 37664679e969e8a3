"""Round a plan in parts to whole actions without breaking a limit.

Options that the plan in parts does wholly stay. The few accounts that it splits between limits, and
the hours that remain, are filled again, best first. Pure and without chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.planning.lp_relaxation import ROUNDING, Relaxation, ResourceLimits
from experiments.planning.options import Options
from experiments.planning.team import Team

Places = NDArray[np.int64]


class Week:
    """The week while it is filled: the chosen options, and the rest of every limit."""

    def __init__(self, options: Options, team: Team, limits: ResourceLimits) -> None:
        self._options = options
        self._each = team.actions_per_account
        self._draws = limits.matrix
        self._most = limits.most
        self.left = limits.most.copy()
        self.is_chosen = np.zeros(len(options.offer), dtype=bool)
        self._actions = np.zeros(len(options.accounts), dtype=np.int64)
        self._groups = np.zeros(int(options.group.max(initial=0)) + 1, dtype=bool)

    def is_tended(self, account: int) -> bool:
        """Whether an action of the account is chosen."""
        return bool(self._actions[account])

    def fits(self, option: int) -> bool:
        """Whether the option fits beside the chosen ones."""
        if not self.has_room_for_account(option):
            return False
        where, how_much = self._needs(option)
        return bool(np.all(how_much <= self.left[where] + ROUNDING * (1 + self._most[where])))

    def has_room_for_account(self, option: int) -> bool:
        """Whether the option's account may have it, apart from hours and money."""
        of = self._options
        return bool(
            self._actions[of.account[option]] < self._each and not self._groups[of.group[option]]
        )

    def choose(self, option: int) -> None:
        """Do the option."""
        self._move(option, chosen=True)

    def drop(self, option: int) -> None:
        """Do not do the option after all."""
        self._move(option, chosen=False)

    def lacking(self, option: int) -> Places:
        """The limits that the option would break."""
        where, how_much = self._needs(option)
        return where[how_much > self.left[where] + ROUNDING * (1 + self._most[where])]

    def draws_on(self, limit: int) -> Places:
        """The chosen options that draw on a limit."""
        chosen = np.flatnonzero(self.is_chosen)
        return np.asarray(chosen[self._draws[[limit], :][:, chosen].toarray()[0] > 0])

    def _move(self, option: int, *, chosen: bool) -> None:
        where, how_much = self._needs(option)
        self.left[where] -= how_much if chosen else -how_much
        self.is_chosen[option] = chosen
        self._actions[self._options.account[option]] += 1 if chosen else -1
        self._groups[self._options.group[option]] = chosen

    def _needs(self, option: int) -> tuple[Places, NDArray[np.float64]]:
        places = slice(self._draws.indptr[option], self._draws.indptr[option + 1])
        return self._draws.indices[places], self._draws.data[places]


def round_plan(options: Options, team: Team, limits: ResourceLimits, relaxed: Relaxation) -> Week:
    """The chosen options: whole actions within every limit, care first.

    Args:
        options: all of them.
        team: whose care is owed.
        limits: hours and budgets, from ``limit_resources``.
        relaxed: the plan in parts of the same options.
    """
    week = Week(options, team, limits)
    for option in np.flatnonzero(relaxed.share > 1 - 1e-6):
        week.choose(int(option))
    for place, care in enumerate(team.care):
        _tend(week, options, relaxed, place, care.accounts)
    _fill(week, options, relaxed)
    return week


def count_tended(week: Week, options: Options, place: int) -> int:
    """How many accounts of a tier of care have an action."""
    accounts = np.unique(options.account[week.is_chosen])
    return int((options.tier[accounts] == place).sum())


def _fill(week: Week, options: Options, relaxed: Relaxation) -> None:
    """Choose all options that still fit and pay, most valuable at the prices first."""
    left = np.flatnonzero(~week.is_chosen & (options.value > 0))
    for option in left[np.lexsort((left, -relaxed.worth[left]))]:
        if week.fits(int(option)):
            week.choose(int(option))


def _tend(week: Week, options: Options, relaxed: Relaxation, place: int, asked: int) -> None:
    """Tend accounts of a tier until its care is met, dropping actions that are not care."""
    missing = asked - count_tended(week, options, place)
    if missing <= 0:
        return
    theirs = np.flatnonzero((options.tier[options.account] == place) & ~week.is_chosen)
    for option in theirs[np.lexsort((theirs, -relaxed.worth[theirs]))]:
        if missing == 0:
            return
        if week.is_tended(int(options.account[option])):
            continue
        if week.fits(int(option)) or _make_room(week, options, relaxed, int(option)):
            week.choose(int(option))
            missing -= 1


def _make_room(week: Week, options: Options, relaxed: Relaxation, option: int) -> bool:
    """Drop the least valuable actions that are in the way and are not care."""
    put_off: list[int] = []
    for limit in week.lacking(option):
        row = week.draws_on(int(limit))
        movable = row[(options.tier[options.account[row]] < 0)]
        for other in movable[np.lexsort((movable, relaxed.worth[movable]))]:
            if limit not in week.lacking(option):
                break
            week.drop(int(other))
            put_off.append(int(other))
    if week.fits(option):
        return True
    for other in put_off:
        week.choose(other)
    return False
