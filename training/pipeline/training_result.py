"""The result of a training: numbers of every contender, the decision, and what was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from registry.bundle.bundle import ModelBundle
from registry.promotion.promotion import Promotion
from training.dataset.labels import Label
from training.dataset.left_out import left_out_sentence
from training.dataset.splits import Split
from training.metrics import Interval
from training.models.specs import ModelSpec
from training.models.tuning.study import Study


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training."""

    label: Label
    not_estimable: Mapping[int, str]
    split: Split
    rows: Mapping[str, int]
    excluded: Mapping[int, Mapping[str, int]]  # horizon, reason, rows
    not_asked: Mapping[str, int]  # reason, rows of accounts outside of the cohort
    metrics: Mapping[str, Mapping[int, Mapping[str, Interval]]]  # contender, horizon, metric
    differences: Mapping[str, Interval]  # log loss of the best minus that of each other
    studies: Mapping[str, Study]
    best: ModelSpec
    long_horizon_metrics: Mapping[
        int, Mapping[str, Mapping[str, Interval]]
    ]  # longer horizon, contender, metric
    promotion: Promotion  # whether the evidence allows it
    promoted: bool
    version: int | None  # None: the run waits until the tracking store is back
    run_id: str
    formula_version: int | None
    bundle: ModelBundle
    notes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The sentences a person reads after a training."""
        if self.version is None:
            verdict = f"{self.best.title} is trained, and its run waits to be uploaded."
        elif self.promoted:
            verdict = f"{self.best.title} serves, as version {self.version}."
        elif self.promotion.approved:
            verdict = f"{self.best.title} may serve; it waits as version {self.version}."
        else:
            instead = (
                "the health formula serves"
                if self.label.formula_model is not None
                else "no probability is shown"
            )
            verdict = (
                f"no model is shown to be good enough to serve. An older champion goes on; "
                f"where there is none, {instead}. {self.best.title} came closest and is "
                f"kept as version {self.version}."
            )
        horizon = self.label.horizons[-1]
        left_out = left_out_sentence(self.excluded.get(horizon, {}), self.not_asked, horizon)
        return "\n".join(
            (
                f"{self.label.name}: {verdict}",
                f"{self.split.judged_on}: {self._judged_rows}.",
                self._order,
                *([] if left_out is None else [left_out]),
                *self.promotion.reasons,
                *self.notes,
            )
        )

    @property
    def _order(self) -> str:
        """How well the best model orders accounts, in words."""
        horizon = self.label.horizons[-1]
        found = self.metrics[self.best.name].get(horizon, {}).get("auc")
        if found is None:
            return "How well it orders accounts was not measured."
        return (
            f"Of two accounts of which one had the outcome within {horizon} days, {self.best.title} put "
            f"that one first in {found.value:.1%} of the cases ({found.low:.1%} to {found.high:.1%}; AUC; "
            f"50 % is chance)."
        )

    @property
    def _judged_rows(self) -> str:
        """How many rows fitted and how many judged, and at which cutoffs."""
        split, rows = self.split, self.rows
        if split.by_accounts:
            return (
                f"{rows['fitted']:,} rows fitted and {rows['test']:,} rows of other accounts judged, "
                f"at {_cutoffs(split.test)}"
            )
        return (
            f"{rows['fitted']:,} rows at {_cutoffs(split.before_test)} fitted and {rows['test']:,} "
            f"rows at {_cutoffs(split.test)} judged"
        )


def _cutoffs(moments: tuple[datetime, ...]) -> str:
    """The cutoffs in words.

    >>> _cutoffs((datetime(2023, 1, 1),))
    'the cutoff of 2023-01-01'
    """
    if len(moments) == 1:
        return f"the cutoff of {moments[0]:%Y-%m-%d}"
    return f"{len(moments)} cutoffs from {moments[0]:%Y-%m-%d} to {moments[-1]:%Y-%m-%d}"
