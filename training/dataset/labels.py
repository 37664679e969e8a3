"""Decide labels from events: what an account did after a cutoff.

A label's window opens ``lead_days`` after the cutoff and is half-open::

    ────────────┤ as_of ──── lead ────[──────── horizon ────────)────── known_until
    known then: recorded before       the first outcome in here         nothing later is read

A window that ends after ``known_until`` is immature: its rows are excluded and counted, never
taken for "stayed". Pure: frames of values to frames of values; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from features.events.schema import CONTRACT_TERMS, UTC_INSTANT
from features.events.visibility import is_recorded, recorded_before, visible, visible_events
from features.workspace import WorkspaceSettings
from registry.outcomes import (
    CHURN,
    OUTCOMES,
    Cohort,
    Money,
    Outcome,
    Rule,
    churn_of,
)
from training.dataset.errors import TrainingError

CONTRACT_KINDS = (*CONTRACT_TERMS, "contract.paused", "contract.resumed", "contract.cancelled")
"""The kinds that contract labels read. Nothing else ends a contract: neither silence nor a deletion."""

TRIAL_KINDS = ("trial.started", "trial.ended")
USE_KINDS = ("feature.used", "user.session")

ROW = ("account_id", "as_of")
"""The key of a labelled row."""


class LabelError(TrainingError):
    """A label cannot be computed as asked."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """An outcome worth predicting, with its cohort, its windows and the rules that decide it."""

    name: str
    description: str
    rule: Rule
    horizons: tuple[int, ...]  # days
    long_horizons: tuple[
        int, ...
    ] = ()  # longer ones, served where the data reach: `label_long_horizons`
    cohort: Cohort = "active"
    lead_days: int = 0
    grace_days: int = 30  # a new contract within fewer days of a cancellation: a late renewal
    pause_days: int = 90  # a pause that lasts this long is an ending
    silence_days: int = 30  # no use for this long is silence
    use_kinds: tuple[str, ...] = ()  # of a label of the rule no_use: what is use
    used_within_days: int = 365  # of the same: its cohort had use in so many days before
    rise: float = 1.10  # of the cutoff's MRR
    fall: float = 0.90
    money: Money | None = None  # what its probability is multiplied into
    formula_model: str | None = None  # the health formula, calibrated for this label

    def __post_init__(self) -> None:
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise LabelError(
                f"Label {self.name!r} needs horizons in rising order, each once; "
                f"it has {self.horizons}."
            )
        if list(self.long_horizons) != sorted(
            h for h in {*self.long_horizons} if h > self.horizons[-1]
        ):
            raise LabelError(
                f"Label {self.name!r} needs long horizons in rising order, each longer than "
                f"{self.horizons[-1]} days; it has {self.long_horizons}."
            )
        if self.rule == "no_use" and (len(self.horizons) > 1 or self.long_horizons):
            raise LabelError(
                f"Label {self.name!r} is about no use within a number of days, and has one horizon: "
                f"no use in 90 days is rarer than no use in 30, so that several would contradict "
                f"each other. Choose one of {(*self.horizons, *self.long_horizons)}."
            )
        if self.rule == "no_use" and not self.use_kinds:
            raise LabelError(f"Label {self.name!r} does not say which kinds of event are use.")
        if self.horizons[0] <= 0 or self.lead_days < 0:
            raise LabelError(
                f"Label {self.name!r}: horizons are positive and the lead is not negative."
            )

    def column(self, horizon: int) -> str:
        """Name of the dataset column: ``churn_90d``."""
        return f"{self.name}_{horizon}d"

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of event that decide this label."""
        if self.rule == "use_stops":
            return USE_KINDS
        if self.rule == "no_use":
            return self.use_kinds
        return (*CONTRACT_KINDS, *(TRIAL_KINDS if self.cohort == "trial" else ()))

    @property
    def next_step(self) -> str:
        """What to look at where nobody is in the cohort."""
        back = "that snapshots reach back (keepwell snapshot --from DATE --to DATE --every month)"
        if self.rule == "no_use":
            return (
                f"It asks about accounts with {' or '.join(self.use_kinds)} in the "
                f"{self.used_within_days} days before: check that such events are mapped (keepwell "
                f"ingest) and {back}."
            )
        without = (
            ' A company without contracts writes in workspace.toml: [leaving] and means = "no_use"; '
            "then an account leaves that orders nothing in 90 days."
            if self.rule == "contract_ends"
            else ""
        )
        return f"Check that contract events are mapped (keepwell ingest) and {back}.{without}"

    @property
    def policy(self) -> dict[str, str | int | float]:
        """The rules in one flat map, stored with every model that was trained on them."""
        return {
            "name": self.name,
            "rule": self.rule,
            "cohort": self.cohort,
            "horizons": ",".join(map(str, (*self.horizons, *self.long_horizons))),
            "lead_days": self.lead_days,
            "grace_days": self.grace_days,
            "pause_days": self.pause_days,
            "silence_days": self.silence_days,
            "rise": self.rise,
            "fall": self.fall,
            **(
                {
                    "use_kinds": ",".join(self.use_kinds),
                    "used_within_days": self.used_within_days,
                }
                if self.rule == "no_use"
                else {}
            ),
        }


def label_of(outcome: Outcome) -> Label:
    """The label of a declared outcome."""
    return Label(
        name=outcome.name,
        description=outcome.description,
        rule=outcome.rule,
        horizons=outcome.horizons,
        long_horizons=outcome.long_horizons,
        cohort=outcome.cohort,
        lead_days=outcome.lead_days,
        silence_days=outcome.silence_days,
        use_kinds=outcome.use_kinds,
        used_within_days=outcome.used_within_days,
        money=outcome.money,
        formula_model=outcome.formula_model,
    )


LABELS: tuple[Label, ...] = tuple(label_of(outcome) for outcome in OUTCOMES)


def label_named(name: str) -> Label:
    """The label of the declared outcome of this name.

    >>> label_named("churn").horizons
    (30, 60, 90)
    """
    for label in LABELS:
        if label.name == name:
            return label
    names = ", ".join(label.name for label in LABELS)
    raise LabelError(f"There is no label {name!r}. Choose one of: {names}.")


def label_in(settings: WorkspaceSettings, name: str) -> Label:
    """The label of this name in a workspace, whose settings say what leaving means there, and its horizons.

    Horizons beyond the label's own longest are long ones, where it has shorter ones beside them.

    Raises:
        LabelError: there is no such label, or the settings name horizons of one that there is not.
    """
    for other in settings.horizons:
        label_named(other)
    label = label_of(churn_of(settings.leaving)) if name == CHURN.name else label_named(name)
    wanted = settings.horizons.get(name)
    if wanted is None:
        return label
    near = tuple(h for h in wanted if h <= label.horizons[-1]) or wanted[:1]
    return replace(label, horizons=near, long_horizons=tuple(h for h in wanted if h not in near))


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Cohort rows with one nullable Boolean column per horizon, and why the nulls are null."""

    label: Label
    known_until: datetime
    frame: pl.DataFrame  # account_id, as_of, mrr, amount_ratio, outcome_at, one column per horizon
    excluded: Mapping[int, Mapping[str, int]]  # horizon -> reason -> rows

    def mature(self, horizon: int) -> pl.DataFrame:
        """The rows whose window of this horizon is decided."""
        return self.frame.filter(pl.col(self.label.column(horizon)).is_not_null())


def cohort_rows(label: Label, events: pl.DataFrame, as_ofs: tuple[datetime, ...]) -> pl.DataFrame:
    """The accounts a label is asked about at each cutoff, with their terms as known then.

    Active: the last contract event known before the cutoff is one of terms or a resumption.
    A contract that ends exactly at the cutoff is still active: its end is not known yet.
    """
    cutoffs = pl.LazyFrame({"as_of": list(as_ofs)}, schema={"as_of": UTC_INSTANT})
    read = events.lazy().filter(pl.col("kind").is_in(label.reads))
    if label.rule in ("use_stops", "no_use"):
        within = label.used_within_days if label.rule == "no_use" else label.silence_days
        versions = [name for name in ("recorded_at", "superseded_at") if name in events.columns]
        read = read.group_by("account_id", *versions).agg(pl.col("occurred_at").max())
        return (
            visible_events(read.join(cutoffs, how="cross"), pl.col("as_of"))
            .group_by(ROW)
            .agg(pl.col("occurred_at").max())
            .filter(pl.col("as_of") - pl.col("occurred_at") <= pl.duration(days=within))
            .select(*ROW, *_no_terms())
            .sort("as_of", "account_id")
            .collect()
        )
    ordered = _in_order(read).with_row_index("place")  # once, and not again at every cutoff
    known = visible_events(ordered.join(cutoffs, how="cross"), pl.col("as_of")).sort("place")
    has_terms = pl.col("kind").is_in((*CONTRACT_TERMS, "contract.resumed"))
    # a resumption without an MRR goes on at the MRR before it
    last = known.group_by(ROW, maintain_order=True).agg(
        status=pl.col("kind").last(),
        mrr=pl.col("quantity").filter(has_terms).drop_nulls().last(),
        seats=pl.col("seats").filter(has_terms).drop_nulls().last(),
        billing_months=pl.col("billing_months").filter(has_terms).drop_nulls().last(),
    )
    wanted = (
        ("trial.started",) if label.cohort == "trial" else (*CONTRACT_TERMS, "contract.resumed")
    )
    return (
        last.filter(pl.col("status").is_in(wanted))
        .select(*ROW, "mrr", "seats", "billing_months")
        .sort("as_of", "account_id")
        .collect()
    )


def label_rows(
    label: Label, events: pl.DataFrame, rows: pl.DataFrame, *, known_until: datetime
) -> LabelledRows:
    """Decide the label of every cohort row at every horizon from what is known by the end.

    Args:
        label: what to decide.
        events: events of ``EVENT_SCHEMA``; kinds the label does not read are ignored.
        rows: from ``cohort_rows``.
        known_until: the data are complete up to here; nothing later is read.
    """
    read = _known(events.filter(pl.col("kind").is_in(label.reads)), known_until).lazy()
    outcomes = _outcomes(label, read, rows.lazy(), known_until)
    frame = rows.lazy().join(outcomes, on=ROW, how="left").collect()
    opens = pl.col("as_of") + pl.duration(days=label.lead_days)
    columns: list[pl.Expr] = []
    excluded: dict[int, dict[str, int]] = {}
    for horizon in label.horizons:
        closes = opens + pl.duration(days=horizon)
        happened = pl.col("outcome_at").is_not_null() & (pl.col("outcome_at") < closes)
        reason = (
            pl.when(closes > pl.lit(known_until, dtype=UTC_INSTANT))
            .then(pl.lit("immature"))
            .when((pl.col("outcome_at") < opens) & pl.lit(label.rule != "no_use"))
            .then(pl.lit("decided before the window"))
            .when(
                pl.lit(label.rule in ("mrr_rises", "mrr_falls"))
                & ~(pl.col("mrr") > 0).fill_null(value=False)
            )
            .then(pl.lit("MRR not known"))
            .when(~happened & (pl.col("undecided_from") < closes))
            .then(pl.lit("paused"))
        )
        columns.append(pl.when(reason.is_null()).then(happened).alias(label.column(horizon)))
        counts = frame.select(reason=reason).drop_nulls().group_by("reason").len().sort("reason")
        excluded[horizon] = dict(counts.iter_rows())
    labelled = (
        frame.with_columns(columns)
        .select(
            *ROW,
            "mrr",
            "amount_ratio",
            "outcome_at",
            *(label.column(horizon) for horizon in label.horizons),
        )
        .sort("as_of", "account_id")
    )
    return LabelledRows(label=label, known_until=known_until, frame=labelled, excluded=excluded)


def _known(events: pl.DataFrame, known_until: datetime) -> pl.DataFrame:
    """The events as known at the end, with ``recorded_at`` when their content was first known.

    Without this, a correction that decides nothing (of a note) would hide the event from cutoffs
    that had known it.
    """
    known = visible_events(events, known_until)
    if "superseded_at" not in events.columns or events["superseded_at"].null_count() == len(events):
        return known
    says = pl.struct("account_id", "kind", "occurred_at", "quantity", *_numbers())
    return (
        events.sort("event_id", "recorded_at", maintain_order=True)
        .with_columns(is_known=visible(known_until), said=says.rle_id().over("event_id"))
        .with_columns(pl.col("recorded_at").min().over("event_id", "said"))
        .filter("is_known")
        .select(known.columns)
    )


def contract_endings(
    label: Label, events: pl.LazyFrame, known_until: datetime
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Two frames: the endings that count, and the pauses that are not decided yet.

    A cancellation stands unless a new contract follows within the grace. A pause is an ending
    once its days are over; before that, with nothing after it, it is undecided.
    """
    until = pl.lit(known_until, dtype=UTC_INSTANT)
    again = pl.col("kind").is_in((*CONTRACT_TERMS, "contract.resumed"))
    ordered = _in_order(events.filter(pl.col("kind").is_in(CONTRACT_KINDS))).with_columns(
        again_at=_next(pl.when(again).then(pl.col("occurred_at"))),
        next_at=_next(pl.when(pl.col("kind") != "contract.paused").then(pl.col("occurred_at"))),
    )
    expires = pl.col("occurred_at") + pl.duration(days=label.pause_days)
    is_pause = pl.col("kind") == "contract.paused"
    lasting = is_pause & ~(pl.col("next_at") < expires).fill_null(value=False)
    ends = ordered.filter((pl.col("kind") == "contract.cancelled") | (lasting & (expires <= until)))
    ends = ends.with_columns(
        ended_at=pl.when(is_pause).then(expires).otherwise(pl.col("occurred_at")),
        known_at=pl.when(is_pause)
        .then(pl.max_horizontal(expires, "recorded_at"))
        .otherwise(pl.col("recorded_at")),
    )
    gap = pl.col("again_at") - pl.col("ended_at")
    late_renewal = (gap < pl.duration(days=label.grace_days)) | (gap == pl.duration())
    ends = ends.filter(~late_renewal.fill_null(value=False))
    open_pauses = ordered.filter(lasting & (expires > until))
    return (
        ends.select("account_id", "ended_at", "known_at"),
        open_pauses.select("account_id", paused_at="occurred_at", known_at="recorded_at"),
    )


def silences(label: Label, events: pl.LazyFrame, known_until: datetime) -> pl.LazyFrame:
    """The moments at which an account had been without any use for the label's silence."""
    until = pl.lit(known_until, dtype=UTC_INSTANT)
    silent_at = pl.col("occurred_at") + pl.duration(days=label.silence_days)
    used = events.select("account_id", "occurred_at").unique().sort("account_id", "occurred_at")
    return (
        used.with_columns(
            next_at=pl.col("occurred_at").shift(-1).over("account_id"), ended_at=silent_at
        )
        .filter(
            (pl.col("ended_at") <= until)
            & ~(pl.col("next_at") <= pl.col("ended_at")).fill_null(value=False)
        )
        .select("account_id", "ended_at", known_at="ended_at")
    )


def _outcomes(
    label: Label, events: pl.LazyFrame, rows: pl.LazyFrame, known_until: datetime
) -> pl.LazyFrame:
    """Per row: when the outcome came, by how much, and from when the account is undecided.

    An event that happened before the cutoff and became known after it counts as an outcome before
    the window: the row is excluded, because its state was already over.
    """
    if label.rule == "no_use":
        return _unused(label, events, rows)
    if label.rule == "use_stops":
        return _first(
            rows, silences(label, events, known_until), "ended_at", "outcome_at"
        ).with_columns(*_undated())
    endings, pauses = contract_endings(label, events, known_until)
    ended = _first(rows, endings, "ended_at", "ended_at")
    paused = _first(rows, pauses, "paused_at", "undecided_from")
    if label.rule == "contract_ends":
        return ended.join(paused, on=ROW, how="full", coalesce=True).select(
            *ROW, "undecided_from", outcome_at="ended_at", amount_ratio=pl.lit(None, pl.Float64)
        )
    terms = _in_order(events.filter(pl.col("kind").is_in((*CONTRACT_TERMS, "contract.resumed"))))
    terms = terms.with_row_index("place").select(
        "account_id",
        "occurred_at",
        "recorded_at",
        "place",
        new_mrr="quantity",
        new_seats="seats",
        new_billing="billing_months",
    )
    later = rows.join(terms, on="account_id").filter(~recorded_before(pl.col("as_of")))
    moved = (
        later.filter(_moved(label))
        .group_by(ROW)
        .agg(
            outcome_at=pl.col("occurred_at").min(),
            amount_ratio=(pl.col("new_mrr") / pl.col("mrr") - 1).sort_by("place").first(),
        )
    )
    lost = (pl.col("ended_at") <= pl.col("outcome_at")).fill_null(value=False)
    merged = rows.select(ROW)
    for part in (moved, ended, paused):
        merged = merged.join(part, on=ROW, how="left")
    return merged.select(
        *ROW,
        "undecided_from",
        outcome_at=pl.when(~lost).then(pl.col("outcome_at")),
        amount_ratio=pl.when(~lost).then(pl.col("amount_ratio")),
    )


def _unused(label: Label, events: pl.LazyFrame, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Per row when the days without use were over; null where there was use in them.

    Use within ``[opens, closes)`` is enough, whenever it became known. Use before the cutoff that
    became known later does not count: it says nothing of the time after.
    """
    opens = pl.col("as_of") + pl.duration(days=label.lead_days)
    closes = opens + pl.duration(days=label.horizons[-1])
    inside = (pl.col("occurred_at") >= opens) & (pl.col("occurred_at") < closes)
    used = (
        rows.select(ROW).join(events.select("account_id", "occurred_at"), on="account_id")
    ).filter(inside)
    return (
        rows.select(ROW)
        .join(used, on=ROW, how="left")
        .group_by(ROW)
        .agg(
            outcome_at=pl.when(pl.col("occurred_at").is_null().all()).then(
                (closes - pl.duration(microseconds=1)).first()
            )
        )
        .with_columns(*_undated())
    )


def _moved(label: Label) -> pl.Expr:
    """Whether new terms are the outcome, compared with the cutoff's."""
    if label.rule == "mrr_rises":
        return pl.col("new_mrr") >= label.rise * pl.col("mrr")
    if label.rule == "mrr_falls":
        longer = (pl.col("new_billing") > pl.col("billing_months")).fill_null(value=False)
        lower = pl.col("new_mrr") <= label.fall * pl.col("mrr")
        return lower & ~(longer & pl.col("new_seats").eq_missing(pl.col("seats")))
    return pl.lit(value=True)  # conversion: any terms


def _first(rows: pl.LazyFrame, moments: pl.LazyFrame, at: str, name: str) -> pl.LazyFrame:
    """The first moment per row that was not known at its cutoff."""
    later = rows.select(ROW).join(moments, on="account_id")
    was_known = is_recorded(pl.col("known_at"), pl.col("as_of"))
    return later.filter(~was_known).group_by(ROW).agg(pl.col(at).min().alias(name))


def _in_order(events: pl.LazyFrame) -> pl.LazyFrame:
    """Each account's events in order, terms read; at one instant an ending precedes a start."""
    return events.with_columns(*_numbers(), ends=pl.col("kind") != "contract.cancelled").sort(
        "account_id", "occurred_at", "recorded_at", "ends", "event_id"
    )


def _numbers() -> list[pl.Expr]:
    """The terms of a contract that are numbers among the properties."""
    return [
        pl.col("properties")
        .str.json_path_match(f"$.{name}")
        .cast(pl.Float64, strict=False)
        .alias(name)
        for name in ("seats", "billing_months")
    ]


def _next(at: pl.Expr) -> pl.Expr:
    """The next such moment after each row of the same account."""
    return at.shift(-1).backward_fill().over("account_id")


def _no_terms() -> list[pl.Expr]:
    return [pl.lit(None, pl.Float64).alias(name) for name in ("mrr", "seats", "billing_months")]


def _undated() -> list[pl.Expr]:
    return [
        pl.lit(None, UTC_INSTANT).alias("undecided_from"),
        pl.lit(None, pl.Float64).alias("amount_ratio"),
    ]
