"""Read an expression such as ``unit_price * seats`` into a tree.

::

    if(status = 'paid' and amount > 0, amount / 12, 0)

    column        amount, or [Amount in EUR] where the name is no plain word
    text          'paid'; a quotation mark in it is written twice
    number        12, 0.5
    signs         + - * /    = != < <= > >=    and or not    in ('a', 'b')    is empty, is not empty
    functions     those of ``columns.FUNCTIONS``

The language is closed: no loop, no pattern, no file, no name of anything but a column or a listed
function. ``LONGEST``, ``DEEPEST`` and ``MOST_PARTS`` bound an expression before Polars sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

LONGEST = 1_000
"""Characters of an expression."""

DEEPEST = 20
"""Parentheses, functions and signs inside each other."""

MOST_PARTS = 100
"""Columns, texts, numbers, signs and functions of an expression."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*')|\[(?P<column>[^\[\]]+)\]"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|!=|<>|[-+*/=<>(),]))"
)
Read = TypeVar("Read")
WORDS = ("and", "or", "not", "in", "is", "empty")
COMPARISONS = ("=", "!=", "<>", "<", "<=", ">", ">=")


class ExpressionError(ValueError):
    """An expression cannot be read, or does not fit the columns."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number that is written in the expression."""

    value: float


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text that is written in the expression."""

    value: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function or a sign with what it is applied to."""

    name: str
    given: tuple[Node, ...]


Node = Number | Text | Column | Call


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        ExpressionError: it is too long, too deep or no expression; the message says where.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"it has {len(text):,} characters, and at most {LONGEST:,} are read")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ExpressionError("it holds text that is no Unicode")
    return _Reader(text).whole()


def columns_of(node: Node) -> tuple[str, ...]:
    """The columns that an expression reads, each once.

    >>> columns_of(parse("price * [Number of seats] + price"))
    ('price', 'Number of seats')
    """
    if isinstance(node, Column):
        return (node.name,)
    if isinstance(node, Call):
        return tuple(dict.fromkeys(name for one in node.given for name in columns_of(one)))
    return ()


class _Reader:
    """Reads one expression from left to right; each method reads one level of binding."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.parts = 0

    def whole(self) -> Node:
        node = self.either()
        if self.at < len(self.tokens):
            raise self.wrong("does not belong there")
        return node

    def either(self) -> Node:
        return self.chain(self.both, ("or",))

    def both(self) -> Node:
        return self.chain(self.negated, ("and",))

    def negated(self) -> Node:
        if self.take("not"):
            return self.deeper(lambda: self.call("not", self.negated()))
        return self.compared()

    def compared(self) -> Node:
        left = self.sum()
        if self.take("is"):
            is_not = self.take("not")
            self.need("empty")
            empty = self.call("is empty", left)
            return self.call("not", empty) if is_not else empty
        if self.take("in"):
            self.need("(")
            return self.call("in", left, *self.listed())
        for sign in COMPARISONS:
            if self.take(sign):
                return self.call("!=" if sign == "<>" else sign, left, self.sum())
        return left

    def sum(self) -> Node:
        return self.chain(self.product, ("+", "-"))

    def product(self) -> Node:
        return self.chain(self.signed, ("*", "/"))

    def signed(self) -> Node:
        if self.take("-"):
            return self.deeper(lambda: self.call("-", Number(value=0.0), self.signed()))
        return self.single()

    def single(self) -> Node:
        if self.at == len(self.tokens):
            raise ExpressionError("it ends where a column, a text, a number or ( should follow")
        kind, value, _ = self.tokens[self.at]
        if kind == "sign" and value == "(":
            self.at += 1
            node = self.deeper(self.either)
            self.need(")")
            return node
        if kind == "sign" or (kind == "word" and value.lower() in WORDS):
            raise self.wrong("stands where a column, a text, a number or ( should")
        self.at += 1
        self.count()
        if kind == "number":
            return Number(value=float(value))
        if kind == "text":
            return Text(value=value[1:-1].replace("''", "'"))
        if kind == "word" and self.take("("):
            given = self.deeper(self.listed)
            return Call(name=value.lower(), given=given)
        return Column(name=value)

    def listed(self) -> tuple[Node, ...]:
        """Expressions with commas between them, up to the closing parenthesis."""
        if self.take(")"):
            return ()
        found = [self.either()]
        while self.take(","):
            found.append(self.either())
        self.need(")")
        return tuple(found)

    def chain(self, read: Callable[[], Node], signs: tuple[str, ...]) -> Node:
        """Parts of equal binding, from the left."""
        node, length = read(), 0
        while sign := next((sign for sign in signs if self.take(sign)), None):
            length += 1
            if length > DEEPEST:
                raise ExpressionError(f"it chains more than {DEEPEST} times {sign!r}; compute less")
            node = self.call(sign, node, read())
        return node

    def call(self, name: str, *given: Node) -> Call:
        self.count()
        return Call(name=name, given=given)

    def count(self) -> None:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise ExpressionError(f"it has more than {MOST_PARTS} parts; compute less")

    def deeper(self, read: Callable[[], Read]) -> Read:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionError(f"it is nested more than {DEEPEST} deep; compute less")
        found = read()
        self.depth -= 1
        return found

    def take(self, wanted: str) -> bool:
        """Whether the next word or sign is this one; it is then read."""
        if self.at == len(self.tokens):
            return False
        kind, value, _ = self.tokens[self.at]
        if kind in ("word", "sign") and value.lower() == wanted:
            self.at += 1
            return True
        return False

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            if self.at == len(self.tokens):
                raise ExpressionError(f"it ends where {wanted!r} should follow")
            raise self.wrong(f"stands where {wanted!r} should")

    def wrong(self, what: str) -> ExpressionError:
        _, value, place = self.tokens[self.at]
        return ExpressionError(f"{value!r:.60} at character {place + 1} {what}")


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """The words and signs of an expression: (kind, text, place)."""
    found: list[tuple[str, str, int]] = []
    at, end = 0, len(text.rstrip())
    if not end:
        raise ExpressionError("it is empty")
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(
                f"{text[at : at + 20].strip()!r} at character {at + 1} is no word, sign or text"
            )
        kind = match.lastgroup or ""
        found.append((kind, match[kind], match.start(kind)))
        at = match.end()
    return found
