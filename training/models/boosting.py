"""Grow trees with LightGBM; its only home beside the tuning study and the Dask cluster.

Same rows, settings and seed, same trees to the bit: one thread on small data (it is also faster
there) and LightGBM's deterministic mode.

What trees are told before they see a row is in ``GrowthRules``::

    days to the renewal     0 ─────────────── ends ────────────────►      not known
    score to start from     ── within ───────┤├──── beyond ─────────      ── unknown ──

A contract that renews after the window hardly ends in it, and within it sooner or later makes no
difference. The first tree says so. For leaving and growth the others split on every feature but the
date: grown before long contracts have come to their end, they would learn that those near the end
are safe. For leaving, features that declare a direction are split in this direction only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from features.catalogue.catalogue import load_catalogue
from features.catalogue.themes import direction_of
from registry.outcomes import Rule
from training.dataset.labels import Label
from training.models.specs import RENEWAL, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

CELLS_PER_THREAD = 20_000_000
"""With fewer cells a second thread costs more than it saves."""

STEP_SAYS_ALL: tuple[Rule, ...] = ("contract_ends", "mrr_rises")
"""Outcomes whose trees do not read the date beside their step; for the others it was not measured."""

BASE_ROWS = 10
"""Rows at the base rate that each part of the step starts from."""


@dataclass(frozen=True, kw_only=True)
class GrowthRules:
    """The rules by which trees of these columns are grown."""

    directions: tuple[int, ...]  # of each column: 1 more is likelier, -1 less likely, 0 either
    renewal: int | None = None  # the column of the days to the renewal, or None
    ends: int = 0  # days from the cutoff to the end of the label window
    splits_date: bool = True  # whether trees read the days beside their step

    @classmethod
    def of(cls, names: Sequence[str], label: Label, horizon_days: int) -> GrowthRules:
        """The rules for these features and this label, at a horizon counted from the cutoff."""
        of_leaving = label.rule == "contract_ends"
        catalogue = load_catalogue().by_name
        return cls(
            directions=tuple(direction_of(name, catalogue) if of_leaving else 0 for name in names),
            renewal=names.index(RENEWAL) if RENEWAL in names else None,
            ends=horizon_days,
            splits_date=label.rule not in STEP_SAYS_ALL,
        )

    def as_split(self, matrix: Matrix) -> Matrix:
        """The matrix that trees split, in which the date may tell nothing."""
        if self.renewal is None or self.splits_date:
            return matrix
        blank = matrix.copy()
        blank[:, self.renewal] = 0.0
        return blank

    def step(self, matrix: Matrix, outcome: Vector) -> RenewalStep | None:
        """The step that these rows show, or None where no date is among the columns."""
        if self.renewal is None:
            return None
        part = _part_of(matrix[:, self.renewal], self.ends)
        rows = np.bincount(part, minlength=3)
        happened = np.bincount(part, outcome, minlength=3)
        rate = (happened + BASE_ROWS * outcome.mean()) / (rows + BASE_ROWS)
        within, beyond, unknown = np.log(rate / (1 - rate))
        return RenewalStep(
            column=self.renewal,
            ends=self.ends,
            log_odds=(float(within), float(beyond), float(unknown)),
            rows=(int(rows[0]), int(rows[1]), int(rows[2])),
        )


@dataclass(frozen=True, kw_only=True)
class RenewalStep:
    """The log-odds that trees start from, by whether a contract renews within the window."""

    column: int
    ends: int
    log_odds: tuple[float, float, float]  # within the window, beyond it, date not known
    rows: tuple[int, int, int]  # that were fitted

    def scores(self, matrix: Matrix) -> Vector:
        """The score that each row starts from, in log-odds."""
        return np.array(self.log_odds)[_part_of(matrix[:, self.column], self.ends)]

    def added_to(self, dump: Mapping[str, Any]) -> dict[str, Any]:
        """LightGBM's dump of trees that were grown from these scores, with the step before them."""
        within, beyond, unknown = (
            {"leaf_value": value, "leaf_count": max(rows, 1)}
            for value, rows in zip(self.log_odds, self.rows, strict=True)
        )
        split = {"split_feature": self.column, "decision_type": "<=", "missing_type": "NaN"}
        known = {**split, "threshold": self._threshold, "default_left": True,
                 "left_child": within, "right_child": beyond}  # fmt: skip
        root = {**split, "threshold": _ANY_DAY, "default_left": False,
                "left_child": known, "right_child": unknown}  # fmt: skip
        return {**dump, "tree_info": [{"tree_structure": root}, *dump["tree_info"]]}

    def added_to_text(self, text: str) -> str:
        """LightGBM's text of the same trees, with the step as its first tree."""
        within, beyond, unknown = self.log_odds
        counts = [max(rows, 1) for rows in self.rows]
        known = counts[0] + counts[1]
        lines = {
            "num_leaves": 3,
            "num_cat": 0,
            "split_feature": f"{self.column} {self.column}",
            "split_gain": "0 0",
            "threshold": f"{_ANY_DAY!r} {self._threshold!r}",
            "decision_type": f"{_NAN_GOES_RIGHT} {_NAN_GOES_LEFT}",
            "left_child": "1 -1",
            "right_child": "-3 -2",
            "leaf_value": f"{within!r} {beyond!r} {unknown!r}",
            "leaf_weight": " ".join(map(str, counts)),
            "leaf_count": " ".join(map(str, counts)),
            "internal_value": "0 0",
            "internal_weight": f"{known + counts[2]} {known}",
            "internal_count": f"{known + counts[2]} {known}",
            "is_linear": 0,
            "shrinkage": 1,
        }
        first = "".join(f"{name}={value}\n" for name, value in lines.items())
        head, trees = re.split(r"(?=^Tree=0$|^end of trees$)", text, maxsplit=1, flags=re.M)
        head = re.sub(r"^tree_sizes=.*\n", "", head, flags=re.M)  # without it sizes are not checked
        later = re.sub(r"^Tree=(\d+)$", lambda m: f"Tree={int(m[1]) + 1}", trees, flags=re.M)
        return f"{head}Tree=0\n{first}\n\n{later}"

    @property
    def _threshold(self) -> float:
        return self.ends - 0.5


_ANY_DAY = 1e300
_NAN_GOES_RIGHT, _NAN_GOES_LEFT = 8, 10  # LightGBM's decision types of a numeric split


def _part_of(days: Vector, ends: int) -> NDArray[np.int64]:
    """0 within the window, 1 beyond it, 2 not known."""
    return np.where(np.isnan(days), 2, (days > ends - 0.5).astype(np.int64))


def bin_rows(matrix: Matrix, outcome: Vector, rules: GrowthRules | None = None) -> lgb.Dataset:
    """The rows in LightGBM's bins, ready for any parameters that do not alter binning.

    With rules, trees of these bins split as these say; the scores of the step are for the caller
    to set.
    """
    if rules is None:
        return lgb.Dataset(matrix, outcome, params=_fixed(matrix)).construct()
    params = _fixed(matrix)
    if any(rules.directions):
        params["monotone_constraints"] = list(rules.directions)
    return lgb.Dataset(rules.as_split(matrix), outcome, params=params).construct()


def grow_trees(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> lgb.Booster:
    """Grow the trees; the booster references the Dataset, its text does not."""
    # with this LightGBM does not write and read the model once more to free the Dataset
    return lgb.train(
        settings_of(dataset, parameters, seed=seed),
        dataset,
        num_boost_round=int(parameters["rounds"]),
        keep_training_booster=True,
    )


def staged_scores(
    dataset: lgb.Dataset,
    parameters: Parameters,
    matrix: Matrix,
    rounds: Sequence[int],
    *,
    seed: int,
    step: RenewalStep | None = None,
) -> Iterator[Vector]:
    """Raw scores of other rows after each of these numbers of trees, which rise.

    Trees are grown only when their scores are iterated, and each is scored once. ``step`` is what
    the rows of the dataset start from.
    """
    booster = lgb.Booster(settings_of(dataset, parameters, seed=seed), dataset)
    scores, ended = np.zeros(len(matrix)) if step is None else step.scores(matrix), False
    for upto in rounds:
        before = booster.num_trees()
        while not ended and booster.current_iteration() < upto:
            ended = booster.update()
        if booster.num_trees() > before:
            scores = scores + booster.predict(
                matrix,
                raw_score=True,
                num_threads=1,
                start_iteration=before,
                num_iteration=upto - before,
            )
        yield scores


def settings_of(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> dict[str, Any]:
    """LightGBM's settings for these parameters of a spec."""
    chosen: dict[str, Any] = {name: value for name, value in parameters.items() if name != "rounds"}
    for name in ("num_leaves", "min_data_in_leaf"):
        chosen[name] = int(parameters[name])
    return {**(dataset.params or {}), **chosen, "bagging_freq": 1, "seed": seed}


def raw_scores(booster: lgb.Booster, matrix: Matrix, *, rounds: int | None = None) -> Vector:
    """LightGBM's own raw scores, of the first ``rounds`` trees."""
    scores = booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1)
    return np.asarray(scores, dtype=np.float64)


def _fixed(matrix: Matrix) -> dict[str, Any]:
    threads = 1 if matrix.size < CELLS_PER_THREAD else 2  # of the data, not of the machine
    return {
        "objective": "binary",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads,
        "feature_pre_filter": False,
    }
