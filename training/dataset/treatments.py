"""Find treated labels: those of accounts that somebody acted on before their outcome.

::

    as_of ───────── treated ─────── outcome ──── end of the label window
            the label is that of an account that somebody acted on

A treatment is an action that was carried out, or a logged decision for an arm that receives one.
Accounts that stayed and that left are counted alike, by action. Reads the log as it was known;
estimates nothing.
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
from registry.bundle.untreated_risk import NO_LOG, TreatedShare, UntreatedRisk
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

    ``treatments``: account_id, at, action, by_chance. ``controls``: account_id, at, propensity, for
    each account that a lottery left alone. Both as known at the end.

    ``treatment_versions`` and ``choice_versions``: account_id, at, recorded_at, superseded_at. Every
    version of a treatment, and of a treatment or a decision about an arm, because a cutoff knew
    the version from before a correction.
    """

    treatments: pl.DataFrame
    controls: pl.DataFrame
    treatment_versions: pl.DataFrame
    choice_versions: pl.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class TreatedRows:
    """Per row of a training set, in days from its cutoff; ``NEVER`` where it did not come."""

    outcome_days: Vector
    treated_days: Vector
    by_chance: Bools  # whether a lottery decided on that first treatment
    action: tuple[str | None, ...]  # of that first treatment
    control_row: NDArray[
        np.int64
    ]  # row, days and chance of each draw that left an account untreated
    control_days: Vector
    control_chance: Vector  # of being treated by that draw
    days_since_treatment: Vector  # known at the cutoff, NaN: never
    days_since_choice: Vector

    def treated_within(self, days: float) -> Bools:
        """Rows treated in their first ``days``, and before their outcome."""
        return np.asarray((self.treated_days < self.outcome_days) & (self.treated_days < days))


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
    # Keepwell's own draws say only who was offered something; the treatment is what was done.
    decided = read.filter(
        (pl.col("kind") == "action.decided")
        & pl.col("arm").is_not_null()
        & pl.col("chance").is_null()
    )
    treated = ~pl.col("arm").is_in(UNTREATED_ARMS)
    by_chance = ((pl.col("propensity") > 0) & (pl.col("propensity") < 1)).fill_null(value=False)
    versions = ("account_id", "at", "recorded_at", "superseded_at")
    columns = (*versions, "action")
    treatments = pl.concat(
        [
            decided.filter(treated).select(*columns, by_chance=by_chance),
            read.filter(pl.col("kind") == "action.executed").select(
                *columns, by_chance=pl.lit(value=False)
            ),
        ]
    ).sort("at", "account_id", "by_chance", descending=(False, False, True))
    controls = decided.filter(~treated & by_chance)
    return TreatmentLog(
        treatments=visible_events(treatments, known_until).select(
            "account_id", "at", "action", "by_chance"
        ),
        controls=visible_events(controls, known_until).select("account_id", "at", "propensity"),
        treatment_versions=treatments.select(versions),
        choice_versions=pl.concat([decided.select(versions), treatments.select(versions)]),
    )


def treated_rows(training: TrainingSet, labelled: LabelledRows, log: TreatmentLog) -> TreatedRows:
    """When each row of a training set was first treated, and when its outcome came."""
    keys = pl.DataFrame(
        {
            "account_id": [training.accounts[i] for i in training.account],
            "as_of": pl.Series([training.cutoffs[i] for i in training.cutoff], dtype=UTC_INSTANT),
        }
    ).with_row_index("row")
    outcome_at = keys.join(
        labelled.frame.select(*ROW, "outcome_at"), on=ROW, how="left", maintain_order="left"
    )["outcome_at"]
    after = keys.join(log.treatments, on="account_id").filter(pl.col("at") >= pl.col("as_of"))
    first = keys.join(
        after.sort("at", maintain_order=True).group_by("row", maintain_order=True).first(),
        on="row",
        how="left",
        maintain_order="left",
    )
    controls = keys.join(log.controls, on="account_id").filter(pl.col("at") >= pl.col("as_of"))
    return TreatedRows(
        outcome_days=_days(outcome_at - keys["as_of"], NEVER),
        treated_days=_days(first["at"] - keys["as_of"], NEVER),
        by_chance=first["by_chance"].fill_null(value=False).to_numpy(),
        action=tuple(first["action"]),
        control_row=controls["row"].cast(pl.Int64).to_numpy(),
        control_days=_days(controls["at"] - controls["as_of"], NEVER),
        control_chance=controls["propensity"].to_numpy(),
        days_since_treatment=_since(keys, log.treatment_versions),
        days_since_choice=_since(keys, log.choice_versions),
    )


def treated_shares(
    training: TrainingSet, treated: TreatedRows, long_outcomes: Mapping[int, Vector]
) -> dict[int, TreatedShare]:
    """By horizon: how many decided rows were treated in their label window before the outcome."""
    outcomes = {
        **{h: training.outcomes[:, k] for k, h in enumerate(training.horizons)},
        **long_outcomes,
    }
    shares = {}
    for horizon, outcome in sorted(outcomes.items()):
        decided = ~np.isnan(outcome)
        within = decided & treated.treated_within(training.label.lead_days + horizon)
        actions = pl.Series(
            [treated.action[i] or "not named" for i in np.flatnonzero(within)], dtype=pl.String
        ).value_counts(sort=True)
        shares[horizon] = TreatedShare(
            rows=int(decided.sum()),
            treated=int(within.sum()),
            with_outcome=int((outcome == 1).sum()),
            treated_with_outcome=int((within & (outcome == 1)).sum()),
            actions=dict(sorted(actions.iter_rows(), key=lambda one: (-one[1], one[0]))),
        )
    return shares


def treated_section(risk: UntreatedRisk) -> str:
    """The section of a model card about treated labels."""
    if not any(share.treated for share in risk.shares.values()):
        return f"## Treated labels\n\n{NO_LOG}"
    lines = [
        "## Treated labels",
        "",
        "Rows whose account was acted on in the label window, before the outcome if it came:",
        "",
        "| horizon | labels | treated | with the outcome | of these treated | "
        "without | of these treated |",
        "|---|---|---|---|---|---|---|",
    ]
    for horizon, share in sorted(risk.shares.items()):
        kept, treated_without_outcome = (
            share.rows - share.with_outcome,
            (share.treated - share.treated_with_outcome),
        )
        lines.append(
            f"| {horizon} days | {share.rows:,} | {share.treated:,} ({share.share:.1%}) | "
            f"{share.with_outcome:,} | {share.treated_with_outcome:,} | {kept:,} | "
            f"{treated_without_outcome:,} |"
        )
    notes = [f"- {sentence}" for sentence in risk.sentences]
    notes += [
        f"- Risk if nobody acts within {horizon} days: not known. {why}"
        for horizon, why in risk.not_known.items()
        if risk.shift is not None
    ]
    return "\n".join([*lines, "", *notes])


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
