"""Alter the future of a timeline and test whether features before it change.

::

    past ─────────────────┤ cutoff ────── future: cut off               the same
    past ─────────────────┤ cutoff ────── future: other, earlier, more   values

If any value differs, the code that computes features reads data from after the cutoff. The set
itself is compared with the history in ``leakage``.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from features.events.schema import UTC_INSTANT
from features.events.visibility import newest_version, recorded_before, versions_before
from training.audit.report import AuditedSet, CheckScope, LeakFinding
from training.dataset.history import History, columns_differ, sample
from training.dataset.labels import ROW

SAMPLED_ACCOUNTS, SAMPLED_CUTOFFS = 40, 8


def check_altered_future(
    audited: AuditedSet,
    history: History,
) -> tuple[list[LeakFinding], list[CheckScope]]:
    """Features that change when what is recorded at or after the cutoff is cut off or altered."""
    accounts = sample(audited.frame["account_id"].unique(), SAMPLED_ACCOUNTS)
    picked = np.linspace(0, len(audited.moments) - 1, SAMPLED_CUTOFFS).astype(int)
    cutoffs = [audited.moments[place] for place in np.unique(picked)]
    events = history.of(accounts)
    changed: dict[str, int] = {}
    compared = 0
    for cutoff in cutoffs:
        cut = versions_before(events, cutoff)
        if cut.is_empty():
            continue
        sent = {kind: at for kind, at in history.first_recorded.items() if at < cutoff}
        newly = dict.fromkeys(history.catalogue.kinds_read - set(sent), cutoff)
        plain = history.features(cut, [cutoff], sent)
        other = history.features(with_altered_future(events, cutoff), [cutoff], {**newly, **sent})
        both = plain.select(ROW).join(other, on=ROW, how="left", maintain_order="left")
        compared += plain.height
        names = [name for name in plain.columns if name not in ROW]
        differing = columns_differ(plain, both, names, exact=True).sum()
        for name in names:
            changed[name] = changed.get(name, 0) + differing[name].item()
    findings = [
        LeakFinding(
            check="future",
            feature=name,
            rows=rows,
            evidence=f"its value changed in {rows:,} of {compared:,} trials when events recorded at or "
            f"after the cutoff were altered",
            next="Mend how it is made: read only events with recorded_at < as_of.",
        )
        for name, rows in changed.items()
        if rows
    ]
    return findings, [
        CheckScope(
            check="future",
            was_possible=compared > 0,
            at=f"{len(changed)} features of {len(accounts)} accounts at {len(cutoffs)} cutoffs made "
            f"with the future cut off and altered ({compared:,} trials)",
        )
    ]


def with_altered_future(events: pl.DataFrame, cutoff: datetime) -> pl.DataFrame:
    """The same past with another future: later events are altered, moved earlier, and added.

    Later events get other quantities, counts and people, and every second one happened before the
    cutoff. The newest known event of every account is corrected at the very cutoff.
    """
    at = pl.lit(cutoff, UTC_INSTANT)
    past = versions_before(events, cutoff)
    moved = pl.int_range(pl.len()) % 2 == 0
    later = events.filter(~recorded_before(cutoff)).with_columns(
        *_altered(),
        occurred_at=pl.when(moved)
        .then(
            pl.min_horizontal(
                "occurred_at", at - pl.duration(hours=1 + pl.int_range(pl.len()) % 300)
            )
        )
        .otherwise(pl.col("occurred_at")),
        event_id=pl.col("event_id") + "'",
    )
    newest = (
        past.filter(newest_version())
        .sort("recorded_at", "event_id")
        .unique("account_id", keep="last", maintain_order=True)
    )
    corrections = newest.with_columns(*_altered(), recorded_at=at)
    corrected = past.join(
        newest.select("event_id", "recorded_at", is_newest=True),
        on=["event_id", "recorded_at"],
        how="left",
        maintain_order="left",
    )
    past = corrected.with_columns(
        superseded_at=pl.when("is_newest").then(at).otherwise(pl.col("superseded_at")),
    ).drop("is_newest")
    return pl.concat([past, later.select(past.columns), corrections.select(past.columns)])


def _altered() -> list[pl.Expr]:
    return [
        pl.col("quantity").fill_null(0.0) * -3 + 17,
        pl.col("event_count") * 10 + 1,
        pl.col("user_count") + 50,
        pl.col("user_id").fill_null("") + "'",
    ]
