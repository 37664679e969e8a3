from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.compute.backfill import month_starts
from features.events.schema import KIND_NAMES, UTC_INSTANT, events_frame
from features.workspace import WorkspaceSettings
from training.dataset.labels import (
    LABELS,
    Label,
    LabelError,
    cohort_rows,
    contract_endings,
    label_in,
    label_named,
    label_rows,
)

CHURN, EXPANSION = label_named("churn"), label_named("expansion")
CONTRACTION = label_named("contraction")
every_label = pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)


def decide(label, events, *, at, as_of="2024-06-01", until="2025-06-01", horizon=90):
    """The label of account "a" at one cutoff: True, False, or why it is excluded."""
    rows = cohort_rows(label, events, (at(as_of),))
    if rows.is_empty():
        return "not in the cohort"
    labelled = label_rows(label, events, rows, known_until=at(until))
    value = labelled.frame[label.column(horizon)][0]
    return value if value is not None else next(iter(labelled.excluded[horizon]))


STARTED = ("a", "contract.started", "2024-01-01", 100.0)

CHURN_CASES = {
    "goes on": ([], False),
    "ends when the window opens": ([("a", "contract.cancelled", "2024-06-01")], True),
    "ends just before it closes": ([("a", "contract.cancelled", "2024-08-29T23:59:59")], True),
    "ends when it closes": ([("a", "contract.cancelled", "2024-08-30")], False),
    "ended before the cutoff": ([("a", "contract.cancelled", "2024-05-31")], "not in the cohort"),
    "silence ends nothing": ([("a", "feature.used", "2024-02-01")], False),
    "an intention ends nothing": ([("a", "cancellation.intended", "2024-06-05")], False),
    "a deleted record ends nothing": ([("a", "custom.account_deleted", "2024-06-05")], False),
    "a late renewal": (
        [("a", "contract.cancelled", "2024-06-10"), ("a", "contract.started", "2024-07-09", 100.0)],
        False,
    ),
    "a gap as long as the grace": (
        [("a", "contract.cancelled", "2024-06-10"), ("a", "contract.started", "2024-07-10", 100.0)],
        True,
    ),
    "back before the cutoff": (
        [("a", "contract.cancelled", "2024-02-10"), ("a", "contract.started", "2024-05-10", 100.0)],
        False,
    ),
    "an end and a start at one instant": (
        [("a", "contract.started", "2024-06-10", 90.0), ("a", "contract.cancelled", "2024-06-10")],
        False,
    ),
    "paused at the cutoff": ([("a", "contract.paused", "2024-05-20")], "not in the cohort"),
    "paused and resumed": (
        [("a", "contract.paused", "2024-06-10"), ("a", "contract.resumed", "2024-07-10")],
        False,
    ),
    "paused and ended": (
        [("a", "contract.paused", "2024-06-10"), ("a", "contract.cancelled", "2024-07-10")],
        True,
    ),
    "paused over ninety days in the window": ([("a", "contract.paused", "2024-06-01")], False),
    "resumed before the cutoff": (
        [("a", "contract.paused", "2024-04-20"), ("a", "contract.resumed", "2024-05-20")],
        False,
    ),
}


@pytest.mark.parametrize("case", CHURN_CASES)
def test_churn(timelines, case: str) -> None:
    rows, expected = CHURN_CASES[case]
    assert decide(CHURN, timelines(STARTED, *rows), at=timelines.at) == expected


def test_a_pause_is_churn_once_its_days_are_over(timelines) -> None:
    label = Label(name="churn", description="", rule="contract_ends", horizons=(120,))
    events = timelines(STARTED, ("a", "contract.paused", "2024-06-10"))
    for until, expected in (("2024-09-29", True), ("2025-06-01", True)):
        assert decide(label, events, at=timelines.at, until=until, horizon=120) is expected


def test_a_pause_is_undecided_until_its_days_are_over(timelines) -> None:
    events = timelines(STARTED, ("a", "contract.paused", "2024-06-10"))
    assert decide(CHURN, events, at=timelines.at, until="2024-08-30") == "paused"
    assert decide(CHURN, events, at=timelines.at, until="2024-09-08") is False


def test_what_came_before_a_pause_is_decided(timelines) -> None:
    events = timelines(
        STARTED,
        ("a", "contract.changed", "2024-06-20", 150.0),
        ("a", "contract.paused", "2024-07-10"),
    )
    assert decide(EXPANSION, events, at=timelines.at, until="2024-08-30") is True
    assert decide(CHURN, events, at=timelines.at, until="2024-08-30") == "paused"


def test_a_pause_is_an_ending_or_undecided_and_never_both(timelines) -> None:
    events = timelines(STARTED, ("a", "contract.paused", "2024-06-10"))
    for until, n_endings in (("2024-09-07", 0), ("2024-09-08", 1)):
        endings, pauses = contract_endings(CHURN, events.lazy(), timelines.at(until))
        assert endings.collect().height == n_endings
        assert pauses.collect().height == 1 - n_endings


def test_an_immature_window_is_excluded_and_counted(timelines) -> None:
    events = timelines(
        STARTED,
        ("b", "contract.started", "2024-01-01", 5.0),
        ("b", "contract.cancelled", "2024-06-05"),
    )
    rows = cohort_rows(CHURN, events, (timelines.at("2024-06-01"),))
    labelled = label_rows(CHURN, events, rows, known_until=timelines.at("2024-08-29"))
    assert labelled.excluded == {30: {}, 60: {}, 90: {"immature": 2}}
    assert labelled.frame["churn_60d"].to_list() == [False, True]
    assert labelled.mature(90).is_empty()


def test_the_lead_is_not_labelled(timelines) -> None:
    label = Label(name="churn", description="", rule="contract_ends", horizons=(90,), lead_days=14)
    for day, expected in (
        ("2024-06-14", "decided before the window"),
        ("2024-06-15", True),
        ("2024-09-12", True),
        ("2024-09-13", False),
    ):
        events = timelines(STARTED, ("a", "contract.cancelled", day))
        assert decide(label, events, at=timelines.at) == expected, day


def test_an_end_that_was_only_learned_after_the_cutoff_excludes_the_row(timelines) -> None:
    late = timelines.event("a", "contract.cancelled", "2024-05-30", recorded="2024-06-03")
    events = pl.concat([timelines(STARTED), timelines_frame(late)])
    assert decide(CHURN, events, at=timelines.at) == "decided before the window"


def timelines_frame(*events):
    from features.events.schema import events_frame

    return events_frame(list(events))


def test_nothing_recorded_after_the_end_of_the_data_is_read(timelines) -> None:
    late = timelines.event("a", "contract.cancelled", "2024-07-01", recorded="2025-01-01")
    events = pl.concat([timelines(STARTED), timelines_frame(late)])
    assert decide(CHURN, events, at=timelines.at, until="2024-12-31") is False
    assert decide(CHURN, events, at=timelines.at, until="2025-02-01") is True


def test_a_correction_counts_from_when_it_was_known(timelines) -> None:
    wrong = timelines_frame(timelines.event("a", "contract.cancelled", "2024-07-01"))
    events = pl.concat(
        [
            timelines(STARTED).with_columns(superseded_at=None),
            wrong.with_columns(superseded_at=timelines.at("2024-08-01")),
        ],
        how="vertical_relaxed",
    )
    assert decide(CHURN, events, at=timelines.at) is False
    assert decide(CHURN, events, at=timelines.at, as_of="2024-07-15") == "not in the cohort"


MRR_CASES = {
    "up by ten percent": (EXPANSION, [("a", "contract.changed", "2024-07-01", 111.0)], True),
    "up by nine percent": (EXPANSION, [("a", "contract.changed", "2024-07-01", 109.0)], False),
    "up in two steps": (
        EXPANSION,
        [
            ("a", "contract.changed", "2024-06-20", 106.0),
            ("a", "contract.changed", "2024-07-01", 112.0),
        ],
        True,
    ),
    "up before the cutoff": (EXPANSION, [("a", "contract.changed", "2024-05-01", 150.0)], False),
    "up by a renewal": (EXPANSION, [("a", "contract.renewed", "2024-07-01", 120.0)], True),
    "up, then gone": (
        EXPANSION,
        [("a", "contract.changed", "2024-06-20", 150.0), ("a", "contract.cancelled", "2024-07-20")],
        True,
    ),
    "gone, then back for more": (
        EXPANSION,
        [("a", "contract.cancelled", "2024-06-10"), ("a", "contract.started", "2024-08-10", 150.0)],
        False,
    ),
    "down by ten percent": (CONTRACTION, [("a", "contract.changed", "2024-07-01", 90.0)], True),
    "down by nine percent": (CONTRACTION, [("a", "contract.changed", "2024-07-01", 91.0)], False),
    "down, then gone": (
        CONTRACTION,
        [("a", "contract.changed", "2024-07-01", 50.0), ("a", "contract.cancelled", "2024-08-01")],
        True,
    ),
    "gone": (CONTRACTION, [("a", "contract.cancelled", "2024-08-01")], False),
}


@pytest.mark.parametrize("case", MRR_CASES)
def test_expansion_and_contraction(timelines, case: str) -> None:
    label, rows, expected = MRR_CASES[case]
    assert decide(label, timelines(STARTED, *rows), at=timelines.at) == expected


@pytest.mark.parametrize(
    ("months", "seats", "expected"),
    [(12, 5, False), (12, 4, True), (1, 5, True)],
    ids=["longer billing at equal seats", "longer billing, fewer seats", "equal billing"],
)
def test_a_discount_for_longer_billing_is_no_contraction(timelines, months, seats, expected):
    events = timelines_frame(
        timelines.event("a", "contract.started", "2024-01-01", 100.0, billing_months=1, seats=5),
        timelines.event(
            "a", "contract.renewed", "2024-07-01", 80.0, billing_months=months, seats=seats
        ),
    )
    assert decide(CONTRACTION, events, at=timelines.at) is expected


def test_the_amount_is_that_of_the_first_expansion(timelines) -> None:
    events = timelines(
        STARTED,
        ("a", "contract.changed", "2024-06-20", 150.0),
        ("a", "contract.changed", "2024-07-01", 300.0),
    )
    rows = cohort_rows(EXPANSION, events, (timelines.at("2024-06-01"),))
    labelled = label_rows(EXPANSION, events, rows, known_until=timelines.at("2025-01-01"))
    assert labelled.frame["amount_ratio"][0] == pytest.approx(0.5)


def test_without_an_mrr_nothing_can_expand(timelines) -> None:
    events = timelines(("a", "contract.started", "2024-01-01", 0.0))
    assert decide(EXPANSION, events, at=timelines.at) == "MRR not known"


SILENT = label_named("silent_churn")


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        (["2024-05-20"], True),
        (["2024-05-20", "2024-06-18", "2024-07-17", "2024-08-10"], False),
        (["2024-05-20", "2024-06-20", "2024-07-17", "2024-08-10"], True),
        (["2024-04-30"], "not in the cohort"),
    ],
    ids=["stops", "used within every thirty days", "one gap of more", "silent already"],
)
def test_silent_churn(timelines, uses, expected) -> None:
    events = timelines(*(("a", "feature.used", day) for day in uses))
    assert decide(SILENT, events, at=timelines.at) == expected


@pytest.mark.parametrize(("corrected", "accounts"), [("2024-05-25", 0), ("2024-06-02", 1)])
def test_use_that_a_correction_moved_back_is_in_the_cohort_until_it_is_known(
    timelines, corrected, accounts
) -> None:
    events = events_frame(
        [
            timelines.event("a", "feature.used", "2024-05-20"),
            timelines.event("a", "feature.used", "2024-04-01", recorded=corrected),
        ]
    ).with_columns(pl.Series("superseded_at", [timelines.at(corrected), None], dtype=UTC_INSTANT))
    assert cohort_rows(SILENT, events, (timelines.at("2024-06-01"),)).height == accounts


def corrected(frame: pl.DataFrame, kind: str, at, **changed: object) -> pl.DataFrame:
    """The events with a second version of the only one of a kind, recorded at a moment."""
    of_kind, moment = pl.col("kind") == kind, pl.lit(at, UTC_INSTANT)
    frame = frame.with_columns(event_id=pl.int_range(pl.len()).cast(pl.String))
    old = frame.with_columns(superseded_at=pl.when(of_kind).then(moment))
    new = frame.filter(of_kind).with_columns(
        recorded_at=moment,
        superseded_at=pl.lit(None, UTC_INSTANT),
        **{name: pl.lit(value) for name, value in changed.items()},
    )
    return pl.concat([old, new])


@pytest.mark.parametrize("reads", ["2024-05-15", "2024-07-15"])
def test_a_correction_of_what_decides_nothing_changes_no_label(timelines, reads) -> None:
    """The account left in February and came back in April; a note to that is mended later."""
    events = timelines(
        ("a", "contract.started", "2023-06-01", 200.0),
        ("a", "contract.cancelled", "2024-02-01"),
        ("a", "contract.renewed", "2024-04-01", 100.0),
        ("a", "contract.changed", "2024-07-20", 90.0),
    )
    gone = pl.concat([events, timelines(("a", "contract.cancelled", "2024-07-25"))])
    for kind in ("contract.started", "contract.renewed"):
        mended = corrected(gone, kind, timelines.at(reads), properties='{"note": "mended"}')
        for label in (CHURN, EXPANSION, CONTRACTION):
            assert decide(label, mended, at=timelines.at) == decide(label, gone, at=timelines.at)
    mended = corrected(events, "contract.cancelled", timelines.at(reads), properties='{"note": ""}')
    assert decide(CHURN, mended, at=timelines.at) is False


def test_a_correction_of_the_terms_after_the_cutoff_leaves_the_row_out(timelines) -> None:
    events = timelines(("a", "contract.started", "2024-02-01", 100.0))
    mended = corrected(events, "contract.started", timelines.at("2024-07-01"), quantity=150.0)
    assert decide(EXPANSION, mended, at=timelines.at) == "decided before the window"
    back = pl.concat(
        [
            mended.with_columns(
                superseded_at=pl.coalesce(
                    "superseded_at", pl.lit(timelines.at("2024-08-01"), UTC_INSTANT)
                )
            ),
            mended.filter(quantity=100.0).with_columns(
                recorded_at=pl.lit(timelines.at("2024-08-01"), UTC_INSTANT), superseded_at=None
            ),
        ]
    )
    assert decide(EXPANSION, back, at=timelines.at) is False
    wrong_then = decide(CONTRACTION, back, at=timelines.at, as_of="2024-07-15")
    assert wrong_then == "decided before the window"
    early = corrected(events, "contract.started", timelines.at("2024-05-01"), quantity=150.0)
    assert decide(EXPANSION, early, at=timelines.at) is False


def test_a_trial_converts_when_a_contract_starts(timelines) -> None:
    label = label_named("trial_conversion")
    trial = ("a", "trial.started", "2024-05-20")
    for rows, expected in (
        ([trial], False),
        ([trial, ("a", "contract.started", "2024-06-10", 50.0)], True),
        ([trial, ("a", "contract.started", "2024-05-30", 50.0)], "not in the cohort"),
    ):
        assert decide(label, timelines(*rows), at=timelines.at, horizon=30) == expected


CRM_CUTOFFS = ("2022-02-01", "2023-03-01")


@pytest.mark.parametrize(
    ("name", "rows", "positive", "accounts", "by_cutoff"),
    [
        ("churn", 5866, 458, 190, [49, 56, 44, 31, 24, 32, 35, 30, 35, 40, 41, 41]),
        ("expansion", 5866, 537, 210, [132, 97, 60, 40, 26, 25, 30, 31, 26, 26, 22, 22]),
    ],
)
def test_ninety_days_of_the_crm_sample(
    crm_contracts, timelines, name, rows, positive, accounts, by_cutoff
) -> None:
    label = label_named(name)
    cutoffs = month_starts(*map(timelines.at, CRM_CUTOFFS))
    labelled = label_rows(
        label,
        crm_contracts,
        cohort_rows(label, crm_contracts, cutoffs),
        known_until=timelines.at("2023-04-01"),
    )
    column = label.column(90)
    mature = labelled.mature(90)
    counts = mature.group_by("as_of").agg(pl.col(column).sum()).sort("as_of")
    assert mature.height == rows
    assert mature[column].sum() == positive
    assert mature.filter(column)["account_id"].n_unique() == accounts
    assert counts[column].to_list() == by_cutoff
    assert labelled.excluded[90] == {"immature": 1169}


def test_nine_rows_of_the_crm_sample_expand_and_then_leave(crm_contracts, timelines) -> None:
    cutoffs = month_starts(*map(timelines.at, CRM_CUTOFFS))
    both = [
        label_rows(
            label,
            crm_contracts,
            cohort_rows(label, crm_contracts, cutoffs),
            known_until=timelines.at("2023-04-01"),
        ).frame
        for label in (CHURN, EXPANSION)
    ]
    joined = both[0].join(both[1], on=["account_id", "as_of"])
    assert joined.filter(pl.col("churn_90d") & pl.col("expansion_90d")).height == 9


events_of_an_account = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "contract.started",
                "contract.changed",
                "contract.renewed",
                "contract.paused",
                "contract.resumed",
                "contract.cancelled",
            ]
        ),
        st.integers(0, 300),
        st.integers(0, 40),
        st.sampled_from([50.0, 100.0, 110.0, 200.0]),
    ),
    max_size=8,
)


def random_events(timelines, rows):
    start = timelines.at("2024-01-01")

    def day(n: int) -> str:
        return (start + timedelta(days=n)).date().isoformat()

    return timelines_frame(
        timelines.event(*STARTED),
        *(
            timelines.event(
                "a", kind, day(n), mrr if "cancel" not in kind else None, recorded=day(n + delay)
            )
            for kind, n, delay, mrr in rows
        ),
    )


@settings(deadline=None, max_examples=50)
@given(rows=events_of_an_account)
def test_what_churned_by_a_horizon_has_churned_by_a_longer_one(timelines, rows) -> None:
    events = random_events(timelines, rows)
    cutoffs = month_starts(timelines.at("2024-02-01"), timelines.at("2024-09-01"))
    frame = label_rows(
        CHURN, events, cohort_rows(CHURN, events, cutoffs), known_until=timelines.at("2024-12-01")
    ).frame
    for short, long in ((30, 60), (60, 90)):
        fell = pl.col(f"churn_{short}d") & ~pl.col(f"churn_{long}d")
        assert frame.filter(fell).is_empty()


@settings(deadline=None, max_examples=50)
@given(rows=events_of_an_account, seed=st.integers(0, 9))
def test_the_order_of_events_is_irrelevant(timelines, rows, seed) -> None:
    events = (
        random_events(timelines, rows)
        .with_row_index("n")
        .with_columns(event_id=pl.col("n").cast(pl.String))
        .drop("n")
    )
    cutoffs = month_starts(timelines.at("2024-02-01"), timelines.at("2024-09-01"))
    shuffled = events.sample(fraction=1, shuffle=True, seed=seed)
    for label in (CHURN, EXPANSION):
        one, two = (
            label_rows(
                label, e, cohort_rows(label, e, cutoffs), known_until=timelines.at("2024-12-01")
            ).frame
            for e in (events, shuffled)
        )
        assert_frame_equal(one, two)


@settings(deadline=None, max_examples=50)
@given(rows=events_of_an_account, later=events_of_an_account)
def test_the_cohort_sees_nothing_that_was_not_yet_recorded(timelines, rows, later) -> None:
    cutoff = timelines.at("2024-06-01")
    events = random_events(timelines, rows)
    unseen = random_events(timelines, later).filter(pl.col("recorded_at") >= cutoff)
    for label in (CHURN, EXPANSION):
        assert_frame_equal(
            cohort_rows(label, events, (cutoff,)),
            cohort_rows(label, pl.concat([events, unseen]), (cutoff,)),
        )


@every_label
def test_a_label_reads_kinds_that_exist(label) -> None:
    assert set(label.reads) <= KIND_NAMES


@every_label
def test_a_label_of_no_events_has_no_rows(label, timelines) -> None:
    events = timelines()
    rows = cohort_rows(label, events, (timelines.at("2024-06-01"),))
    labelled = label_rows(label, events, rows, known_until=timelines.at("2025-01-01"))
    assert labelled.frame.is_empty()
    assert label.column(label.horizons[-1]) in labelled.frame.columns


def test_an_unknown_label_lists_those_there_are() -> None:
    with pytest.raises(LabelError, match=r"no label 'chrun'. Choose one of: churn, expansion"):
        label_named("chrun")


def test_horizons_out_of_order_are_refused() -> None:
    with pytest.raises(LabelError, match="rising order"):
        Label(name="x", description="", rule="contract_ends", horizons=(90, 30))


@pytest.mark.parametrize(("horizons", "lead_days"), [((30,), -1), ((0, 30), 0)])
def test_a_negative_lead_and_a_horizon_of_no_days_are_refused(horizons, lead_days) -> None:
    with pytest.raises(LabelError, match="horizons are positive and the lead is not negative"):
        Label(
            name="x",
            description="",
            rule="contract_ends",
            horizons=horizons,
            lead_days=lead_days,
        )


@pytest.mark.parametrize(
    ("said", "near", "long"),
    [
        ({}, (30, 60, 90), (180, 365)),
        ({"churn": (45,)}, (45,), ()),
        ({"churn": (30, 90, 180)}, (30, 90), (180,)),
        ({"churn": (180, 365)}, (180,), (365,)),
        ({"expansion": (30,)}, (30, 60, 90), (180, 365)),
    ],
)
def test_horizons_follow_the_workspace(said, near, long) -> None:
    label = label_in(WorkspaceSettings(horizons=said), "churn")
    assert (label.horizons, label.long_horizons) == (near, long)


def test_horizons_of_an_outcome_that_there_is_not_are_refused() -> None:
    with pytest.raises(LabelError, match="There is no label 'chrun'"):
        label_in(WorkspaceSettings(horizons={"chrun": (30,)}), "churn")
