"""Write the model card: the facts to know before trusting a model.

Purpose, data, label policy, metrics with intervals by horizon and segment, calibration, the
features behind the scores and their stability, the decision, limits, and excluded uses. Every
number is taken from the training; nothing is typed. Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.bundle.bundle import ModelBundle
from registry.promotion.promotion import Promotion, PromotionEvidence
from training.dataset.treatments import treated_section
from training.metrics import Interval, account_draws, auc, row_log_loss
from training.models.binned_rows import rules_of
from training.models.fit import fitting_of
from training.models.model_selection import Contender
from training.models.tuning.study import Study
from training.pipeline.comparisons import LEAST_ACCOUNTS, EvaluationRows, enough_accounts
from training.pipeline.prepare import PreparedData
from training.pipeline.record.tables import as_markdown_text, contender_table

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

GROUPS = 8
"""Groups of test rows by probability, in which predicted and observed rates are compared."""

CARD_DRAWS = 200
TOP = 10

_TEST_ROWS = {
    False: "On test rows, which are later than all fitted rows",
    True: "On the test rows of other accounts; nothing is known of later months",
}

PURPOSE = (
    "It gives the probability of this outcome for each account, so that people who look after "
    "customers know whom to talk to first, and how much recurring revenue is at stake."
)

NOT_FOR = (
    "Claims about causes: a contribution shows what the score is associated with, not what would "
    "change it. `keepwell report` measures whether an action works.",
    "Decisions about people, such as credit, insurance or employment: it says whether an account goes "
    "on, and nothing of a person.",
    "Refusing service, raising prices or ending contracts: it was judged only as a ranking of "
    "accounts for attention.",
    "Accounts outside of its cohort, other horizons than those below, or another company's data: "
    "none of these was judged.",
)


def model_card(
    model: str,
    bundle: ModelBundle,
    shown: Contender,
    contenders: Mapping[str, Contender],
    prepared: PreparedData,
    *,
    study: Study | None,
    evidence: PromotionEvidence | None,
    promotion: Promotion | None,
    attributes: pl.DataFrame | None,
    seed: int,
) -> str:
    """The card of one version."""
    rows = EvaluationRows.of(prepared, attributes)
    p = shown.probabilities[prepared.training.horizons[-1]]
    parts = [
        f"# {model}: {shown.spec.title}",
        f"{prepared.training.label.description} {PURPOSE}",
        _data(bundle, prepared, seed=seed),
        _policy(bundle),
        _metrics(contenders, prepared),
        _by_segment(rows, p, prepared, seed=seed),
        _calibration(rows.outcome, p, prepared),
        "" if bundle.untreated_risk is None else treated_section(bundle.untreated_risk),
        _explained(bundle, prepared, evidence),
        _tuning(shown, study, bundle, prepared),
        _decision(promotion),
        _limits(bundle, prepared, rows),
        "## Not for\n\n" + "\n".join(f"- {each}" for each in NOT_FOR),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def span(cutoffs: tuple[datetime, ...]) -> str:
    """First and last of some cutoffs, and how many."""
    return f"{cutoffs[0]:%Y-%m-%d} to {cutoffs[-1]:%Y-%m-%d} ({len(cutoffs)})"


def _data(bundle: ModelBundle, prepared: PreparedData, *, seed: int) -> str:
    split, counts, training = prepared.split, prepared.counts, prepared.training
    excluded = "; ".join(
        f"{h} days: " + (", ".join(f"{n:,} {why}" for why, n in reasons.items()) or "none")
        for h, reasons in prepared.labelled.excluded.items()
    )
    lines = [
        "| part | cutoffs | rows | accounts | rows with the outcome | accounts with it |",
        "|---|---|---|---|---|---|",
    ]
    parts = (
        ("fitted", "fitted", split.before_test, prepared.before_test),
        ("judged", "test", split.test, prepared.test),
    )
    for title, part, cutoffs, rows in parts:
        numbers = (
            counts[part],
            len(np.unique(training.account[rows])),
            counts[f"{part}_outcomes"],
            counts[f"{part}_accounts_with_outcome"],
        )
        lines.append(
            f"| {title} | {span(cutoffs)} | " + " | ".join(f"{n:,}" for n in numbers) + " |"
        )
    return "\n".join(
        [
            "## Data",
            "",
            f"As known on {prepared.known_until:%Y-%m-%d}. The metrics below are of a model that was "
            f"fitted {_fitted_on(prepared)}; the model that serves is refitted on all "
            f"mature rows.",
            "",
            *lines,
            "",
            f"Rows left out by horizon: {excluded}.",
            "",
            f"Features: {len(bundle.contract.names)} of {len(training.names)} declared, contract "
            f"`{bundle.contract.fingerprint[:12]}`. Data `{training.fingerprint[:12]}`, code "
            f"{bundle.metadata.code_version}, seed {seed}, bundle `{bundle.fingerprint[:12]}`.",
        ]
    )


def _fitted_on(prepared: PreparedData) -> str:
    if prepared.split.by_accounts:
        return (
            "to other accounts than it is judged on, at the same cutoffs, no family on both sides"
        )
    return "before the test, with an embargo"


def _policy(bundle: ModelBundle) -> str:
    return "\n".join(
        [
            "## Label policy",
            "",
            "| rule | value |",
            "|---|---|",
            *(
                f"| {name.replace('_', ' ')} | {value} |"
                for name, value in bundle.metadata.label_policy.items()
            ),
        ]
    )


def _metrics(contenders: Mapping[str, Contender], prepared: PreparedData) -> str:
    parts = [
        "## Metrics",
        "",
        f"{_TEST_ROWS[prepared.split.by_accounts]}; 95 % intervals draw whole accounts.",
    ]
    for horizon in reversed(prepared.training.horizons):
        judged = {
            name: c.metrics[horizon] for name, c in contenders.items() if horizon in c.metrics
        }
        if judged:
            parts += ["", f"### Within {horizon} days", "", contender_table(judged)]
    return "\n".join(parts)


def _by_segment(rows: EvaluationRows, p: Vector, prepared: PreparedData, *, seed: int) -> str:
    training = prepared.training
    draws = account_draws(training.account, CARD_DRAWS, np.random.default_rng(seed))
    lines = [
        f"## By segment, {training.horizons[-1]} days",
        "",
        "| | rows | accounts with the outcome | log loss | AUC | predicted | observed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, inside in rows.segments.items():
        y, account = rows.outcome[inside], rows.account[inside]
        with_outcome = len(np.unique(account[y == 1]))
        line = f"| {as_markdown_text(name)} | {len(y):,} | {with_outcome:,} |"
        if not enough_accounts(y, account):
            lines.append(f"{line} too few accounts to judge | | | |")
            continue
        w = draws[:, account]
        lines.append(
            f"{line} {_spread(row_log_loss(y, p[inside]), w)} | {_auc(y, p[inside], w)} | "
            f"{p[inside].mean():.1%} | {_spread(y, w, '.1%')} |"
        )
    return "\n".join(lines)


def _spread(values: Vector, w: Matrix, form: str = ".3f") -> str:
    return _metrics_of_segment(
        float(values.mean()), w @ values / np.maximum(w.sum(axis=1), 1), form
    )


def _auc(y: Vector, p: Vector, w: Matrix) -> str:
    return _metrics_of_segment(float(auc(y, p, np.ones((1, len(y))))[0]), auc(y, p, w), ".3f")


def _metrics_of_segment(value: float, drawn: Vector, form: str) -> str:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _calibration(y: Vector, p: Vector, prepared: PreparedData) -> str:
    lines = [
        f"## Calibration, {prepared.training.horizons[-1]} days",
        "",
        "![predicted and observed](plots/calibration.png)",
        "",
        "| test rows, by probability | rows | predicted | observed |",
        "|---|---|---|---|",
    ]
    for number, group in enumerate(np.array_split(np.argsort(p, kind="stable"), GROUPS), start=1):
        if len(group):
            lines.append(
                f"| {number} of {GROUPS} | {len(group):,} | {p[group].mean():.1%} | "
                f"{y[group].mean():.1%} |"
            )
    return "\n".join(lines)


def _explained(
    bundle: ModelBundle, prepared: PreparedData, evidence: PromotionEvidence | None
) -> str:
    training = prepared.training
    matrix = training.part(prepared.test, training.columns(bundle.contract.names))
    values, _ = bundle.contributions(matrix)
    sizes = np.abs(values).mean(axis=0)
    order = [j for j in np.argsort(-sizes, kind="stable")[:TOP] if sizes[j] > 0]
    agreement = None if evidence is None else evidence.explanations_agreement
    stable = (
        "The stability of this order was not measured."
        if agreement is None
        else f"In refits on other accounts (63 % of them, as in a bootstrap) the order of the "
        f"features has a rank correlation of {agreement:.2f} with this one; 1 is the same order."
    )
    return "\n".join(
        [
            "## Features behind the scores",
            "",
            "Mean contribution on the test rows in log-odds, either direction:",
            "",
            "| feature | size | share |",
            "|---|---|---|",
            *(
                f"| {bundle.contract.names[j]} | {sizes[j]:.3f} | {sizes[j] / sizes.sum():.0%} |"
                for j in order
            ),
            "",
            stable,
        ]
    )


def _tuning(
    shown: Contender, study: Study | None, bundle: ModelBundle, prepared: PreparedData
) -> str:
    used = ", ".join(f"{name} {value:g}" for name, value in shown.parameters.items()) or "none"
    lines = ["## Parameters", "", f"{used}."]
    if study is not None:
        lines += ["", study.sentence]
    if fitting_of(shown.spec).is_grown:
        training = prepared.training
        rules = rules_of(training, training.columns(bundle.contract.names))
        lines += [
            "",
            f"How many trees are grown (`rounds`) was learned on accounts that no tree had seen. "
            f"{sum(way != 0 for way in rules.directions)} features are split in their declared "
            f"direction only.",
        ]
        if rules.renewal is not None:
            lines[-1] += " The first tree says whether the renewal lies within the window."
    return "\n".join(lines)


def _decision(promotion: Promotion | None) -> str:
    if promotion is None:
        return ""
    verdict = "It may serve." if promotion.approved else "It may not serve."
    return "\n".join(
        [
            "## Decision",
            "",
            f"{verdict} The checks of the training:",
            "",
            *(f"- {check.outcome}: {check.sentence}" for check in promotion.checks),
        ]
    )


def _limits(bundle: ModelBundle, prepared: PreparedData, rows: EvaluationRows) -> str:
    few = prepared.counts["test_accounts_with_outcome"]
    unjudged = [
        name
        for name, inside in rows.segments.items()
        if not enough_accounts(rows.outcome[inside], rows.account[inside])
    ]
    limits = [
        f"It was judged on {few:,} accounts with the outcome, which sets the width of the "
        f"intervals above.",
        *((f"{prepared.split.judged_on}.",) if prepared.split.by_accounts else ()),
        "All horizons rank accounts alike: one score, and an intercept for each horizon.",
        "Accounts that were acted on are in the data like all others: the plain risk is that of "
        "accounts as they are treated today.",
        *(
            f"Within {horizon} days: not estimable. {why}"
            for horizon, why in bundle.not_estimable.items()
        ),
    ]
    if unjudged:
        limits.append(
            f"Not judged for {', '.join(map(as_markdown_text, unjudged))}: fewer than {LEAST_ACCOUNTS} "
            f"accounts with the outcome, or without."
        )
    return "\n".join(["## Limits", "", *(f"- {each}" for each in limits)])


def summarise_card(shown: Contender, horizon: int) -> Mapping[str, Interval]:
    """The metrics that a list of runs is compared by."""
    return {
        name: shown.metrics[horizon][name]
        for name in ("log_loss", "auc", "calibration_error")
        if horizon in shown.metrics
    }
