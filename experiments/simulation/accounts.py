"""The simulated accounts: attributes that are drawn once and stay.

Arrays with one entry per account, in the order of ``ids``; nothing about behaviour over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.simulation.event_rows import event_rows, flat_json, texts
from experiments.simulation.settings import LAST_ANCHOR, Bools, Floats, Ints, WorldSettings
from features.events.schema import properties_text

SEGMENTS = ("small business", "mid-market", "enterprise")
SEGMENT_SHARES = (0.50, 0.38, 0.12)
MEDIAN_SEATS = (6.0, 16.0, 55.0)
SEATS_RANGE = ((2, 16), (12, 40), (40, 120))

PLANS = ("starter", "professional", "business")
PLAN_SHARES = ((0.50, 0.40, 0.10), (0.10, 0.55, 0.35), (0.0, 0.25, 0.75))  # by segment
PLAN_PRICE = (19.0, 49.0, 99.0)  # a seat and month, USD; the prices of seed 002
PLAN_UNITS = (200, 500, 1500)  # units a seat and month
PLAN_FEATURES = (6, 9, 12)

USE_CASES = ("support", "sales", "operations", "finance")
REGIONS = ("north_america", "europe", "asia_pacific", "latin_america")
REGION_SHARES = (0.40, 0.35, 0.17, 0.08)
COUNTRIES = (("US", "CA"), ("DE", "FR", "GB", "NL"), ("AU", "JP", "SG"), ("BR", "MX"))
INDUSTRIES = ("retail", "software", "logistics", "health", "education", "manufacturing")
CHANNELS = ("web", "partner", "sales", "referral")
ICPS = ("core", "adjacent", "outside")

SERVICE_TIERS = ("trial", "small business", "mid-market", "enterprise")
SERVICE_TIER_EDGES = (5_000.0, 25_000.0, 100_000.0)
REPLY_HOURS = (48.0, 24.0, 4.0, 2.0)
"""Hours to a first reply by service tier (seed 004); 48 is no promise, only a habit."""

TRIAL_DAYS = 14
LAST_SECOND = 86_399  # of a day: a trial ends before the contract that follows it begins
ACCOUNTS_PER_CSM = 40

LANES = ("pilot", "judgement", "digital")
"""The ways in which a CSM's accounts are chosen for actions: lottery, judgement, e-mail experiments."""

_FIRST = (
    "Amber",
    "Birch",
    "Cobalt",
    "Delta",
    "Ember",
    "Fjord",
    "Granite",
    "Harbour",
    "Iris",
    "Juniper",
    "Kestrel",
    "Linden",
    "Meadow",
    "Nimbus",
    "Orchard",
    "Pioneer",
)
_SECOND = (
    "Works",
    "Logistics",
    "Foods",
    "Systems",
    "Health",
    "Textiles",
    "Studios",
    "Energy",
    "Partners",
    "Tools",
    "Media",
    "Labs",
)


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The accounts of a world: what a CRM would know, and traits that nobody observes."""

    ids: list[str]
    names: list[str]
    segment: Ints
    plan: Ints  # at the start
    use_case: Ints
    region: Ints
    country: list[str]
    industry: Ints
    channel: Ints
    icp: Ints
    csm: Ints
    csm_names: list[str]
    lane: Ints
    seats: Ints  # at the start
    billing_months: Ints  # at the start
    first_term_months: Ints  # of those who came when the company opened: up to a whole period
    discount: Floats  # at the start
    trial_from: Ints  # day, -1 without a trial
    contract_from: Ints  # day on which the contract starts, or would have
    converts: Bools  # false: the trial expires and no contract follows
    has_sponsor: Bools
    has_champion: Bools
    temper: Floats  # unobserved: where health settles
    fullness: Floats  # share of the seats that have somebody at the start

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def begins(self) -> Ints:
        """The first day on the timeline: of the trial, else of the contract."""
        return np.where(self.trial_from >= 0, self.trial_from, self.contract_from)


def draw_accounts(settings: WorldSettings, rng: np.random.Generator) -> Accounts:
    """Draw the accounts of a world."""
    n = settings.accounts
    segment = rng.choice(3, size=n, p=SEGMENT_SHARES)
    low, high = np.array(SEATS_RANGE)[segment].T
    seats = np.clip(np.array(MEDIAN_SEATS)[segment] * np.exp(rng.normal(0, 0.5, n)), low, high)
    plan = (rng.random(n)[:, None] > np.cumsum(PLAN_SHARES, axis=1)[segment]).sum(axis=1)
    region = rng.choice(4, size=n, p=REGION_SHARES)
    channel = rng.choice(4, size=n, p=(0.4, 0.2, 0.25, 0.15))
    billing = np.where(
        rng.random(n) < np.array((0.75, 0.4, 0.1))[segment], 1, np.where(rng.random(n) < 0.3, 3, 12)
    )
    opens = rng.random(n) < settings.opening_share
    discount = np.where(rng.random(n) < 0.4, rng.choice((0.05, 0.10, 0.15, 0.20), size=n), 0.0)
    discount = discount + np.where(billing == 12, 0.10, np.where(billing == 3, 0.03, 0.0))
    contract_from, trial_from = _arrivals(settings, segment, opens, rng)
    icp = rng.choice(3, size=n, p=(0.55, 0.30, 0.15))
    temper = rng.normal(0, 0.6, n) + np.array((0.15, 0.0, -0.5))[icp]
    converts = (trial_from < 0) | (rng.random(n) < 1 / (1 + np.exp(0.2 - temper)))
    csm_count = max(6, n // ACCOUNTS_PER_CSM)
    csm = rng.integers(csm_count, size=n)
    pilot, judgement = (
        round(settings.pilot_share * csm_count),
        round(settings.judgement_share * csm_count),
    )
    lane_of_csm = np.repeat((0, 1, 2), (pilot, judgement, csm_count - pilot - judgement))
    first, second = rng.integers(len(_FIRST), size=n), rng.integers(len(_SECOND), size=n)
    pick = rng.random(n)
    return Accounts(
        ids=[f"a_{index:05d}" for index in range(n)],
        names=[
            f"{_FIRST[f]} {_SECOND[s]} {index}"
            for index, (f, s) in enumerate(zip(first, second, strict=True))
        ],
        segment=segment,
        plan=np.minimum(plan, 2),
        use_case=rng.integers(4, size=n),
        region=region,
        country=[
            COUNTRIES[r][int(p * len(COUNTRIES[r]))] for r, p in zip(region, pick, strict=True)
        ],
        industry=rng.integers(len(INDUSTRIES), size=n),
        channel=channel,
        icp=icp,
        csm=csm,
        csm_names=[f"csm_{index:02d}" for index in range(csm_count)],
        lane=rng.permutation(lane_of_csm)[csm],
        seats=seats.round().astype(np.int64),
        billing_months=billing,
        first_term_months=np.where(opens, rng.integers(1, billing, endpoint=True), billing),
        discount=discount.round(2),
        trial_from=trial_from,
        contract_from=contract_from,
        converts=converts,
        has_sponsor=rng.random(n) < np.array((0.6, 0.95, 1.0))[segment],
        has_champion=rng.random(n) < np.array((0.6, 0.85, 0.95))[segment],
        temper=temper,
        fullness=rng.uniform(0.55, 0.95, n),
    )


def service_tier(annual_revenue: Floats) -> Ints:
    """Index into ``SERVICE_TIERS`` by annual revenue, lower edges inclusive (seed 004)."""
    return np.searchsorted(np.array(SERVICE_TIER_EDGES), annual_revenue, side="right")


def account_rows(accounts: Accounts, log: pl.DataFrame, revenue: Floats) -> pl.DataFrame:
    """Attributes at the start, service tier and plan when they change, trials.

    ``log`` is that of a contract book; ``revenue`` is annual, at the start.
    """
    every = np.arange(len(accounts))
    tiers = list(SERVICE_TIERS)
    zero = np.zeros(len(accounts), dtype=np.int64)
    on_trial = accounts.trial_from >= 0
    tier = np.where(on_trial, 0, service_tier(revenue))
    parts = [
        event_rows(
            "account.updated",
            every,
            accounts.begins,
            zero,
            properties=flat_json(
                name=pl.Series(accounts.names),
                segment=texts(list(SEGMENTS), accounts.segment),
                icp=texts(list(ICPS), accounts.icp),
                use_case=texts(list(USE_CASES), accounts.use_case),
                price_plan=texts(list(PLANS), accounts.plan),
                service_tier=texts(tiers, tier),
                region=texts(list(REGIONS), accounts.region),
                country=pl.Series(accounts.country),
                channel=texts(list(CHANNELS), accounts.channel),
                industry=texts(list(INDUSTRIES), accounts.industry),
                csm=texts(accounts.csm_names, accounts.csm),
            ),
        )
    ]
    trial = np.flatnonzero(on_trial)
    parts.append(
        event_rows(
            "trial.started",
            trial,
            accounts.trial_from[trial],
            zero[trial],
            properties=properties_text({"length_days": TRIAL_DAYS}),
        )
    )
    parts.append(
        event_rows(
            "trial.ended",
            trial,
            accounts.contract_from[trial] - 1,
            zero[trial] + LAST_SECOND,
            properties=texts(
                [properties_text({"result": word}) for word in ("expired", "converted")],
                accounts.converts[trial].astype(np.int64),
            ),
        )
    )
    terms = log.filter(
        pl.col("kind").is_in(["contract.started", "contract.changed", "contract.renewed"])
    ).sort("account", "day", "second", maintain_order=True)
    terms = terms.with_columns(tier=pl.Series(service_tier((terms["mrr"] * 12).to_numpy())))
    moved = terms.filter(
        (pl.col("tier") != pl.col("tier").shift(1).over("account"))
        | (pl.col("plan") != pl.col("plan").shift(1).over("account"))
        | ((pl.col("kind") == "contract.started") & pl.Series(on_trial).gather(terms["account"]))
    )
    parts.append(
        event_rows(
            "account.updated",
            moved["account"].to_numpy(),
            moved["day"].to_numpy(),
            moved["second"].to_numpy() + 60,
            delay=5,
            properties=flat_json(
                service_tier=texts(tiers, moved["tier"].to_numpy()),
                price_plan=texts(list(PLANS), moved["plan"].to_numpy()),
            ),
        )
    )
    return pl.concat(parts)


def _arrivals(
    settings: WorldSettings, segment: Ints, opens: Bools, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Days on which contracts begin, and trials where there is one (-1 where not)."""
    n, calendar = settings.accounts, settings.calendar
    month = np.where(
        opens,
        rng.integers(settings.opening_months, size=n),
        rng.integers(settings.opening_months, settings.months - 1, size=n),
    )
    contract_from = calendar.day_of(month, rng.integers(1, LAST_ANCHOR + 1, size=n))
    has_trial = (rng.random(n) < np.array((0.55, 0.15, 0.0))[segment]) & (
        contract_from >= TRIAL_DAYS
    )
    return contract_from, np.where(has_trial, contract_from - TRIAL_DAYS, -1)
