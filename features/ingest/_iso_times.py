"""This module is about times as most programs write them: ``2026-03-01T09:30:00.250Z``.

Read by their letters, all rows at once; whatever is written in any other way, or is no time, is
left to the slow reader, so that this one may be strict.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events.schema import UTC_INSTANT
from features.events.text_buffers import text_buffers

FRACTIONS = {20: 0, 24: 3, 27: 6}
"""Length of a text to the digits of its seconds' fraction."""

MARKS = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))
NUMBERS = ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))  # place and digits: year to second
MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)

Letters = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]


def read_iso_times(texts: pl.Series) -> pl.Series:
    """The instants of texts in exactly this form; null where a text has another one.

    >>> times = pl.Series(["1970-01-01T00:00:01Z", "1970-01-01", None])
    >>> read_iso_times(times).dt.second().to_list()
    [1, None, None]
    """
    starts, content = text_buffers(texts.fill_null(""))
    lengths = np.diff(starts)
    micros = np.zeros(len(texts), dtype=np.int64)
    read = np.zeros(len(texts), dtype=np.bool_)
    for length, fraction in FRACTIONS.items():
        rows = np.flatnonzero(lengths == length)
        if not len(rows):
            continue
        if len(rows) == len(texts):
            letters = content[starts[0] : starts[-1]].reshape(-1, length)
        else:
            letters = content[starts[:-1][rows][:, None] + np.arange(length)]
        values, is_time = _read(letters, fraction)
        micros[rows] = values
        read[rows] = is_time
    return (
        pl.DataFrame({"micros": micros, "read": read})
        .select(pl.when("read").then("micros").cast(UTC_INSTANT).alias(texts.name))
        .to_series()
    )


def _read(letters: Letters, fraction: int) -> tuple[Whole, npt.NDArray[np.bool_]]:
    marks = (*MARKS, (letters.shape[1] - 1, "Z"), *([(19, ".")] if fraction else []))
    is_time = np.ones(len(letters), dtype=np.bool_)
    for place, mark in marks:
        is_time &= letters[:, place] == ord(mark)
    numbers = []
    for place, digits in (*NUMBERS, (20, fraction)):
        number = np.zeros(len(letters), dtype=np.int64)
        for at in range(place, place + digits):
            digit = letters[:, at] - np.uint8(ord("0"))
            is_time &= digit <= 9
            number *= 10
            number += digit
        numbers.append(number)
    year, month, day, hour, minute, second, part = numbers
    is_time &= (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60)
    is_time &= (second < 60) & (year >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0)) & (month == 2)
    is_time &= day <= MONTH_DAYS[np.where(month <= 12, month, 0)] + leap
    seconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000 + part * (1, 0, 0, 1_000, 0, 0, 1)[fraction], is_time


def _days(year: Whole, month: Whole, day: Whole) -> Whole:
    """Days since 1970-01-01, in a year that begins in March so that leap days come last."""
    shifted = year - (month <= 2)
    before = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    months: Whole = (153 * ((month + 9) % 12) + 2) // 5
    return before + months + day - 719_469
