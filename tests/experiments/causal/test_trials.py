from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from causal_worlds import event, event_world, frame

from experiments.causal.design import Design
from experiments.causal.trials import CHURN, REVENUE, NoTrialsError, build_trials, snapshot_moments

DAY = timedelta(days=1)
MARCH = datetime(2025, 3, 1, tzinfo=UTC)
AS_OF = datetime(2025, 9, 1, tzinfo=UTC)
LOTTERY = Design(
    design_id="pilot",
    question="Does it?",
    action="success_call",
    intervention="pilot",
    mechanism="lottery",
    estimand="ITT",
)
JUDGED = Design(
    design_id="judged",
    question="Does it?",
    action="success_call",
    intervention="judged",
    mechanism="judgement",
    estimand="ATT",
    window_days=7,
    washout_days=90,
)


def contract(
    account: str, *, at: datetime = datetime(2024, 1, 1, tzinfo=UTC), mrr: float = 100.0
) -> dict[str, object]:
    return event(account, "contract.started", at, mrr)


def drawn(account: str, arm: str, at: datetime = MARCH) -> dict[str, object]:
    return event(
        account, "action.decided", at, 0.5, action="success_call", intervention="pilot", arm=arm
    )


def called(account: str, at: datetime, intervention: str = "judged") -> dict[str, object]:
    return event(account, "action.executed", at, action="success_call", intervention=intervention)


def snapshots(accounts: str, *moments: datetime, **columns: list[object]) -> pl.DataFrame:
    rows = [
        {
            "account_id": account,
            "as_of": moment,
            "segment": "small",
            "csm": f"csm-{account}",
            "mrr": float(number),
            **{name: values[number] for name, values in columns.items()},
        }
        for moment in moments
        for number, account in enumerate(accounts)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("as_of").cast(pl.Datetime("us", "UTC")))


def test_a_lottery_gives_one_trial_per_decision() -> None:
    events = frame(
        [
            contract("a"),
            contract("b"),
            drawn("a", "treated"),
            drawn("b", "control"),
            event("b", "contract.cancelled", MARCH + 30 * DAY),
        ]
    )
    trials = build_trials(events, snapshots("ab", MARCH), LOTTERY, as_of=AS_OF)
    assert trials.account_ids == ("a", "b")
    assert trials.sample.treated.tolist() == [True, False]
    assert trials.sample.propensity[:, 1].tolist() == [0.5, 0.5]
    assert trials.outcomes[CHURN].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("as_of", "usable"),
    [
        (MARCH + 90 * DAY, True),  # the follow-up [start, + 90 days) has just closed
        (MARCH + 90 * DAY - timedelta(microseconds=1), False),
    ],
)
def test_a_follow_up_that_is_not_over_is_left_out_and_counted(
    as_of: datetime, usable: bool
) -> None:
    early = MARCH - 60 * DAY
    events = frame(
        [contract(name) for name in "abcd"]
        + [
            drawn("a", "treated", early),
            drawn("b", "control", early),
            drawn("c", "treated"),
            drawn("d", "control"),
        ]
    )
    trials = build_trials(events, snapshots("abcd", early, MARCH), LOTTERY, as_of=as_of)
    assert len(trials.sample) == (4 if usable else 2)
    assert trials.excluded["immature"] == ((0, 0) if usable else (1, 1))


def test_nothing_after_the_report_date_is_seen() -> None:
    """Immature trials are left out, so later events can change nothing."""
    world = event_world(np.random.default_rng(1), accounts=150)
    as_of = datetime(2025, 9, 15, tzinfo=UTC)
    for design in world.designs:
        now = build_trials(
            world.events.filter(pl.col("recorded_at") < as_of), world.features, design, as_of=as_of
        )
        later = build_trials(world.events, world.features, design, as_of=as_of)
        assert now.account_ids == later.account_ids
        for name in now.outcomes:
            np.testing.assert_array_equal(now.outcomes[name], later.outcomes[name])


def test_covariates_are_from_before_the_start() -> None:
    after = MARCH + DAY
    features = pl.concat(
        [
            snapshots("abcd", MARCH - 5 * DAY, health_score=[1.0, 2.0, 3.0, 4.0]),
            snapshots("abcd", after, health_score=[9.0, 9.0, 9.0, 9.0]),
        ]
    )
    events = frame(
        [contract(name) for name in "abcd"]
        + [
            drawn("a", "treated"),
            drawn("b", "control"),
            drawn("c", "treated"),
            drawn("d", "control"),
        ]
    )
    trials = build_trials(events, features, LOTTERY, as_of=AS_OF)
    health = trials.sample.covariate_names.index("health_score")
    assert trials.sample.covariates[:, health].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_an_account_without_a_recent_snapshot_is_left_out_and_counted() -> None:
    events = frame(
        [contract(name) for name in "abc"]
        + [drawn("a", "treated"), drawn("b", "control"), drawn("c", "treated")]
    )
    features = pl.concat([snapshots("ab", MARCH), snapshots("c", MARCH - 36 * DAY)])
    trials = build_trials(events, features, LOTTERY, as_of=AS_OF)
    assert trials.account_ids == ("a", "b")
    assert trials.excluded["no_snapshot"] == (1, 0)


def test_who_was_no_customer_is_left_out_and_counted() -> None:
    events = frame(
        [
            contract("a"),
            contract("b"),
            drawn("a", "treated"),
            drawn("b", "control"),
            drawn("c", "control"),
        ]
    )
    trials = build_trials(events, snapshots("abc", MARCH), LOTTERY, as_of=AS_OF)
    assert trials.excluded["not_a_customer"] == (0, 1)


def test_judgement_opens_a_trial_at_every_snapshot() -> None:
    april = datetime(2025, 4, 1, tzinfo=UTC)
    events = frame(
        [contract(name) for name in "abc"]
        + [called("a", MARCH + 2 * DAY), called("b", april + 2 * DAY), called("c", april + 7 * DAY)]
    )  # the window [0, 7) is just over: untreated in both
    trials = build_trials(events, snapshots("abc", MARCH, april), JUDGED, as_of=AS_OF)
    found = {
        (account, start.month): treated
        for account, start, treated in zip(
            trials.account_ids, trials.starts, trials.sample.treated.tolist(), strict=True
        )
    }
    assert found == {
        ("a", 3): True,
        ("b", 3): False,
        ("c", 3): False,
        ("b", 4): True,
        ("c", 4): False,
    }
    assert trials.excluded["washout"] == (0, 1)  # a, in April
    assert trials.is_exposed.sum() == 3  # b and c in March, c in April: acted on later


def test_a_call_at_the_very_start_is_the_treatment_and_not_the_past() -> None:
    events = frame(
        [contract(name) for name in "abc"] + [called("a", MARCH), called("c", MARCH - 90 * DAY)]
    )  # c: the wash-out has just begun
    trials = build_trials(events, snapshots("abc", MARCH), JUDGED, as_of=AS_OF)
    assert (trials.account_ids, trials.sample.treated.tolist()) == (("a", "b"), [True, False])
    assert trials.excluded["washout"] == (0, 1)


def test_who_leaves_before_the_window_closes_is_in_neither_arm() -> None:
    events = frame(
        [contract(name) for name in "abc"]
        + [called("a", MARCH + DAY), event("c", "contract.cancelled", MARCH + 3 * DAY)]
    )
    trials = build_trials(events, snapshots("abc", MARCH), JUDGED, as_of=AS_OF)
    assert trials.account_ids == ("a", "b")
    assert trials.excluded["left_in_window"] == (0, 1)


def test_an_action_through_another_programme_is_no_comparison() -> None:
    events = frame(
        [contract(name) for name in "abc"]
        + [called("a", MARCH + DAY), called("c", MARCH + DAY, intervention="pilot")]
    )
    trials = build_trials(events, snapshots("abc", MARCH), JUDGED, as_of=AS_OF)
    assert trials.account_ids == ("a", "b")
    assert trials.excluded["elsewhere"] == (0, 1)


def test_decisions_for_and_against_are_the_trials_where_both_were_logged() -> None:
    both = replace(JUDGED, window_days=0)
    decided = [
        event(
            name,
            "action.decided",
            MARCH,
            None,
            action="success_call",
            intervention="judged",
            arm=arm,
        )
        for name, arm in (("a", "treated"), ("b", "control"))
    ]
    events = frame([contract(name) for name in "abc"] + decided)
    trials = build_trials(events, snapshots("abc", MARCH), both, as_of=AS_OF)
    assert trials.account_ids == ("a", "b")  # nobody decided about c
    assert np.isnan(trials.sample.propensity).all()


def test_comparison_stays_within_groups_that_used_the_action() -> None:
    events = frame([contract(name) for name in "abcd"] + [called("a", MARCH + DAY)])
    features = snapshots("abcd", MARCH).with_columns(pl.Series("csm", ["ann", "ann", "ben", None]))
    trials = build_trials(events, features, replace(JUDGED, compare_within="csm"), as_of=AS_OF)
    assert trials.account_ids == ("a", "b")
    assert trials.excluded["group_without_action"] == (0, 2)  # ben's account, and nobody's


@pytest.mark.parametrize("csm", [[None] * 4, ["ann", None, None, None]])
def test_accounts_of_nobody_are_a_group_of_their_own(csm: list[str | None]) -> None:
    """Where no account has a CSM, all are compared; a treated account of nobody opens that group."""
    events = frame(
        [contract(name) for name in "abcd"] + [called(name, MARCH + DAY) for name in "ab"]
    )
    features = snapshots("abcd", MARCH).with_columns(pl.Series("csm", csm, pl.String))
    trials = build_trials(events, features, replace(JUDGED, compare_within="csm"), as_of=AS_OF)
    assert trials.account_ids == ("a", "b", "c", "d")
    assert trials.excluded["group_without_action"] == (0, 0)


def test_a_company_without_the_attribute_is_compared_as_one_group() -> None:
    events = frame([contract(name) for name in "abcd"] + [called("a", MARCH + DAY)])
    features = snapshots("abcd", MARCH).drop("csm")
    trials = build_trials(events, features, replace(JUDGED, compare_within="csm"), as_of=AS_OF)
    assert trials.account_ids == ("a", "b", "c", "d")


def test_an_empty_arm_is_explained_by_what_emptied_it() -> None:
    events = frame([contract(name) for name in "abc"] + [called("a", MARCH + DAY)])
    features = snapshots("abc", MARCH).with_columns(pl.Series("csm", ["ann", "ben", None]))
    with pytest.raises(NoTrialsError) as refused:
        build_trials(events, features, replace(JUDGED, compare_within="csm"), as_of=AS_OF)
    assert "2 in a group (CSM) in which nobody received the action (0 treated, 2 untreated)" in str(
        refused.value
    )
    assert str(refused.value).endswith(
        "Wait until several groups use the action, or compare by a lottery."
    )


def test_what_is_certain_at_the_start_is_subtracted_from_money() -> None:
    events = frame(
        [
            contract("a", mrr=100.0),
            contract("b", mrr=9000.0),
            drawn("a", "treated"),
            drawn("b", "control"),
        ]
    )
    trials = build_trials(events, snapshots("ab", MARCH), LOTTERY, as_of=AS_OF)
    assert trials.outcomes[REVENUE] == pytest.approx(trials.baselines[REVENUE])
    assert trials.outcomes[REVENUE] == pytest.approx(np.array([100.0, 9000.0]) * 90 / (365.25 / 12))


def test_placebos_come_from_a_horizon_before_the_start() -> None:
    features = pl.concat(
        [
            snapshots("ab", MARCH - 92 * DAY, sessions_28d=[5.0, 6.0]),
            snapshots("ab", MARCH, sessions_28d=[7.0, 8.0]),
        ]
    )
    events = frame(
        [
            contract("a"),
            contract("b"),
            drawn("a", "treated"),
            drawn("b", "control"),
            event("b", "contract.changed", MARCH - 10 * DAY, 200.0),
        ]
    )
    trials = build_trials(events, features, LOTTERY, as_of=AS_OF)
    assert trials.placebos["sessions_28d"].tolist() == [5.0, 6.0]
    months = 365.25 / 12
    assert trials.placebos["past_revenue"] == pytest.approx(
        [0.0, (100 * 80 + 200 * 10 - 200 * 90) / months]
    )


def test_words_become_covariates_and_unknown_stays_a_word() -> None:
    names = [f"a{number:02d}" for number in range(60)]
    events = frame(
        [contract(name) for name in names]
        + [drawn(name, "treated" if number % 2 else "control") for number, name in enumerate(names)]
    )
    features = pl.DataFrame(
        {
            "account_id": names,
            "as_of": [MARCH] * 60,
            "segment": ["large"] * 25 + ["small"] * 30 + [None] * 5,
        }
    ).with_columns(pl.col("as_of").cast(pl.Datetime("us", "UTC")))
    trials = build_trials(events, features, LOTTERY, as_of=AS_OF)
    assert trials.sample.covariate_names == ("segment=small",)
    assert trials.segments.count("unknown") == 5
    assert "health_score" in trials.covariates_missing


def test_errors_can_be_clustered_by_the_csm() -> None:
    events = frame(
        [contract(name) for name in "abcd"]
        + [drawn(name, arm) for name, arm in zip("abcd", ["treated", "control"] * 2, strict=True)]
    )
    features = snapshots("abcd", MARCH).with_columns(pl.Series("csm", ["x", "x", "y", "y"]))
    trials = build_trials(events, features, replace(LOTTERY, cluster_by="csm"), as_of=AS_OF)
    assert trials.sample.cluster.tolist() == [0, 0, 1, 1]


def test_a_log_without_the_intervention_says_so() -> None:
    with pytest.raises(NoTrialsError, match="holds no trial of 'pilot'"):
        build_trials(frame([contract("a")]), snapshots("a", MARCH), LOTTERY, as_of=AS_OF)
    with pytest.raises(NoTrialsError, match="holds no trial of 'judged'"):
        build_trials(
            frame([contract("a"), called("a", MARCH)]), snapshots("a", AS_OF), JUDGED, as_of=AS_OF
        )


def test_one_usable_arm_says_what_was_left_out() -> None:
    events = frame([contract("a"), drawn("a", "treated"), drawn("b", "control")])
    with pytest.raises(NoTrialsError, match="1 no contract ran at the start"):
        build_trials(events, snapshots("ab", MARCH), LOTTERY, as_of=AS_OF)


def test_the_order_of_events_does_not_matter() -> None:
    world = event_world(np.random.default_rng(2), accounts=120)
    shuffled = world.events.sample(fraction=1.0, shuffle=True, seed=3)
    for design in world.designs:
        one = build_trials(world.events, world.features, design, as_of=world.as_of)
        other = build_trials(shuffled, world.features, design, as_of=world.as_of)
        assert one.account_ids == other.account_ids
        np.testing.assert_array_equal(one.sample.covariates, other.sample.covariates)
        np.testing.assert_allclose(one.outcomes[REVENUE], other.outcomes[REVENUE])


def test_moments_of_a_frame_are_in_order() -> None:
    later = MARCH + 31 * DAY
    assert snapshot_moments(snapshots("ab", later, MARCH)) == [MARCH, later]
