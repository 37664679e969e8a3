"""The outcomes that Keepwell predicts, each declared once.

A label to train, a model to serve, a field of an answer, a line on a page and a choice of a
command are derived from this table. To add an outcome, add a value to ``OUTCOMES``; where none of
the rules decides it from events, add a rule to ``training/dataset/labels.py`` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol

Rule = Literal["contract_ends", "mrr_rises", "mrr_falls", "use_stops", "trial_converts", "no_use"]
"""How ``training/dataset/labels.py`` decides from events whether an account had an outcome."""

Cohort = Literal["active", "in_use", "trial"]
"""The accounts that an outcome is asked about: with a contract, in use, or in a trial."""

Money = Literal["revenue_at_risk", "expected_expansion"]
Section = Literal["risk", "growth", "outlook"]

FORMULA_SUFFIX = "-formula"

ORDER_KINDS = frozenset({"order.placed"})
"""Kinds of event that are called an order; other use is called use."""


class OutcomeError(ValueError):
    """An outcome is not declared as it should be."""


@dataclass(frozen=True, kw_only=True)
class OutcomeWords:
    """The words for an outcome in sentences for people."""

    verb: str  # "more likely to leave"
    gerund: str  # "these go with leaving"
    statement: str  # a line of a page: "Leaves"
    happened: str  # the account that its AUC ranks first: "an account that left"
    not_happened: str  # the one ranked below it: "one that stayed"
    model: str  # title of its models

    @property
    def past(self) -> str:
        """What accounts did that had it.

        >>> CHURN.words.past, EXPANSION.words.past
        ('left', 'expanded')
        """
        return self.happened.split(" that ", 1)[1]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Something that may happen to an account and is worth predicting.

    Args:
        name: in code, file names and addresses.
        description: what happens, exactly.
        rule: how it is decided from events.
        words: for people.
        horizons: days, in rising order.
        long_horizons: longer ones, served where the data reach.
        cohort: the accounts that it is asked about.
        lead_days: from the moment of the question to the opening of the window.
        silence_days: for ``use_stops``: no use for so long.
        use_kinds: for ``no_use``: the kinds of event that are use.
        used_within_days: for ``no_use``: asked about accounts with use in so many days before.
        money: what its probability is multiplied into.
        section: where a page shows it; each of ``risk`` and ``growth`` belongs to one outcome.
        has_formula: whether the health formula answers, calibrated, where no model can.
        can_be_withheld: whether monitoring may withhold its model from a segment.
        is_served: whether the service answers with its model.
    """

    name: str
    description: str
    rule: Rule
    words: OutcomeWords
    horizons: tuple[int, ...]
    long_horizons: tuple[int, ...] = ()
    cohort: Cohort = "active"
    lead_days: int = 0
    silence_days: int = 30
    use_kinds: tuple[str, ...] = ()
    used_within_days: int = 365
    money: Money | None = None
    section: Section = "outlook"
    has_formula: bool = False
    can_be_withheld: bool = False
    is_served: bool = True

    @property
    def formula_model(self) -> str | None:
        """Name of the model that is the health formula, calibrated for this outcome."""
        return f"{self.name}{FORMULA_SUFFIX}" if self.has_formula else None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models in the store: its own, and the calibrated health formula's."""
        return (self.name,) if self.formula_model is None else (self.name, self.formula_model)


CHURN = Outcome(
    name="churn",
    description="The contract ends without renewal.",
    rule="contract_ends",
    words=OutcomeWords(
        verb="leave",
        gerund="leaving",
        statement="Leaves",
        happened="an account that left",
        not_happened="one that stayed",
        model="Churn model",
    ),
    horizons=(30, 60, 90),
    long_horizons=(180, 365),
    money="revenue_at_risk",
    section="risk",
    has_formula=True,
    can_be_withheld=True,
)

EXPANSION = Outcome(
    name="expansion",
    description="MRR first reaches 110 % of the cutoff's, before any churn.",
    rule="mrr_rises",
    words=OutcomeWords(
        verb="grow",
        gerund="growing",
        statement="Grows",
        happened="an account that expanded",
        not_happened="one that did not",
        model="Expansion model",
    ),
    horizons=(30, 60, 90),
    long_horizons=(180, 365),
    money="expected_expansion",
    section="growth",
    can_be_withheld=True,
)

OUTCOMES: tuple[Outcome, ...] = (
    CHURN,
    EXPANSION,
    Outcome(
        name="contraction",
        description="MRR first falls to 90 % of the cutoff's, before any churn; "
        "longer billing at equal seats is left out.",
        rule="mrr_falls",
        words=OutcomeWords(
            verb="pay less",
            gerund="paying less",
            statement="Pays at least a tenth less",
            happened="an account that shrank",
            not_happened="one that did not",
            model="Contraction model",
        ),
        horizons=(90,),
    ),
    Outcome(
        name="silent_churn",
        description="An account that was in use has 30 days without any use.",
        rule="use_stops",
        words=OutcomeWords(
            verb="fall silent",
            gerund="falling silent",
            statement="Falls silent for 30 days",
            happened="an account that fell silent",
            not_happened="one that did not",
            model="Model of silence",
        ),
        horizons=(90,),
        cohort="in_use",
    ),
    Outcome(
        name="trial_conversion",
        description="A trial becomes a contract.",
        rule="trial_converts",
        words=OutcomeWords(
            verb="become a customer",
            gerund="becoming a customer",
            statement="Becomes a customer",
            happened="a trial that became a contract",
            not_happened="one that did not",
            model="Trial conversion model",
        ),
        horizons=(30,),
        cohort="trial",
    ),
)


class MeaningOfLeaving(Protocol):
    """What a workspace says about leaving (``features/leaving.py``)."""

    @property
    def is_no_use(self) -> bool:
        """Whether accounts leave without a contract that ends."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of event that are use."""
        ...

    @property
    def is_of_orders(self) -> bool:
        """Whether it is orders that stop, and not use."""
        ...

    @property
    def days(self) -> int:
        """Of no use after the moment of the question."""
        ...

    @property
    def used_within_days(self) -> int:
        """Of the cohort: it had use in so many days before."""
        ...


def churn_of(leaving: MeaningOfLeaving) -> Outcome:
    """Churn as a workspace means it.

    Where no contract ends it is no use, or no order, in the days after the question. It then has one
    horizon: silence for longer is rarer than for shorter, so that probabilities of several would
    fall where those of other outcomes rise.
    """
    if not leaving.is_no_use:
        return CHURN
    words = OF_ORDERS if leaving.is_of_orders else OF_USE
    what, had = ("order", "ordered") if leaving.is_of_orders else ("use", "were in use")
    return replace(
        CHURN,
        description=f"No {what} in {leaving.days} days, of accounts that {had} in the "
        f"{leaving.used_within_days} days before.",
        rule="no_use",
        words=words,
        horizons=(leaving.days,),
        long_horizons=(),
        cohort="in_use",
        use_kinds=leaving.kinds,
        used_within_days=leaving.used_within_days,
    )


OF_ORDERS = OutcomeWords(
    verb="order nothing",
    gerund="ordering nothing",
    statement="No order",
    happened="an account that ordered nothing",
    not_happened="one that ordered again",
    model="Model of no order",
)
OF_USE = OutcomeWords(
    verb="fall out of use",
    gerund="falling out of use",
    statement="No use",
    happened="an account that fell out of use",
    not_happened="one that was used again",
    model="Model of no use",
)


class OutcomeName(StrEnum):
    """The names of the declared outcomes, as a command offers them."""

    _ignore_ = "Names one"
    Names = vars()
    for one in OUTCOMES:
        Names[one.name.upper()] = one.name


def outcome_named(name: str) -> Outcome:
    """The declared outcome of this name.

    >>> outcome_named("churn").words.verb
    'leave'
    """
    for outcome in OUTCOMES:
        if outcome.name == name:
            return outcome
    names = ", ".join(outcome.name for outcome in OUTCOMES)
    raise OutcomeError(f"There is no outcome {name!r}. Choose one of: {names}.")


def check_outcomes(outcomes: tuple[Outcome, ...]) -> Mapping[str, Outcome]:
    """The outcomes by the names of their models.

    Raises:
        OutcomeError: two share a name, or a section that is one outcome's alone.
    """
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        for model in outcome.models:
            if model in found:
                raise OutcomeError(f"Two outcomes have a model {model!r}; give one another name.")
            found[model] = outcome
    for section in ("risk", "growth"):
        names = [outcome.name for outcome in outcomes if outcome.section == section]
        if len(names) != 1:
            raise OutcomeError(
                f"The section {section!r} of a page belongs to one outcome; {names or 'none'} "
                f"have it. Choose the section 'outlook'."
            )
    return found


OUTCOME_OF_MODEL: Mapping[str, Outcome] = check_outcomes(OUTCOMES)
"""The outcome of every model that a store may hold."""

MODEL_NAMES: tuple[str, ...] = (
    *(outcome.name for outcome in OUTCOMES),
    *(model for outcome in OUTCOMES for model in outcome.models[1:]),
)
"""Names of the models of a store, in the order of lists."""

SERVED: tuple[Outcome, ...] = tuple(outcome for outcome in OUTCOMES if outcome.is_served)

OUTLOOKS: tuple[Outcome, ...] = tuple(one for one in SERVED if one.section == "outlook")
"""The outcomes beside churn and expansion, shown where a model of theirs serves."""
