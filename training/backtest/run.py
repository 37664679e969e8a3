"""Run every contender of a training at many origins, each on what was known then.

::

    origin 1   ── fits and calibrates ──┤ embargo ├ judged ┤
    origin 2   ── fits and calibrates ──────────┤ embargo ├ judged ┤
    origin 3   ── fits and calibrates ──────────────────┤ embargo ├ judged ┤

At an origin the outcomes are those that were known then: what ended later, or was learned later,
is open, and an open row is not fitted. Every row is judged once, by the newest origin at or before
it, with its outcome as known at the end of the data. Parameters are the declared ones: no study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from training.dataset.cutoffs import mature, reach_of
from training.dataset.errors import TrainingError
from training.dataset.labels import ROW, Label, LabelledRows, cohort_rows, label_rows
from training.dataset.splits import LEAST_BEFORE_TEST, closed_by
from training.dataset.training_set import FeatureReader, TrainingSet
from training.models.fitting.taking_part import is_made_for, why_not
from training.models.model_selection import run_contender
from training.models.specs import SPECS, ModelSpec
from training.pipeline.prepare import PreparedData, can_learn, prepare
from training.progress import Progress, no_progress

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LEAST_ORIGINS = 2
"""One origin is a training; only several show how much its numbers vary."""


class BacktestError(TrainingError):
    """A back-test is not possible with these data or arguments."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A moment at which everything is fitted anew: the cutoffs it fits and those it judges."""

    moment: datetime
    fitted: tuple[datetime, ...]  # cutoffs whose label windows had closed
    judged: tuple[datetime, ...]
    known: TrainingSet  # with the outcomes as known at the moment

    @property
    def embargoed(self) -> tuple[datetime, ...]:
        """Cutoffs before the origin whose label windows were open."""
        return tuple(at for at in self.known.cutoffs if at < self.moment and at not in self.fitted)


@dataclass(frozen=True, kw_only=True)
class BacktestRows:
    """The rows of all origins together, with every contender's probabilities for them."""

    label: Label
    horizons: tuple[int, ...]
    cutoff: NDArray[np.int64]  # position in the training set's cutoffs
    origin: NDArray[np.int64]  # position in the origins
    account: NDArray[np.int64]  # from 0, among those judged
    outcomes: Matrix  # rows × horizons: 1, 0, NaN not decided
    mrr: Vector  # at the cutoff, NaN unknown
    value: Vector  # MRR that is lost or won with the outcome, NaN unknown
    traits: Mapping[str, tuple[str | float | None, ...]]  # what is known of each row's account
    probabilities: Mapping[str, Matrix]  # contender -> rows × horizons

    def decided(self, position: int) -> NDArray[np.bool_]:
        """Rows whose outcome at the horizon in this position is known."""
        return ~np.isnan(self.outcomes[:, position])


@dataclass(frozen=True, kw_only=True)
class BacktestRun:
    """A back-test that was run and is still to be judged."""

    prepared: PreparedData
    origins: tuple[Origin, ...]
    rows: BacktestRows
    notes: tuple[str, ...]


def run_backtest(
    label: Label,
    *,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
    n_origins: int,
    seed: int = 0,
    traits: FeatureReader | None = None,
    progress: Progress | None = None,
) -> BacktestRun:
    """Run every contender at every origin.

    Args:
        label: what to predict.
        events: the events of the kinds that the label reads.
        reader: features as known at each row's moment.
        digests: the features to read, each with the digest of its definition.
        cutoffs: moments that have a snapshot.
        known_until: nothing later counts.
        n_origins: the most; with fewer cutoffs that can judge, each of them is one.
        seed: of everything random.
        traits: what rows are grouped by, as known at each row's moment.
        progress: called with the step, how far it is and how far it goes.

    Raises:
        BacktestError: fewer than two origins are asked for, or possible.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    check_origins(n_origins)
    say = progress or no_progress
    say("labels and features", 0, n_origins)
    # small matrices: a second BLAS thread costs ten times what it brings
    with threadpool_limits(limits=1, user_api="blas"):
        prepared = prepare(
            label,
            events=events,
            reader=reader,
            digests=digests,
            cutoffs=cutoffs,
            known_until=known_until,
        )
        origins = find_origins(prepared, events, n_origins)
        specs, notes = _runners(origins)
        if len(origins) < n_origins:
            notes = (
                f"{len(origins)} cutoffs can be judged, so there are {len(origins)} origins "
                f"and not {n_origins}.",
                *notes,
            )
        probabilities: dict[str, list[Matrix]] = {spec.name: [] for spec in specs}
        for number, origin in enumerate(origins):
            say(f"origin {origin.moment:%Y-%m-%d}", number, len(origins))
            test = prepared.training.rows_at(origin.judged)
            for spec in specs:
                probabilities[spec.name].append(_probabilities(spec, origin, test, seed=seed))
        rows = _judged(
            prepared,
            origins,
            traits,
            {name: np.concatenate(parts) for name, parts in probabilities.items()},
        )
        notes += tuple(
            f"{horizon} days: not estimable. {reason}"
            for horizon, reason in prepared.not_estimable.items()
            if horizon not in label.long_horizons
        )  # those are asked origin by origin
    return BacktestRun(prepared=prepared, origins=origins, rows=rows, notes=notes)


def check_origins(n_origins: int) -> None:
    """Refuse a back-test at a single moment.

    Raises:
        BacktestError: fewer origins are asked for than show how much the numbers vary.
    """
    if n_origins < LEAST_ORIGINS:
        raise BacktestError(
            f"A back-test needs at least {LEAST_ORIGINS} origins; {n_origins} asked for. For one, "
            f"train (keepwell train)."
        )


def find_origins(
    prepared: PreparedData, events: pl.DataFrame, n_origins: int
) -> tuple[Origin, ...]:
    """The moments to start from: cutoffs with enough data before them, in blocks.

    Raises:
        BacktestError: fewer than two cutoffs have enough before them.
    """
    training = prepared.training
    reach = _reach(prepared)
    cutoffs = mature(training.cutoffs, reach=reach, known_until=prepared.known_until)
    rows = cohort_rows(training.label, events, training.cutoffs)
    able: list[Origin] = []
    for moment in cutoffs:
        fitted = closed_by(cutoffs, moment, reach=reach)
        if len(fitted) < LEAST_BEFORE_TEST or not training.rows_at((moment,)).any():
            continue
        known = known_at_origin(training, events, rows, moment)
        if can_learn(known, fitted):
            able.append(Origin(moment=moment, fitted=fitted, judged=(moment,), known=known))
    if len(able) < LEAST_ORIGINS:
        raise BacktestError(
            f"{len(cutoffs)} mature cutoffs of {training.label.name!r} give {len(able)} origin(s) "
            f"with enough before them to learn from label windows of {reach.days} "
            f"days; a back-test needs at least {LEAST_ORIGINS}. Build older snapshots (keepwell "
            f"snapshot --from … --to … --every month), or wait for labels to mature."
        )
    blocks = np.array_split(np.arange(len(able)), min(n_origins, len(able)))
    return tuple(
        replace(able[block[0]], judged=tuple(able[place].moment for place in block))
        for block in blocks
    )


def known_at_origin(
    training: TrainingSet, events: pl.DataFrame, rows: pl.DataFrame, moment: datetime
) -> TrainingSet:
    """The same rows with the outcomes as they were known at the moment; open ones are unknown.

    A cancellation that was recorded later, and a renewal that took one back later, are not seen.
    """
    longer = tuple(sorted(training.long_outcomes))
    label = replace(training.label, horizons=(*training.horizons, *longer), long_horizons=())
    labelled = label_rows(label, events, rows.filter(pl.col("as_of") < moment), known_until=moment)
    columns = [label.column(horizon) for horizon in label.horizons]
    found = align_columns(training, labelled, [*columns, "amount_ratio"])
    near = len(training.horizons)
    return replace(
        training,
        outcomes=np.ascontiguousarray(found[:, :near]),
        amounts=found[:, -1],
        long_outcomes=dict(zip(longer, found[:, near:-1].T, strict=True)),
    )


def align_columns(training: TrainingSet, labelled: LabelledRows, columns: list[str]) -> Matrix:
    """Columns of labelled rows in the order of the training set, NaN where there is none."""
    keys = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account),
            "as_of": pl.Series(training.cutoffs, dtype=labelled.frame.schema["as_of"]).gather(
                training.cutoff
            ),
        }
    )
    found = keys.join(labelled.frame, on=ROW, how="left", maintain_order="left", validate="1:1")
    return np.array(
        found.select(pl.col(c).cast(pl.Float64) for c in columns).to_numpy(), dtype=np.float64
    )


def _runners(origins: tuple[Origin, ...]) -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """The specs that have something to read at every origin, and a sentence for each other."""
    running, notes = [], []
    for spec in SPECS:
        if not is_made_for(spec, origins[0].known):
            continue
        reasons = [
            (origin, why_not(spec, origin.known, origin.known.rows_at(origin.fitted)))
            for origin in origins
        ]
        lacking = [(origin, reason) for origin, reason in reasons if reason is not None]
        if lacking:
            origin, reason = lacking[-1]
            notes.append(
                f"The {spec.title} takes no part: before {origin.moment:%Y-%m-%d}, {reason}"
            )
        else:
            running.append(spec)
    return tuple(running), tuple(notes)


def _probabilities(
    spec: ModelSpec, origin: Origin, test: NDArray[np.bool_], *, seed: int
) -> Matrix:
    """A contender's probabilities at an origin: rows × horizons."""
    known = origin.known
    together = np.ones((1, len(known.accounts)))  # judged later, with those of the other origins
    contender = run_contender(
        spec,
        known,
        known.rows_at(origin.fitted),
        test,
        spec.parameters,
        together,
        at=origin.moment,
        seed=seed,
    )
    return np.column_stack([contender.probabilities[h] for h in known.horizons])


def _judged(
    prepared: PreparedData,
    origins: tuple[Origin, ...],
    traits: FeatureReader | None,
    probabilities: Mapping[str, Matrix],
) -> BacktestRows:
    training = prepared.training
    masks = [training.rows_at(origin.judged) for origin in origins]
    place = np.concatenate([np.flatnonzero(mask) for mask in masks])
    mrr = align_columns(training, prepared.labelled, ["mrr"])[place, 0]
    amount = training.amounts[place]
    keys = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account[place]),
            "as_of": pl.Series(
                training.cutoffs, dtype=prepared.labelled.frame.schema["as_of"]
            ).gather(training.cutoff[place]),
        }
    )
    known = (
        keys
        if traits is None
        else keys.join(traits(keys), on=ROW, how="left", maintain_order="left", validate="1:1")
    )
    return BacktestRows(
        label=training.label,
        horizons=training.horizons,
        cutoff=training.cutoff[place],
        origin=np.repeat(np.arange(len(origins)), [int(mask.sum()) for mask in masks]),
        account=np.unique(training.account[place], return_inverse=True)[1],
        outcomes=training.outcomes[place],
        mrr=mrr,
        value=np.where(np.isnan(amount), mrr, mrr * np.abs(amount)),
        traits={name: tuple(known[name]) for name in known.columns if name not in ROW},
        probabilities=probabilities,
    )


def _reach(prepared: PreparedData) -> timedelta:
    training = prepared.training
    return reach_of(training.horizons[-1], lead_days=training.label.lead_days)
