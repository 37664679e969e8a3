"""Why an account has its score, in words that a customer manager reads.

What a theme adds becomes a reason: its share of the shown probability in percentage points, and
under it the facts that say so, each the feature's own phrase with the number and the window, and how
similar accounts compare. A reason is in the list of the fact that leads it: signals, levers or
context. Says what goes with risk; never says what causes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from features.catalogue.definitions.attributes import WITHOUT_CONTRACT
from features.catalogue.feature import AnyFeature
from features.catalogue.parts import whole_of
from features.health.score import Health
from registry.promotion.reason_evidence import FirstReasonRecord
from serving.text_format import capitalised, inside_sentence, number, plain, spoken

PointsUnit = Literal["percentage points", "health points"]

MOST_REASONS = 5
LEAST_POINTS = 0.05
"""A reason smaller than this many points would read as nothing."""

ONE_POINT = 1.0
"""Below the base rate, less than this many percentage points stand for nothing."""

LEAST_PEERS = 20
"""Fewer similar accounts than this say nothing about what is usual."""

WINDOW = re.compile(r"_\d+d$")
ZERO_WITH_SIGN = re.compile(r"^[+-](0(?:\.0+)?%?)$")
VALUE_FORMAT = re.compile(r"\{value(?::([^}]*))?\}")

RENEWED = "renewals_count"
"""The feature that says whether an account has renewed."""


TERM = "term_months"
"""The feature that says how long a term is."""

TERM_WORD = "contract_term"
"""The same as a word, by which accounts are compared with those of the same term."""


@dataclass(frozen=True)
class PeerKind:
    """Which accounts an account is compared with: those that share some attributes with it."""

    columns: tuple[str, ...]
    renewed: bool  # whether only accounts that have renewed are meant
    where: str

    @property
    def without_term(self) -> tuple[str, ...]:
        """What else these accounts share."""
        return tuple(name for name in self.columns if name != TERM_WORD)


PEER_KINDS: tuple[PeerKind, ...] = (
    PeerKind(
        ("segment", "price_plan", TERM_WORD),
        True,
        "among accounts of this segment, plan and term that renewed",
    ),
    PeerKind(("segment", "price_plan", TERM_WORD), False, "in this segment, plan and term"),
    PeerKind(
        ("segment", "price_plan"), True, "among accounts of this segment and plan that renewed"
    ),
    PeerKind(("segment", "price_plan"), False, "in this segment and plan"),
    PeerKind(("price_plan", TERM_WORD), True, "among accounts of this plan and term that renewed"),
    PeerKind(("price_plan", TERM_WORD), False, "on this plan and term"),
    PeerKind(("price_plan",), True, "among accounts of this plan that renewed"),
    PeerKind(("price_plan",), False, "on this plan"),
    PeerKind(("segment", TERM_WORD), True, "among accounts of this segment and term that renewed"),
    PeerKind(("segment", TERM_WORD), False, "in this segment and term"),
    PeerKind(("segment",), True, "among accounts of this segment that renewed"),
    PeerKind(("segment",), False, "in this segment"),
    PeerKind((TERM_WORD,), True, "among accounts of this term that renewed"),
    PeerKind((TERM_WORD,), False, "among accounts of this term"),
    PeerKind((), True, "among accounts that renewed"),
    PeerKind((), False, "among all accounts"),
)
"""Where an account is compared with others: the first kind of which there are enough.

A kind with the term is there only where accounts that are alike in all else have different terms.
"""

PEER_ATTRIBUTES = tuple(dict.fromkeys(name for kind in PEER_KINDS for name in kind.columns))

NOT_COMPARED = frozenset(
    {
        "days_to_renewal",
        "days_to_notice",
        "tenure_days",
        "renewals_count",
        "contract_changes_365d",
        "term_months",
    }
)
"""Dates and lengths of a contract, of which none is usual."""


def _first_use(days: float) -> str:
    if days < 1:
        return "first used on the day it joined"
    return f"first used {days:.0f} days after it joined"


def _renewal(days: float) -> str:
    if days < 0:
        return f"the renewal date passed {-days:.0f} days ago"
    return f"{days:.0f} days to the renewal"


def _intent(said: float) -> str:
    return "no" if said < 0.25 else "maybe" if said < 0.75 else "yes"


COMPARED_AS: Mapping[str, Callable[[float], str]] = {"renewal_intent": _intent}
"""Features whose usual value is told in a word."""

PLAINLY: Mapping[str, Callable[[float], str]] = {
    "billing_months": lambda months: (
        "billed every month" if months == 1 else f"billed every {months:.0f} months"
    ),
    "days_to_first_use": _first_use,
    "term_months": lambda months: (
        "a term of a month" if months == 1 else f"a term of {months:.0f} months"
    ),
    "days_to_renewal": _renewal,
    "cancellations_pending": lambda times: (
        f"said {times:.0f} time{'s' * (times != 1)} in the last 90 days that it means to leave, and "
        "has not renewed since"
        if times
        else "has not said in the last 90 days that it means to leave, or renewed since"
    ),
    "invoice_days_overdue": lambda days: (
        f"an invoice is {days:.0f} days overdue" if days else "no invoice is overdue"
    ),
    "renewal_intent": lambda said: (
        f'the latest answer to whether they mean to renew is "{_intent(said)}"'
    ),
    "health_score": lambda score: f"health is {score:.0f} of 100 by the formula",
    "feature_value_28d": lambda value: (
        f"work recorded with a value adds up to {value:,.0f} in the last 28 days"
    ),
    "feature_value_mean_28d": lambda value: (
        f"work recorded with a value is {value:,.0f} a day on average in the last 28 days"
    ),
}
"""Features whose sentence needs more than their phrase with the number filled in."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A fact under a reason, with the part of the reason's points that is its own."""

    feature: str
    text: str
    comparison: str | None
    value: float
    unit: str
    points: float


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing that goes with the score. Positive points go with more risk (or more growth).

    ``feature``, ``text``, ``comparison``, ``value`` and ``unit`` are of the fact that leads it, and
    ``points`` of the whole theme.
    """

    feature: str
    theme: str
    text: str
    comparison: str | None
    value: float | None
    unit: str
    points: float
    points_unit: PointsUnit
    title: str = ""  # of the theme, in words
    also: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()  # the facts that say it, largest first
    record: FirstReasonRecord | None = None  # of the accounts that had it first

    @property
    def sentence(self) -> str:
        """The reason as one line.

        >>> reason = Reason(feature="errors_7d", theme="reliability", value=14, unit="errors",
        ...     text="14 errors in the last 7 days", points=3.2, points_unit="percentage points",
        ...     comparison="2 is usual on this plan", title="Reliability")
        >>> reason.sentence
        'Reliability: 14 errors in the last 7 days; 2 is usual on this plan'
        """
        return one_line(self.title, self.text, self.comparison)

    @property
    def is_risk(self) -> bool:
        """Whether it goes with more of what is predicted."""
        return self.points > 0


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """The reasons of one score in three lists, largest first.

    ``start`` is the probability before anything is known of the account and ``rest`` what the
    ``others`` add, the themes that are no reasons; start, rest and the points of all lists sum to
    the shown probability (in percentage points). A formula has neither.
    """

    signals: tuple[Reason, ...] = ()
    levers: tuple[Reason, ...] = ()
    context: tuple[Reason, ...] = ()
    start: float | None = None
    rest: float | None = None
    others: int = 0
    base_rate: float | None = None  # how often it happens, in percent

    @property
    def every(self) -> tuple[Reason, ...]:
        """The reasons of all lists: those toward the outcome first, each side largest first."""
        together = (*self.signals, *self.levers, *self.context)
        toward = sorted((r for r in together if r.points > 0), key=lambda r: -r.points)
        return (*toward, *sorted((r for r in together if r.points <= 0), key=lambda r: r.points))

    def top(self, most: int) -> tuple[Reason, ...]:
        """The first reasons of all lists."""
        return self.every[:most]

    @property
    def foremost(self) -> Reason | None:
        """What stands out most, for one line: the largest reason toward the outcome.

        Where the probability is below the base rate, a reason of less than one point is none.
        """
        first = next((reason for reason in self.every if reason.points > 0), None)
        return None if first and self.is_rare and first.points < ONE_POINT else first

    @property
    def against(self) -> Reason | None:
        """What speaks most against the outcome, where that is rarer than usual and nothing stands out."""
        if not self.is_rare or self.foremost is not None:
            return None
        return next((reason for reason in self.every if reason.points < 0), None)

    @property
    def is_rare(self) -> bool:
        """Whether the probability that they explain is below the base rate."""
        if self.start is None or self.base_rate is None:
            return False
        return self.start + (self.rest or 0.0) + sum(r.points for r in self.every) < self.base_rate


@dataclass(frozen=True, kw_only=True)
class PeerGroup:
    """What is usual among some accounts: the median of each feature."""

    where: str  # "on this plan"
    medians: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Peers:
    """What is usual among similar accounts, for every kind of account of one snapshot."""

    groups: Mapping[PeerKind, Mapping[tuple[str | None, ...], Mapping[str, float]]]

    def of(self, attributes: Mapping[str, str | None]) -> tuple[PeerGroup, ...]:
        """The groups that an account is compared with, the most similar first."""
        found = []
        for kind in PEER_KINDS:
            key = tuple(attributes.get(c) for c in kind.columns)
            if None in key or kind not in self.groups:
                continue
            medians = self.groups[kind].get(key)
            if medians:
                found.append(PeerGroup(where=kind.where, medians=medians))
        return tuple(found)


def peer_words(
    attributes: Mapping[str, str | None], features: Mapping[str, float | None]
) -> dict[str, str | None]:
    """The words by which an account is compared, of which its term is one.

    >>> peer_words({"segment": "small"}, {"term_months": 12.0})["contract_term"]
    '12'
    """
    months = features.get(TERM)
    return {**attributes, TERM_WORD: None if months is None else f"{months:.0f}"}


def with_term(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with the term as a word, where it is known."""
    if TERM not in frame.columns or not frame.schema[TERM].is_numeric():
        return frame
    months = pl.col(TERM).cast(pl.Float64).fill_nan(None).round(mode="half_to_even")
    return frame.with_columns(months.cast(pl.Int64).cast(pl.String).alias(TERM_WORD))


def peers_of(frame: pl.DataFrame, catalogue: Mapping[str, AnyFeature]) -> Peers:
    """The medians of every group of running accounts that is large enough."""
    names = [n for n in frame.columns if n in catalogue]
    frame = with_term(frame)
    if "contract_status" in frame.columns:
        frame = frame.remove(pl.col("contract_status").is_in(WITHOUT_CONTRACT))
    enough = pl.when(pl.col(names).count() >= LEAST_PEERS).then(pl.col(names).median())
    groups: dict[PeerKind, dict[tuple[str | None, ...], dict[str, float]]] = {}
    for kind in PEER_KINDS:
        columns = kind.columns
        if not {*columns, *([RENEWED] if kind.renewed else [])} <= set(frame.columns):
            continue
        meant = frame.filter(pl.col(RENEWED) >= 1) if kind.renewed else frame
        if TERM_WORD in columns:
            terms = pl.col(TERM_WORD).n_unique()
            alike = kind.without_term
            meant = meant.filter((terms.over(alike) if alike else terms) > 1)
        if columns:  # of a smaller group no feature is known often enough
            meant = meant.filter(pl.len().over(columns) >= LEAST_PEERS)
        if meant.height < LEAST_PEERS:
            groups[kind] = {}
            continue
        medians = meant.group_by(columns).agg(enough) if columns else meant.select(enough)
        groups[kind] = {
            tuple(row[c] for c in columns): {n: row[n] for n in names if row[n] is not None}
            for row in medians.iter_rows(named=True)
        }
    return Peers(groups=groups)


def one_line(title: str, text: str, beside: str | None) -> str:
    """A theme's title, a fact of it and the comparison, each where there is one."""
    said = text if beside is None else f"{text}; {beside}"
    return f"{title}: {said}" if title else said


def health_reasons(health: Health) -> Reasons:
    """The components of a health score as reasons: what each one takes from the full score.

    The known parts carry the whole score, so all that is taken sums to 100 less the score. Where too
    little is known for a score, there is none to take from.
    """
    if health.score is None:
        return Reasons()
    reasons = []
    for part in health.components:
        if part.points is None or part.weight == 0:  # such a part is shown and takes nothing
            continue
        lost = part.weight * (100 - part.points) / health.known_weight
        reasons.append(
            Reason(
                feature=part.name,
                theme="health",
                text=f"{plain(part.name).capitalize()}: {part.points:.0f} of 100 "
                f"({spoken(part.measure)})",
                comparison=None,
                value=part.value,
                unit="",
                points=lost,
                points_unit="health points",
            )
        )
    reasons.sort(key=lambda r: (-r.points, r.feature))
    return Reasons(signals=tuple(r for r in reasons if abs(r.points) >= LEAST_POINTS))


def fact_text(
    name: str, value: float | None, whole: float | None, catalogue: Mapping[str, AnyFeature]
) -> str:
    """A feature's value in its own phrase, with its share of the count that it is part of.

    >>> from features.catalogue.catalogue import load_catalogue
    >>> fact_text("invoices_late_90d", 2.0, 3.0, load_catalogue().by_name)
    '2 invoices late in the last 90 days, 67% of the 3 issued'
    """
    text, part_of = reason_text(name, value, catalogue), whole_of(name)
    if part_of is None or value is None or whole is None:
        return text
    share = part_of.share(value, whole)
    return f"{text}, {share}" if share else text


def reason_text(name: str, value: float | None, catalogue: Mapping[str, AnyFeature]) -> str:
    """A feature's value in its own phrase, or that it is not known."""
    value = None if value is None else value + 0.0  # no "-0"
    declared = catalogue.get(name)
    plainly = PLAINLY.get(name)
    if plainly and value is not None:
        return capitalised(spoken(plainly(value)))
    if declared is None:
        text = f"{plain(name)}: {number(value)}"
        return capitalised(text) if plainly else text
    if value is None:
        what = declared.description.split(";")[0].rstrip(".")
        if declared.unit == "ratio":
            what = what.replace(" over ", " compared with ", 1)
        return f"Not known: {inside_sentence(what)}"
    return capitalised(spoken(declared.phrase.format(value=value)))


def comparison(
    name: str,
    value: float | None,
    catalogue: Mapping[str, AnyFeature],
    similar: Sequence[PeerGroup],
) -> str | None:
    """How similar accounts compare, said with the format of the feature's own phrase."""
    declared = catalogue.get(name)
    group = next((g for g in similar if name in g.medians), None)
    if value is None or declared is None or group is None or name in NOT_COMPARED:
        return None
    value += 0.0
    median, own = (_compared(declared, number) for number in (group.medians[name], value))
    return f"usual {group.where}" if median == own else f"{median} is usual {group.where}"


def _compared(declared: AnyFeature, value: float) -> str:
    """A value as it is said beside another: in the format of the phrase, or in a word."""
    if declared.name in COMPARED_AS:
        return f'"{COMPARED_AS[declared.name](value)}"'
    found = VALUE_FORMAT.search(declared.phrase)
    return ZERO_WITH_SIGN.sub(r"\1", format(value, (found.group(1) or "") if found else ""))
