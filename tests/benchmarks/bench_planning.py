"""The plan of a week for a large team, beside two that a person could make in a spreadsheet.

    python -m pytest tests/benchmarks/bench_planning.py -m bench -s

Each round draws another company: 20,000 accounts with five offers each, 100 CSMs in five
territories, five pools, a budget, and care for one tier. The programme is written down a second
time and solved by HiGHS, which gives the bound. All three plans stand under the same limits.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest
from interleaved import write_section
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from experiments.planning.lp_relaxation import ResourceLimits, limit_resources
from experiments.planning.options import OFFER_SCHEMA, Options, build_options
from experiments.planning.plan import make_plan
from experiments.planning.rounding import Week
from experiments.planning.team import Budget, Care, Csm, Pool, Team

pytestmark = pytest.mark.bench

ACCOUNTS, ACTIONS, CSMS, ROUNDS = 20_000, 5, 100, 7
ROLES = ("csm", "csm", "support", "billing", "sales")
TERRITORIES = 5
CARED = 500


def company(seed: int) -> tuple[pl.DataFrame, Team]:
    rng = np.random.default_rng(seed)
    n = ACCOUNTS * ACTIONS
    revenue, risk = rng.lognormal(7, 1.2, ACCOUNTS), rng.beta(1, 8, ACCOUNTS)
    value = (12 * revenue * risk)[:, None] * rng.uniform(
        0.02, 0.2, (ACCOUNTS, ACTIONS)
    ) - rng.uniform(5, 60, ACTIONS)
    territory = rng.integers(0, TERRITORIES, ACCOUNTS)
    own = territory * (CSMS // TERRITORIES) + rng.integers(0, CSMS // TERRITORIES, ACCOUNTS)
    tier = np.where(rng.random(ACCOUNTS) < 0.05, "enterprise", "growth")
    offers = pl.DataFrame(
        {
            "account_id": np.repeat([f"a{i:05d}" for i in range(ACCOUNTS)], ACTIONS),
            "action_id": [f"x{k}" for k in range(ACTIONS)] * ACCOUNTS,
            "family": [None] * n,
            "role": list(ROLES) * ACCOUNTS,
            "channel": ["offer" if role == "sales" else "phone" for role in ROLES] * ACCOUNTS,
            "value": value.ravel(),
            "hours": np.tile(rng.choice([0.25, 0.5, 1.0, 2.0, 3.0], ACTIONS), ACCOUNTS),
            "cost": [50.0 if role == "sales" else 0.0 for role in ROLES] * ACCOUNTS,
            "csm": np.repeat([f"m{c:03d}" for c in own], ACTIONS),
            "territory": np.repeat([f"t{t}" for t in territory], ACTIONS),
            "tier": np.repeat(tier, ACTIONS),
        },
        schema=OFFER_SCHEMA,
    )
    pools = tuple(
        Pool(id=f"p{k}", hours=200.0, skills=(skill,), territories=() if k < 3 else (f"t{k}",))
        for k, skill in enumerate(("support", "billing", "sales", "support", "csm"))
    )
    team = Team(
        csms=tuple(
            Csm(id=f"m{c:03d}", hours=30.0, territories=(f"t{c * TERRITORIES // CSMS}",))
            for c in range(CSMS)
        ),
        pools=pools,
        budgets=(Budget(id="offers", amount=5000.0, channels=("offer",)),),
        care=(Care(tier="enterprise", accounts=CARED),),
    )
    return offers, team


def whole_bound(options: Options, team: Team, limits: ResourceLimits) -> float:
    """HiGHS on every option at once, actions in part."""
    n, tended = len(options.offer), np.flatnonzero(options.tier >= 0)
    columns = np.arange(n)
    once = sparse.csc_array(
        (np.ones(n), (options.account, columns)), shape=(len(options.accounts), n)
    )
    theirs = np.flatnonzero(options.tier[options.account] >= 0)
    done = sparse.csc_array(
        (-np.ones(len(theirs)), (np.searchsorted(tended, options.account[theirs]), theirs)),
        shape=(len(tended), n),
    )
    rows = sparse.vstack(
        [
            sparse.hstack([limits.matrix, sparse.csc_array((len(limits.most), len(tended)))]),
            sparse.hstack([once, sparse.csc_array((len(options.accounts), len(tended)))]),
            sparse.hstack([done, sparse.eye_array(len(tended))]),
            sparse.hstack([sparse.csc_array((1, n)), sparse.csc_array(-np.ones((1, len(tended))))]),
        ],
        format="csc",
    )
    most = np.concatenate(
        [
            limits.most,
            np.ones(len(options.accounts)),
            np.zeros(len(tended)),
            [-float(team.care[0].accounts)],
        ]
    )
    answer = linprog(
        np.concatenate([-options.value, np.zeros(len(tended))]),
        A_ub=rows,
        b_ub=most,
        bounds=(0, 1),
        method="highs-ds",
    )
    assert answer.status == 0
    return float(-answer.fun)


def filled(options: Options, team: Team, limits: ResourceLimits, order: NDArray[np.int64]) -> float:
    """Down a list: whatever still fits. Accounts whose care is owed come first."""
    week = Week(options, team, limits)
    cared = 0
    for option in order:
        account = options.account[option]
        if cared < CARED and options.tier[account] >= 0 and week.fits(int(option)):
            week.choose(int(option))
            cared += 1
    for option in order[options.value[order] > 0]:
        if week.fits(int(option)):
            week.choose(int(option))
    return float(options.value[week.is_chosen].sum())


def middle(values: list[float]) -> str:
    low, mid, high = np.quantile(values, (0.0, 0.5, 1.0))
    return f"{mid:.4g} ({low:.4g} to {high:.4g})"


def test_a_week_of_a_large_team() -> None:
    ours, theirs, share, greedy, first_come = [], [], [], [], []
    for seed in range(ROUNDS):
        offers, team = company(seed)
        began = time.process_time()
        plan = make_plan(offers, team)
        ours.append(time.process_time() - began)
        options = build_options(offers, team)
        limits = limit_resources(options, team)
        began = time.process_time()
        bound = whole_bound(options, team, limits)
        theirs.append(time.process_time() - began)
        assert abs(plan.bound / bound - 1) < 1e-6
        share.append(plan.value / bound)
        by_hour = np.argsort(-options.value / np.maximum(options.hours, 1e-9), kind="stable")
        greedy.append(filled(options, team, limits, by_hour) / bound)
        # every account's best action, in the order in which the accounts come
        best = np.lexsort((-options.value, options.account))
        first = best[np.unique(options.account[best], return_index=True)[1]]
        arrival = np.random.default_rng(seed).permutation(len(first))
        first_come.append(filled(options, team, limits, first[arrival]) / bound)
    write_section(
        "A plan of a week",
        "\n".join(
            [
                f"{ACCOUNTS:,} accounts × {ACTIONS} actions, {CSMS} CSMs of 30 hours, 5 pools of 200, one "
                f"budget, care for {CARED} accounts of a tier; {ROUNDS} companies, each drawn anew; "
                f"median (least to most).",
                "",
                "| | |",
                "|---|---|",
                f"| cpu seconds of `make_plan`, from offers to words | {middle(ours)} |",
                f"| cpu seconds of HiGHS on the programme written down again, actions in part "
                f"| {middle(theirs)} |",
                f"| value, of the bound: Keepwell | {middle(share)} |",
                f"| value, of the bound: most value an hour first | {middle(greedy)} |",
                f"| value, of the bound: top action, first come first served | {middle(first_come)} |",
                "",
                "| goal | measured |",
                "|---|---|",
                f"| at most 2 s | {np.median(ours):.2f} cpu s |",
                f"| at least 99 % of the bound | {min(share):.2%} at least |",
            ]
        ),
    )
