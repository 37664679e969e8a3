"""Measure the effects of a workspace and write ``effects.json`` beside its reports.

Decisions by chance are measured lottery by lottery, those of Keepwell among them; decisions by
people from weekly trials of all actions at once. For an action with both, the lottery counts. An
action is measured on its outcome in the playbook: retention or expansion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from experiments.causal.checks.protocol import standardise
from experiments.causal.contrast import Scores
from experiments.causal.estimators import Estimator, estimator_for
from experiments.causal.interventions import drawn_between_actions, propose_designs, trial_events
from experiments.causal.sample import Floats, Sample, SampleError
from experiments.causal.trials import CHURN, MRR_AFTER, NoTrialsError, Trials, build_trials
from experiments.effects.action_effect import ActionEffect, GoodOutcome
from experiments.effects.belief import (
    EFFECT_HORIZON_DAYS,
    MeasuredEffects,
    MeasuredEffectsError,
)
from experiments.effects.effects_file import EFFECTS_FILE, effects_document, read_effects
from experiments.uplift.effect_records import EffectRecords, Measurement, action_effects
from experiments.uplift.grading import Grading
from experiments.uplift.weekly_trials import (
    EXCLUSIONS,
    WeeklyTrials,
    age_days,
    build_weekly_trials,
    has_grown,
)
from features.alerts.rule_set import rules_text
from features.compute.snapshot_store import SnapshotStore
from features.events.visibility import visible_events
from features.lake.lake import Lake
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.integrity.sealed_document import seal
from registry.playbook.actions import Action, Grade
from registry.playbook.playbook import load_playbook


@dataclass(frozen=True, kw_only=True)
class EffectMeasurements:
    """All measured effects as of a moment, and the actions that could not be measured."""

    as_of: datetime
    segment_attribute: str
    effects: tuple[ActionEffect, ...]
    gradings: Mapping[str, Grading]
    unanswered: Mapping[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; the policy reads ``effects``."""
        evidence = MeasuredEffects(effects=self.effects, segment_attribute=self.segment_attribute)
        return {
            **effects_document(evidence),
            "as_of": self.as_of.isoformat(),
            "checks": {
                action: [asdict(check) for check in grading.checks]
                for action, grading in self.gradings.items()
            },
            "unanswered": dict(self.unanswered),
            "notes": list(self.notes),
        }


def measure_effects(
    events: pl.DataFrame,
    features: pl.DataFrame,
    *,
    as_of: datetime,
    rng: np.random.Generator,
    actions: Mapping[str, Action],
    segment_by: str = "segment",
    horizon_days: int = EFFECT_HORIZON_DAYS,
) -> EffectMeasurements:
    """The effects of all logged actions from what was known at ``as_of``."""
    effects: dict[str, tuple[ActionEffect, ...]] = {}
    gradings: dict[str, Grading] = {}
    unanswered: dict[str, str] = {}
    notes: list[str] = []

    def take(found: EffectRecords) -> None:
        for action, grading in found.gradings.items():
            if gradings.get(action) is None or grading.grade < gradings[action].grade:
                gradings[action] = grading
                effects[action] = tuple(
                    record for record in found.records if record.action_id == action
                )
        unanswered.update(found.unanswered)

    try:
        trials = build_weekly_trials(
            events, features, as_of=as_of, horizon_days=horizon_days, segment_by=segment_by
        )
    except NoTrialsError as error:
        notes.append(str(error))
    else:
        notes.append(_describe_exclusions(trials))
        unanswered |= {
            action: f"Only {count} usable weeks with this action."
            for action, count in trials.too_few.items()
        }
        for outcome in trials.outcomes:
            take(_effects_of_judgement(trials, outcome, actions, horizon_days, rng))
    moments = features.select("as_of").unique()["as_of"].to_list()
    for design in propose_designs(
        events, as_of=as_of, snapshots=moments, horizon_days=horizon_days
    ):
        if design.mechanism == "lottery":
            try:
                take(
                    _effects_of_lottery(
                        build_trials(events, features, design, as_of=as_of), actions, rng
                    )
                )
            except (NoTrialsError, SampleError) as error:
                unanswered.setdefault(design.action, str(error))
    between = drawn_between_actions(visible_events(events, as_of))
    if between:
        notes.append(
            f"{between:,} decisions were drawn between actions: they compare actions with "
            f"one another (keepwell evaluate-policy), not with doing nothing."
        )
    return EffectMeasurements(
        as_of=as_of,
        segment_attribute=segment_by,
        gradings=gradings,
        notes=tuple(notes),
        effects=tuple(record for action in sorted(effects) for record in effects[action]),
        unanswered={
            action: why for action, why in sorted(unanswered.items()) if action not in effects
        },
    )


def replaced_horizons(workspace: Workspace, horizon_days: int) -> tuple[int, ...]:
    """The other numbers of days of the effects that the workspace holds now; none where it has no file."""
    try:
        held = read_effects(workspace.reports_dir).effects
    except MeasuredEffectsError:
        return ()  # measuring again is what mends it
    return tuple(sorted({one.horizon_days for one in held} - {horizon_days}))


def write_effects(
    workspace: Workspace,
    *,
    as_of: datetime,
    seed: int = 1,
    segment_by: str = "segment",
    horizon_days: int = EFFECT_HORIZON_DAYS,
) -> tuple[Path, EffectMeasurements]:
    """Measure the effects of a workspace and write them beside its reports, at once or not at all.

    Args:
        workspace: whose log and snapshots are read.
        as_of: nothing at or after it is seen.
        seed: of the folds.
        segment_by: the attribute whose values are segments.
        horizon_days: for how long accounts are followed after an action.

    Raises:
        NoTrialsError: there is no snapshot from before ``as_of``.
    """
    events = trial_events(Lake(workspace.events_dir, workspace.quarantine_dir).as_of(as_of))
    snapshots = SnapshotStore(workspace.snapshots_dir)
    moments = [moment for moment in snapshots.moments() if moment <= as_of]
    if not moments:
        raise NoTrialsError(
            f"There is no snapshot from before {as_of:%Y-%m-%d}, so nothing is known of any "
            f"account. Build some (keepwell snapshot --from … --to … --every week)."
        )
    features = pl.concat([snapshots.read(moment) for moment in moments], how="diagonal")
    found = measure_effects(
        events,
        features,
        as_of=as_of,
        rng=np.random.default_rng(seed),
        actions=load_playbook(rules_text(workspace.root)).by_id,
        segment_by=segment_by,
        horizon_days=horizon_days,
    )
    path = workspace.reports_dir / EFFECTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(seal(found.to_dict()), indent=1, allow_nan=False).encode())
    return path, found


def _outcome_of(action: str, actions: Mapping[str, Action]) -> GoodOutcome:
    known = actions.get(action)
    return "expansion" if known is not None and known.prior.outcome == "expansion" else "retention"


def _prior_grades(actions: Mapping[str, Action]) -> dict[str, Grade]:
    """The grades of priors that are D; other priors have none, because their evidence is not here."""
    return {name: "D" for name, action in actions.items() if action.prior.grade == "D"}


def _effects_of_judgement(
    trials: WeeklyTrials,
    outcome: GoodOutcome,
    actions: Mapping[str, Action],
    horizon_days: int,
    rng: np.random.Generator,
) -> EffectRecords:
    sample, estimator = trials.sample, estimator_for("judgement")
    if not any(_outcome_of(action, actions) == outcome for action in sample.arms[1:]):
        return EffectRecords(records=(), gradings={}, unanswered={})
    scores = estimator.score(sample, trials.outcomes[outcome], rng=rng)
    found = action_effects(
        scores,
        trials.outcomes[outcome],
        placebos=_placebo_scores(estimator, sample, trials.placebos, rng),
        measured=Measurement(
            outcome=outcome,
            horizon_days=horizon_days,
            measured_from=trials.first_start,
            measured_to=trials.followed_to,
            source=f"weekly trials of what people chose{_followed_for(horizon_days)}",
        ),
        rng=rng,
        prior_grades=_prior_grades(actions),
        is_exposed=trials.is_exposed,
        age_days=trials.age_days,
    )
    mine = [action for action in sample.arms if _outcome_of(action, actions) == outcome]
    return EffectRecords(
        records=tuple(record for record in found.records if record.action_id in mine),
        gradings={name: grading for name, grading in found.gradings.items() if name in mine},
        unanswered={name: why for name, why in found.unanswered.items() if name in mine},
    )


def _effects_of_lottery(
    trials: Trials, actions: Mapping[str, Action], rng: np.random.Generator
) -> EffectRecords:
    """The effect of a lottery: two arms, with its own odds."""
    design, sample, estimator = trials.design, trials.sample, estimator_for("lottery")
    outcome = _outcome_of(design.action, actions)
    good = 1 - trials.outcomes[CHURN]
    if outcome == "expansion":
        good *= has_grown(trials.baselines[MRR_AFTER], trials.outcomes[MRR_AFTER])
    return action_effects(
        estimator.score(sample, good, rng=rng),
        good,
        placebos=_placebo_scores(estimator, sample, trials.placebos, rng),
        measured=Measurement(
            outcome=outcome,
            horizon_days=design.horizon_days,
            measured_from=trials.starts[0],
            measured_to=trials.starts[-1] + timedelta(days=design.horizon_days),
            source=f"the lottery {design.intervention!r}{_followed_for(design.horizon_days)}",
        ),
        rng=rng,
        prior_grades=_prior_grades(actions),
        is_exposed=trials.is_exposed,
        excluded=trials.excluded,
        age_days=age_days(pl.Series(trials.starts)),
    )


def _followed_for(days: int) -> str:
    """The days that accounts were followed, where they are not the usual ones."""
    return "" if days == EFFECT_HORIZON_DAYS else f", followed for {days} days"


def _placebo_scores(
    estimator: Estimator,
    sample: Sample,
    placebos: Mapping[str, Floats],
    rng: np.random.Generator,
) -> dict[str, Scores]:
    """Scores of values from before the start, if they are known in every arm."""
    found = {}
    for name, values in placebos.items():
        known = np.isfinite(values)
        present = np.bincount(sample.arm[known], minlength=len(sample.arms))
        if present.min() > 1 and float(np.ptp(values[known])) > 0:
            found[name] = estimator.score(
                sample.keep(known), standardise(values[known]), rng=rng, repeats=1
            )
    return found


def _describe_exclusions(trials: WeeklyTrials) -> str:
    lost = ", ".join(
        f"{count:,} {EXCLUSIONS[why]}" for why, count in trials.excluded.items() if count
    )
    share = (
        ""
        if trials.share_of_accounts == 1
        else (f" Of the accounts {trials.share_of_accounts:.0%} were taken, by hash.")
    )
    return (
        f"{len(trials.sample):,} weekly trials from {trials.first_start:%Y-%m-%d} on; left "
        f"out: {lost or 'none'}.{share}"
    )
