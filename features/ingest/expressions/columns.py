"""Compute a column from the columns of a table, by an expression.

Every part of an expression is a number, a text, a truth or a time; ``check`` finds what does not fit
before any row is read. A column of a text file fits everywhere and is read as what is needed: a cell
that is no number where one is needed refuses its row. Unknown stays unknown: ``amount * 2`` of an
empty cell is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from features.ingest.expressions.grammar import (
    COMPARISONS,
    Column,
    ExpressionError,
    Node,
    Number,
    Text,
    parse,
)

Kind = Literal["number", "text", "truth", "time", "column", "any"]

LONGEST_RESULT = 1_000
"""Characters of each text that ``concat`` joins; the others are cut."""

TIME_FORMAT = re.compile(r"(?:%[YymdHMSbBfIp]|[\w\s./:,-])+")
"""The formats that ``date`` reads: days and times without a zone."""

LONGEST_FORMAT = 40

PROBLEM = "__computed_problem"
"""The column that holds why a row cannot be computed."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a table writes numbers and times."""

    decimal: str = "."
    time_format: str | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an expression: its kind, its Polars form, and the columns that have to be numbers."""

    kind: Kind
    expr: pl.Expr
    numbers: frozenset[str] = frozenset()
    column: str | None = None  # the name, where it is a column and nothing else
    is_joined: bool = False


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of the language: what it takes, what it gives, and its Polars form."""

    takes: tuple[Kind, ...]
    gives: Kind
    make: Callable[..., pl.Expr]
    about: str
    repeats: int = 0  # how many more of the last may follow


def _day(time: pl.Expr) -> pl.Expr:
    return time.dt.truncate("1d")


def _months(time: pl.Expr, number: pl.Expr) -> pl.Expr:
    months = number.round().clip(-1_200, 1_200).cast(pl.Int64).cast(pl.String) + "mo"
    return time.dt.offset_by(months)


FUNCTIONS: Mapping[str, Function] = {
    "concat": Function(
        takes=("text", "text"),
        gives="text",
        repeats=6,
        make=lambda *texts: pl.concat_str([text.str.slice(0, LONGEST_RESULT) for text in texts]),
        about="texts joined, such as concat('eu-', customer_id); 2 to 8 of them",
    ),
    "first": Function(
        takes=("text", "number"),
        gives="text",
        make=lambda text, number: text.str.slice(0, number.clip(0, LONGEST_RESULT).cast(pl.Int64)),
        about="the first characters: first(sku, 3)",
    ),
    "last": Function(
        takes=("text", "number"),
        gives="text",
        make=lambda text, number: text.str.tail(number.clip(0, LONGEST_RESULT).cast(pl.Int64)),
        about="the last characters",
    ),
    "lower": Function(
        takes=("text",),
        gives="text",
        make=lambda text: text.str.to_lowercase(),
        about="in small letters",
    ),
    "upper": Function(
        takes=("text",),
        gives="text",
        make=lambda text: text.str.to_uppercase(),
        about="in capitals",
    ),
    "starts_with": Function(
        takes=("text", "text"),
        gives="truth",
        make=lambda text, start: text.str.starts_with(start),
        about="whether a text begins so",
    ),
    "ends_with": Function(
        takes=("text", "text"),
        gives="truth",
        make=lambda text, end: text.str.ends_with(end),
        about="whether a text ends so",
    ),
    "contains": Function(
        takes=("text", "text"),
        gives="truth",
        make=lambda text, part: text.str.contains(part, literal=True),
        about="whether a text holds another; no patterns",
    ),
    "number": Function(
        takes=("any",),
        gives="number",
        make=lambda given: given,
        about="a column as a number, and unknown where it is none",
    ),
    "text": Function(
        takes=("text",), gives="text", make=lambda text: text, about="a column as text"
    ),
    "round": Function(
        takes=("number",),
        gives="number",
        make=lambda number: number.round(),
        about="rounded to whole numbers: round(seats)",
    ),
    "abs": Function(
        takes=("number",),
        gives="number",
        make=lambda number: number.abs(),
        about="without its sign",
    ),
    "least": Function(
        takes=("number", "number"),
        gives="number",
        make=lambda a, b: pl.min_horizontal(a, b),
        about="the smaller of two numbers",
    ),
    "most": Function(
        takes=("number", "number"),
        gives="number",
        make=lambda a, b: pl.max_horizontal(a, b),
        about="the larger of two numbers",
    ),
    "date": Function(
        takes=("time",),
        gives="time",
        make=lambda time: time,
        about="a column as a time; date(day, '%d.%m.%Y') says how it is written",
    ),
    "year": Function(
        takes=("time",),
        gives="number",
        make=lambda time: time.dt.year(),
        about="the year of a time",
    ),
    "month": Function(
        takes=("time",),
        gives="number",
        make=lambda time: time.dt.month(),
        about="the month, 1 to 12",
    ),
    "day": Function(
        takes=("time",),
        gives="number",
        make=lambda time: time.dt.day(),
        about="the day of the month",
    ),
    "weekday": Function(
        takes=("time",),
        gives="number",
        make=lambda time: time.dt.weekday(),
        about="the day of the week, 1 is Monday",
    ),
    "hour": Function(
        takes=("time",), gives="number", make=lambda time: time.dt.hour(), about="the hour, 0 to 23"
    ),
    "month_start": Function(
        takes=("time",),
        gives="time",
        make=lambda time: time.dt.truncate("1mo"),
        about="the first day of the month of a time",
    ),
    "add_days": Function(
        takes=("time", "number"),
        gives="time",
        make=lambda time, days: (
            time + pl.duration(days=days.round().clip(-40_000, 40_000).cast(pl.Int64))
        ),
        about="so many days later",
    ),
    "add_months": Function(
        takes=("time", "number"), gives="time", make=_months, about="so many months later"
    ),
    "days_between": Function(
        takes=("time", "time"),
        gives="number",
        make=lambda first, second: (_day(second) - _day(first)).dt.total_days(),
        about="whole days from the first to the second time",
    ),
}
"""All functions, besides ``if(condition, then, else)`` and ``known(a, b)`` (the first that is not
empty), whose parts may be of any one kind."""


@dataclass(frozen=True, kw_only=True)
class Formula:
    """An expression that was read and checked."""

    text: str
    node: Node = field(repr=False)

    @classmethod
    def read(cls, text: str, *, is_condition: bool = False) -> Formula:
        """The expression of a text.

        Raises:
            ExpressionError: it cannot be read, or its parts do not fit.
        """
        formula = cls(text=text, node=parse(text))
        kind = _Maker({}, Writing()).make(formula.node).kind
        if is_condition and kind != "truth":
            raise ExpressionError(f"it is no condition such as status = 'paid', but a {kind}")
        return formula


def with_computed(
    raw: pl.DataFrame,
    computed: Mapping[str, Formula],
    where: Formula | None,
    writing: Writing,
) -> tuple[pl.DataFrame, pl.Series]:
    """The rows with the computed columns and ``PROBLEM``, and whether each row is to be read."""
    maker = _Maker(raw.schema, writing)
    parts = {name: maker.make(formula.node) for name, formula in computed.items()}
    condition = maker.make(where.node) if where is not None else None
    needed = sorted({name for part in parts.values() for name in part.numbers})
    problems = [
        pl.when(_filled(maker.text(name)) & maker.number(name).is_null()).then(
            pl.lit(f"column {name!r} is no number")
        )
        for name in needed
    ]
    # a truth that holds for every row alike is one value: with_columns makes it a column
    marked = raw.with_columns(
        pl.coalesce(problems).alias(PROBLEM)
        if problems
        else pl.lit(None, pl.String).alias(PROBLEM),
        (condition.expr if condition is not None else pl.lit(value=True)).alias("__read"),
        *(_stored(part).alias(name) for name, part in parts.items() if name not in raw.columns),
    )
    shadowed = [_stored(part).alias(name) for name, part in parts.items() if name in raw.columns]
    if shadowed:
        marked = marked.with_columns(raw.select(shadowed).get_columns())
    return marked.drop("__read"), marked["__read"].fill_null(value=False)


def read_number(text: pl.Expr, decimal: str) -> pl.Expr:
    """A text as a number; with a decimal comma, points and blanks between thousands are left out.

    >>> frame = pl.DataFrame({"a": ["1.234,50", "7", "1,5 kg"]})
    >>> frame.select(read_number(pl.col("a"), ",")).to_series().to_list()
    [1234.5, 7.0, None]
    """
    plain = text.str.strip_chars()
    if decimal == ",":
        plain = plain.str.replace_all("[.'’ \u00a0\u202f]", "").str.replace(",", ".", literal=True)
    return plain.cast(pl.Float64, strict=False)


class _Maker:
    """Makes the Polars form of trees, for a table of this schema."""

    def __init__(self, schema: Mapping[str, pl.DataType], writing: Writing) -> None:
        self.schema = schema
        self.writing = writing

    def make(self, node: Node) -> Part:
        if isinstance(node, Number):
            return Part(kind="number", expr=pl.lit(node.value, pl.Float64))
        if isinstance(node, Text):
            return Part(kind="text", expr=pl.lit(node.value, pl.String))
        if isinstance(node, Column):
            return Part(kind="column", expr=pl.col(node.name), column=node.name)
        if node.name == "date":
            return self.date(node.given)
        given = [self.make(one) for one in node.given]
        if node.name in ("if", "known"):
            return self.chosen(node.name, given)
        if node.name in FUNCTIONS:
            return self.called(node.name, FUNCTIONS[node.name], given)
        return self.signed(node.name, given)

    def called(self, name: str, function: Function, given: list[Part]) -> Part:
        takes = function.takes
        least, most = len(takes), len(takes) + function.repeats
        if not least <= len(given) <= most:
            raise ExpressionError(f"{name} takes {_counts(least, most)}, not {len(given)}")
        if name == "concat" and any(part.is_joined for part in given):
            raise ExpressionError("concat inside concat is not read; join all texts in one")
        kinds = (*takes, *(takes[-1],) * (len(given) - len(takes)))
        if name == "number":
            return Part(kind="number", expr=self.as_number(given[0], name).expr)
        read = [self.as_kind(part, kind, name) for part, kind in zip(given, kinds, strict=True)]
        return Part(
            kind=function.gives,
            expr=_numeric(function.make(*(part.expr for part in read)), function.gives),
            numbers=_numbers(read),
            is_joined=name == "concat" or any(part.is_joined for part in given),
        )

    def date(self, given: tuple[Node, ...]) -> Part:
        if len(given) == 1:
            return self.as_time(self.make(given[0]), "date")
        form = given[1] if len(given) == 2 else None
        if (
            not isinstance(form, Text)
            or len(form.value) > LONGEST_FORMAT
            or TIME_FORMAT.fullmatch(form.value) is None
        ):
            raise ExpressionError(
                "date takes a column and how it is written, such as date(day, '%d.%m.%Y')"
            )
        text = self.as_text(self.make(given[0]), "date")
        time = text.expr.str.strip_chars().str.to_datetime(form.value, time_unit="us", strict=False)
        return Part(kind="time", expr=time)

    def chosen(self, name: str, given: list[Part]) -> Part:
        wanted = 3 if name == "if" else 2
        if len(given) != wanted:
            raise ExpressionError(f"{name} takes {wanted} values, not {len(given)}")
        first, second = given[-2:]
        kinds = {part.kind for part in (first, second)} - {"column"}
        if len(kinds) > 1:
            raise ExpressionError(
                f"{name} gives either a {' or a '.join(sorted(kinds))}; choose one kind"
            )
        kind: Kind = kinds.pop() if kinds else "text"
        left, right = (self.as_kind(part, kind, name) for part in (first, second))
        if name == "known":
            filled = _filled(left.expr) if kind == "text" else left.expr.is_not_null()
            test = Part(kind="truth", expr=filled)
        else:
            test = self.as_kind(given[0], "truth", name)
        return Part(
            kind=kind,
            expr=pl.when(test.expr).then(left.expr).otherwise(right.expr),
            numbers=_numbers([test, left, right]),
            is_joined=any(part.is_joined for part in given),
        )

    def signed(self, name: str, given: list[Part]) -> Part:
        if name in ("and", "or", "not"):
            read = [self.as_kind(part, "truth", name) for part in given]
            left = read[0].expr
            made = (
                ~left
                if name == "not"
                else (left & read[1].expr if name == "and" else left | read[1].expr)
            )
            return Part(kind="truth", expr=made, numbers=_numbers(read))
        if name == "is empty":
            part = given[0]
            text = self.as_text(part, name) if part.kind in ("column", "text") else part
            filled = _filled(text.expr) if text.kind == "text" else text.expr.is_not_null()
            return Part(kind="truth", expr=~filled, numbers=part.numbers)
        if name == "in":
            tests = [self.compared("=", given[0], one) for one in given[1:]]
            if not tests:
                raise ExpressionError("in () names no value; write such as in ('paid', 'open')")
            return Part(
                kind="truth",
                expr=pl.any_horizontal([t.expr for t in tests]),
                numbers=_numbers(tests),
            )
        if name in COMPARISONS:
            return self.compared(name, *given)
        if name in ("+", "-", "*", "/"):
            a, b = (self.as_number(part, name) for part in given)
            made = {
                "+": a.expr + b.expr,
                "-": a.expr - b.expr,
                "*": a.expr * b.expr,
                "/": a.expr / b.expr,
            }[name]
            return Part(kind="number", expr=made, numbers=_numbers([a, b]))
        raise ExpressionError(
            f"there is no function {name!r:.60}; there are if, known, {', '.join(FUNCTIONS)}"
        )

    def compared(self, sign: str, left: Part, right: Part) -> Part:
        kinds = {left.kind, right.kind} - {"column"}
        if kinds == {"time", "text"}:
            kinds = {"time"}
        if len(kinds) > 1:
            raise ExpressionError(f"{sign!r} compares a {' with a '.join(sorted(kinds))}")
        kind: Kind = kinds.pop() if kinds else "text"
        if kind == "truth":
            raise ExpressionError(f"{sign!r} compares two conditions; use and, or, not")
        a, b = (self.as_kind(part, kind, sign) for part in (left, right))
        made = {
            "=": a.expr == b.expr,
            "!=": a.expr != b.expr,
            "<": a.expr < b.expr,
            "<=": a.expr <= b.expr,
            ">": a.expr > b.expr,
            ">=": a.expr >= b.expr,
        }[sign]
        return Part(kind="truth", expr=made, numbers=_numbers([a, b]))

    def as_kind(self, part: Part, kind: Kind, name: str) -> Part:
        if kind == "number":
            return self.as_number(part, name)
        if kind == "text":
            return self.as_text(part, name)
        if kind == "time":
            return self.as_time(part, name)
        if part.kind not in (kind, "any"):
            raise ExpressionError(f"{name!r} needs a condition such as a = 'x', not a {part.kind}")
        return part

    def as_number(self, part: Part, name: str) -> Part:
        if part.kind == "number":
            return part
        if part.column is None:
            raise ExpressionError(f"{name!r} needs a number, not a {part.kind}")
        return Part(kind="number", expr=self.number(part.column), numbers=frozenset([part.column]))

    def as_text(self, part: Part, name: str) -> Part:
        if part.kind == "text":
            return part
        if part.kind == "number":
            whole = part.expr == part.expr.round()
            plain = pl.when(whole).then(part.expr.cast(pl.Int64, strict=False).cast(pl.String))
            return Part(
                kind="text",
                expr=plain.otherwise(part.expr.cast(pl.String)),
                numbers=part.numbers,
            )
        if part.column is None:
            raise ExpressionError(f"{name!r} needs a text, not a {part.kind}")
        return Part(kind="text", expr=self.text(part.column))

    def as_time(self, part: Part, name: str) -> Part:
        if part.kind == "time":
            return part
        if part.kind == "text":
            return Part(kind="time", expr=_iso(part.expr))
        if part.column is None:
            raise ExpressionError(f"{name!r} needs a time, not a {part.kind}")
        dtype = self.schema.get(part.column, pl.String())
        if isinstance(dtype, pl.Datetime):
            return Part(
                kind="time", expr=part.expr.dt.replace_time_zone(None).cast(pl.Datetime("us"))
            )
        if dtype == pl.Date:
            return Part(kind="time", expr=part.expr.cast(pl.Datetime("us")))
        text = self.text(part.column)
        if self.writing.time_format is not None and "%z" not in self.writing.time_format:
            form = self.writing.time_format
            return Part(kind="time", expr=text.str.to_datetime(form, time_unit="us", strict=False))
        return Part(kind="time", expr=_iso(text))

    def text(self, column: str) -> pl.Expr:
        """A column as text without blanks around it."""
        dtype = self.schema.get(column, pl.String())
        if dtype.is_float():
            whole = pl.col(column) == pl.col(column).round()
            plain = pl.when(whole).then(pl.col(column).cast(pl.Int64, strict=False).cast(pl.String))
            return plain.otherwise(pl.col(column).cast(pl.String))
        return pl.col(column).cast(pl.String, strict=False).str.strip_chars()

    def number(self, column: str) -> pl.Expr:
        """A column as a number, null where it is none."""
        dtype = self.schema.get(column, pl.String())
        if dtype.is_numeric():
            return pl.col(column).cast(pl.Float64)
        return read_number(pl.col(column).cast(pl.String, strict=False), self.writing.decimal)


def _iso(text: pl.Expr) -> pl.Expr:
    """The day, and the clock where there is one, of a text that begins as ISO 8601 does."""
    plain = text.str.strip_chars().str.slice(0, 19).str.replace("T", " ", literal=True)
    clock = plain.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    return clock.fill_null(
        plain.str.slice(0, 10).str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
    )


def _filled(text: pl.Expr) -> pl.Expr:
    return (text.str.strip_chars() != "").fill_null(value=False)


def _stored(part: Part) -> pl.Expr:
    """A computed column as readers expect it: a truth as yes or no, a column as it is."""
    if part.kind == "truth":
        return pl.when(part.expr).then(pl.lit("yes")).when(~part.expr).then(pl.lit("no"))
    return part.expr


def _numeric(expr: pl.Expr, kind: Kind) -> pl.Expr:
    return expr.cast(pl.Float64) if kind == "number" else expr


def _numbers(parts: list[Part]) -> frozenset[str]:
    return frozenset(name for part in parts for name in part.numbers)


def _counts(least: int, most: int) -> str:
    values = "1 value" if most == 1 else f"{most} values"
    return values if least == most else f"{least} to {most} values"
