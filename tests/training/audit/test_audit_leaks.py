"""Leaks planted in the CRM sample's own training set are found and named; the sample is clean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.workspace import Workspace
from training.audit.future_perturbation import check_altered_future
from training.audit.leakage import check_against_history
from training.audit.report import CHECKS, AuditedSet
from training.audit.row_checks import check_rows
from training.audit.suspicious_features import check_features
from training.audit.workspace import audit, history_of, set_of_workspace
from training.dataset.history import History, sample, values_as_of
from training.dataset.labels import ROW, cohort_rows, label_named, label_rows

AS_OF = datetime(2023, 4, 1, tzinfo=UTC)
MONTH = timedelta(days=28)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def workspace(crm_workspace) -> Workspace:
    return crm_workspace


@pytest.fixture(scope="module")
def history(workspace) -> History:
    made = history_of(workspace, as_of=AS_OF)
    return replace(made, events=made.events.collect().lazy())


@pytest.fixture(scope="module")
def clean(workspace) -> AuditedSet:
    return set_of_workspace(workspace, "churn", as_of=AS_OF)


@pytest.fixture(scope="module")
def part(clean) -> AuditedSet:
    """The rows of 100 accounts: what the timeline says is computed on them in a second."""
    accounts = sample(clean.frame["account_id"].unique(), 100)
    return replace(clean, frame=clean.frame.filter(pl.col("account_id").is_in(accounts)))


def with_column(audited: AuditedSet, name: str, values: pl.Series) -> AuditedSet:
    return replace(audited, frame=audited.frame.with_columns(values.alias(name)))


def at_moments(audited: AuditedSet, history: History, moments: pl.Expr) -> pl.DataFrame:
    return values_as_of(audited.frame.select("account_id", as_of=moments), history)


def one_finding(findings, check: str, feature: str):
    assert [(f.check, f.feature) for f in findings] == [(check, feature)]
    (found,) = findings
    assert found.rows > 0
    assert any(letter.isdigit() for letter in found.evidence)
    assert len(found.next) > 20
    return found


def test_the_clean_sample_is_clean(clean, history) -> None:
    report = audit(clean, history, rng=rng())
    assert report.findings == ()
    assert {report.verdict(check) for check in CHECKS} == {"clean"}
    (recomputed,) = {one.at for one in report.looked if one.check == "field"}
    n = len(clean.features)
    assert recomputed == f"{n} of {n} columns recomputed on {clean.frame.height:,} rows"


@pytest.mark.parametrize("label", ["expansion", "contraction"])
def test_no_honest_feature_is_too_good_for_the_other_labels(workspace, label) -> None:
    snapshots = SnapshotStore(workspace.snapshots_dir).read_all()
    events = history_of(workspace, as_of=AS_OF).events.collect()
    moments = tuple(snapshots["as_of"].unique().sort())
    rows = cohort_rows(label_named(label), events, moments)
    decided = label_rows(label_named(label), events, rows, known_until=AS_OF).frame.select(
        *ROW, label=pl.col(f"{label}_90d").cast(pl.Float64)
    )
    audited = AuditedSet(name=label, frame=decided.join(snapshots, on=ROW, how="left"))
    findings, looked = check_features(audited, recomputed=frozenset(audited.features), rng=rng())
    assert findings == []
    assert all(one.was_possible for one in looked)


def test_a_feature_read_four_weeks_later_is_found(part, history) -> None:
    later = at_moments(part, history, pl.col("as_of") + MONTH)
    planted = with_column(part, "feature_uses_28d", later["feature_uses_28d"])
    findings, _, _ = check_against_history(planted, history)
    found = one_finding(findings, "future", "feature_uses_28d")
    assert found.rows > 0.8 * part.frame.height
    assert "are those of 28 days later" in found.evidence


def test_events_counted_before_they_were_recorded_are_found(part, history) -> None:
    late = (pl.col("kind") == "feature.used") & (pl.col("event_id").hash(3) % 4 == 0)
    delayed = replace(
        history,
        events=history.events.with_columns(
            recorded_at=pl.when(late)
            .then(pl.col("recorded_at") + timedelta(days=6))
            .otherwise(pl.col("recorded_at"))
        ),
    )
    honest = values_as_of(part.frame, delayed)
    frame = part.frame.with_columns(honest[name] for name in part.features)
    audited = replace(part, frame=frame)
    assert check_against_history(audited, delayed)[0] == []
    planted = with_column(audited, "feature_uses_28d", part.frame["feature_uses_28d"])
    findings, _, _ = check_against_history(planted, delayed)
    found = one_finding(findings, "knowledge", "feature_uses_28d")
    assert "recorded after the cutoff" in found.evidence
    assert "recorded_at" in found.next


def test_corrections_counted_before_they_were_recorded_are_found(part, history) -> None:
    """A quarter of the uses were recorded ten times as high at first, and corrected in six days."""
    wrong = (pl.col("kind") == "feature.used") & (pl.col("event_id").hash(3) % 4 == 0)
    events = history.events.collect()
    corrected_at = pl.col("recorded_at") + timedelta(days=6)
    corrected = replace(
        history,
        events=pl.concat(
            [
                events.filter(~wrong),
                events.filter(wrong).with_columns(
                    pl.col("event_count") * 10, superseded_at=corrected_at
                ),
                events.filter(wrong).with_columns(recorded_at=corrected_at),
            ]
        ).lazy(),
    )
    honest = values_as_of(part.frame, corrected)
    audited = replace(part, frame=part.frame.with_columns(honest[n] for n in part.features))
    planted = with_column(audited, "feature_uses_28d", part.frame["feature_uses_28d"])
    findings, _, _ = check_against_history(planted, corrected)
    one_finding(findings, "knowledge", "feature_uses_28d")


@pytest.mark.parametrize("name", ["seats", "price_plan", "contract_status"])
def test_a_field_as_it_stands_today_is_found(part, history, name) -> None:
    today = at_moments(part, history, pl.lit(AS_OF, pl.Datetime("us", "UTC")))
    findings, _, _ = check_against_history(with_column(part, name, today[name]), history)
    found = one_finding(findings, "field", name)
    assert "those of 2023-04-01, where the data end" in found.evidence
    assert "of them have the outcome" in found.evidence


def test_a_property_that_is_no_feature_is_held_against_its_events(part, history) -> None:
    at_cutoff = values_as_of(part.frame, history)
    assert "reason" not in at_cutoff.columns
    newest = (
        history.events.filter(pl.col("kind").str.starts_with("contract."))
        .sort("occurred_at", "event_id")
        .with_columns(reason=pl.col("properties").str.json_path_match("$.reason"))
        .filter(pl.col("reason").is_not_null())
        .group_by("account_id", maintain_order=True)
        .agg(pl.col("reason").last())
        .collect()
    )
    today = part.frame.join(newest, on="account_id", how="left", maintain_order="left")["reason"]
    findings, _, recomputed = check_against_history(with_column(part, "reason", today), history)
    assert "reason" in recomputed
    one_finding(findings, "field", "reason")


def test_a_column_filled_because_of_the_outcome_is_found(clean, history) -> None:
    recomputed = frozenset(clean.features)
    noise = rng().normal(size=clean.frame.height)
    calls = pl.Series(noise) + 2.0 * clean.frame["label"].fill_null(0.0)
    planted = with_column(clean, "exit_calls", calls)
    findings, _ = check_features(planted, recomputed=recomputed, rng=rng())
    found = one_finding(findings, "alone", "exit_calls")
    assert "AUC of 0.9" in found.evidence
    assert "the bound is 0.81; the next best, use_win_opportunity_count" in found.evidence


def test_a_survey_that_only_leavers_fill_in_is_found(clean) -> None:
    asked = pl.Series(rng().random(clean.frame.height) < 0.4) & (clean.frame["label"] == 1)
    score = pl.select(pl.when(asked).then(pl.Series(rng().normal(size=len(asked))))).to_series()
    findings, _ = check_features(
        with_column(clean, "exit_score", score), recomputed=frozenset(clean.features), rng=rng()
    )
    found = one_finding(findings, "missing", "exit_score")
    assert "where it is known, 100% of" in found.evidence
    assert "8% of all do" in found.evidence


def test_an_absence_that_follows_the_outcome_is_found(clean) -> None:
    gone = (clean.frame["label"] == 1) & pl.Series(rng().random(clean.frame.height) < 0.9)
    gone |= pl.Series(rng().random(clean.frame.height) < 0.1)
    plan = pl.select(pl.when(~gone).then(pl.lit(1.0))).to_series()
    findings, _ = check_features(
        with_column(clean, "plan_in_billing", plan), recomputed=frozenset(clean.features), rng=rng()
    )
    assert ("missing", "plan_in_billing") in {(f.check, f.feature) for f in findings}
    assert any("whether it is known predicts" in f.evidence for f in findings)


def test_a_split_without_an_embargo_is_found(clean) -> None:
    opens = clean.frame.filter(pl.col("split") == "test")["as_of"].min()
    careless = pl.select(
        pl.when(clean.frame["as_of"] < opens).then(pl.lit("train")).otherwise(pl.lit("test"))
    ).to_series()
    findings, _ = check_rows(with_column(clean, "split", careless), complete_until=AS_OF)
    found = one_finding(findings, "windows", "split")
    assert (
        found.rows
        == (
            (clean.frame["as_of"] < opens) & (clean.frame["as_of"] + timedelta(days=90) > opens)
        ).sum()
    )


def test_rows_that_stand_on_both_sides_are_found(clean) -> None:
    again = clean.frame.head(30).with_columns(
        pl.lit("test").alias("split"), pl.format(" {} ", "account_id").alias("account_id")
    )
    findings, _ = check_rows(
        replace(clean, frame=pl.concat([clean.frame, again]), reach=None), complete_until=AS_OF
    )
    found = one_finding(findings, "rows", "rows")
    assert found.rows == 60
    assert "30 stand in train and in test" in found.evidence


def test_a_label_taken_before_its_window_closed_is_found(clean) -> None:
    hasty = with_column(clean, "label", clean.frame["label"].fill_null(0.0))
    findings, _ = check_rows(hasty, complete_until=AS_OF)
    found = one_finding(findings, "windows", "label")
    assert found.rows == clean.frame["label"].null_count()


def test_a_time_of_knowledge_after_the_cutoff_is_found_and_a_renewal_date_is_not(
    part,
    history,
) -> None:
    ends = part.frame["as_of"] + timedelta(days=40)
    planted = with_column(with_column(part, "last_event_recorded_at", ends), "renewal_on", ends)
    findings, _, _ = check_against_history(
        replace(planted, frame=planted.frame.with_columns(pl.col("renewal_on").dt.date())), history
    )
    found = one_finding(
        [f for f in findings if f.feature != "renewal_on"], "knowledge", "last_event_recorded_at"
    )
    assert found.rows == part.frame.height
    assert "up to 40 days after it" in found.evidence


def test_rows_of_accounts_that_were_not_known_yet_are_found(part, history) -> None:
    frame = part.frame.with_columns(
        as_of=pl.when(pl.int_range(pl.len()) < 3)
        .then(pl.lit(datetime(2021, 6, 1, tzinfo=UTC), pl.Datetime("us", "UTC")))
        .otherwise(pl.col("as_of"))
    )
    findings, _, _ = check_against_history(replace(part, frame=frame), history)
    assert [f.rows for f in findings if (f.check, f.feature) == ("knowledge", "rows")] == [3]


def test_unknown_numbers_filled_in_with_one_number_are_no_leak(part, history) -> None:
    filled = with_column(part, "seats_change_90d", part.frame["seats_change_90d"].fill_null(-1.0))
    assert filled.frame["seats_change_90d"].null_count() == 0
    assert check_against_history(filled, history)[0] == []
    told = pl.select(
        pl.when(part.frame["label"] == 1)
        .then(part.frame["seats_change_90d"].fill_null(-1.0))
        .otherwise(part.frame["seats_change_90d"])
    ).to_series()
    findings, _, _ = check_against_history(with_column(part, "seats_change_90d", told), history)
    one_finding(findings, "future", "seats_change_90d")


def by_occurrence(events, as_ofs, first, *, catalogue) -> pl.DataFrame:
    return build_snapshots(
        events.with_columns(recorded_at=pl.col("occurred_at")),
        as_ofs,
        catalogue,
        first_recorded=first,
    )


def corrections_at_once(events, as_ofs, first, *, catalogue) -> pl.DataFrame:
    return build_snapshots(
        events.filter(pl.col("superseded_at").is_null()), as_ofs, catalogue, first_recorded=first
    )


def one_edge_off(events, as_ofs, first, *, catalogue) -> pl.DataFrame:
    frame = build_snapshots(
        events, [at + timedelta(microseconds=1) for at in as_ofs], catalogue, first_recorded=first
    )
    return frame.with_columns(pl.col("as_of") - timedelta(microseconds=1))


@pytest.mark.parametrize("way", [by_occurrence, corrections_at_once, one_edge_off])
def test_a_way_to_features_that_reads_the_future_is_found(part, history, way) -> None:
    def make(events, as_ofs, first):
        return way(events, as_ofs, first, catalogue=history.catalogue)

    findings, _ = check_altered_future(part, replace(history, make=make))
    assert "feature_uses_28d" in {f.feature for f in findings}
    assert {f.check for f in findings} == {"future"}


def test_five_leaks_at_once_are_named_and_nothing_else_is(part, history) -> None:
    later = at_moments(part, history, pl.col("as_of") + MONTH)
    today = at_moments(part, history, pl.lit(AS_OF, pl.Datetime("us", "UTC")))
    label = part.frame["label"].fill_null(0.0)
    opens = part.frame.filter(pl.col("split") == "test")["as_of"].min()
    frame = part.frame.with_columns(
        later["use_search_count_28d"],
        today["seats"],
        exit_calls=pl.Series(rng().normal(size=label.len())) + 4 * label,
        snapshot_at=pl.col("as_of") + timedelta(days=1),
        split=pl.when(pl.col("as_of") < opens).then(pl.lit("train")).otherwise(pl.lit("test")),
    )
    report = audit(replace(part, frame=frame), history, rng=rng())
    assert {(f.check, f.feature) for f in report.findings} == {
        ("future", "use_search_count_28d"),
        ("field", "seats"),
        ("alone", "exit_calls"),
        ("knowledge", "snapshot_at"),
        ("windows", "split"),
    }
    said = "\n".join(report.lines())
    for finding in report.findings:
        assert f"{finding.title}: {finding.feature}\n" in said
    assert said.endswith("5 things to mend.")
    assert set(ROW).isdisjoint(f.feature for f in report.findings)
