"""The portfolio: every account's score at one moment, ready to be read.

A portfolio never changes. When a snapshot or a champion does, a new one is made and takes the
place of the old one in a single step, so that no answer mixes two moments.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial

import polars as pl

from features.garbage_collection import collection_off
from features.leaving import Leaving
from serving.problems import BadCursorError, NotReadyError, UnknownAccountError
from serving.scoring.account_families import Families, families_of
from serving.scoring.alerts import WarningSigns
from serving.scoring.explanations import Peers
from serving.scoring.models_served import without_paths
from serving.scoring.score import AccountScore, HorizonProbability, Models, SourceFreshness
from serving.scoring.visible_accounts import VisibleAccounts
from serving.text_format import plural

log = logging.getLogger("keepwell.serving")

CONTRACT_ENDED = "contract ended"
NO_CONTRACT = "no contract"
"""In place of a risk tier: such an account is not scored, which is not the same as unknown."""


@dataclass(frozen=True, kw_only=True)
class AccountFilter:
    """Which accounts are wanted; None lets all pass."""

    segment: str | None = None
    tier: str | None = None
    service_tier: str | None = None
    csm: str | None = None
    level: str | None = None
    status: str | None = None
    search: str | None = None
    parent: str | None = None  # with all accounts below it

    def passes(self, score: AccountScore) -> bool:
        """Whether an account is wanted, by all but its parent, which the portfolio decides."""
        wanted = (
            (self.segment, score.attributes.get("segment")),
            (self.tier, score.risk_tier),
            (self.service_tier, score.attributes.get("service_tier")),
            (self.csm, score.attributes.get("csm")),
            (self.level, score.health.band),
            (self.status, score.attributes.get("contract_status")),
        )
        if any(want is not None and want != found for want, found in wanted):
            return False
        if self.search is None:
            return True
        names = (score.account_id, score.attributes.get("account_name") or "")
        return any(self.search.lower() in name.lower() for name in names)


@dataclass(frozen=True, kw_only=True)
class PortfolioSum:
    """What a set of accounts adds up to, and how many of them could not be added.

    A sum that no account is part of is None, never zero.
    """

    accounts: int
    with_revenue_at_risk: int
    contract_ended: int
    mrr: float | None
    revenue_at_risk: float | None
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    expected_expansion: float | None
    expected_expansion_low: float | None
    expected_expansion_high: float | None
    by_tier: Mapping[str, int]
    by_level: Mapping[str, int]


class EarlierScores:
    """The scores of four weeks before, which pages compare with; found when one is asked for.

    Scoring all accounts twice would double the start of the service, and a page asks for one.

    Args:
        frame: the earlier snapshot; None where there is none.
        score: gives the scores of some of its rows.
        ids: the accounts that may be asked for; None: all.
    """

    def __init__(
        self,
        frame: pl.DataFrame | None = None,
        score: Callable[[pl.DataFrame], Sequence[AccountScore]] | None = None,
        ids: Collection[str] | None = None,
    ) -> None:
        self._frame, self._score, self._ids = frame, score, ids

    def get(self, account_id: str) -> AccountScore | None:
        """The earlier score of an account; None where it was not there."""
        if self._frame is None or self._score is None:
            return None
        if self._ids is not None and account_id not in self._ids:
            return None
        row = self._frame.filter(pl.col("account_id") == account_id)
        return None if row.is_empty() else self._score(row)[0]

    def within(self, ids: Collection[str]) -> EarlierScores:
        """Those of these accounts."""
        return EarlierScores(self._frame, self._score, ids)


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """All scores of one moment, most revenue at risk first."""

    as_of: datetime
    now: datetime
    currency: str
    scores: tuple[AccountScore, ...]
    by_id: Mapping[str, AccountScore]
    previous: EarlierScores
    freshness: tuple[SourceFreshness, ...]
    alerts: WarningSigns
    models: Models = field(default_factory=Models)  # what scored it
    peers: Peers | None = None  # what its accounts were compared with
    _seen: dict[VisibleAccounts, Portfolio] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def within(self, reach: VisibleAccounts | None) -> Portfolio:
        """The accounts within reach, as if there were no others; None reaches all of them.

        Peers stay those of the company: medians of groups of ``LEAST_PEERS`` accounts and more.
        When which kind of event was last recorded is of all accounts, and is left out.
        """
        if reach is None:
            return self
        seen = self._seen.get(reach)
        if seen is None:
            scores = tuple(one for one in self.scores if reach.holds(one.attributes))
            ids = {one.account_id for one in scores}
            seen = replace(
                self,
                as_of=max((one.as_of for one in scores), default=self.oldest_as_of),
                freshness=(),
                scores=scores,
                by_id={one.account_id: one for one in scores},
                previous=self.previous.within(ids),
                alerts=WarningSigns({name: partial(self.alerts.of, name) for name in ids}),
            )
            self._seen[reach] = seen
        return seen

    def account(self, account_id: str) -> AccountScore:
        """The score of one account.

        Raises:
            UnknownAccountError: it has none.
        """
        score = self.by_id.get(account_id)
        if score is not None:
            return score
        missing = f"No account {account_id[:100]!r} is in the snapshot of {self.as_of:%Y-%m-%d}."
        below = len(self.families.members(account_id)) - 1
        if not below:
            raise UnknownAccountError(missing)
        raise UnknownAccountError(
            f"{missing} It sends nothing itself, and {plural(below, 'account')} name it as "
            f"parent or are below one that does.",
            next_step="Its accounts are listed, and added up, by GET /v1/accounts?parent= and its "
            "id, and on the page of all accounts under the filter Parent.",
        )

    @property
    def oldest_as_of(self) -> datetime:
        """The moment of the features of whoever has sent nothing since the snapshot."""
        return min((one.as_of for one in self.scores), default=self.as_of)

    @cached_property
    def families(self) -> Families:
        """Which accounts are below which."""
        return families_of(self.scores)

    def chosen(self, wanted: AccountFilter) -> tuple[AccountScore, ...]:
        """The accounts that pass a filter, in order."""
        passing = tuple(score for score in self.scores if wanted.passes(score))
        if wanted.parent is None:
            return passing
        members = frozenset(self.families.members(wanted.parent))
        return tuple(score for score in passing if score.account_id in members)

    def words(self, attribute: str) -> tuple[str, ...]:
        """The values of an attribute, for a choice."""
        return tuple(sorted({v for s in self.scores if (v := s.attributes.get(attribute))}))

    @property
    def leaving(self) -> Leaving:
        """What leaving means in the workspace."""
        return self.scores[0].leaving if self.scores else Leaving()

    @property
    def horizons(self) -> tuple[HorizonProbability, ...]:
        """The horizons that are served."""
        return self.scores[0].churn if self.scores else ()


def portfolio_of(
    scores: Sequence[AccountScore],
    *,
    previous: EarlierScores,
    as_of: datetime,
    now: datetime,
    currency: str,
    freshness: tuple[SourceFreshness, ...],
    alerts: WarningSigns,
    models: Models | None = None,
    peers: Peers | None = None,
) -> Portfolio:
    """A portfolio in its order: revenue at risk falling, unknown last, then by id."""
    ordered = tuple(sorted(scores, key=portfolio_order))
    return Portfolio(
        as_of=as_of,
        now=now,
        currency=currency,
        scores=ordered,
        by_id={score.account_id: score for score in ordered},
        previous=previous,
        freshness=freshness,
        alerts=alerts,
        models=models or Models(),
        peers=peers,
    )


def with_scores(
    portfolio: Portfolio,
    scores: Sequence[AccountScore],
    *,
    now: datetime,
    freshness: tuple[SourceFreshness, ...],
    alerts: WarningSigns,
) -> Portfolio:
    """The portfolio with the newer scores of some accounts in the place of their older ones."""
    newer = {score.account_id: score for score in scores}
    return portfolio_of(
        [*(score for score in portfolio.scores if score.account_id not in newer), *scores],
        previous=portfolio.previous,
        as_of=max([portfolio.as_of, *(score.as_of for score in scores)]),
        now=now,
        currency=portfolio.currency,
        freshness=freshness,
        alerts=portfolio.alerts.with_newer(newer, alerts),
        models=portfolio.models,
        peers=portfolio.peers,
    )


def sum_of(scores: Sequence[AccountScore]) -> PortfolioSum:
    """What these accounts add up to. The bounds add the accounts' own bounds: what one model is
    wrong about, it is wrong about for all of them together."""
    priced = [s for s in scores if s.revenue_at_risk is not None]
    tiers: dict[str, int] = {}
    levels: dict[str, int] = {}
    for score in scores:
        tier = not_scored(score) or score.risk_tier or "unknown"
        tiers[tier] = tiers.get(tier, 0) + 1
        band = score.health.band or "unknown"
        levels[band] = levels.get(band, 0) + 1
    return PortfolioSum(
        accounts=len(scores),
        with_revenue_at_risk=len(priced),
        contract_ended=sum(s.has_left for s in scores),
        mrr=total(s.mrr for s in scores),
        revenue_at_risk=total(s.revenue_at_risk for s in priced),
        revenue_at_risk_low=total(s.revenue_at_risk_low for s in priced),
        revenue_at_risk_high=total(s.revenue_at_risk_high for s in priced),
        expected_expansion=total(s.expected_expansion for s in scores),
        expected_expansion_low=total(s.expected_expansion_low for s in scores),
        expected_expansion_high=total(s.expected_expansion_high for s in scores),
        by_tier=tiers,
        by_level=levels,
    )


def not_scored(score: AccountScore) -> str | None:
    """In words why an account has no risk that could be known; None where it may have one."""
    if not score.has_no_contract:
        return None
    if score.leaving.is_no_use:
        what = "order" if score.leaving.is_of_orders else "use"
        within = f"in {score.leaving.used_within_days} days" if score.has_left else "yet"
        return f"no {what} {within}"
    return CONTRACT_ENDED if score.has_left else NO_CONTRACT


def total(amounts: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Page:
    """A run of accounts and where the next one starts."""

    scores: tuple[AccountScore, ...]
    next_cursor: str | None


def page_of(scores: Sequence[AccountScore], *, cursor: str | None, limit: int) -> Page:
    """One page of ordered scores, after the account that the cursor names.

    The cursor holds the last account's place in the order, not a count, so that a portfolio
    that was swapped in between neither repeats nor skips an account whose score is the same.

    Raises:
        BadCursorError: the cursor is not one of ours.
    """
    after = None if cursor is None else _read_cursor(cursor)
    rest = [s for s in scores if after is None or portfolio_order(s) > after]
    taken = tuple(rest[:limit])
    return Page(scores=taken, next_cursor=_cursor(taken[-1]) if len(rest) > limit else None)


BEING_SCORED = "the accounts are being scored, which may take seconds"


class LivePortfolio:
    """Holds the current portfolio and exchanges it when what it was made from has changed."""

    def __init__(self, *, make: Callable[[], Portfolio], stamp: Callable[[], Hashable]) -> None:
        self._make = make
        self._stamp = stamp
        self._made_from: Hashable = None
        self._current: Portfolio | None = None
        self._problem = BEING_SCORED
        self._refreshing = threading.Lock()

    def current(self) -> Portfolio:
        """The portfolio as it is now.

        Raises:
            NotReadyError: there is none yet.
        """
        if self._current is None:
            raise NotReadyError(f"No account has been scored yet: {self._problem}.")
        return self._current

    def current_or_none(self) -> Portfolio | None:
        """The portfolio as it is now; None where there is none yet."""
        return self._current

    @property
    def problem(self) -> str | None:
        """Why the last refresh failed; None when it did not."""
        return self._problem or None

    def refresh(self) -> bool:
        """Make a new portfolio if anything it is made from has changed; whether one was made.

        A failed refresh keeps the old portfolio and says why.
        """
        with self._refreshing:
            stamp = self._stamp()
            if stamp == self._made_from:
                return False
            if self._current is None:
                self._problem = BEING_SCORED
            try:
                with collection_off():
                    made = self._make()
            except NotReadyError as error:
                self._problem = error.detail.rstrip(".")
                self._made_from = stamp
                return False
            except Exception as error:
                self._problem = (
                    f"scoring them failed ({without_paths(str(error))}), and is tried again"
                )
                raise
            self._current, self._made_from, self._problem = made, stamp, ""
            log.info("scored %d accounts as of %s", len(made.scores), made.as_of)
            return True

    def exchange(self, change: Callable[[Portfolio], Portfolio]) -> None:
        """Put a changed portfolio in the place of the current one; nothing while there is none."""
        with self._refreshing:
            if self._current is not None:
                self._current = change(self._current)


def portfolio_order(score: AccountScore) -> tuple[float, str]:
    """Where an account stands: revenue at risk falling, unknown last, then by id."""
    at_risk = score.revenue_at_risk
    return (float("inf") if at_risk is None else -at_risk, score.account_id)


def _cursor(score: AccountScore) -> str:
    place, account_id = portfolio_order(score)
    content = json.dumps([repr(place), account_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        place, account_id = content
        if not isinstance(place, str) or not isinstance(account_id, str):
            raise TypeError
        if math.isnan(float(place)):
            raise ValueError
        return float(place), account_id
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadCursorError("The cursor was not made by this service.") from error
