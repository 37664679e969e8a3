"""A real lottery, Hillstrom's e-mails: who gains, and whom to write to, on the half not learned on.

    python -m pytest tests/benchmarks/bench_uplift_hillstrom.py -m bench -s

Several times the customers are dealt into two halves; each is judged by what was learned on the
other. CausalML runs in an environment of its own, where KEEPWELL_BENCH_CAUSALML names its Python.
What was measured is kept in the folder of benchmark data, half by half.
"""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from effect_learners import LEARNERS, Lesson, predict_flatly
from held_out_levels import account_effects
from interleaved import DATA, HERE, ROOT, write_section
from lightgbm import LGBMRegressor
from sklearn.linear_model import LogisticRegression

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.estimators.nuisances import (
    Folds,
    design_matrix,
    predict_outcome,
)
from experiments.causal.sample import NO_ACTION, Sample
from experiments.targeting.arm_policy import held_out_gains, held_out_value
from experiments.targeting.outcome_model import expected_outcomes

pytestmark = pytest.mark.bench

FILE = ROOT.parent / "shared" / "data" / "hillstrom" / "hillstrom.csv.gz"
ARMS = {NO_ACTION: "No E-Mail", "mens_email": "Mens E-Mail", "womens_email": "Womens E-Mail"}
DEALS, SPEND_DEALS = 10, 20
COST, COSTS = 0.50, (0.05, 0.10, 0.25, 0.50, 0.75, 1.00)
OWN, TOLD_APART = "Keepwell", "Keepwell, always told apart"
WITHOUT_VISITS = "Keepwell, always told apart, visits not told"
BEST_BY_OWN = "always the best arm, by Keepwell's means"
ACTUAL, POOLED = "what was spent", "whether, times the amount expected"
CAUSALML_FOREST = "CausalML's uplift forest"
CAUSALML = os.environ.get("KEEPWELL_BENCH_CAUSALML")
OF_95_PERCENT = 1.96


def people(arms: tuple[str, ...]) -> tuple[Sample, pl.DataFrame]:
    if not FILE.is_file():
        pytest.skip("The data set hillstrom is not in shared/data beside the checkout.")
    frame = pl.read_csv(FILE, infer_schema_length=None)
    frame = frame.filter(pl.col("segment").is_in([ARMS[arm] for arm in arms]))
    words = frame.select("zip_code", "channel").to_dummies(drop_first=True)
    facts = frame.select("recency", "history", "mens", "womens", "newbie").hstack(words)
    labels = [ARMS[arm] for arm in arms]
    return Sample(
        covariates=facts.to_numpy().astype(float),
        covariate_names=tuple(facts.columns),
        arm=np.array([labels.index(word) for word in frame["segment"]]),
        arms=arms,
        propensity=np.full((frame.height, len(arms)), 1 / len(arms)),
        segment=frame.select(pl.format("men's {}, women's {}", "mens", "womens"))
        .to_series()
        .to_numpy()
        .astype(str),
        cluster=np.arange(frame.height),
    ), frame


def halves(rows: int, deals: int = DEALS) -> list[tuple[np.ndarray, np.ndarray]]:
    """(learned on, judged on), twice a deal."""
    found = []
    for deal in range(deals):
        one = np.random.default_rng(deal).permutation(rows) < rows // 2
        found += [(one, ~one), (~one, one)]
    return found


def lesson_of(sample: Sample, outcome: np.ndarray, score: np.ndarray, action: int) -> Lesson:
    return Lesson(
        covariates=sample.covariates,
        matrix=design_matrix(sample.covariates),
        arm=sample.arm,
        action=action,
        outcome=outcome,
        score=score,
        cluster=sample.cluster,
    )


def qini(
    uplift: np.ndarray, treated: np.ndarray, outcome: np.ndarray, rng: np.random.Generator
) -> float:
    """Area between the curve of incremental outcomes, ending at 1, and a random ranking's."""
    order = np.lexsort([rng.random(len(uplift)), -uplift])
    acted, good = treated[order].astype(float), outcome[order]
    n_acted, n_control = np.cumsum(acted), np.cumsum(1 - acted)
    gained = np.cumsum(good * acted) - np.cumsum(good * (1 - acted)) * n_acted / np.maximum(
        n_control, 1
    )
    share = np.arange(1, len(uplift) + 1) / len(uplift)
    return float(np.mean(gained / gained[-1] - share))


Ranking = Callable[[Sample, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""(sample, outcome, learned on, judged on, seed) -> uplift of those judged"""


def keepwell(
    sample: Sample, outcome: np.ndarray, fit: np.ndarray, ask: np.ndarray, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = cross_fit(sample.keep(fit), outcome[fit], rng=rng, repeats=1)
    return account_effects(
        scores,
        outcome[fit],
        sample.arms[1],
        asked=sample.covariates[ask],
        asked_segment=sample.segment[ask],
        rng=rng,
    ).estimates


def single(name: str) -> Ranking:
    def learned(
        sample: Sample, outcome: np.ndarray, fit: np.ndarray, ask: np.ndarray, seed: int
    ) -> np.ndarray:
        score = np.zeros(len(sample))
        if name == "dr_ridge":
            scores = cross_fit(
                sample.keep(fit), outcome[fit], rng=np.random.default_rng(seed), repeats=1
            )
            score[fit] = scores.middle(1)
        return LEARNERS[name](lesson_of(sample, outcome, score, 1), fit, ask, seed)

    return learned


def response(
    sample: Sample, outcome: np.ndarray, fit: np.ndarray, ask: np.ndarray, seed: int
) -> np.ndarray:
    """Who visits anyway: a model of the outcome among those written to, taken for uplift."""
    return predict_outcome(
        sample.covariates,
        design_matrix(sample.covariates),
        outcome,
        fit=fit & (sample.arm == 1),
        predict=ask,
        seed=seed,
    )


def causal_forest(
    sample: Sample, outcome: np.ndarray, fit: np.ndarray, ask: np.ndarray, seed: int
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from econml.dml import CausalForestDML

        forest = CausalForestDML(
            model_y=LGBMRegressor(n_estimators=60, num_leaves=8, verbosity=-1, n_jobs=1),
            model_t=LogisticRegression(),
            discrete_treatment=True,
            n_estimators=200,
            min_samples_leaf=50,
            inference=False,
            n_jobs=1,
            random_state=seed,
        )
        forest.fit(outcome[fit], sample.arm[fit], X=sample.covariates[fit])
        return np.ravel(forest.effect(sample.covariates[ask]))


def causalml_forest(
    sample: Sample, outcome: np.ndarray, fit: np.ndarray, ask: np.ndarray, seed: int
) -> np.ndarray:
    assert CAUSALML
    given, answer = DATA / "uplift-forest-in.npz", DATA / "uplift-forest-out.npy"
    np.savez(
        given,
        x=sample.covariates[fit],
        treated=sample.arm[fit] > 0,
        y=outcome[fit],
        ask=sample.covariates[ask],
        seed=seed,
    )
    subprocess.run([CAUSALML, str(HERE / "causalml_run.py"), str(given), str(answer)], check=True)
    return np.asarray(np.load(answer))


RANKINGS: dict[str, Ranking] = {
    "Keepwell": keepwell,
    "T-logistic": single("t_linear"),
    "DR → ridge": single("dr_ridge"),
    "EconML's causal forest": causal_forest,
    CAUSALML_FOREST: causalml_forest,
    "a response model (no uplift model)": response,
}


def test_who_gains_from_the_womens_email() -> None:
    sample, frame = people((NO_ACTION, "womens_email"))
    visit = frame["visit"].to_numpy().astype(float)
    DATA.mkdir(parents=True, exist_ok=True)
    parts = halves(len(sample))
    found = {name: _kept(name) for name in RANKINGS}
    for seed, (fit, ask) in enumerate(parts):
        for name, ranking in RANKINGS.items():
            if len(found[name]) > seed or (name == CAUSALML_FOREST and not CAUSALML):
                continue
            uplift = ranking(sample, visit, fit, ask, seed)
            found[name].append(
                qini(uplift, sample.arm[ask] == 1, visit[ask], np.random.default_rng(seed))
            )
            with _file(name).open("a", encoding="utf-8") as kept:
                kept.write(f"{found[name][-1]}\n")
        print(
            seed,
            {name: round(values[-1], 4) for name, values in found.items() if values},
            flush=True,
        )
    own = np.array(found["Keepwell"])
    lines = [
        f"| {name} | {len(values)} | {np.mean(values):.4f} | {np.std(values, ddof=1):.4f} | "
        + ("|" if name == "Keepwell" else f"{_paired(own[: len(values)] - values)} |")
        for name, values in found.items()
        if len(values) > 1
    ]
    write_section(
        "Who gains: Hillstrom's women's e-mail",
        "\n".join(
            [
                f"{len(sample):,} customers, visit within two weeks; {DEALS} deals into two halves, each "
                f"judged by what was learned on the other. Qini: area between the curve of additional "
                f"visits, ending at 1, and a random ranking's. Differences are paired; their 95 % "
                f"interval allows for halves that share customers (Nadeau and Bengio 2003). EconML's "
                f"forest has 200 trees, CausalML's, in an environment of its own, 50.",
                "",
                "| | halves | Qini | deviation over halves | Keepwell less this |",
                "|---|---|---|---|---|",
                *lines,
            ]
        ),
    )


def _file(name: str) -> Path:
    return DATA / f"uplift-qini-{re.sub('[^A-Za-z]+', '_', name)}.txt"


def _kept(name: str) -> list[float]:
    file = _file(name)
    if not file.exists():
        return []
    return [float(line) for line in file.read_text(encoding="utf-8").split()][: 2 * DEALS]


def _paired(differences: np.ndarray) -> str:
    error = differences.std(ddof=1) * np.sqrt(1 / len(differences) + 1)  # as many judged as learned
    middle = differences.mean()
    return (
        f"{middle:+.4f} ({middle - OF_95_PERCENT * error:+.4f} to "
        f"{middle + OF_95_PERCENT * error:+.4f})"
    )


def test_whom_to_write_to() -> None:
    sample, frame = people(tuple(ARMS))
    spend, visited = frame["spend"].to_numpy().astype(float), (frame[["visit"]] == 1).to_numpy()
    rng = np.random.default_rng(0)
    judged = {
        ACTUAL: cross_fit(sample, spend, rng=rng).score.mean(axis=0),
        POOLED: cross_fit(sample, pooled_amounts(sample, spend, rng), rng=rng).score.mean(axis=0),
    }
    values: dict[tuple[str, float, str], np.ndarray] = {}
    written: dict[tuple[float, str], list[float]] = {}
    for seed, (fit, ask) in enumerate(halves(len(sample), SPEND_DEALS)):
        gains = gains_of(sample, spend, visited, fit, ask, seed)
        own = served(sample, spend, visited, fit, seed, gains)
        for name, cost in product((OWN, *gains), COSTS):
            charged = np.array([0.0, cost, cost])
            chosen = ((own[cost] if name == OWN else gains[name]) - charged).argmax(axis=1)
            written.setdefault((cost, name), []).append(float((chosen > 0).mean()))
            for by, score in judged.items():
                values.setdefault((by, cost, name), np.zeros(len(sample)))[ask] += (
                    score[ask, :][np.arange(len(chosen)), chosen] - charged[chosen]
                ) / SPEND_DEALS
        print(
            seed,
            {
                name: round(
                    float(values[ACTUAL, COST, name].mean() * SPEND_DEALS * 2 / (seed + 1)), 3
                )
                for _, name in written
                if _ == COST
            },
            flush=True,
        )
    names = [name for cost, name in written if cost == COST]
    lines = [
        f"| {name} | {np.mean(written[COST, name]):.0%} | "
        + " | ".join(
            f"{values[by, COST, name].mean():.3f} | "
            + ("" if name == OWN else _gap(values[by, COST, OWN], values[by, COST, name]))
            for by in judged
        )
        + " |"
        for name in names
    ]
    curve = [
        f"| {cost:.2f} | "
        + " | ".join(f"{values[ACTUAL, cost, name].mean():.3f}" for name in names)
        + " | "
        + " | ".join(
            _gap(values[ACTUAL, cost, OWN], values[ACTUAL, cost, name]) for name in names[1:]
        )
        + " |"
        for cost in COSTS
    ]
    write_section(
        "Whom to write to: Hillstrom, three arms",
        "\n".join(
            [
                f"{len(sample):,} customers, spend in two weeks less {COST:.2f} USD for an e-mail; "
                f"{SPEND_DEALS} deals into two halves, each decided about by what was learned on the "
                f"other. All are judged by the same doubly robust scores of every customer, by the logged "
                f"odds: of what was spent; and of whether something was, times the amount that is expected "
                f"of such a customer in any arm, which is less noisy and right if e-mails change whether "
                f"people buy and not how much (mean amounts by arm: {_amounts(sample, spend)} USD). "
                f"Intervals: 95 %, paired, from customers, for policies as they were learned. Keepwell is "
                f"told who visited, as `--stage visit` tells it; learners are fitted to spend as it is. "
                f"Its forms were chosen on simulated lotteries, after several looks at these customers. It "
                f"tells customers apart where that brought more on those of the half that were not learned "
                f"from, and else writes all the same, as `keepwell whom-to-act-on` does.",
                "",
                "| who is written to, by | written to | net USD a customer | Keepwell less this | "
                "by pooled amounts | Keepwell less this |",
                "|---|---|---|---|---|---|",
                *lines,
                "",
                "By what an e-mail costs, of what was spent:",
                "",
                "| cost, USD | "
                + " | ".join(names)
                + " | "
                + " | ".join(f"Keepwell − {name}" for name in names[1:])
                + " |",
                "|---" * (2 * len(names)) + "|",
                *curve,
            ]
        ),
    )


def served(
    sample: Sample,
    spend: np.ndarray,
    visited: np.ndarray,
    fit: np.ndarray,
    seed: int,
    gains: dict[str, np.ndarray],
) -> dict[float, np.ndarray]:
    """Of every cost, the gains that `decide` goes by: told apart where that brought more."""
    rng = np.random.default_rng(seed)
    scores = cross_fit(sample.keep(fit), spend[fit], rng=rng)
    held_out = held_out_gains(scores, spend[fit], rng, visited[fit])
    return {
        cost: gains[
            TOLD_APART
            if held_out_value(scores, held_out, np.array([0.0, cost, cost])).gain > 0
            else BEST_BY_OWN
        ]
        for cost in COSTS
    }


def gains_of(
    sample: Sample,
    spend: np.ndarray,
    visited: np.ndarray,
    fit: np.ndarray,
    ask: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """What every way of deciding expects the arms to add, customers x arms, costs apart."""
    scores = cross_fit(sample.keep(fit), spend[fit], rng=np.random.default_rng(seed), repeats=1)
    gains = {
        name: np.zeros((int(ask.sum()), len(ARMS)))
        for name in (
            TOLD_APART,
            WITHOUT_VISITS,
            "always the best arm",
            BEST_BY_OWN,
            "nobody",
            *LEARNERS,
        )
    }
    for name, stages in ((TOLD_APART, visited[fit]), (WITHOUT_VISITS, None)):
        expected = expected_outcomes(
            sample.keep(fit), spend[fit], asked=sample.covariates[ask], reached=stages
        )
        gains[name] = expected - expected[:, [0]]
    gains[BEST_BY_OWN] += gains[TOLD_APART].mean(axis=0)
    gains["nobody"][:, 1:] = -np.inf
    for action in (1, 2):
        gains["always the best arm"][:, action] = scores.middle(action).mean()
        score = np.zeros(len(sample))
        score[fit] = scores.middle(action)
        lesson = lesson_of(sample, spend, score, action)
        for name, learner in LEARNERS.items():
            gains[name][:, action] = learner(lesson, fit, ask, seed)
    return gains


def pooled_amounts(sample: Sample, spend: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Who buys is taken to spend what customers like this spend in all arms; by other customers."""
    matrix, found = design_matrix(sample.covariates), np.zeros(len(spend))
    for fit, rest in Folds.draw(sample.cluster, sample.arm > 0, rng=rng).splits():
        found[rest] = predict_flatly(matrix, spend, fit=fit & (spend > 0), predict=rest)
    return found * (spend > 0)


def _amounts(sample: Sample, spend: np.ndarray) -> str:
    return ", ".join(
        f"{spend[(sample.arm == arm) & (spend > 0)].mean():.0f}" for arm in range(len(sample.arms))
    )


def _gap(own: np.ndarray, other: np.ndarray) -> str:
    gap = own - other
    half = OF_95_PERCENT * gap.std(ddof=1) / np.sqrt(len(gap))
    return f"{gap.mean():+.3f} ({gap.mean() - half:+.3f} to {gap.mean() + half:+.3f})"
