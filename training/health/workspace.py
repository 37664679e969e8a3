"""Propose a health formula from the churn of a workspace, judged on its later months."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.compute.snapshot_store import SnapshotStore
from features.events.visibility import recorded_before
from features.health.formula import FORMULAS, HealthFormula
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.outcomes import CHURN
from training.dataset.cutoffs import first_of_months, mature, reach_of
from training.dataset.errors import TrainingError
from training.dataset.labels import ROW, cohort_rows, label_in, label_rows
from training.dataset.splits import closed_by, newest
from training.health.proposal import ProposalError, propose, signals_of
from training.health.report import HealthBacktest, compare_formulas

HORIZON_DAYS = 90
TEST_SHARE = 1 / 3


@dataclass(frozen=True, kw_only=True)
class HealthProposal:
    """A formula fitted to all rows, and how one fitted to the earlier rows did on the later ones."""

    written: HealthFormula
    formula: HealthFormula
    backtest: HealthBacktest | None
    not_judged: str = ""  # why there is no back-test

    def lines(self) -> tuple[str, ...]:
        """The proposal in sentences."""
        parts = ", ".join(f"{part.title} {part.weight:g}" for part in self.formula.components)
        bands = ", ".join(f"{band.name} from {band.lowest:g}" for band in self.formula.bands)
        judged = [self.not_judged] if self.backtest is None else self.backtest.lines()
        return (f"Parts and weights: {parts}.", f"Bands: {bands}.", *judged)


def propose_for_workspace(
    workspace: Workspace, *, as_of: datetime, seed: int = 1
) -> HealthProposal:
    """Fit a formula to all decided rows, and judge one of the earlier rows on the later ones.

    Args:
        workspace: whose events and snapshots are read.
        as_of: nothing recorded at or after it is seen.
        seed: of the draws behind the intervals.

    Raises:
        ProposalError: the data cannot answer; the message says why and what to do.
    """
    settings = workspace.settings
    written = settings.formula
    others = [one for one in FORMULAS.values() if one.id != written.id]
    known_until = min(as_of, settings.complete_until or as_of)
    reach = reach_of(HORIZON_DAYS, lead_days=label_in(workspace.settings, CHURN.name).lead_days)
    frame, churned = rows_of(workspace, written, others, known_until=known_until)
    source = (
        f"the churn of {int(churned.sum()):,} of {len(churned):,} rows up to {known_until:%Y-%m-%d}"
    )
    formula = propose(frame, churned, written=written, others=others, source=source)
    cutoffs = tuple(frame["as_of"].unique().sort())
    later = newest(cutoffs, TEST_SHARE)
    earlier = closed_by(cutoffs, later[0], reach=reach)
    fit, test = (frame["as_of"].is_in(list(some)).to_numpy() for some in (earlier, later))
    try:
        then = propose(
            frame.filter(fit), churned[fit], written=written, others=others, source="earlier rows"
        )
        backtest = compare_formulas(
            frame.filter(test),
            churned[test],
            written=written,
            proposed=then,
            rng=np.random.default_rng(seed),
        )
    except TrainingError as error:
        why = f"It could not be judged on later rows: {error}"
        return HealthProposal(written=written, formula=formula, backtest=None, not_judged=why)
    return HealthProposal(written=written, formula=formula, backtest=backtest)


def rows_of(
    workspace: Workspace,
    written: HealthFormula,
    others: list[HealthFormula],
    *,
    known_until: datetime,
) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """The decided rows of the cohort with what the formulas read, and whether each churned.

    Raises:
        ProposalError: there is no snapshot from before which 90 days have passed.
    """
    label = replace(
        label_in(workspace.settings, CHURN.name), horizons=(HORIZON_DAYS,), long_horizons=()
    )
    reach = reach_of(HORIZON_DAYS, lead_days=label.lead_days)
    store = SnapshotStore(workspace.snapshots_dir)
    moments = mature(first_of_months(store.moments()), reach=reach, known_until=known_until)
    if not moments:
        raise ProposalError(
            f"There is no snapshot from more than {reach.days} days before {known_until:%Y-%m-%d}. "
            f"Make some: keepwell snapshot --from … --to … --every month"
        )
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    events = (
        lake.versions_before(known_until)
        .filter(recorded_before(known_until), pl.col("kind").is_in(list(label.reads)))
        .collect()
    )
    labelled = label_rows(
        label, events, cohort_rows(label, events, moments), known_until=known_until
    )
    column = label.column(HORIZON_DAYS)
    decided = labelled.mature(HORIZON_DAYS).select(*ROW, pl.col(column).cast(pl.Float64))
    inputs = {name for signal in signals_of(written, others) for name in signal.measure.inputs}
    inputs |= set(written.inputs)
    features = pl.concat(
        [
            snapshot.select(*ROW, *(name for name in sorted(inputs) if name in snapshot.columns))
            for snapshot in map(store.read, moments)
        ],
        how="diagonal",
    )
    frame = decided.join(features, on=ROW, how="inner", maintain_order="left")
    if frame.is_empty():
        raise ProposalError("No account with a contract has a snapshot that is old enough.")
    return frame.drop(column), frame[column].to_numpy().copy()
