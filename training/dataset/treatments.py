"""Find treated labels: those of accounts that somebody acted on before their outcome.

::

    as_of ───────── touched ─────── outcome ──── end of the label window
            the label is that of an account that somebody acted on

A touch is an action that was carried out, or a logged decision for an arm that receives one. Kept
and lost accounts are counted alike, by action. Reads the log as it was known; estimates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import UNTREATED_ARMS, UTC_INSTANT
from features.events.visibility import recorded_before, visible_events, with_superseded
from registry.bundle.untreated_risk import NO_LOG, TouchedShare, Untouched
from training.dataset.labels import ROW, LabelledRows
from training.dataset.training_set import TrainingSet

Vector = NDArray[np.float64]
Bools = NDArray[np.bool_]

TREATMENT_KINDS = ("action.decided", "action.executed")
"""What the log of interventions is read from."""

NEVER = np.inf

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TreatmentLog:
    """Logged interventions: what was done, and what a lottery decided.

    ``touches``: account_id, at, action, by_chance. ``spared``: account_id, at, propensity, for
    each account that a lottery left alone. Both as known at the end.

    ``touch_versions`` and ``choice_versions``: account_id, at, recorded_at, superseded_at. Every
    version of a touch, and of a touch or a decision about an arm: what was corrected after a
    cutoff was known at it.
    """

    touches: pl.DataFrame
    spared: pl.DataFrame
    touch_versions: pl.DataFrame
    choice_versions: pl.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class TreatedRows:
    """Per row of a training set, in days from its cutoff; ``NEVER`` where it did not come."""

    outcome_days: Vector
    touch_days: Vector
    by_chance: Bools  # whether a lottery decided on that first touch
    action: tuple[str | None, ...]  # of that first touch
    spared_row: NDArray[np.int64]  # row, days and chance of each draw that spared an account
    spared_days: Vector
    spared_chance: Vector  # of being touched by that draw
    days_since_touch: Vector  # known at the cutoff, NaN: never
    days_since_choice: Vector

    def treated_within(self, days: float) -> Bools:
        """Rows touched in their first ``days``, and before their outcome."""
        return np.asarray((self.touch_days < self.outcome_days) & (self.touch_days < days))


def treatment_log(events: pl.DataFrame | None, known_until: datetime) -> TreatmentLog:
    """What the log says was done, as known at a moment; None is an empty log."""
    if events is None:
        events = pl.DataFrame(
            schema={
                "account_id": pl.String,
                "kind": pl.String,
                "occurred_at": UTC_INSTANT,
                "recorded_at": UTC_INSTANT,
                "quantity": pl.Float64,
                "properties": pl.String,
            }
        )
    read = (
        with_superseded(events.lazy())
        .filter(
            pl.col("kind").is_in(TREATMENT_KINDS),
            recorded_before(known_until),
        )
        .select(
            "account_id",
            "kind",
            "recorded_at",
            "superseded_at",
            at="occurred_at",
            propensity="quantity",
            **{
                name: pl.col("properties").str.json_path_match(f"$.{name}")
                for name in ("action", "arm", "chance")
            },
        )
        .collect()
    )
    # Keepwell's own draws say who was offered something: what was done is what touches.
    decided = read.filter(
        (pl.col("kind") == "action.decided")
        & pl.col("arm").is_not_null()
        & pl.col("chance").is_null()
    )
    treated = ~pl.col("arm").is_in(UNTREATED_ARMS)
    by_chance = ((pl.col("propensity") > 0) & (pl.col("propensity") < 1)).fill_null(value=False)
    versions = ("account_id", "at", "recorded_at", "superseded_at")
    columns = (*versions, "action")
    touches = pl.concat(
        [
            decided.filter(treated).select(*columns, by_chance=by_chance),
            read.filter(pl.col("kind") == "action.executed").select(
                *columns, by_chance=pl.lit(value=False)
            ),
        ]
    ).sort("at", "account_id", "by_chance", descending=(False, False, True))
    spared = decided.filter(~treated & by_chance)
    return TreatmentLog(
        touches=visible_events(touches, known_until).select(
            "account_id", "at", "action", "by_chance"
        ),
        spared=visible_events(spared, known_until).select("account_id", "at", "propensity"),
        touch_versions=touches.select(versions),
        choice_versions=pl.concat([decided.select(versions), touches.select(versions)]),
    )


def treated_rows(training: TrainingSet, labelled: LabelledRows, log: TreatmentLog) -> TreatedRows:
    """When each row of a training set was first touched, and when its outcome came."""
    keys = pl.DataFrame(
        {
            "account_id": [training.accounts[i] for i in training.account],
            "as_of": pl.Series([training.cutoffs[i] for i in training.cutoff], dtype=UTC_INSTANT),
        }
    ).with_row_index("row")
    outcome_at = keys.join(
        labelled.frame.select(*ROW, "outcome_at"), on=ROW, how="left", maintain_order="left"
    )["outcome_at"]
    after = keys.join(log.touches, on="account_id").filter(pl.col("at") >= pl.col("as_of"))
    first = keys.join(
        after.sort("at", maintain_order=True).group_by("row", maintain_order=True).first(),
        on="row",
        how="left",
        maintain_order="left",
    )
    spared = keys.join(log.spared, on="account_id").filter(pl.col("at") >= pl.col("as_of"))
    return TreatedRows(
        outcome_days=_days(outcome_at - keys["as_of"], NEVER),
        touch_days=_days(first["at"] - keys["as_of"], NEVER),
        by_chance=first["by_chance"].fill_null(value=False).to_numpy(),
        action=tuple(first["action"]),
        spared_row=spared["row"].cast(pl.Int64).to_numpy(),
        spared_days=_days(spared["at"] - spared["as_of"], NEVER),
        spared_chance=spared["propensity"].to_numpy(),
        days_since_touch=_since(keys, log.touch_versions),
        days_since_choice=_since(keys, log.choice_versions),
    )


def treated_shares(
    training: TrainingSet, touched: TreatedRows, later: Mapping[int, Vector]
) -> dict[int, TouchedShare]:
    """By horizon: how many decided rows were touched in their label window before the outcome."""
    outcomes = {**{h: training.outcomes[:, k] for k, h in enumerate(training.horizons)}, **later}
    shares = {}
    for horizon, outcome in sorted(outcomes.items()):
        decided = ~np.isnan(outcome)
        within = decided & touched.treated_within(training.label.lead_days + horizon)
        actions = pl.Series(
            [touched.action[i] or "not named" for i in np.flatnonzero(within)], dtype=pl.String
        ).value_counts(sort=True)
        shares[horizon] = TouchedShare(
            rows=int(decided.sum()),
            touched=int(within.sum()),
            with_outcome=int((outcome == 1).sum()),
            touched_with_outcome=int((within & (outcome == 1)).sum()),
            actions=dict(sorted(actions.iter_rows(), key=lambda one: (-one[1], one[0]))),
        )
    return shares


def treated_section(untouched: Untouched) -> str:
    """What a model card says of touched labels."""
    if not any(share.touched for share in untouched.shares.values()):
        return f"## Touched labels\n\n{NO_LOG}"
    lines = [
        "## Touched labels",
        "",
        "Rows whose account was acted on in the label window, before the outcome if it came:",
        "",
        "| horizon | labels | touched | with the outcome | of these touched | "
        "without | of these touched |",
        "|---|---|---|---|---|---|---|",
    ]
    for horizon, share in sorted(untouched.shares.items()):
        kept, kept_touched = (
            share.rows - share.with_outcome,
            (share.touched - share.touched_with_outcome),
        )
        lines.append(
            f"| {horizon} days | {share.rows:,} | {share.touched:,} ({share.share:.1%}) | "
            f"{share.with_outcome:,} | {share.touched_with_outcome:,} | {kept:,} | "
            f"{kept_touched:,} |"
        )
    told = [f"- {sentence}" for sentence in untouched.sentences]
    told += [
        f"- Risk if nobody acts within {horizon} days: not known. {why}"
        for horizon, why in untouched.not_known.items()
        if untouched.shift is not None
    ]
    return "\n".join([*lines, "", *told])


def _since(keys: pl.DataFrame, versions: pl.DataFrame) -> Vector:
    """Days since the newest such moment that was known at each row's cutoff."""
    before = visible_events(keys.join(versions, on="account_id"), pl.col("as_of")).filter(
        pl.col("at") < pl.col("as_of")
    )
    last = keys.join(
        before.group_by("row").agg(pl.col("at").max()), on="row", how="left", maintain_order="left"
    )
    return _days(keys["as_of"] - last["at"], np.nan)


def _days(spans: pl.Series, nothing: float) -> Vector:
    return (
        spans.dt.total_seconds().cast(pl.Float64).fill_null(nothing * SECONDS_PER_DAY).to_numpy()
        / SECONDS_PER_DAY
    )
