"""The effects of several actions by EconML and DoubleML, each with nuisances of several kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression

from experiments.causal.sample import Sample

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # both import names that are on their way out
    from doubleml import DoubleMLAPOS, DoubleMLData
    from econml.dr import LinearDRLearner

Found = tuple[np.ndarray, np.ndarray]
"""Estimates and standard errors, one per action."""

CLIP = 0.01


def boosted(trees: int) -> LGBMClassifier:
    return LGBMClassifier(
        n_estimators=trees,
        num_leaves=8,
        learning_rate=0.08,
        min_child_samples=20,
        reg_lambda=10.0,
        verbosity=-1,
        n_jobs=1,
        deterministic=True,
        random_state=1,
    )


def both(trees: int) -> VotingClassifier:
    return VotingClassifier(
        [("linear", LogisticRegression()), ("trees", boosted(trees))], voting="soft"
    )


def econml(
    sample: Sample,
    stayed: np.ndarray,
    propensity: object,
    regression: object,
    **settings: object,
) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner = LinearDRLearner(
            model_propensity=propensity,
            model_regression=regression,
            min_propensity=CLIP,
            discrete_outcome=True,
            random_state=1,
            **settings,
        )
        learner.fit(stayed, sample.arm, X=None, W=sample.covariates)
        found = [learner.intercept__inference(T=arm) for arm in range(1, len(sample.arms))]
    return (
        np.array([float(np.ravel(one.point_estimate)[0]) for one in found]),
        np.array([float(np.ravel(one.stderr)[0]) for one in found]),
    )


def doubleml(sample: Sample, stayed: np.ndarray, propensity: object, regression: object) -> Found:
    names = [f"x{number}" for number in range(sample.covariates.shape[1])]
    frame = pd.DataFrame(sample.covariates, columns=names).assign(y=stayed, d=sample.arm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DoubleMLAPOS(
            DoubleMLData(frame, "y", "d", names),
            regression,
            propensity,
            n_folds=5,
            treatment_levels=list(range(len(sample.arms))),
            normalize_ipw=True,
        )
        model.fit()
        contrast = model.causal_contrast(reference_levels=0)
    return np.asarray(contrast.thetas), np.asarray(contrast.ses)


PEERS: dict[str, Callable[[Sample, np.ndarray], Found]] = {
    "EconML, its defaults": lambda sample, stayed: econml(sample, stayed, "auto", "auto"),
    "EconML, logistic": lambda sample, stayed: econml(
        sample, stayed, LogisticRegression(), LogisticRegression(), cv=5
    ),
    "EconML, mean of logistic and LightGBM": lambda sample, stayed: econml(
        sample, stayed, both(30), both(60), cv=5
    ),
    "DoubleML, logistic": lambda sample, stayed: doubleml(
        sample, stayed, LogisticRegression(), LogisticRegression()
    ),
    "DoubleML, LightGBM": lambda sample, stayed: doubleml(sample, stayed, boosted(30), boosted(60)),
}
