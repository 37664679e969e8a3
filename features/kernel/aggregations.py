"""Aggregations: how the events of a window become one number.

Each operation is one class here and one line in ``OPERATIONS``. Its functions are compiled into
the sweep: ``take`` adds an event to the cells of the cutoffs it is seen from, ``value`` says what a
cell comes to, and ``carry`` takes what holds from one cutoff on to the next. Events come in the
order of occurrence, knowledge and id.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from features.kernel.numba_cache import inlined
from features.kernel.windows import DAY_IN_MICROSECONDS

Things = Literal["nothing", "users", "user_days", "days", "values"]
Columns = tuple[str, ...]
Combination = Literal["sum", "largest", "smallest", "unknown"]


CELL = np.dtype(
    [
        ("number", np.float64),
        ("spare", np.float64),
        ("carried", np.float64),
        ("seen", np.int32),
        ("carried_seen", np.int32),
    ]
)
"""What is kept for one item and cutoff while the events of an account are swept.

All is zero at first; an operation may keep in it what it likes."""


class Span(NamedTuple):
    """The cutoffs that an event is seen from, as cells of one item."""

    begin: Any  # the first cell
    stop: Any  # the cell after the last
    bits: Any  # the cutoffs as bits of a mask
    first: Any  # the first cutoff
    carries: Any  # whether all later cutoffs of this sweep see the event as well


class Taken(NamedTuple):
    """An event as an operation sees it. What no operation reads may be left out as 0."""

    place: Any  # among the events of its account, from 1
    opens: Any  # the last moment at which its window has not seen it yet
    value: Any  # the quantity, or what was read from a property; NaN: none
    mask: Any  # the mask of what is told apart, -1: unknown
    event_count: Any
    user_count: Any


class Operation:
    """What an aggregate may do with the events of its window.

    Attributes:
        name: how an ``Aggregate`` calls it.
        reads: columns of events that it needs, beside the kind and the moments.
        tells_apart: what it counts distinct ones of, each with a mask of its own.
        property_as: what the property ``of`` is read as.
        needs_property: whether ``of`` must be named.
        over_accounts: what the values of accounts come to for all of them as one; unknown where
            that does not follow from their values (people may be the same).
    """

    name: ClassVar[str]
    reads: ClassVar[Columns] = ()
    tells_apart: ClassVar[Things] = "nothing"
    property_as: ClassVar[Literal["number", "date", "state"]] = "number"
    needs_property: ClassVar[bool] = False
    over_accounts: ClassVar[Combination] = "unknown"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
        """Add an event to the cells of its span.

        ``masks`` holds one mask for each thing told apart, with a bit for each cutoff.
        """

    @staticmethod
    def carry(cells: Any, cell: Any) -> None:
        """Take over from the cutoff before what holds here as well."""

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        """What a cell comes to at a cutoff: its number; ``when_empty`` where nothing was seen.

        ``occurred[rows[place - 1]]`` is when the event of a place happened.
        """
        return cells[cell].number if cells[cell].seen > 0 else when_empty


class Count(Operation):
    """Sum of ``event_count``; noted where it begins and where it ends, and added up at the end."""

    name = "count"
    over_accounts = "sum"
    reads = ("event_count",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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


class DaysSinceLast(Operation):
    """Days from the newest event to the moment."""

    name = "days_since_last"
    over_accounts = "smallest"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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


class PeakUsers(Operation):
    """Largest ``user_count`` of one event."""

    name = "peak_users"
    reads = ("user_count",)

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
        for cell in range(span.begin, span.stop):
            cells[cell].number = max(cells[cell].number, event.user_count)
            cells[cell].seen = 1


class ActiveDays(Operation):
    """Distinct UTC days with an event."""

    name = "active_days"
    tells_apart: ClassVar[Things] = "days"

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    tells_apart = "values"
    needs_property = True


class Users(ActiveDays):
    """Distinct users; unknown where events carry none."""

    name = "users"
    reads = ("user_id",)
    tells_apart: ClassVar[Things] = "users"

    @staticmethod
    def value(cells: Any, cell: Any, at: Any, occurred: Any, rows: Any, when_empty: Any) -> Any:
        if cells[cell].number > 0:
            return cells[cell].number
        return np.nan if cells[cell].seen > 0 else when_empty  # somebody, and nobody said who


class UserDays(Users):
    """Distinct pairs of a user and a UTC day; unknown where events carry no user."""

    name = "user_days"
    tells_apart = "user_days"


class InState(Operation):
    """How many values of the property ``of`` are in a state by their newest event.

    The masks hold the cutoffs at which a value is in the state; each event overrules older ones.
    """

    name = "in_state"
    over_accounts = "sum"
    tells_apart = "values"
    property_as = "state"
    needs_property = True

    @staticmethod
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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
    def take(cells: Any, masks: Any, span: Span, event: Taken, cutoffs: Any) -> None:
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


def complete(*operations: type[Operation]) -> tuple[type[Operation], ...]:
    """The operations, each with a name of its own and all that the sweep calls.

    Raises:
        TypeError: one lacks something, which the compiler would only say in its own words.
    """
    for number, operation in enumerate(operations):
        if operation.take is Operation.take:
            raise TypeError(f"The operation {operation.name!r} needs a `take`.")
        if operation.name in {other.name for other in operations[:number]}:
            raise TypeError(f"Two operations are called {operation.name!r}; rename one.")
    return operations


OPERATIONS = complete(
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
    DaysUntil,
    InState,
    BelowZero,
    SecondBusiestDay,
)
"""Every operation that an aggregate may name; the sweep knows them by their place here."""

BY_NAME = {operation.name: operation for operation in OPERATIONS}


THINGS = {
    "nothing": "-1",
    "users": "user",
    "user_days": "user_day",
    "days": "day",
    "values": "word",
}
"""Thing told apart to the variable that holds its number within the account, -1 for unknown."""

TAKE = """
def take(number, cells, masks, start, span, place, opens, value, user, user_day, day, word,
         event_count, user_count, cutoffs):
"""
TAKE_ONE = """
    {test} number == {number}:
        of_{number}(cells, masks, span, Taken(place, opens, value, mask_of(start, {thing}),
                    event_count, user_count), cutoffs)
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


def by_operation(part: Literal["take", "finish"]) -> Any:
    """One compiled function for all operations: the number of one is its first argument.

    Written out as a chain of comparisons, from which the compiler makes one jump: a tuple of
    functions would be called through pointers, once an event and feature.
    """
    head, one = {"take": (TAKE, TAKE_ONE), "finish": (FINISH, FINISH_ONE)}[part]
    names: dict[str, Any] = {"Taken": Taken, "mask_of": _mask_of, "np": np}
    lines = [head]
    for number, operation in enumerate(OPERATIONS):
        names[f"of_{number}"] = inlined(operation.take if part == "take" else operation.value)
        if part == "finish":
            names[f"carry_{number}"] = inlined(operation.carry)
        lines.append(
            one.format(
                test="elif" if number else "if", number=number, thing=THINGS[operation.tells_apart]
            )
        )
    exec(compile("".join(lines), f"<operations: {part}>", "exec"), names)
    return inlined(names[part])


@inlined
def _mask_of(start, thing):  # type: ignore[no-untyped-def]
    return start + thing if thing >= 0 else np.int64(-1)
