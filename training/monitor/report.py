"""Report the monitoring of a champion: in words, as a document and as figures.

The words are few: one line for each question, and a list only where something needs a person.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime

from registry.bundle.segment_gate import SegmentState
from registry.monitoring.figures import FIGURES, FORMAT, Figure
from registry.promotion.promotion import Json
from training.metrics import Interval
from training.monitor.drift import Drift
from training.monitor.estimate import ExpectedPerformance
from training.monitor.matured import MaturedOutcomes, SegmentFinding
from training.monitor.run import Monitoring

MOST_FEATURES = 5

States = Mapping[str, SegmentState]


def lines(seen: Monitoring, states: States, *, model: str) -> tuple[str, ...]:
    """The lines for people after a look.

    Args:
        seen: the result of the look.
        states: the segments of this model after the look.
        model: which one, in words.
    """
    return (
        f"{model}, trained on what was known on {seen.trained_at:%Y-%m-%d}; {seen.n_accounts:,} "
        f"accounts in the snapshot of {seen.newest:%Y-%m-%d}.",
        *_features(seen.features),
        *_scores(seen),
        *_matured(seen),
        *_estimate(seen.estimate),
        *_segments(seen, states),
        *(f"- {sentence}" for sentence in seen.unknown),
        f"Needs a person: {', '.join(seen.alarms)}." if seen.alarms else "Nothing needs a person.",
    )


def document(seen: Monitoring, states: States, *, model: str, fingerprint: str) -> dict[str, Json]:
    """The look as plain values, with the figures for programs."""
    plain = _plain(seen)
    assert isinstance(plain, dict), "a dataclass is a mapping of its fields"
    return {
        "format": FORMAT,
        "model": model,
        "fingerprint": fingerprint,
        "alarms": list(seen.alarms),
        **plain,
        "switch": {key: _plain(state) for key, state in states.items()},
        "lines": list(lines(seen, states, model=model)),
        "figures": [
            {
                "name": one.name,
                "labels": dict(one.labels),
                "value": one.value if math.isfinite(one.value) else None,
            }
            for one in figures(seen, states)
        ],
    }


def figures(seen: Monitoring, states: States) -> tuple[Figure, ...]:
    """The look as figures; an unknown value has none."""
    reliable = {"reliable": 1.0, "not reliable": 0.0, "not checked": math.nan}
    found: dict[str, float] = {
        "monitoring_as_of_seconds": seen.as_of.timestamp(),
        "monitoring_alarms": len(seen.alarms),
        "estimated_log_loss": seen.estimate.log_loss,
        "estimate_reliable": reliable[seen.estimate.trust],
        "segments_withheld": sum(state.withheld for state in states.values()),
    }
    for name, drift in (("feature", seen.features), ("score", seen.scores)):
        if drift is not None:
            found |= {f"{name}_drift": drift.distance, f"{name}_drift_limit": drift.limit}
    told = [
        Figure(name=f"keepwell_{name}", value=value, labels={"label": seen.label})
        for name, value in found.items()
    ]
    for one in seen.matured:
        labels = {"label": seen.label, "horizon_days": str(one.horizon)}
        told.append(Figure(name="keepwell_matured_outcomes", value=one.n_rows, labels=labels))
        if one.ratio is not None:
            told += [
                Figure(name=f"keepwell_observed_over_expected{end}", value=value, labels=labels)
                for end, value in (
                    ("", one.ratio.value),
                    ("_low", one.ratio.low),
                    ("_high", one.ratio.high),
                )
            ]
    assert all(one.name in FIGURES for one in told)
    return tuple(told)


def _features(drift: Drift | None) -> tuple[str, ...]:
    if drift is None:
        return ()
    verdict = "ALARM, " if drift.is_alarm else ""
    moved = [f for f in drift.features if f.share * f.distance > 0.005][:MOST_FEATURES]
    return (
        f"- Features: {verdict}drift {drift.distance:.2f} of 1, weighted by their share of the "
        f"scores; above {drift.limit:.2f} is an alarm.",
        *(
            f"    {f.name}: drift {f.distance:.2f}, {f.share:.0%} of the reasons; median "
            f"{_number(f.median_then)} then, {_number(f.median_now)} now; unknown "
            f"{f.unknown_then:.0%} then, {f.unknown_now:.0%} now"
            for f in moved
        ),
    )


def _scores(seen: Monitoring) -> tuple[str, ...]:
    if seen.scores is None or seen.mean_then is None:
        return ()
    verdict = "ALARM, " if seen.scores.is_alarm else ""
    return (
        f"- Scores: {verdict}drift {seen.scores.distance:.2f} of 1, above "
        f"{seen.scores.limit:.2f} is an alarm; mean probability within "
        f"{seen.estimate.horizon} days {seen.mean_then:.1%} then, {seen.mean_now:.1%} now.",
    )


def _matured(seen: Monitoring) -> tuple[str, ...]:
    told = [_one_matured(one) for one in seen.matured if one.ratio is not None]
    if told:
        return tuple(told)
    when = (
        "No cutoff since then has a snapshot: make one a month (keepwell snapshot)."
        if seen.next_outcomes_at is None
        else f"The next label window closes on {seen.next_outcomes_at:%Y-%m-%d}."
    )
    return (f"- Matured labels: none since it was trained. {when}",)


def _one_matured(one: MaturedOutcomes) -> str:
    assert one.ratio is not None
    verdict = "ALARM, " if one.is_off or one.says_little else ""
    slope = "" if one.slope is None else f", slope {_interval(one.slope, 2)}"
    left = ", ".join(f"{rows:,} {reason}" for reason, rows in one.left_out.items())
    return (
        f"- Within {one.horizon} days: {verdict}{one.observed:,} of {one.expected:.1f} "
        f"predicted outcomes happened, {_interval(one.ratio, 2)} times, among {one.n_rows:,} matured "
        f"rows of {one.n_accounts:,} accounts{slope}" + (f"; left out: {left}." if left else ".")
    )


def _estimate(told: ExpectedPerformance) -> tuple[str, ...]:
    ranking = "not known" if told.auc is None else f"{told.auc:.2f}"
    why = f": {'; '.join(told.doubts)}" if told.doubts else ""
    return (
        f"- Before labels mature: {told.outcomes.value:.1f} outcomes "
        f"({told.outcomes.low:.1f} to {told.outcomes.high:.1f}) are expected within "
        f"{told.horizon} days, log loss {told.log_loss:.3f}, AUC {ranking}; {told.trust}{why}. "
        f"This estimate relies on the probabilities: only labels show a change in behaviour.",
    )


def _segments(seen: Monitoring, states: States) -> tuple[str, ...]:
    found = {one.key: one for one in seen.segments}
    if not found and not states:
        return (f"- Segments: none can be judged against {seen.instead} yet.",)
    return tuple(
        _segment(key, found.get(key), states.get(key, SegmentState()))
        for key in sorted({*found, *states})
    )


def _segment(key: str, found: SegmentFinding | None, state: SegmentState) -> str:
    if state.withheld and state.since is not None:
        other = "back"
        now = f"WITHHELD since {state.since:%Y-%m-%d}"
    else:
        other, now = "withheld", "the model answers"
    steps = f" (look {state.looks} of {state.needed} towards being {other})" if state.looks else ""
    said = (
        "too few matured labels to judge now"
        if found is None
        else (f"{found.finding}: {found.because}")
    )
    return f"- {key[:1].upper()}{key[1:]}: {now}{steps}; {said}."


def _interval(told: Interval, digits: int) -> str:
    return f"{told.value:.{digits}f} ({told.low:.{digits}f} to {told.high:.{digits}f})"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"


def _plain(value: object) -> Json:
    """A value for JSON; NaN becomes null."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a document.")
