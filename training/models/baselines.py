"""This module is about baselines: what a model has to beat before it may serve.

A number about a model stands beside these four or it says nothing. All are fitted, calibrated and
judged on the same rows as the model; two of them must be beaten. Declares only.
"""

from __future__ import annotations

from training.models.specs import BASE_RATE, FORMULA, LAST_MONTH, LOGISTIC, ModelSpec

BASELINES: tuple[ModelSpec, ...] = (BASE_RATE, FORMULA, LAST_MONTH, LOGISTIC)

MUST_BE_BEATEN: tuple[ModelSpec, ...] = (BASE_RATE, FORMULA)
"""A model that is not better than both does not serve: the formula does."""
