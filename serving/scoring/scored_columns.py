"""Scores of a frame of accounts, a column at a time: of one account as of a million.

Each model answers once for all rows; where it does not answer, the health formula does, in the
same shape and with the reason. The score of one account (``accounts``) and the file of scores are
read from the same columns. A column is computed when it is first read. Reads no store and asks for
no clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.catalogue.definitions.attributes import WITHOUT_CONTRACT
from features.health.formula import HealthFormula
from features.health.score import Health, score_health
from features.leaving import Leaving
from registry.bundle.feature_contract import FeatureContractError
from registry.bundle.metadata import AMOUNT_ERROR
from registry.outcomes import CHURN, EXPANSION, Outcome, outcome_named
from serving.scoring.expected_money import MoneyColumns, yearly
from serving.scoring.explanations import (
    PeerGroup,
    Peers,
    Reasons,
    health_reasons,
    peer_words,
    peers_of,
)
from serving.scoring.reasons.choice import ChosenReasons, choose_reasons, segments_of
from serving.scoring.reasons.facts import Facts
from serving.scoring.reasons.in_words import ReasonedRows, UsualValues
from serving.scoring.score import (
    ENDED,
    NO_CONTRACT,
    NONE,
    OTHER_OUTCOMES,
    RISK_TIERS,
    STANDARD_HORIZONS,
    TIER_HORIZON_DAYS,
    AccountScore,
    Columns,
    HorizonProbability,
    Models,
    ScoringModel,
    ServedModel,
    columns_of,
    risk_tiers,
    sentence,
    staleness,
)
from serving.scoring.without_contracts import as_customers, why_gone, why_not_yet

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

DAYS_TO_RENEWAL = "days_to_renewal"
HAS_ENDED = "the contract has ended"
HAS_NOT_BEGUN = "no contract has begun"


@dataclass(frozen=True, kw_only=True, eq=False)
class RefusalColumn:
    """Why a model does not answer for a row: a code into sentences, ``NONE`` where it answers."""

    codes: Codes
    sentences: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rows: int) -> RefusalColumn:
        """No refusal yet."""
        return cls(codes=np.full(rows, NONE, np.int64))

    def add(self, where: Mask, why: str) -> None:
        """Refuse these rows, but for those that were refused before."""
        free = where & (self.codes == NONE)
        if free.any():
            self.codes[free] = len(self.sentences)
            self.sentences.append(sentence(why))

    @property
    def answered(self) -> Mask:
        """The rows that are not refused."""
        answered: Mask = self.codes == NONE
        return answered

    def texts(self) -> list[str | None]:
        """The sentence of each row."""
        words = [*self.sentences, None]  # the last is that of NONE
        return [words[code] for code in self.codes.tolist()]


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelColumns:
    """One model's answers. It is given some rows of a frame, and answers for some of those."""

    served: ServedModel
    matrix: Floats  # of the rows that it is given
    given: Mask
    answered: Mask
    _intervals: dict[int, tuple[Floats, Floats]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def place(self) -> Codes:
        """Where each row of the frame is in the matrix."""
        return np.cumsum(self.given) - 1

    @cached_property
    def raw(self) -> Floats:
        """The raw score of each row of the matrix."""
        return self.served.model.raw(self.matrix)

    @cached_property
    def probability(self) -> Mapping[int, Floats]:
        """By horizon the probability of each row of the matrix."""
        model = self.served.model
        return {h: model.probability(self.matrix, h, raw=self.raw) for h in model.horizons}

    def interval(self, horizon_days: int) -> tuple[Floats, Floats]:
        """Low and high of a horizon, for each row of the matrix."""
        if horizon_days not in self._intervals:
            self._intervals[horizon_days] = self.served.model.probability_interval(
                self.matrix, horizon_days, raw=self.raw
            )
        return self._intervals[horizon_days]

    @cached_property
    def explained_horizon(self) -> int:
        """The horizon that the reasons are of."""
        horizons = self.served.model.horizons
        return TIER_HORIZON_DAYS if TIER_HORIZON_DAYS in horizons else horizons[-1]

    def untreated(self, horizon_days: int) -> tuple[Floats, ...]:
        """The risk if nobody acts, its low and high; () where it is not known."""
        known = self.served.model.untreated_risk
        if known is None or known.shift is None or horizon_days not in known.shift.horizons:
            return ()
        bounds = {h: self.interval(h) for h in known.shift.horizons}
        return known.risk(
            self.matrix,
            self.probability,
            {h: low for h, (low, _) in bounds.items()},
            {h: high for h, (_, high) in bounds.items()},
        )[horizon_days]

    def put(self, into: Floats, values: Floats) -> None:
        """Put values of the matrix's rows into a column of the frame, where the model answers."""
        into[self.answered] = values[self.place[self.answered]]

    def answers(self) -> Mapping[int, tuple[HorizonProbability, ...]]:
        """By row of the frame its probabilities, where the model answers."""
        model, at = self.served.model, self.place[self.answered]
        learned = model.extended_from
        columns = [
            [
                HorizonProbability(
                    horizon_days=h,
                    probability=p,
                    low=low,
                    high=high,
                    base_rate=usual,
                    extended_from=learned if learned is not None and h > learned else None,
                )
                for p, low, high in zip(
                    self.probability[h][at].tolist(),
                    *(bound[at].tolist() for bound in self.interval(h)),
                    strict=True,
                )
            ]
            for h, usual in ((h, float(model.base_rate(h))) for h in model.horizons)
        ]
        rows = np.nonzero(self.answered)[0].tolist()
        return dict(zip(rows, zip(*columns, strict=True), strict=True))

    def at_renewal(self) -> Mapping[int, tuple[float, float, float, float]]:
        """By row of the frame the chance to leave when the term ends: its value, low, high and what is
        usual with such a contract; where the model answers and knows it."""
        model = self.served.model
        found = model.at_renewal(self.matrix, raw=self.raw)
        usual = model.usual_at_renewal(self.matrix)
        if found is None or usual is None:
            return {}
        known = self.answered & ~np.isnan(found[0])[self.place]
        at = self.place[known]
        columns = (column[at].tolist() for column in (*found, usual))
        return dict(zip(np.nonzero(known)[0].tolist(), zip(*columns, strict=True), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeColumns:
    """What is predicted of one outcome. ``refusals`` says where its own model does not answer."""

    refusals: RefusalColumn
    answers: tuple[ModelColumns, ...]  # a row is answered by one of them at most

    def probability(self, horizon_days: int) -> Floats:
        """The probability of each row, NaN where it is unknown."""
        column = np.full(len(self.refusals.codes), np.nan)
        for one in self._answering(horizon_days):
            one.put(column, one.probability[horizon_days])
        return column

    def interval(self, horizon_days: int) -> tuple[Floats, Floats]:
        """Low and high of each row, NaN where they are unknown."""
        low, high = (np.full(len(self.refusals.codes), np.nan) for _ in range(2))
        for one in self._answering(horizon_days):
            below, above = one.interval(horizon_days)
            one.put(low, below)
            one.put(high, above)
        return low, high

    def base_rate(self, horizon_days: int) -> Floats:
        """What is usual by the model that answers, NaN where none does."""
        column = np.full(len(self.refusals.codes), np.nan)
        for one in self._answering(horizon_days):
            column[one.answered] = one.served.model.base_rate(horizon_days)
        return column

    def _answering(self, horizon_days: int) -> Iterator[ModelColumns]:
        for one in self.answers:
            if horizon_days in one.served.model.horizons and one.answered.any():
                yield one

    def by_row(self) -> dict[int, tuple[HorizonProbability, ...]]:
        """By row its probabilities, where a model answers."""
        found: dict[int, tuple[HorizonProbability, ...]] = {}
        for one in self.answers:
            if one.answered.any():
                found.update(one.answers())
        return found

    def at_renewal(self) -> dict[int, tuple[float, float, float, float]]:
        """By row what comes of it when its term ends (``ModelColumns.at_renewal``)."""
        return {row: found for one in self.answers for row, found in one.at_renewal().items()}

    def versions(self) -> list[str | None]:
        """Which model answered for each row."""
        words: list[str | None] = [None] * len(self.refusals.codes)
        for one in self.answers:
            for row in np.nonzero(one.answered)[0].tolist():
                words[row] = one.served.version
        return words


@dataclass(frozen=True, kw_only=True, eq=False)
class Scoring:
    """What accounts are scored with.

    ``peers`` says what is usual among similar accounts; left out, it is what is usual in the frame
    that is scored.
    """

    models: Models
    catalogue: Catalogue
    formula: HealthFormula
    now: datetime
    max_age: timedelta
    currency: str
    peers: Peers | None = None
    leaving: Leaving = field(default_factory=Leaving)

    @property
    def risk_days(self) -> int:
        """The horizon of risk tiers and of revenue at risk."""
        return self.leaving.days if self.leaving.is_no_use else TIER_HORIZON_DAYS

    def columns(self, frame: pl.DataFrame) -> ScoredColumns:
        """The scores of all accounts of a snapshot frame, in its order."""
        frame = as_customers(frame, self.leaving)
        return ScoredColumns(
            scoring=self, frame=frame, names=columns_of(frame, self.catalogue.by_name)
        )

    def accounts(self, frame: pl.DataFrame) -> list[AccountScore]:
        """The same, read account by account."""
        return self.columns(frame).accounts()

    def facts(self, model: ScoringModel, *, of_leaving: bool) -> Facts:
        """The facts that the reasons of a model can name."""
        return Facts.of(
            model.contract.names, self.catalogue.by_name, self.formula, of_leaving=of_leaving
        )

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """How each feature is defined now."""
        return {**self.catalogue.digests, HEALTH_SCORE: self.formula.version}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredColumns:
    """The scores of the accounts of a frame, a column at a time."""

    scoring: Scoring
    frame: pl.DataFrame
    names: Columns

    @cached_property
    def ended(self) -> Mask:
        """The accounts whose contract is known to have ended."""
        return np.array([word == "ended" for word in self._words("contract_status")], bool)

    @cached_property
    def without_contract(self) -> Mask:
        """The accounts of which it is known that no contract runs."""
        found = [word in WITHOUT_CONTRACT for word in self._words("contract_status")]
        return np.array(found, bool)

    @cached_property
    def mrr(self) -> Floats:
        """Monthly recurring revenue; NaN where it is unknown or the contract has ended."""
        return np.where(self.ended, np.nan, self._numbers("mrr"))

    @cached_property
    def churn(self) -> OutcomeColumns:
        """The probabilities to leave: the model's, where it refuses those of the formula."""
        models = self.scoring.models
        leaving = self.scoring.leaving
        refusals = self._refusals(why_gone(leaving) if leaving.is_no_use else ENDED)
        refusals.add(
            self.without_contract, why_not_yet(leaving) if leaving.is_no_use else NO_CONTRACT
        )
        of_model = self._model_columns(CHURN.name, models.churn, refusals)
        asked = ~refusals.answered & ~self.without_contract
        by_formula: ModelColumns | None = None
        if models.churn_formula is not None and asked.any():
            # the rows of the formula alone: its reasons are those of the health score
            with contextlib.suppress(FeatureContractError):
                by_formula = ModelColumns(
                    served=models.churn_formula,
                    matrix=self._matrix(models.churn_formula, asked),
                    given=asked,
                    answered=asked,
                )
        return OutcomeColumns(
            refusals=refusals, answers=tuple(one for one in (of_model, by_formula) if one)
        )

    @cached_property
    def expansion(self) -> OutcomeColumns:
        """The probabilities to expand before any churn."""
        return self._outcome(EXPANSION.name, self.scoring.models.expansion)

    @cached_property
    def others(self) -> Mapping[str, OutcomeColumns]:
        """The probabilities of the other outcomes."""
        return {
            name: self._outcome(name, self.scoring.models.others.get(name))
            for name in OTHER_OUTCOMES
        }

    @cached_property
    def revenue_at_risk(self) -> MoneyColumns:
        """What the probability to leave comes to a year."""
        return yearly(
            self.churn.probability(self.scoring.risk_days),
            *self.churn.interval(self.scoring.risk_days),
            self.mrr,
        )

    @cached_property
    def expansion_amount(self) -> Floats:
        """The usual rise of monthly revenue, given that it rises."""
        ratio = self._expansion_ratio
        return np.full(len(self.mrr), np.nan) if ratio is None else self.mrr * ratio

    @cached_property
    def expansion_amount_error(self) -> float:
        """The relative standard error of that amount."""
        ratio = self._expansion_ratio
        if not ratio:
            return 0.0
        return self.expansion.answers[0].served.model.metrics.get(AMOUNT_ERROR, 0.0) / ratio

    @property
    def _expansion_ratio(self) -> float | None:
        return next((one.served.model.amount_ratio for one in self.expansion.answers), None)

    @cached_property
    def expected_expansion(self) -> MoneyColumns:
        """What the probability to expand within 90 days comes to a year."""
        return yearly(
            self.expansion.probability(TIER_HORIZON_DAYS),
            *self.expansion.interval(TIER_HORIZON_DAYS),
            self.expansion_amount,
            relative_error=self.expansion_amount_error,
        )

    @cached_property
    def tiers(self) -> Codes:
        """The risk tier of each account, ``NONE`` where it is unknown."""
        return risk_tiers(
            self.churn.probability(self.scoring.risk_days),
            self.churn.base_rate(self.scoring.risk_days),
            by_odds=self.scoring.leaving.is_no_use,
        )

    def accounts(self) -> list[AccountScore]:
        """The score of each account, in the order of the frame."""
        scoring = self.scoring
        by_name = scoring.catalogue.by_name
        peers = peers_of(self.frame, by_name) if scoring.peers is None else scoring.peers
        churn, growth = self.churn.by_row(), self.expansion.by_row()
        renewals = self.churn.at_renewal()
        others = {name: outcome.by_row() for name, outcome in self.others.items()}
        other_notes = {name: outcome.refusals.texts() for name, outcome in self.others.items()}
        refusals, no_growth = self.churn.refusals.texts(), self.expansion.refusals.texts()
        no_expansion = sentence(
            scoring.models.refusals.get(EXPANSION.name, "there is no expansion model")
        )
        unknown = tuple(
            HorizonProbability(horizon_days=h, probability=None) for h in self._usual_horizons
        )
        tiers: list[str | None] = [*(tier.name for tier in RISK_TIERS), None]
        why_risk = self._explained(self.churn, peers, of_leaving=True)
        why_growth = self._explained(self.expansion, peers, of_leaving=False)
        known_features = self.frame.select(
            pl.col(self.names.features).cast(pl.Float64).fill_nan(None)
        )
        similar_to: dict[tuple[str | None, ...], tuple[PeerGroup, ...]] = {}
        columns = zip(
            self.frame.select("account_id", "as_of", *self.names.attributes).iter_rows(named=True),
            known_features.iter_rows(),
            self.churn.versions(),
            refusals,
            no_growth,
            self.tiers.tolist(),
            _known(self.mrr),
            zip(*map(_known, self.revenue_at_risk), strict=True),
            zip(*map(_known, self.expected_expansion), strict=True),
            _known(self.expansion_amount),
            strict=True,
        )
        scores = []
        for row, (
            values, known, version, refusal, not_growing, tier, mrr, at_risk, rise, amount
        ) in enumerate(columns):  # fmt: skip
            features: dict[str, float | None] = dict(zip(self.names.features, known, strict=True))
            attributes = {name: values[name] for name in self.names.attributes}
            health = partial(score_health, scoring.formula, features)
            growing = growth.get(row, ())
            grows = any(one.horizon_days == TIER_HORIZON_DAYS for one in growing)
            words = peer_words(attributes, features)
            similar = similar_to.get(said := tuple(words.values()))
            if similar is None:
                similar = similar_to[said] = peers.of(words)
            at_end, usual = _at_renewal(features.get(DAYS_TO_RENEWAL), renewals.get(row))
            scores.append(
                AccountScore(
                    account_id=values["account_id"],
                    as_of=values["as_of"],
                    source="model" if refusal is None else "health_formula",
                    degraded=refusal,
                    model_version=version,
                    formula=scoring.formula.id,
                    churn=churn.get(row, unknown),
                    growth=growing,
                    expansion_note=None if grows else not_growing or no_expansion,
                    risk_tier=tiers[tier],
                    mrr=mrr,
                    revenue_at_risk=at_risk[0],
                    revenue_at_risk_low=at_risk[1],
                    revenue_at_risk_high=at_risk[2],
                    expected_expansion=rise[0],
                    expected_expansion_low=rise[1],
                    expected_expansion_high=rise[2],
                    expansion_amount=amount,
                    expansion_amount_error=self.expansion_amount_error,
                    currency=scoring.currency,
                    explain_health=health,
                    say_reasons=(
                        partial(_explain_health_reasons, health)
                        if refusal is not None or why_risk is None
                        else partial(why_risk[0].reasons, int(why_risk[1][row]), similar)
                    ),
                    say_expansion_reasons=(
                        partial(why_growth[0].reasons, int(why_growth[1][row]), similar)
                        if grows and why_growth is not None
                        else None
                    ),
                    attributes=attributes,
                    features=features,
                    at_renewal=at_end,
                    usual_at_renewal=usual,
                    leaving=scoring.leaving,
                    others={name: found[row][-1] for name, found in others.items() if row in found},
                    other_notes={
                        name: note
                        for name, notes in other_notes.items()
                        if (note := notes[row]) is not None
                    },
                )
            )
        return scores

    @property
    def _usual_horizons(self) -> Sequence[int]:
        """The horizons that are left unknown where no model answers."""
        served = [one.served for one in self.churn.answers]
        if not served and self.scoring.models.churn_formula is not None:
            served = [self.scoring.models.churn_formula]
        return served[0].model.horizons if served else STANDARD_HORIZONS

    def reasons(
        self, one: ModelColumns, facts: Facts, usual: UsualValues
    ) -> tuple[ChosenReasons, list[int]]:
        """The reasons of the rows that a model is given, and the place of each row's peers."""
        frame = self.frame if one.given.all() else self.frame.filter(one.given)
        groups = usual.groups(frame)
        rows = facts.explain(
            one.served.model, one.matrix, one.explained_horizon, frame, raw=one.raw
        )
        evidence = one.served.model.reason_evidence
        chosen = choose_reasons(rows, usual.medians(groups), evidence, segments_of(frame))
        return chosen, groups

    def _explained(
        self, outcome: OutcomeColumns, peers: Peers, *, of_leaving: bool
    ) -> tuple[ReasonedRows, Codes] | None:
        """The reasons that the outcome's own model gives, and where each row is in that."""
        for one in outcome.answers[:1]:
            if (one.answered & outcome.refusals.answered).any():
                facts = self.scoring.facts(one.served.model, of_leaving=of_leaving)
                usual = UsualValues(
                    names=facts.names, peers=peers, otherwise=one.served.model.usual
                )
                chosen, _ = self.reasons(one, facts, usual)
                base_rate = float(one.served.model.base_rate(one.explained_horizon))
                return (
                    ReasonedRows(
                        chosen=chosen,
                        catalogue=self.scoring.catalogue.by_name,
                        base_rate=base_rate,
                        evidence=one.served.model.reason_evidence,
                    ),
                    one.place,
                )
        return None

    def _outcome(self, label: str, served: ServedModel | None) -> OutcomeColumns:
        leaving = self.scoring.leaving
        refusals = self._refusals(why_gone(leaving) if leaving.is_no_use else HAS_ENDED)
        outcome = outcome_named(label)
        if outcome.cohort == "active":
            refusals.add(self.without_contract, HAS_NOT_BEGUN)
        self._refuse_others(outcome, refusals)
        found = self._model_columns(label, served, refusals)
        return OutcomeColumns(refusals=refusals, answers=() if found is None else (found,))

    def _refusals(self, ended: str) -> RefusalColumn:
        """Where no model is asked: the contract has ended, or the features are too old."""
        refusals = RefusalColumn.of(self.frame.height)
        refusals.add(self.ended, ended)
        moments = self.frame["as_of"]
        for moment in moments.unique():
            old = staleness(moment, self.scoring.now, self.scoring.max_age)
            if old is not None:
                refusals.add((moments == moment).to_numpy(), old)
        return refusals

    def _refuse_others(self, outcome: Outcome, refusals: RefusalColumn) -> None:
        """Leave out the accounts that the outcome is not asked about."""
        if outcome.cohort == "in_use":
            idle = self._numbers("days_since_activity")
            for days in np.unique(idle[idle > outcome.silence_days]):
                refusals.add(idle == days, f"it has been silent for {days:.0f} days already")
        if outcome.cohort == "trial":
            status = self._words("contract_status")
            no_trial = np.array([word != "trial" for word in status], bool)
            refusals.add(no_trial, "it is not in a trial")

    def _model_columns(
        self, label: str, served: ServedModel | None, refusals: RefusalColumn
    ) -> ModelColumns | None:
        """A model's answers for all rows; None, and all rows refused, where it gives none."""
        models, every = self.scoring.models, np.ones(self.frame.height, bool)
        unread = models.refusals.get(label, f"there is no {label.replace('_', ' ')} model")
        if served is None:
            refusals.add(every, unread)
            return None
        try:
            matrix = self._matrix(served, every)
        except FeatureContractError as error:
            refusals.add(every, f"{served.version} cannot read these features: {error}")
            return None
        if models.withheld.get(label):
            segments = self._words("segment")
            for segment in dict.fromkeys(segments):
                withheld = models.withheld_from(label, {"segment": segment})
                if withheld is not None:
                    refusals.add(np.array([one == segment for one in segments], bool), withheld)
        return ModelColumns(served=served, matrix=matrix, given=every, answered=refusals.answered)

    def _matrix(self, served: ServedModel, given: Mask) -> Floats:
        """The rows that a model is given, as it reads them."""
        rows = self.frame if given.all() else self.frame.filter(given)
        return served.model.contract.matrix(rows, digests=self.scoring.digests)

    def _words(self, attribute: str) -> list[str | None]:
        if attribute not in self.names.attributes:
            return [None] * self.frame.height
        return self.frame[attribute].to_list()

    def _numbers(self, feature: str) -> Floats:
        if feature not in self.names.features:
            return np.full(self.frame.height, np.nan)
        return self.frame[feature].cast(pl.Float64).to_numpy()


def score_accounts(
    frame: pl.DataFrame,
    models: Models,
    *,
    catalogue: Catalogue,
    formula: HealthFormula,
    now: datetime,
    max_age: timedelta,
    currency: str,
    peers: Peers | None = None,
    leaving: Leaving | None = None,
) -> list[AccountScore]:
    """The scores of all accounts of a snapshot frame, in its order.

    ``peers`` says what is usual among similar accounts where the frame is a part of a snapshot;
    ``leaving`` what leaving means, left out: that a contract ends.
    """
    return Scoring(
        models=models,
        catalogue=catalogue,
        formula=formula,
        now=now,
        max_age=max_age,
        currency=currency,
        peers=peers,
        leaving=leaving or Leaving(),
    ).accounts(frame)


def _known(values: Floats) -> list[float | None]:
    """The values of a column, None where they are unknown."""
    return [None if value != value else value for value in values.tolist()]


def _at_renewal(
    days: float | None, found: tuple[float, float, float, float] | None
) -> tuple[HorizonProbability | None, float | None]:
    """The chance to leave when the term ends and what is usual; None where its date has passed."""
    if days is None or days < 0 or found is None:
        return None, None
    probability, low, high, usual = found
    at = HorizonProbability(horizon_days=int(days) + 1, probability=probability, low=low, high=high)
    return at, usual


def _explain_health_reasons(explain_health: partial[Health]) -> Reasons:
    return health_reasons(explain_health())
