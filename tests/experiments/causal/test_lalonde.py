"""A real experiment whose answer is known, and two comparisons that mislead (LaLonde 1986).

The training programme of the NSW experiment raised earnings in 1978 by 1,794 USD (se 671). The
same trained people against two samples of the population, adjusted, is a test of the method: it
has to come near the truth, or warn, and the plain difference must not be what is reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from causal_worlds import FIRST

from experiments.causal.analysis import DesignResult, analyse
from experiments.causal.design import Design
from experiments.causal.estimates import estimate_of
from experiments.causal.estimators.aipw import estimate_aipw
from experiments.causal.estimators.randomised import estimate_randomised
from experiments.causal.sample import Sample
from experiments.causal.trials import CHURN, MRR_AFTER, REVENUE, Trials

FOLDER = Path(__file__).parents[3].parent / "shared" / "data" / "lalonde"
FACTS = ("age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75")
BEFORE_1975 = FACTS[:-1]

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="../shared/data/lalonde is not there; it is not shipped"
)


def people(controls: str | None) -> pd.DataFrame:
    trained = pd.read_stata(FOLDER / "nsw_dw.dta")
    if controls is None:
        return trained
    others = pd.read_stata(FOLDER / f"{controls}_controls.dta")
    return pd.concat([trained[trained.treat == 1], others], ignore_index=True)


def sample_of(frame: pd.DataFrame, facts: tuple[str, ...], *, propensity: float) -> Sample:
    rows = len(frame)
    return Sample.of_two_arms(
        covariates=frame[list(facts)].to_numpy(float),
        covariate_names=facts,
        treated=frame.treat.to_numpy() == 1,
        propensity=np.full(rows, propensity),
        stratum=np.zeros(rows, dtype=np.int64),
        cluster=np.arange(rows),
    )


def earnings(frame: pd.DataFrame, year: int) -> np.ndarray:
    return frame[f"re{year}"].to_numpy(float)


def test_the_experiment_says_what_was_published() -> None:
    frame = people(None)
    fit = estimate_randomised(
        sample_of(frame, (), propensity=float(frame.treat.mean())),
        {"re78": earnings(frame, 78)},
        estimand="ITT",
        rng=np.random.default_rng(0),
    )["re78"]
    found = estimate_of(fit)
    assert found.estimate == pytest.approx(1794, abs=1)
    assert found.standard_error == pytest.approx(671, abs=10)  # HC1 there, a cluster each here


@pytest.mark.parametrize(("controls", "published"), [("cps", -8498), ("psid", -15205)])
def test_the_plain_difference_is_as_wrong_as_published(controls: str, published: int) -> None:
    frame = people(controls)
    trained = frame.treat == 1
    plain = earnings(frame, 78)[trained].mean() - earnings(frame, 78)[~trained].mean()
    assert plain == pytest.approx(published, abs=1)


@pytest.mark.parametrize("controls", ["cps", "psid"])
def test_adjusted_it_comes_near_the_experiment(controls: str) -> None:
    frame = people(controls)
    fit = estimate_aipw(
        sample_of(frame, FACTS, propensity=np.nan),
        {"re78": earnings(frame, 78)},
        estimand="ATT",
        rng=np.random.default_rng(1),
    )["re78"]
    found = estimate_of(fit)
    assert abs(found.estimate - 1794) <= 3 * found.standard_error
    assert found.standard_error < 1800  # near, and not merely vague


def result_of(controls: str) -> DesignResult:
    """The programme as an intervention: who earns nothing in 1978 has left."""
    frame = people(controls)
    sample = sample_of(frame, BEFORE_1975, propensity=np.nan)
    rows = len(frame)
    design = Design(
        design_id=f"nsw-{controls}",
        question="Does training raise earnings?",
        action="training",
        intervention="nsw",
        mechanism="judgement",
        estimand="ATT",
        window_days=1,
        placebos=("earnings_1975",),
        written_at=FIRST,
    )
    zeros = np.zeros(rows)
    after = earnings(frame, 78)
    return analyse(
        Trials(
            design=design,
            account_ids=tuple(map(str, range(rows))),
            starts=(FIRST,) * rows,
            segments=("all",) * rows,
            sample=sample,
            outcomes={CHURN: (after == 0).astype(float), REVENUE: after, MRR_AFTER: after / 12},
            baselines={CHURN: zeros, REVENUE: zeros, MRR_AFTER: zeros},
            placebos={"earnings_1975": earnings(frame, 75)},
            is_exposed=np.zeros(rows, dtype=bool),
            excluded={},
            covariates_missing=(),
        ),
        costs={},
        currency="USD",
        rng=np.random.default_rng(2),
    )


@pytest.mark.parametrize("controls", ["cps", "psid"])
def test_the_placebo_before_training_fails_and_silences_the_headline(controls: str) -> None:
    result = result_of(controls)
    verdicts = {check.name: check.verdict for check in result.checks}
    assert verdicts["pre_period_placebo"] == "failed"
    assert result.headline.startswith("No effect is claimed.")
    assert (result.verdict, result.is_claimed) == ("unknown", False)
