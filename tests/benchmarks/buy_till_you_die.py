"""BG/NBD: the model of customers who leave without saying so, fitted by maximum likelihood.

Fader, Hardie and Lee, "Counting your customers the easy way", Marketing Science 24 (2005). A customer
buys at a rate of their own (gamma: r, alpha) and is gone after a purchase with a chance of their own
(beta: a, b). What is read of a customer: ``x``, the days with a purchase after the first; ``last``, the
time from the first purchase to the last; ``age``, the time from the first purchase to the moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln

Vector = NDArray[np.float64]

PUBLISHED = (0.243, 4.414, 0.793, 2.426)
"""r, alpha (weeks), a and b of the one customer in ten of CDNOW, as of the end of week 39."""


@dataclass(frozen=True, kw_only=True)
class BgNbd:
    """The four parameters; times are in the unit of ``alpha``."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x: Vector, last: Vector, age: Vector) -> BgNbd:
        """Maximum likelihood over these customers."""
        found = minimize(
            lambda logs: (
                -cls(**dict(zip(["r", "alpha", "a", "b"], np.exp(logs), strict=True)))
                .log_likelihood(x, last, age)
                .mean()
            ),
            np.log([0.5, 5.0, 0.8, 2.0]),
            method="Nelder-Mead",
            options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 4000},
        )
        return cls(**dict(zip(["r", "alpha", "a", "b"], np.exp(found.x), strict=True)))

    def log_likelihood(self, x: Vector, last: Vector, age: Vector) -> Vector:
        """Of each customer."""
        return np.asarray(np.logaddexp(self._still(x, age), self._gone(x, last)))

    def no_purchase(self, x: Vector, last: Vector, age: Vector, within: float) -> Vector:
        """The chance of no purchase in the time after ``age``: gone, or still there and silent."""
        known = self.log_likelihood(x, last, age)
        silent = np.logaddexp(self._still(x, age + within), self._gone(x, last))
        return np.asarray(np.exp(silent - known))

    def _still(self, x: Vector, age: Vector) -> Vector:
        """What is seen, and still a customer."""
        here = betaln(self.a, self.b + x) - betaln(self.a, self.b)
        return np.asarray(here + self._rate(x) - (self.r + x) * np.log(self.alpha + age))

    def _gone(self, x: Vector, last: Vector) -> Vector:
        """What is seen, and gone after the last purchase; nobody is before a second one."""
        often = np.maximum(x, 1)
        left = betaln(self.a + 1, self.b + often - 1) - betaln(self.a, self.b)
        return np.where(
            x > 0, left + self._rate(x) - (self.r + x) * np.log(self.alpha + last), -np.inf
        )

    def _rate(self, x: Vector) -> Vector:
        return np.asarray(gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha))


def logistic(columns: Vector, y: Vector, weight: float = 1e-4) -> Vector:
    """Intercept and weights of a logistic regression by Newton's method, on standardised columns."""
    design = np.column_stack((np.ones(len(y)), columns))
    beta = np.zeros(design.shape[1])
    for _ in range(40):
        p = expit(design @ beta)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + weight * np.eye(len(beta))
        step = np.linalg.solve(hessian, design.T @ (y - p) - weight * beta)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    return beta
