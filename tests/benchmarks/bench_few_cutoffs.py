"""One cutoff, or three: how flattering other accounts of the same months are beside later months.

At each origin of the CRM sample as many cutoffs are known as are asked for, and nothing later. A
third of the accounts judges what was fitted to the others, as a training does with so few cutoffs.
Then the same spec is fitted to all accounts of these cutoffs, as it is released, and judged on every
later cutoff. Both give log loss over the base rate of the same fit, AUC, and came over promised.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from interleaved import write_section
from threadpoolctl import threadpool_limits
from training_worlds import CRM_UNTIL, TrainingWorld, crm

from training.dataset.errors import OneClassError
from training.dataset.training_set import TrainingSet
from training.metrics import auc
from training.models.fitting.taking_part import is_made_for, why_not
from training.models.model_selection import Contender, run_contender
from training.models.specs import BASE_RATE, FORMULA_PRIOR, LOGISTIC, RENEWAL_RISK, ModelSpec
from training.pipeline.prepare import split_by_accounts

pytestmark = pytest.mark.bench

REACH = timedelta(days=90)
SPECS = (RENEWAL_RISK, FORMULA_PRIOR, LOGISTIC)


def judged(contender: Contender, base: Contender, training: TrainingSet, rows) -> tuple[float, ...]:
    y, horizon = training.outcome[rows], training.horizons[-1]
    p, q = contender.probabilities[horizon], base.probabilities[horizon]

    def loss(p):
        return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())

    ranked = float(auc(y, p, np.ones((1, len(y))))[0])
    return loss(p), loss(q) - loss(p), ranked, float(y.sum() / p.sum())


def fitted(spec: ModelSpec, training: TrainingSet, learn, test, hidden, at) -> Contender:
    ones = np.ones((1, len(training.accounts)))
    return run_contender(
        spec, training, learn, test, spec.parameters, ones, at=at, seed=1, hidden=hidden
    )


def compare(world: TrainingWorld, label: str, n_cutoffs: int) -> dict[str, list[list[float]]]:
    """By spec: what other accounts say, and what later months say, one pair for each origin."""
    whole = world.prepared(label)
    training = whole.training
    found: dict[str, list[list[float]]] = {}
    for first in range(len(training.cutoffs)):
        known = training.cutoffs[first : first + n_cutoffs]
        at = known[-1] + REACH
        later = tuple(c for c in training.cutoffs if c >= at and c + REACH <= CRM_UNTIL)
        if len(known) < n_cutoffs or not later:
            break
        inside = np.isin(training.cutoff, [training.cutoffs.index(c) for c in known])
        seen = training.hide(~inside)
        try:
            few = split_by_accounts(whole.labelled, seen, None, ())
        except OneClassError:
            continue  # too few accounts left at this cutoff, as a training says
        learn, test, hidden = few.before_test, few.test, few.hidden
        assert hidden is not None
        everybody, months = training.rows_at(known), training.rows_at(later)
        base = (
            fitted(BASE_RATE, training, learn, test, hidden | ~inside, at),
            fitted(BASE_RATE, training, everybody, months, ~inside, at),
        )
        for spec in SPECS:
            if not is_made_for(spec, training) or why_not(spec, seen, learn):
                continue
            accounts = fitted(spec, training, learn, test, hidden | ~inside, at)
            released = fitted(spec, training, everybody, months, ~inside, at)
            found.setdefault(spec.title, []).append(
                [
                    *judged(accounts, base[0], training, test),
                    *judged(released, base[1], training, months),
                ]
            )
    return found


def test_how_flattering_other_accounts_are() -> None:
    world, lines = crm(), []
    head = "log loss | gain on the base rate | AUC | came over promised"
    for label in ("churn", "expansion"):
        for n_cutoffs in (1, 3):
            with threadpool_limits(limits=1, user_api="blas"):
                found = compare(world, label, n_cutoffs)
            lines += [
                f"{label} within 90 days, {n_cutoffs} cutoff(s): medians over origins (lowest to highest)",
                "",
                f"| | origins | judged on | {head} |",
                "|---|---|---|---|---|---|---|",
            ]
            for title, pairs in found.items():
                table = np.array(pairs)
                for which, part in (
                    ("other accounts", table[:, :4]),
                    ("later months", table[:, 4:]),
                ):
                    cells = " | ".join(
                        f"{np.median(column):.3f} ({column.min():.3f} to {column.max():.3f})"
                        for column in part.T
                    )
                    lines.append(f"| {title} | {len(table)} | {which} | {cells} |")
                difference = table[:, 4:] - table[:, :4]
                cells = " | ".join(
                    f"{column.mean():+.3f} (se {column.std(ddof=1) / np.sqrt(len(column)):.3f})"
                    for column in difference.T
                )
                lines.append(f"| {title} | {len(table)} | later minus other, mean | {cells} |")
            lines.append("")
    write_section("Few cutoffs: other accounts beside later months", "\n".join(lines))
