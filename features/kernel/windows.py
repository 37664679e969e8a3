"""Find the cutoffs that see an event.

An event counts for a cutoff ``c`` when it was visible as of it (``events.visibility``: recorded
before it and not yet superseded by a correction), and happened inside the half-open window
``[c - ends_before - lookback, c - ends_before)``. Cutoffs ascend, so these are always a
contiguous run ``[first, last)``. Times are int64 microseconds since 1970, UTC.

::

    cutoffs    c0      c1      c2      c3      c4
                   ^ recorded      first = 1     (c > recorded, c > occurred + ends_before)
                                       last = 4  (c <= occurred + ends_before + lookback)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from features.events.visibility import is_recorded, still_holds
from features.kernel.numba_cache import inlined

FOREVER = np.iinfo(np.int64).max
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_IN_MICROSECONDS = 86_400_000_000


def microseconds(moment: datetime) -> int:
    """An aware moment as whole microseconds since 1970, exactly.

    >>> microseconds(datetime(1970, 1, 2, tzinfo=UTC)) == DAY_IN_MICROSECONDS
    True
    """
    if moment.utcoffset() is None:
        raise ValueError(f"The moment {moment} has no time zone; write it in UTC.")
    return (moment - EPOCH) // MICROSECOND


_is_recorded, _still_holds = inlined(is_recorded), inlined(still_holds)


@inlined
def first_visible(cutoffs, recorded, near):  # type: ignore[no-untyped-def]
    """The first cutoff as of which a version is known, searched from ``near`` on.

    Where the version is known as of the cutoff before ``near`` too, the search begins at the start.
    """
    first = near
    if first > 0 and _is_recorded(recorded, cutoffs[first - 1]):
        first = 0
    while first < len(cutoffs) and not _is_recorded(recorded, cutoffs[first]):
        first += 1
    return first


@inlined
def end_visible(cutoffs, superseded):  # type: ignore[no-untyped-def]
    """The first cutoff as of which a superseded version is no longer valid."""
    low, end = 0, len(cutoffs)
    while low < end:
        middle = (low + end) // 2
        if _still_holds(cutoffs[middle], superseded):
            low = middle + 1
        else:
            end = middle
    return low
