"""The model bundle: everything that serving needs of a model, in one value.

What is scored is what is explained is what was trained: the bundle orders the features by its own
contract and gives the probability and the contributions from the same row. It holds no pickle and
nothing that LightGBM's parser would read; it is saved whole and loaded whole, or refused with the
reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from registry.bundle.calibration import NEAR, Calibration, HorizonError, sigmoid
from registry.bundle.feature_contract import Row
from registry.bundle.format import BundleContents, decode, encode
from registry.bundle.linear import LinearForm, sum_by_theme
from registry.bundle.long_horizons import (
    HorizonShare,
    LongHorizonChance,
    combine_log_odds,
    share_log_odds,
)
from registry.bundle.metadata import (
    EXTENDED_FROM,
    BundleError,
    BundleMetadata,
    GoldenRows,
    ReferenceDistribution,
)
from registry.bundle.model_forms import MANY
from registry.integrity.hashed_folder import (
    HashedFolderError,
    manifest_of,
    read_hashed_folder,
    write_hashed_folder,
)
from registry.integrity.signing import SigningKey
from registry.trees.batch_scoring import MANY as ENOUGH_FOR_BLOCKS

__all__ = ["BundleError", "BundleMetadata", "Explanation", "GoldenRows", "HorizonError",
           "ModelBundle", "ReferenceDistribution"]  # fmt: skip

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Rows = Floats | pl.DataFrame | Row

KIND = "keepwell-model-bundle"
VERSION = 1

# Two processors may round a sum of hundreds of leaves differently in its last bits, not here:
GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """The scores of some rows at one horizon and what they are made of.

    ``contributions`` and ``base`` sum to ``raw`` (log-odds); ``points`` and ``base_probability``
    sum to ``probability``.
    """

    raw: Floats
    base: float
    contributions: Floats
    probability: Floats
    base_probability: float
    points: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelBundle(BundleContents):
    """A trained model as plain numbers: score, calibration, contract, and its own test."""

    def __post_init__(self) -> None:
        width = len(self.contract.features)
        if not self.form.fits(width):
            raise BundleError(
                f"The model reads {self.form.n_features_read} features and its contract names {width}; "
                "they must be from the same training."
            )
        if list(self.horizons) != sorted({*self.horizons}):
            raise BundleError(f"The horizons {self.horizons} are not in rising order.")
        if any(part.form and part.form.n_features_read != width for part in self.long_horizons):
            raise BundleError(
                f"A long horizon does not read the {width} features of the "
                "contract; they must be from the same training."
            )
        if any(
            len(part.calibration.draws) != len(self.calibration.draws)
            for part in self.long_horizons
        ):
            raise BundleError("A long horizon has another number of draws than the nearer ones.")
        shorter = self.calibration.horizons[-2::-1]
        if self.shares and tuple(part.horizon for part in self.shares) != shorter:
            raise BundleError(
                f"There are shares of {[part.horizon for part in self.shares]} days and shorter "
                f"horizons of {list(shorter)}; give one for each, longest first, or none."
            )
        if self.shares and self.renewal_risk is not None:
            raise BundleError(
                "A model that knows the dates of decisions has its own shorter horizons; it takes "
                "no shares."
            )
        if any(part.form.n_features_read != width for part in self.shares):
            raise BundleError(
                f"The share of a shorter horizon does not read the {width} features of the "
                "contract; they must be from the same training."
            )
        if any(len(p.calibration.draws) != len(self.calibration.draws) for p in self.shares):
            raise BundleError("A share has another number of draws than the longest horizon.")
        risk = self.untreated_risk
        if risk is not None and set(risk.shares) != set(self.horizons):
            raise BundleError(
                f"Treated labels are counted for {sorted(risk.shares)} days and probabilities are "
                f"given for {list(self.horizons)}; they must be from the same training."
            )
        if risk is not None and risk.shift and risk.shift.treatment.n_features_read != width:
            raise BundleError(
                f"The risk of untreated accounts does not read the {width} features of the "
                "contract; it must be from the same training."
            )
        decides = self.renewal_risk
        if decides is not None and (
            decides.leads[-1] < self.calibration.horizons[-1]
            or not decides.calendar.columns <= {*range(width)}
        ):
            raise BundleError(
                f"The renewal risk reaches {decides.leads[-1]} days and reads the features "
                f"{decides.calendar}; the score reaches {self.calibration.horizons[-1]} days and reads "
                f"{width} features. They must be from the same training."
            )
        if set(self.base_rates) != set(self.horizons):
            raise BundleError(
                f"Base rates are given for the horizons {sorted(self.base_rates)} and "
                f"probabilities for {list(self.horizons)}; give both for each."
            )
        if not all(0 < rate < 1 for rate in self.base_rates.values()):
            raise BundleError("A base rate is not between 0 and 1; there is nothing to predict.")
        if not np.isfinite([*self.metrics.values(), self.amount_ratio or 0.0]).all():
            raise BundleError(
                "A metric or the amount ratio is not a finite number; leave out what is unknown."
            )
        for name, array, shape in (
            ("golden matrix", self.golden.matrix, (len(self.golden.raw), width)),
            ("reference quantiles", self.reference.values, (width, len(self.reference.levels))),
            ("reference missing rates", self.reference.missing_rate, (width,)),
        ):
            if array.shape != shape:
                raise BundleError(f"The {name} have shape {array.shape}, not {shape}.")
        if not len(self.golden.raw):
            raise BundleError("A bundle needs golden rows, so that it can be tested when loaded.")
        self._rescore()

    def _rescore(self) -> None:
        """The bundle's own test: it must still give its golden rows their scores."""
        raw = self.form.score(self.golden.matrix)
        values, base = self.form.contributions(self.golden.matrix), self.form.base
        apart = float(np.abs(raw - self.golden.raw).max())
        unexplained = float(np.abs(values.sum(axis=1) + base - raw).max())
        # The faster functions for many rows have to agree with those for one row.
        many = np.tile(self.golden.matrix, (-(-max(MANY, ENOUGH_FOR_BLOCKS) // len(raw)), 1))
        off = float(np.abs(self.raw(many)[: len(raw)] - raw).max())
        said = float(np.abs(self.contributions(many)[0][: len(raw)] - values).max(initial=0.0))
        most = GOLDEN_TOLERANCE * (1.0 + float(np.abs(self.golden.raw).max()))
        for what, gap in (
            ("a golden row by", apart), ("its own contributions by", unexplained),
            ("the same row among many by", off),
            ("contributions of a row among many by", said * GOLDEN_TOLERANCE / MANY_TOLERANCE),
        ):  # fmt: skip
            if not gap <= most:  # also when it is not a number
                raise BundleError(
                    f"The {self.label} model misses {what} {gap:.2g} in log-odds (at most "
                    f"{most:.2g}), so it is not the model that was trained. Train it again, or "
                    "roll back (keepwell models rollback)."
                )

    @property
    def horizons(self) -> tuple[int, ...]:
        """The horizons in days at which it gives a probability."""
        return (*self.calibration.horizons, *(part.horizon for part in self.long_horizons))

    @property
    def extended_from(self) -> int | None:
        """The longest horizon that was learned, where longer ones take its rate to go on; else None."""
        stated = self.metadata.notes.get(EXTENDED_FROM)
        return None if stated is None else int(stated)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything in the bundle: the model's identity."""
        files = encode(self)
        return hashlib.sha256(manifest_of(files, kind=KIND, version=VERSION)).hexdigest()

    def base_rate(self, horizon_days: int) -> float:
        """The share of training rows with the outcome within the horizon."""
        self._check(horizon_days)
        return self.base_rates[horizon_days]

    def matrix(self, rows: Rows) -> Floats:
        """The rows as the model reads them, by its own contract."""
        if not isinstance(rows, np.ndarray):
            return self.contract.matrix(rows)
        if rows.ndim != 2 or rows.shape[1] != len(self.contract.features):
            raise BundleError(
                f"A matrix of shape {rows.shape} was given and the model reads "
                f"{len(self.contract.features)} features; make it with contract.matrix(frame)."
            )
        return rows

    def raw(self, rows: Rows) -> Floats:
        """The raw score f of each row, in log-odds before calibration."""
        return self.form.score_many(self.matrix(rows))

    def probability(self, rows: Rows, horizon_days: int, *, raw: Floats | None = None) -> Floats:
        """The calibrated probability of the outcome within the horizon.

        ``raw`` is the raw score of the rows where the caller has it already, here and below.
        """
        self._check(horizon_days)
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        risk = self.renewal_risk
        if risk is None or not risk.reaches(horizon_days):
            return self._by_score(raw, matrix, horizon_days)
        probability = risk.probability(raw, matrix, horizon_days)
        rest = ~risk.calendar.has_date(matrix)
        if rest.any():
            probability[rest] = self._by_score(raw[rest], matrix[rest], horizon_days)
        return probability

    def probability_interval(
        self, rows: Rows, horizon_days: int, *, raw: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Low and high of the probability, 95 %."""
        self._check(horizon_days)
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        risk = self.renewal_risk
        if risk is None or not risk.reaches(horizon_days):
            return self._interval_by_score(raw, matrix, horizon_days)
        low, high = risk.probability_interval(raw, matrix, horizon_days)
        rest = ~risk.calendar.has_date(matrix)
        if rest.any():
            low[rest], high[rest] = self._interval_by_score(raw[rest], matrix[rest], horizon_days)
        return low, high

    def _by_score(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """The probability of rows of which not every decision within the horizon is known."""
        shares, after = self._before.get(horizon_days, ()), self._after.get(horizon_days, ())
        if not shares and not after:
            return self.calibration.probability(raw, horizon_days)
        odds = self._last_odds(raw, matrix)
        for share in shares:
            odds = share_log_odds(odds, share.log_odds(matrix))
        for part in after:
            odds = combine_log_odds(odds, part.log_odds(part.score(raw, matrix)))
        return sigmoid(odds)

    def _interval_by_score(
        self, raw: Floats, matrix: Floats, horizon_days: int
    ) -> tuple[Floats, Floats]:
        """Low and high of the same, 95 %."""
        shares, after = self._before.get(horizon_days, ()), self._after.get(horizon_days, ())
        if not shares and not after:
            return self.calibration.probability_interval(raw, horizon_days)
        shown = self._by_score(raw, matrix, horizon_days)
        low, high = np.empty_like(shown), np.empty_like(shown)
        for start in range(0, len(raw), BLOCK):  # memory does not grow with the accounts
            block = slice(start, start + BLOCK)
            odds = self.calibration.drawn(raw[block])
            if self.renewal_risk is not None:
                dated = self.renewal_risk.calendar.has_date(matrix[block])
                last = self.calibration.horizons[-1]
                drawn = self.renewal_risk.drawn(raw[block], matrix[block], last)
                odds = np.where(dated[:, None], log_odds(drawn), odds)
            for part in after:
                odds = combine_log_odds(odds, part.drawn(part.score(raw[block], matrix[block])))
            for share in shares:
                odds = share_log_odds(odds, share.drawn(matrix[block]))
            low[block], high[block] = sigmoid(np.percentile(odds, [2.5, 97.5], axis=1))
        return np.minimum(low, shown), np.maximum(high, shown)

    def contributions(self, rows: Rows, *, raw: Floats | None = None) -> tuple[Floats, float]:
        """Per row and feature in log-odds of f, and the base that completes each row's sum."""
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        return self._of_features(matrix, raw, None), self.form.base

    def _of_features(self, matrix: Floats, raw: Floats, within: Places | None) -> Floats:
        if within is None:
            return self.form.contributions_of_many(matrix, raw)
        return self.form.contributions_within(matrix, raw, within)

    def points(
        self,
        rows: Rows,
        horizon_days: int,
        *,
        raw: Floats | None = None,
        within: Places | None = None,
    ) -> tuple[Floats, float]:
        """The contributions in probability, and the base that completes each row's sum.

        With ``within``, the theme of each feature, they sum by theme to ``theme_points``.
        """
        explanation = self.explain(rows, horizon_days, raw=raw, within=within)
        return explanation.points, explanation.base_probability

    def theme_points(
        self, rows: Rows, horizon_days: int, themes: Places, *, raw: Floats | None = None
    ) -> tuple[Floats, float]:
        """The contributions of themes in probability: rows × themes, and the base.

        ``themes`` is the theme of each feature of the contract, from 0. The features of a theme are
        known together or not at all, so what they share is the theme's, however many they are.
        """
        explanation = self.explain(rows, horizon_days, raw=raw, themes=themes)
        return explanation.points, explanation.base_probability

    def zero_at(self, name: str) -> float | None:
        """The value of a feature at which it adds nothing; None where there is no such value."""
        if name not in self.contract.names or not isinstance(self.form, LinearForm):
            return None
        return self.form.zero_at(self.contract.names.index(name))

    @cached_property
    def usual(self) -> Mapping[str, float]:
        """The median of each feature in the training rows, where it was ever known."""
        middle = int(np.abs(self.reference.levels - 0.5).argmin())
        medians = self.reference.values[:, middle]
        return {
            name: float(median)
            for name, median in zip(self.contract.names, medians, strict=True)
            if not np.isnan(median)
        }

    def explain(
        self,
        rows: Rows,
        horizon_days: int,
        *,
        raw: Floats | None = None,
        themes: Places | None = None,
        within: Places | None = None,
    ) -> Explanation:
        """Probability, contributions and points of each row from one pass.

        With ``themes``, the theme of each feature, contributions and points are those of themes; with
        ``within`` those of features that share the value of their theme.
        """
        self._check(horizon_days)
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        base = self.form.base
        if themes is not None:
            contributions = self.form.theme_contributions(matrix, raw, themes)
        else:
            contributions = self._of_features(matrix, raw, within)
        after, shares = self._after.get(horizon_days, ()), self._before.get(horizon_days, ())
        last = self.calibration.horizons[-1] if after or shares else horizon_days
        probability = self._near(raw, matrix, last)
        points, start = self._near_points(matrix, contributions, base, probability, last, themes)
        for share in shares:
            # p·s splits exactly: each factor's change times the mean of the other's ends
            g = share.form.contributions(matrix)
            g = g if themes is None else sum_by_theme(g, themes)
            s = sigmoid(share.log_odds(matrix))
            own, s0 = _points(g, share.form.base, s, share.calibration, share.horizon)
            points = points * ((s + s0) / 2)[:, None] + own * ((probability + start) / 2)[:, None]
            probability, start = probability * s, start * s0
        for part in after:
            # p + (1 - p)·q splits exactly: each factor's change times the mean of the other's ends
            parts, begin = part.contributions(matrix, contributions, base, themes)
            q = sigmoid(part.log_odds(part.score(raw, matrix)))
            own, q0 = _points(parts, begin, q, part.calibration, part.horizon)
            points = (
                points * (1 - (q + q0) / 2)[:, None]
                + own * (1 - (probability + start) / 2)[:, None]
            )
            probability, start = probability + (1 - probability) * q, start + (1 - start) * q0
        risk = self.renewal_risk
        if after and risk is not None and risk.reaches(horizon_days):
            dated = risk.calendar.has_date(matrix)
            own = risk.probability(raw, matrix, horizon_days)
            probability = np.where(dated, own, probability)
            by_date = risk.points(matrix, contributions, base, own, start, horizon_days, themes)
            points = np.where(dated[:, None], by_date, points)
        return Explanation(
            raw=raw,
            base=base,
            contributions=contributions,
            probability=probability,
            base_probability=start,
            points=points,
        )

    def at_renewal(
        self, rows: Rows, *, raw: Floats | None = None
    ) -> tuple[Floats, Floats, Floats] | None:
        """The probability to leave when the term ends, of who is still there, and its interval.

        One of the factors of every horizon that holds the date; NaN where no date is known or it
        lies beyond what the model has learned of. None for a model that knows no dates.
        """
        if self.renewal_risk is None:
            return None
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        return self.renewal_risk.at_renewal(raw, matrix)

    def usual_at_renewal(self, rows: Rows) -> Floats | None:
        """The same of accounts with the usual score and each row's contract; None as above."""
        if self.renewal_risk is None:
            return None
        matrix = self.matrix(rows)
        return self.renewal_risk.at_renewal(np.full(len(matrix), self.form.base), matrix)[0]

    def points_at_renewal(
        self, rows: Rows, *, within: Places | None = None, raw: Floats | None = None
    ) -> tuple[Floats, Floats] | None:
        """The contributions in that probability, and where each row starts.

        With ``within``, the theme of each feature, the features of a theme share its value.

        The start is that of an account with the usual score and the row's contract. None for a
        model that knows no dates.
        """
        if self.renewal_risk is None:
            return None
        matrix = self.matrix(rows)
        raw = self.raw(matrix) if raw is None else raw
        contributions = self._of_features(matrix, raw, within)
        return self.renewal_risk.points_at_renewal(raw, matrix, contributions, self.form.base)

    def _last_odds(self, raw: Floats, matrix: Floats) -> Floats:
        """The log-odds at the last horizon of the score itself."""
        last = self.calibration.horizons[-1]
        if self.renewal_risk is not None:
            return log_odds(self._near(raw, matrix, last))
        return self.calibration.log_odds(raw, last)

    def _near(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """The probability at a horizon of the score itself, by date where there is one."""
        probability = self.calibration.probability(raw, horizon_days)
        if self.renewal_risk is None:
            return probability
        dated = self.renewal_risk.calendar.has_date(matrix)
        own = self.renewal_risk.probability(raw, matrix, horizon_days)
        return np.where(dated, own, probability)

    def _near_points(
        self,
        matrix: Floats,
        contributions: Floats,
        base: float,
        probability: Floats,
        horizon: int,
        themes: Places | None,
    ) -> tuple[Floats, float]:
        """Contributions as parts of a probability at a horizon of the score itself, and the start."""
        points, start = _points(contributions, base, probability, self.calibration, horizon)
        risk = self.renewal_risk
        if risk is None:
            return points, start
        by_date = risk.points(matrix, contributions, base, probability, start, horizon, themes)
        return np.where(risk.calendar.has_date(matrix)[:, None], by_date, points), start

    def save(self, folder: Path, *, key: SigningKey | None = None) -> None:
        """Write the bundle in one step; saving an equal one again changes nothing."""
        try:
            write_hashed_folder(folder, encode(self), kind=KIND, version=VERSION, key=key)
        except HashedFolderError as exc:
            raise BundleError(str(exc)) from exc

    @classmethod
    def load(cls, folder: Path, *, key: SigningKey | None = None) -> ModelBundle:
        """The bundle, checked by signature, hash, structure and golden rows; else BundleError."""
        try:
            files = read_hashed_folder(folder, kind=KIND, version=VERSION, key=key)
        except HashedFolderError as exc:
            raise BundleError(
                f"{exc} Train the model again, or roll back (keepwell models rollback)."
            ) from exc
        return cls.of(decode(files))

    @classmethod
    def of(cls, contents: BundleContents) -> ModelBundle:
        """The bundle of these contents, checked; else BundleError."""
        return cls(**{one.name: getattr(contents, one.name) for one in fields(contents)})

    @cached_property
    def _after(self) -> Mapping[int, tuple[LongHorizonChance, ...]]:
        """By long horizon: the chances that lead to it from the last near one."""
        return {
            part.horizon: self.long_horizons[: place + 1]
            for place, part in enumerate(self.long_horizons)
        }

    @cached_property
    def _before(self) -> Mapping[int, tuple[HorizonShare, ...]]:
        """By shorter horizon: the shares that lead to it from the last near one."""
        return {part.horizon: self.shares[: place + 1] for place, part in enumerate(self.shares)}

    def _check(self, horizon_days: int) -> None:
        if horizon_days in self.not_estimable:
            raise HorizonError(
                f"{self.label} within {horizon_days} days is not estimable: "
                f"{self.not_estimable[horizon_days]} Ask for one of "
                f"{', '.join(str(h) for h in self.horizons)} days."
            )


def log_odds(probability: Floats) -> Floats:
    """The log-odds of probabilities between 0 and 1."""
    return np.asarray(np.log(probability) - np.log1p(-probability))


def _points(
    contributions: Floats, base: float, probability: Floats, curve: Calibration, horizon: int
) -> tuple[Floats, float]:
    """Contributions in log-odds as parts of a probability, and the probability they start from."""
    start = float(curve.probability(np.array([base]), horizon)[0])
    gap = contributions.sum(axis=1)  # f - f0, as the contributions themselves add up
    near = np.abs(curve.slope * gap) < NEAR
    chord = (probability - start) / np.where(near, 1.0, gap)
    return contributions * np.where(near, curve.tangent(base, horizon), chord)[:, None], start


# Contributions of many rows have 24 bits a leaf.
MANY_TOLERANCE = 1e-6

BLOCK = 4096
