"""A contender of ``keepwell train`` as a scikit-learn classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from training.models.fit import fit
from training.models.specs import spec_named

SERVED = ("lightgbm", "logistic")
"""The contenders that read columns alone: the others read dates of renewal or the health formula."""


class ContenderClassifier(ClassifierMixin, BaseEstimator):
    """LightGBM or the logistic regression as Keepwell fits and serves them, with two classes.

    Unknown values (NaN) are read as such. Probabilities are before calibration, which Keepwell does on
    cutoffs of their own: scikit-learn's ``CalibratedClassifierCV`` does it here.

    Args:
        contender: ``lightgbm`` or ``logistic``.
        parameters: other values than the declared ones, by name.
        seed: of everything random.
    """

    def __init__(
        self,
        contender: str = "lightgbm",
        *,
        parameters: dict[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.contender = contender
        self.parameters = parameters
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> ContenderClassifier:
        """Fit to rows × features and the class of each row.

        Raises:
            ValueError: more or fewer than two classes, or a contender that is not one of these.
        """
        if self.contender not in SERVED:
            raise ValueError(
                f"contender is {self.contender!r}; it has to be one of {', '.join(SERVED)}."
            )
        matrix, labels = validate_data(
            self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2
        )
        check_classification_targets(labels)
        self.classes_, outcome = np.unique(labels, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported. There are {len(self.classes_)} classes."
            )
        if len(self.classes_) < 2:
            raise ValueError("There is one class, so there is nothing to tell apart; give two.")
        spec = spec_named(self.contender)
        self.model_ = fit(
            spec,
            np.ascontiguousarray(matrix),
            outcome.astype(np.float64),
            {**spec.parameters, **(self.parameters or {})},
            seed=self.seed,
        )
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The log-odds of the second class, by row."""
        check_is_fitted(self)
        matrix = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False
        )
        return np.asarray(self.model_.score(np.ascontiguousarray(matrix)))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probability of each class, rows × 2."""
        chance = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.column_stack([1 - chance, chance])

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """The likelier class of each row."""
        likelier = (self.decision_function(X) > 0).astype(np.intp)
        return np.asarray(self.classes_[likelier])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags
