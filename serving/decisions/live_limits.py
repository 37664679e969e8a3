"""The limits and the price list of a workspace as they are now, read again when their file changes.

A file that cannot be used changes nothing: what held before holds on, and the service says what is
wrong with it. So does one that is gone: nobody says by that that the usual values should hold; an empty
file does. A file that is just being written, or put in another's place, is looked at again a
moment later, because half of a file may be readable, too, and none means the usual values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from experiments.policy.account_state import Limits
from experiments.policy.contact.limits_file import LIMITS_FILE, USUAL, LimitsError, read_limits
from features.reloaded_file import ReloadedFile
from registry.playbook.prices import NO_PRICES, PRICES_FILE, PriceList, PricesError, read_prices

log = logging.getLogger("keepwell.serving")

SETTLED_SECONDS = 1.0
"""So long after its last change a file counts as written, and a missing one as gone."""

T = TypeVar("T")


class CurrentFile(Generic[T]):
    """One file of a workspace as it is now; ``problem`` says why it is not used."""

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        usual: T,
        *,
        what: str,
        usual_words: str,
        error: type[Exception],
    ) -> None:
        self.problem: str | None = None
        self._what, self._usual, self._usual_words = what, usual, usual_words
        self._name, self._error = path.name, error
        self._was_there = False
        self._file = ReloadedFile(
            path,
            lambda file: read(file.parent),
            self._absent,
            settle_seconds=SETTLED_SECONDS,
            tolerated_errors=(error,),
        )
        self._value = self._file.current()
        self._was_there = self._value is not usual

    def _absent(self) -> T:
        if self._was_there:
            raise self._error(
                f"{self._name} is missing, which was there. Put it back from a backup, or write an empty "
                f"file to go back to {self._usual_words}."
            )
        return self._usual

    def current(self) -> T:
        """The content, read again where the file is another one than last time."""
        value, error = self._file.current(), self._file.problem
        problem = error and f"{error} Until then the {self._what} hold that held before."
        if problem != self.problem and problem is not None:
            log.warning("%s", problem)
        if value is not self._value:
            name = self._usual_words if value is self._usual else self._name
            log.info("%s read anew: %s", self._what, name)
        self._value, self.problem = value, problem or None
        self._was_there |= value is not self._usual
        return value


class CurrentLimits(CurrentFile[Limits]):
    """The limits of one workspace as they are now.

    Raises:
        LimitsError: at the start, where there is nothing to hold on to: the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / LIMITS_FILE,
            read_limits,
            USUAL,
            what="limits",
            usual_words="the usual ones",
            error=LimitsError,
        )


class CurrentPrices(CurrentFile[PriceList]):
    """The price list of one workspace as it is now.

    Raises:
        PricesError: at the start, where there is nothing to hold on to: the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / PRICES_FILE,
            read_prices,
            NO_PRICES,
            what="prices",
            usual_words="no prices",
            error=PricesError,
        )
