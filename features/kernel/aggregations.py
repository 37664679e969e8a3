"""Aggregate the events of a window to one number.

Each operation is one class here and one line in ``OPERATIONS``. Its functions are compiled into
the sweep: ``take`` adds an event to the cells of the cutoffs that see it, ``value`` computes the number
of a cell, and ``carry`` copies from one cutoff to the next what is still true there. Events come in
the order of ``occurred_at``, ``recorded_at`` and id.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from features.kernel.numba_cache import inlined
from features.kernel.windows import DAY_IN_MICROSECONDS

Distinct = Literal["nothing", "users", "user_days", "days", "values"]
Columns = tuple[str, ...]
Combination = Literal["sum", "largest", "smallest", "unknown"]

CORRECTION_DAYS = 28
"""No term is shorter, so a date that moves by less is not that of another term."""

CELL = np.dtype(
    [
        ("number", np.float64),
        ("spare", np.float64),
        ("carried", np.float64),
        ("seen", np.int32),
        ("carried_seen", np.int32),
    ]
)
"""The state of one item and cutoff during the sweep of an account.

All fields are zero at first; each operation uses them in its own way."""


class Span(NamedTuple):
    """The cutoffs that see an event, as cells of one item."""

    begin: Any  # the first cell
    stop: Any  # the cell after the last
    bits: Any  # the cutoffs as bits of a mask
    first: Any  # the first cutoff
    carries: Any  # whether all later cutoffs of this sweep see the event as well


class WindowEvent(NamedTuple):
    """An event of a window. A field that no operation reads may be 0."""

    place: Any  # among the events of its account, from 1
    opens: Any  # the last moment as of which its window does not see the event
    value: Any  # the quantity, or the number from a property; NaN: none
    mask: Any  # the mask of its user, day or value; -1: unknown
    event_count: Any
    user_count: Any
    day: Any  # its UTC day, from 0 for the first of its account


class Operation:
    """An operation on the events of a window, which an aggregate names.

    Attributes:
        name: its name in an ``Aggregate``.
        reads: columns of events that it needs, beside the kind and the moments.
        counts_distinct: what it counts the distinct values of; each value has a mask.
        property_as: the type as which the property ``of`` is read.
        needs_property: whether ``of`` must be named.
        over_accounts: how the values of several accounts are combined to one; ``unknown`` where that
            does not follow from the values (the same person may be in two accounts).
    """

    name: ClassVar[str]
    reads: ClassVar[Columns] = ()
    counts_distinct: ClassVar[Distinct] = "nothing"
    property_as: ClassVar[Literal["number", "date", "state"]] = "number"
    needs_property: ClassVar[bool] = False
    over_accounts: ClassVar[Combination] = "unknown"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        """Add an event to the cells of its span.

        ``masks`` holds one mask for each distinct value, with a bit for each cutoff.
        """

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        """Copy from the cutoff before what is true at this one as well."""

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        """The number of a cell at a cutoff; ``when_empty`` where its window holds no event.

        ``occurred[rows[place - 1]]`` is when the event of a place happened.
        """
        return cells[cell].number if cells[cell].seen > 0 else when_empty


class Count(Operation):
    """Sum of ``event_count``. Events are added where they enter a window and subtracted where they
    leave it; ``carry`` adds up."""

    name = "count"
    over_accounts = "sum"
    reads = ("event_count",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        count = event.event_count
        cells[span.begin].number += count
        cells[span.begin].seen += 1
        if not span.carries:
            cells[span.stop].number -= count
            cells[span.stop].seen -= 1

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        cells[cell].number += cells[cell - 1].number
        cells[cell].seen += cells[cell - 1].seen


class Sum(Operation):
    """Sum of the values."""

    name = "sum"
    over_accounts: ClassVar[Combination] = "sum"
    reads = ("quantity",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if not np.isnan(event.value):
            for cell in range(span.begin, span.stop):
                cells[cell].number += event.value
                cells[cell].seen += 1


class Mean(Sum):
    """Mean of the values that are known."""

    name = "mean"
    over_accounts = "unknown"

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        return cells[cell].number / cells[cell].seen if cells[cell].seen > 0 else when_empty


class Max(Sum):
    """Largest value."""

    name = "max"
    over_accounts = "largest"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if not np.isnan(event.value):
            for cell in range(span.begin, span.stop):
                if cells[cell].seen == 0 or event.value > cells[cell].number:
                    cells[cell].number = event.value
                    cells[cell].seen = 1


class Min(Sum):
    """Smallest value."""

    name = "min"
    over_accounts = "smallest"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if not np.isnan(event.value):
            for cell in range(span.begin, span.stop):
                if cells[cell].seen == 0 or event.value < cells[cell].number:
                    cells[cell].number = event.value
                    cells[cell].seen = 1


class Last(Operation):
    """Value of the newest event that has one."""

    name = "last"
    reads: ClassVar[Columns] = ("quantity",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if not np.isnan(event.value):
            if span.carries:
                cells[span.begin].carried = event.value
                cells[span.begin].carried_seen = event.place
            else:
                for cell in range(span.begin, span.stop):
                    cells[cell].number = event.value
                    cells[cell].seen = event.place

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        if cells[cell - 1].carried_seen > cells[cell].carried_seen:
            cells[cell].carried = cells[cell - 1].carried
            cells[cell].carried_seen = cells[cell - 1].carried_seen

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        if cells[cell].carried_seen > cells[cell].seen:
            return cells[cell].carried
        return cells[cell].number if cells[cell].seen > 0 else when_empty


class DaysUntil(Last):
    """Days from the moment to the date in the property ``of`` of the newest event with one."""

    name = "days_until"
    reads = ()
    property_as = "date"
    needs_property = True

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        today = at / DAY_IN_MICROSECONDS
        if cells[cell].carried_seen > cells[cell].seen:
            return cells[cell].carried - today
        return cells[cell].number - today if cells[cell].seen > 0 else when_empty


class DaysSpanned(Operation):
    """Days from the event that set the date in the property ``of`` to that date.

    A date that moves by less than ``CORRECTION_DAYS`` is corrected, and counts from where it did.
    The cells hold the date (``number``) and the place of the event that set it (``seen``).
    """

    name = "days_spanned"
    property_as = "date"
    needs_property = True

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if not np.isnan(event.value):
            for cell in range(span.begin, span.stop):
                if (
                    cells[cell].seen == 0
                    or np.abs(event.value - cells[cell].number) >= CORRECTION_DAYS
                ):
                    cells[cell].seen = event.place
                cells[cell].number = event.value

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        if cells[cell].seen == 0:
            return when_empty
        return cells[cell].number - occurred[rows[cells[cell].seen - 1]] / DAY_IN_MICROSECONDS


class DaysSinceLast(Operation):
    """Days from the newest event to the moment."""

    name = "days_since_last"
    over_accounts = "smallest"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if span.carries:
            cells[span.begin].carried_seen = event.place
        else:
            for cell in range(span.begin, span.stop):
                cells[cell].seen = event.place

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        cells[cell].carried_seen = max(cells[cell].carried_seen, cells[cell - 1].carried_seen)

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        newest = max(cells[cell].seen, cells[cell].carried_seen)
        if newest == 0:
            return when_empty
        return (at - occurred[rows[newest - 1]]) / DAY_IN_MICROSECONDS


class DaysSinceFirst(Operation):
    """Days from the oldest event to the moment."""

    name = "days_since_first"
    over_accounts = "largest"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if span.carries:
            if cells[span.begin].carried_seen == 0:
                cells[span.begin].carried_seen = event.place
        else:
            for cell in range(span.begin, span.stop):
                if cells[cell].seen == 0:
                    cells[cell].seen = event.place

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        before = cells[cell - 1].carried_seen
        if before > 0 and (cells[cell].carried_seen == 0 or before < cells[cell].carried_seen):
            cells[cell].carried_seen = before

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        oldest = cells[cell].seen
        if oldest == 0 or (0 < cells[cell].carried_seen < oldest):
            oldest = cells[cell].carried_seen
        if oldest == 0:
            return when_empty
        return (at - occurred[rows[oldest - 1]]) / DAY_IN_MICROSECONDS


class LastGap(Operation):
    """Days between the two newest distinct UTC days with an event; ``when_empty`` with one day.

    The cells hold the newest day (``carried``), which is from 0, the gap before it (``number``), and
    how many distinct days there were (``seen``).
    """

    name = "last_gap"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            if cells[cell].seen == 0 or event.day > cells[cell].carried:
                cells[cell].number = event.day - cells[cell].carried
                cells[cell].carried = event.day
                cells[cell].seen += 1

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        return cells[cell].number if cells[cell].seen > 1 else when_empty


class PeakUsers(Operation):
    """Largest ``user_count`` of one event."""

    name = "peak_users"
    reads = ("user_count",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            cells[cell].number = max(cells[cell].number, event.user_count)
            cells[cell].seen = 1


class ActiveDays(Operation):
    """Distinct UTC days with an event."""

    name = "active_days"
    counts_distinct: ClassVar[Distinct] = "days"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        if event.mask < 0:
            for cell in range(span.begin, span.stop):
                cells[cell].seen = 1
            return
        fresh = span.bits & ~masks[event.mask]
        if fresh != 0:
            masks[event.mask] |= fresh
            fresh >>= np.uint64(span.first)
            for cell in range(span.begin, span.stop):
                cells[cell].number += np.int64(fresh & np.uint64(1))
                fresh >>= np.uint64(1)

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        return cells[cell].number if cells[cell].number > 0 or cells[cell].seen > 0 else when_empty


class Values(ActiveDays):
    """Distinct values of the property ``of``."""

    name = "values"
    counts_distinct = "values"
    needs_property = True


class Users(ActiveDays):
    """Distinct users; unknown where events carry none."""

    name = "users"
    reads = ("user_id",)
    counts_distinct: ClassVar[Distinct] = "users"

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        if cells[cell].number > 0:
            return cells[cell].number
        return np.nan if cells[cell].seen > 0 else when_empty  # events without a user


class UserDays(Users):
    """Distinct pairs of a user and a UTC day; unknown where events carry no user."""

    name = "user_days"
    counts_distinct = "user_days"


class InState(Operation):
    """How many values of the property ``of`` are in a state by their newest event.

    The masks hold the cutoffs at which a value is in the state. A newer event replaces older ones.
    """

    name = "in_state"
    over_accounts = "sum"
    counts_distinct = "values"
    property_as = "state"
    needs_property = True

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            cells[cell].seen = 1
        if event.mask < 0:
            return
        is_in = masks[event.mask]
        if event.value > 0:
            changed, step = span.bits & ~is_in, 1
        else:
            changed, step = span.bits & is_in, -1
        masks[event.mask] = is_in ^ changed
        changed >>= np.uint64(span.first)
        for cell in range(span.begin, span.stop):
            cells[cell].number += step * np.int64(changed & np.uint64(1))
            changed >>= np.uint64(1)


class BelowZero(Operation):
    """How many events have a value below zero."""

    name = "below_zero"
    over_accounts = "sum"
    reads = ("quantity",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            cells[cell].number += event.value < 0
            cells[cell].seen = 1


class SecondBusiestDay(Operation):
    """Second largest ``event_count`` of a day, counted back from the window's end.

    Days without events are 0. Of 28 days it is the 95th percentile by nearest rank: the 27th. The
    cells hold the count of the newest day (``number``), which day it is (``seen``, from 1) and the
    two largest counts of the days before it (``spare``, ``carried``).
    """

    name = "second_busiest_day"
    reads = ("event_count",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: WindowEvent, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            cutoff = cutoffs[span.first + np.int64(cell - span.begin)]
            day = (cutoff - event.opens - 1) // DAY_IN_MICROSECONDS + 1
            if cells[cell].seen != day:
                if cells[cell].number > cells[cell].spare:
                    cells[cell].carried = cells[cell].spare
                    cells[cell].spare = cells[cell].number
                else:
                    cells[cell].carried = max(cells[cell].carried, cells[cell].number)
                cells[cell].number = 0.0
                cells[cell].seen = day
            cells[cell].number += event.event_count

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        if cells[cell].seen == 0:
            return when_empty
        return max(cells[cell].carried, min(cells[cell].spare, cells[cell].number))


def check_operations(*operations: type[Operation]) -> tuple[type[Operation], ...]:
    """Check that each operation has its own name and all functions that the sweep calls.

    Raises:
        TypeError: an operation is not complete; the error of the compiler would be hard to read.
    """
    for number, operation in enumerate(operations):
        if operation.take is Operation.take:
            raise TypeError(f"The operation {operation.name!r} needs a `take`.")
        if operation.name in {other.name for other in operations[:number]}:
            raise TypeError(f"Two operations are called {operation.name!r}; rename one.")
    return operations


OPERATIONS = check_operations(
    Count,
    Sum,
    Mean,
    Max,
    Min,
    Last,
    Users,
    UserDays,
    PeakUsers,
    Values,
    ActiveDays,
    DaysSinceLast,
    DaysSinceFirst,
    LastGap,
    DaysUntil,
    DaysSpanned,
    InState,
    BelowZero,
    SecondBusiestDay,
)
"""Every operation that an aggregate may name; the sweep identifies each by its index here."""

BY_NAME = {operation.name: operation for operation in OPERATIONS}


DISTINCT_VARIABLES = {
    "nothing": "-1",
    "users": "user",
    "user_days": "user_day",
    "days": "day",
    "values": "word",
}
"""The variable that holds the number of a distinct value within the account; -1 is unknown."""

TAKE = """
def take(number, cells, masks, start, span, place, opens, value, user, user_day, day, word,
         event_count, user_count, cutoffs):
"""
TAKE_ONE = """
    {test} number == {number}:
        of_{number}(cells, masks, span, WindowEvent(place, opens, value, mask_of(start, {thing}),
                    event_count, user_count, day), cutoffs)
"""
FINISH = """
def finish(number, cells, cutoffs, occurred, rows, when_empty, out):
"""
FINISH_ONE = """
    {test} number == {number}:
        for cutoff in range(len(cutoffs)):
            if cutoff > 0:
                carry_{number}(cells, np.uint64(cutoff))
            out[cutoff] = of_{number}(cells, np.uint64(cutoff), cutoffs[cutoff], occurred, rows,
                                      when_empty)
"""


def compile_dispatch(part: Literal["take", "finish"]) -> Any:
    """Compile one function that calls the operation whose number is its first argument.

    The code is a chain of comparisons, which the compiler turns into one jump. A tuple of functions
    would be called through pointers, once for each event and feature.
    """
    head, one = {"take": (TAKE, TAKE_ONE), "finish": (FINISH, FINISH_ONE)}[part]
    names: dict[str, Any] = {"WindowEvent": WindowEvent, "mask_of": _mask_of, "np": np}
    lines = [head]
    for number, operation in enumerate(OPERATIONS):
        names[f"of_{number}"] = inlined(operation.take if part == "take" else operation.value)
        if part == "finish":
            names[f"carry_{number}"] = inlined(operation.carry)
        lines.append(
            one.format(
                test="elif" if number else "if",
                number=number,
                thing=DISTINCT_VARIABLES[operation.counts_distinct],
            )
        )
    exec(compile("".join(lines), f"<operations: {part}>", "exec"), names)
    return inlined(names[part])


@inlined
def _mask_of(start, thing):  # type: ignore[no-untyped-def]
    return start + thing if thing >= 0 else np.int64(-1)
