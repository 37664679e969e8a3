"""Churn models that know when a contract can end, judged on companies that none has seen.

Each model is trained and released on one simulated company and scores the accounts of others, made
from other seeds: log loss, AUC, left over promised, and left over promised at 90 days by the days
to the end of the term, with 95 % intervals that draw whole accounts. The same on the last months of
the CRM sample, judged by the fits before them. At half a year and a year the same bundle counts
decisions, or has the chance after 90 days that other models have.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from interleaved import write_section
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from training_worlds import crm, simulated

from registry.bundle.bundle import ModelBundle
from training.dataset.training_set import TrainingSet
from training.metrics import account_draws, came_over_promised, row_log_loss
from training.models.model_selection import Contender, run_contender
from training.models.specs import FORMULA_PRIOR, LIGHTGBM, LOGISTIC, RENEWAL_RISK, ModelSpec
from training.pipeline.prepare import PreparedData
from training.pipeline.release import release

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "800"))
OWN, OTHERS = 101, (201, 202, 203)
SPECS = (RENEWAL_RISK, FORMULA_PRIOR, LOGISTIC, LIGHTGBM)
BANDS = ((0, 30), (30, 60), (60, 90), (90, 180), (180, 366))
FIRST_DAY = 150  # of a company: before it most accounts have no history
DRAWS = 300

Vector = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Judged:
    """Rows with outcomes at every horizon, and the probabilities of each model."""

    def __init__(
        self, training: TrainingSet, rows: Bools, horizons: tuple[int, ...] | None = None
    ) -> None:
        self.horizons = horizons or training.horizons
        at = dict(zip(training.horizons, training.outcomes.T, strict=True))
        known = {**at, **training.long_outcomes}
        self.outcomes = np.column_stack([known[h][rows] for h in self.horizons])
        self.days = training.matrix[rows][:, training.names.index("days_to_renewal")]
        self.account = training.account[rows]
        self.matrix = training.matrix[rows]
        self.names = training.names
        self.said: dict[str, NDArray[np.float64]] = {}

    def ask(self, name: str, bundle: ModelBundle) -> None:
        columns = [self.names.index(feature) for feature in bundle.contract.names]
        matrix = np.ascontiguousarray(self.matrix[:, columns])
        self.said[name] = np.column_stack([bundle.probability(matrix, h) for h in self.horizons])


def together(parts: list[Judged]) -> Judged:
    """The rows of several companies as those of one."""
    whole = parts[0]
    start = 0
    accounts = []
    for part in parts:
        accounts.append(part.account + start)
        start += int(part.account.max()) + 1
    said = {name: np.concatenate([part.said[name] for part in parts]) for name in whole.said}
    whole.outcomes = np.concatenate([part.outcomes for part in parts])
    whole.days = np.concatenate([part.days for part in parts])
    whole.account, whole.said = np.concatenate(accounts), said
    return whole


def left_over_promised(judged: Judged, name: str, position: int, rows: Bools) -> str:
    outcome, promised = judged.outcomes[rows, position], judged.said[name][rows, position]
    if outcome.sum() < 5:
        return f"{int(outcome.sum())} left, {promised.sum():.1f} promised"
    draws = account_draws(judged.account, DRAWS, np.random.default_rng(0))
    found = came_over_promised(outcome, promised, judged.account[rows], draws)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def table(judged: Judged) -> list[str]:
    lines = ["| | days | log loss | less than the renewal model's | AUC | left over promised |"]
    lines.append("|---|---|---|---|---|---|")
    weights = account_draws(judged.account, DRAWS, np.random.default_rng(0))
    n = weights.shape[1]
    rows = np.bincount(judged.account, minlength=n)
    everybody = np.ones(len(judged.account), dtype=np.bool_)
    for name, said in judged.said.items():
        for position, horizon in enumerate(judged.horizons):
            outcome = judged.outcomes[:, position]
            loss = row_log_loss(outcome, said[:, position])
            best = row_log_loss(outcome, judged.said[RENEWAL_RISK.name][:, position])
            apart = np.bincount(judged.account, best - loss, n)
            drawn = (weights @ apart) / (weights @ rows)
            low, high = np.percentile(drawn, [2.5, 97.5])
            lines.append(
                f"| {name} | {horizon} | {loss.mean():.4f} | "
                f"{(best - loss).mean():+.4f} ({low:+.4f} to {high:+.4f}) | "
                f"{roc_auc_score(outcome, said[:, position]):.3f} | "
                f"{left_over_promised(judged, name, position, everybody)} |"
            )
    return lines


def by_band(judged: Judged) -> list[str]:
    last = len(judged.horizons) - 1
    lines = [
        f"| left over promised within {judged.horizons[last]} days, days to the end of the term | "
        + " | ".join(f"{low} to {high}" for low, high in BANDS) + " |",
        "|---|" + "---|" * len(BANDS),
    ]  # fmt: skip
    for name in judged.said:
        cells = [
            left_over_promised(judged, name, last, (judged.days >= low) & (judged.days < high))
            for low, high in BANDS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def as_contender(spec: ModelSpec, prepared: PreparedData) -> Contender:
    draws = account_draws(prepared.training.account, 2, np.random.default_rng(0))
    return run_contender(
        spec, prepared.training, prepared.before_test, prepared.test, spec.parameters, draws,
        at=prepared.split.test[0], seed=0,
    )  # fmt: skip


def unseen_companies() -> Judged:
    prepared = simulated(accounts=ACCOUNTS, months=24, seed=OWN).prepared("churn")
    bundles: Mapping[str, ModelBundle] = {
        spec.name: release(
            spec, prepared, as_contender(spec, prepared).parameters,
            code_version="bench", seed=0, metrics={},
        )
        for spec in SPECS
    }  # fmt: skip
    parts = []
    for seed in OTHERS:
        training = simulated(accounts=ACCOUNTS, months=24, seed=seed).prepared("churn").training
        old = np.array([(at - training.cutoffs[0]).days >= FIRST_DAY for at in training.cutoffs])
        part = Judged(training, old[training.cutoff] & ~np.isnan(training.outcome))
        for name, bundle in bundles.items():
            part.ask(name, bundle)
        parts.append(part)
    return together(parts)


def after_the_score(bundle: ModelBundle) -> ModelBundle:
    """The bundle with decisions up to the longest horizon of its score alone."""
    risk = bundle.renewal_risk
    assert risk is not None
    n, near = len(risk.leads), len(bundle.calibration.horizons)
    kept = [*range(near), *range(n, n + near), 2 * n, 2 * n + 1, 2 * n + 2]
    shorter = replace(
        risk,
        leads=risk.leads[:near],
        parameters=risk.parameters[kept],
        draws=risk.draws[:, kept],
    )
    return replace(bundle, renewal_risk=shorter)


def half_a_year_of_unseen_companies() -> Judged:
    prepared = simulated(accounts=ACCOUNTS, months=24, seed=OWN).prepared("churn")
    bundle = release(
        RENEWAL_RISK, prepared, RENEWAL_RISK.parameters, code_version="bench", seed=0, metrics={}
    )
    longest = bundle.horizons[-1:]
    parts = []
    for seed in OTHERS:
        training = simulated(accounts=ACCOUNTS, months=24, seed=seed).prepared("churn").training
        old = np.array([(at - training.cutoffs[0]).days >= FIRST_DAY for at in training.cutoffs])
        known = ~np.isnan(training.long_outcomes[longest[0]])
        part = Judged(training, old[training.cutoff] & known, longest)
        part.ask(RENEWAL_RISK.name, bundle)
        part.ask("chance after 90 days", after_the_score(bundle))
        parts.append(part)
    return together(parts)


def last_months_of_the_sample() -> Judged:
    prepared = crm().prepared("churn")
    training = prepared.training
    judged = Judged(training, prepared.test)
    for spec in SPECS:
        contender = as_contender(spec, prepared)
        judged.said[spec.name] = np.column_stack(
            [contender.probabilities[h] for h in training.horizons]
        )
    return judged


def test_models_that_know_when_a_contract_can_end() -> None:
    unseen, sample = unseen_companies(), last_months_of_the_sample()
    later = half_a_year_of_unseen_companies()
    body = "\n".join(
        [
            f"Trained on a simulated company of {ACCOUNTS} accounts and 24 months (seed {OWN}), "
            f"judged on those of seeds {', '.join(map(str, OTHERS))}: {len(unseen.account):,} "
            f"account-months.",
            "", *table(unseen), "", *by_band(unseen), "",
            f"The last months of the CRM sample, {len(sample.account):,} account-months.",
            "", *table(sample), "", *by_band(sample), "",
            f"Half a year on the unseen companies, {len(later.account):,} account-months.",
            "", *table(later), "", *by_band(later),
        ]
    )  # fmt: skip
    print(body)
    write_section("Renewal model", body)
    mine, prior = (
        row_log_loss(unseen.outcomes[:, 0], unseen.said[spec.name][:, 0]).mean()
        for spec in (RENEWAL_RISK, LIGHTGBM)
    )
    assert mine < prior, "the renewal model no longer tells who leaves within 30 days"
