"""This module is about windows: which cutoffs an event is seen from.

An event counts for a cutoff ``c`` when it was known (``recorded_at < c``), was not yet superseded
by a correction (``c <= superseded_at``), and happened inside the half-open window
``[c - ends_before - lookback, c - ends_before)``. Cutoffs ascend, so these are always a
contiguous run ``[first, last)``. Pure; times are int64 microseconds since 1970, UTC.

::

    cutoffs    c0      c1      c2      c3      c4
                   ^ recorded      first = 1     (c > recorded, c > occurred + ends_before)
                                       last = 4  (c <= occurred + ends_before + lookback)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from features.compiled import inlined

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


@inlined
def cutoffs_until(cutoffs, moment):  # type: ignore[no-untyped-def]
    """How many cutoffs are at or before a moment: the index of the first one after it."""
    return np.searchsorted(cutoffs, moment, side="right")
