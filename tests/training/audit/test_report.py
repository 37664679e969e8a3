"""What an audit accepts, what it refuses with which words, and how it reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.events.visibility import versions_before
from features.lake.lake import LAKE_SCHEMA
from training.audit.leakage import check_against_history
from training.audit.report import CHECKS, AuditedSet, AuditError, CheckScope, LeakFinding, report_of
from training.audit.row_checks import check_rows
from training.audit.suspicious_features import check_features
from training.audit.workspace import audit, set_of, set_of_file
from training.dataset.history import History, columns_differ
from training.dataset.labels import ROW

END = datetime(2024, 1, 1, tzinfo=UTC)


def frame(n: int = 200, **columns: object) -> pl.DataFrame:
    generator = np.random.default_rng(2)
    months = [datetime(2023, 1 + i % 6, 1, tzinfo=UTC) for i in range(n)]
    return pl.DataFrame(
        {
            "account_id": [f"a{i // 6:03}" for i in range(n)],
            "as_of": months,
            "label": (generator.random(n) < 0.3).astype(float),
            "own": generator.normal(size=n),
        },
        schema_overrides={"as_of": pl.Datetime("us", "UTC")},
    ).with_columns(**columns)


def audited(n: int = 200, **columns: object) -> AuditedSet:
    return AuditedSet(name="The set", frame=frame(n, **columns), reach=timedelta(days=30))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: frame().drop("as_of"), "The set has no column as_of"),
        (lambda: frame().drop("own"), "there is nothing to audit"),
        (lambda: frame().head(0), "has 0 rows"),
        (lambda: frame(as_of=pl.col("as_of").dt.replace_time_zone(None)), "write it as an instant"),
        (lambda: frame(account_id=pl.lit(None, pl.String)), "rows without an account_id"),
        (lambda: frame(label=pl.lit(2.0)), r"label in The set holds \[2.0\]"),
        (lambda: frame(split=pl.lit("valid")), "split in The set holds valid"),
    ],
)
def test_a_set_that_can_not_be_audited_is_refused(made, message) -> None:
    with pytest.raises(AuditError, match=message):
        AuditedSet(name="The set", frame=made())


def test_a_file_is_read_with_days_or_instants_and_numbers_for_ids(tmp_path) -> None:
    plain = frame(account_id=pl.int_range(pl.len()), left=pl.col("label")).drop("label")
    plain.with_columns(pl.col("as_of").dt.date()).write_parquet(tmp_path / "days.parquet")
    plain.with_columns(pl.col("as_of").dt.convert_time_zone("Asia/Tokyo")).write_parquet(
        tmp_path / "tokyo.parquet"
    )
    days, tokyo = (
        set_of_file(tmp_path / f"{name}.parquet", label="left", horizon_days=30)
        for name in ("days", "tokyo")
    )
    assert days.frame.equals(tokyo.frame)
    assert days.frame["account_id"][3] == "3"
    assert days.features == ("own",)
    assert days.reach == timedelta(days=30)


def test_a_file_that_is_no_training_set_is_refused(tmp_path) -> None:
    with pytest.raises(AuditError, match="There is no file"):
        set_of_file(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("hello", encoding="utf-8")
    with pytest.raises(AuditError, match="is no Parquet file"):
        set_of_file(tmp_path / "text.parquet")
    frame().write_parquet(tmp_path / "set.parquet")
    with pytest.raises(AuditError, match="no column 'left' to take for the label"):
        set_of_file(tmp_path / "set.parquet", label="left")


def empty_history() -> History:
    return History(
        events=pl.LazyFrame(schema=LAKE_SCHEMA),
        catalogue=load_catalogue(),
        first_recorded={},
        complete_until=END,
    )


def test_the_set_of_another_workspace_is_refused() -> None:
    with pytest.raises(AuditError, match="Is it the training set of another workspace"):
        check_against_history(audited(), empty_history())


def test_a_column_of_noise_is_not_too_good_and_a_handful_of_outcomes_is_not_judged() -> None:
    rng = np.random.default_rng(1)
    assert check_features(audited(600), recomputed=frozenset(), rng=rng)[0] == []
    few = audited(label=(pl.int_range(pl.len()) < 5).cast(pl.Float64))
    findings, looked = check_features(few, recomputed=frozenset(), rng=rng)
    assert findings == []
    assert [one.was_possible for one in looked] == [False, False]
    assert "5 rows have the rarer outcome, 20 are needed" in looked[0].at


@pytest.mark.parametrize(
    "leak",
    [
        pl.col("label"),
        -pl.col("label"),
        pl.col("label").cast(pl.String),
        (pl.col("label") - 0.5).abs() * pl.col("label") + 1e-3 * pl.col("own"),
        pl.col("as_of") + pl.duration(days=5 + 200 * (1 - pl.col("label"))),
    ],
    ids=["number", "turned", "word", "with noise", "moment"],
)
def test_the_label_in_any_dress_is_too_good(leak) -> None:
    findings, _ = check_features(
        audited(600, leak=leak), recomputed=frozenset(), rng=np.random.default_rng(1)
    )
    assert ("alone", "leak") in {(f.check, f.feature) for f in findings}
    assert {f.feature for f in findings} == {"leak"}


def test_what_was_recomputed_may_stand_out_but_not_tell_all() -> None:
    middling = audited(1200, other=pl.col("own") + 2.0 * pl.col("label"))
    rng = np.random.default_rng(1)
    found = {
        known: check_features(middling, recomputed=known, rng=rng)[0]
        for known in (frozenset(), frozenset({"other"}))
    }
    assert [[f.feature for f in findings] for findings in found.values()] == [["other"], []]
    telling = audited(1200, other=pl.col("own") + 9.0 * pl.col("label"))
    findings, _ = check_features(telling, recomputed=frozenset({"other"}), rng=rng)
    assert {f.check for f in findings} == {"alone", "missing"}
    assert all("dates events back" in f.next for f in findings)


def test_windows_without_a_length_or_a_split_are_not_checked() -> None:
    _, looked = check_rows(replace(audited(), reach=None), complete_until=END)
    assert [(one.check, one.was_possible) for one in looked] == [("rows", True), ("windows", False)]
    _, looked = check_rows(audited(), complete_until=END)
    assert "there is no column split" in looked[-1].at
    report = report_of(audited(), [([], looked[:1])])
    assert report.verdict("windows") == "not checked"


def test_windows_that_only_touch_the_test_do_not_cross_it() -> None:
    one = audited(
        split=pl.when(pl.col("as_of") < datetime(2023, 3, 1, tzinfo=UTC))
        .then(pl.lit("train"))
        .when(pl.col("as_of") >= datetime(2023, 4, 1, tzinfo=UTC))
        .then(pl.lit("test"))
    )
    touching = replace(one, reach=timedelta(days=59))  # 1 February plus 59 days is 1 April
    assert check_rows(touching, complete_until=END)[0] == []
    crossing = replace(one, reach=timedelta(days=60))
    (found,) = check_rows(crossing, complete_until=END)[0]
    assert (found.check, found.feature) == ("windows", "split")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, None, None, 2.0], [1.0, None, 0.0, None], [False, False, True, True]),
        ([1e6], [1e6 + 0.1], [False]),
        ([0.0], [1e-5], [True]),
        ([True], [1.0], [False]),
        (["a", None], ["b", None], [True, False]),
        ([3], ["3"], [False]),
    ],
)
def test_unknown_differs_from_zero_and_rounding_does_not_differ(one, other, expected) -> None:
    frames = (pl.Series("x", values, strict=False).to_frame() for values in (one, other))
    assert columns_differ(*frames, ["x"])["x"].to_list() == expected


def test_what_is_recorded_at_the_cutoff_itself_is_not_known() -> None:
    events = pl.DataFrame(
        {
            "event_id": ["a", "b", "c"],
            "recorded_at": [END - timedelta(hours=1), END, END + timedelta(1)],
            "superseded_at": [END, None, None],
        },
        schema_overrides={"superseded_at": pl.Datetime("us", "UTC")},
    )
    known = versions_before(events, END)
    assert known["event_id"].to_list() == ["a"]
    assert known["superseded_at"].to_list() == [None]  # nobody knows yet that it will be corrected


def test_a_report_says_each_finding_with_its_evidence_and_a_program_can_read_it() -> None:
    findings = [
        LeakFinding(
            check="future", feature=f"f{i:02}", rows=i, evidence=f"{i} rows differ", next="Mend it."
        )
        for i in range(25)
    ]
    report = report_of(audited(), [(findings, [CheckScope(check="rows", at="200 rows")])])
    lines = report.lines()
    assert lines[0] == "A feature knows the future: f24\n   24 rows differ.\n   → Mend it.\n"
    assert "5 more" in lines[-2]
    assert lines[-1] == "The set, 200 rows and 1 features: 25 things to mend."
    plain = report.as_json()
    assert [check["verdict"] for check in plain["checks"]] == [
        "found",
        "not checked",
        "not checked",
        "not checked",
        "not checked",
        "clean",
        "not checked",
    ]
    assert len(plain["findings"]) == 25
    assert set(CHECKS) == {check["check"] for check in plain["checks"]}


def test_a_small_company_is_audited_with_its_split(small_company) -> None:
    from features.events.schema import UTC_INSTANT
    from training.dataset.labels import label_named
    from training.pipeline.prepare import prepare

    company = small_company()
    prepared = prepare(
        label_named("churn"),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )
    made = set_of(prepared, name="The company")
    counts = dict(made.frame["split"].value_counts().iter_rows())
    assert (counts["train"], counts["test"]) == (prepared.before_test.sum(), prepared.test.sum())
    assert made.frame["label"].drop_nulls().sum() == np.nansum(prepared.training.outcome)
    events = company.events.with_columns(superseded_at=pl.lit(None, UTC_INSTANT))
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    history = History(
        events=events.lazy(),
        catalogue=load_catalogue(),
        first_recorded=first,
        complete_until=company.known_until,
    )
    report = audit(made, history, rng=np.random.default_rng(1))
    invented = {f.feature for f in report.findings}
    assert invented == {"feature_uses_28d", "health_score"}  # the events hold no use at all
    assert made.frame.select(ROW).height == report.rows
