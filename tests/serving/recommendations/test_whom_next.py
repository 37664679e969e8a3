"""Whom to act on next: by what is expected, with what could be wrong; and by lot, where that is asked."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from keepwell_command import run_keepwell
from small_company import AS_OF

from experiments.causal.interventions import assignments, propose_designs
from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.effects.effects_file import write_effects
from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.keyed_draw import Exploration, LotteryKey
from registry.playbook.playbook import load_playbook
from serving.decisions.exploration_settings import CHANCE_FILE, ExplorationSettings
from serving.ledger.ledger import Ledger
from serving.recommendations.learned_later import learned_later
from serving.recommendations.snapshot import decisions_as_of
from serving.recommendations.whom_next import COULD_BE_WRONG, draw_lottery, whom_next
from serving.timeline.store import TimelineStore

SECRET = "ab" * 32
RULES = ExplorationSettings(
    key=LotteryKey(key_id="k", secret=bytes.fromhex(SECRET)),
    exploration=Exploration(),
    explore=False,
    last_hours=False,
    lotteries=True,
    holdout=None,
)


@pytest.fixture(scope="module")
def decided(shared_workspace, store):
    return decisions_as_of(shared_workspace, store, AS_OF)


@pytest.fixture(scope="module")
def action(decided) -> str:
    """The action that comes first by its value for most accounts."""
    first = pl.Series(
        [
            one.recommendation.ranked[0].action_id
            for one in decided
            if one.recommendation.ranked[0].basis == "value"
            and one.recommendation.ranked[0].action_id != "do_nothing"
        ]
    )
    return str(first.mode().sort()[0])


def measured(action: str, grade: str, outcome: str, segment: str | None = None) -> MeasuredEffects:
    return MeasuredEffects(
        effects=(
            ActionEffect(
                action_id=action,
                segment=segment,
                estimate=0.05,
                standard_error=0.004,
                n=9_794,
                effective_n=8_000.0,
                grade=grade,  # type: ignore[arg-type]
                measured_from=AS_OF - timedelta(days=400),
                measured_to=AS_OF,
                source="a log",
                outcome=outcome,  # type: ignore[arg-type]
                horizon_days=90,
                low=0.042,
                high=0.058,
                why="",
                untouched_risk=0.2,
            ),
        )
    )


def test_every_account_is_listed_or_counted_with_the_reason(decided, action) -> None:
    found = whom_next(decided, action)
    assert len(found.accounts) > 1
    assert len(found.accounts) + sum(found.held_back.values()) == len(decided)
    frame = found.frame(months=12)
    assert frame["gain_cautious"].is_sorted(descending=True)
    assert frame["place"].to_list() == list(range(1, len(frame) + 1))
    assert set(frame["what_could_be_wrong"]) == {COULD_BE_WRONG[None]}
    for row, one in zip(frame.iter_rows(named=True), found.accounts, strict=True):
        value = one.candidate.value
        assert row["gain"] == pytest.approx(
            value.uplift * row["money_at_stake"] * value.margin - row["cost"]
        )


@pytest.mark.parametrize("grade", ["A", "C"])
def test_what_was_measured_is_said_with_its_grade_and_what_could_be_wrong(
    own_workspace, store, grade: str
) -> None:
    write_effects(measured("success_call", grade, "retention"), own_workspace.reports_dir)
    frame = whom_next(decisions_as_of(own_workspace, store, AS_OF), "success_call").frame(months=12)
    assert len(frame)
    assert (frame["measured_cases"] == 9_794).all()
    assert set(frame["what_could_be_wrong"]) == {COULD_BE_WRONG[grade]}


def test_a_lottery_draws_so_many_and_takes_only_whom_chance_may_decide_about(
    decided, action
) -> None:
    found = whom_next(decided, action)
    lot = draw_lottery(found, 1, rules=RULES, at=AS_OF)
    assert lot == draw_lottery(found, 1, rules=RULES, at=AS_OF + timedelta(hours=3))
    may = {
        one.account_id: one.proposed.score.features["mrr"]
        for one in found.accounts
        if one.is_first and one.candidate.basis == "value"
    }
    assert set(lot.of) <= set(may)
    assert all(may[name] <= RULES.exploration.none_above_mrr for name in lot.of)
    with pytest.raises(LotteryError, match="can take part in a lottery"):
        draw_lottery(found, len(lot.of), rules=RULES, at=AS_OF)


@pytest.fixture
def lottery_folder(own_workspace, tmp_path: Path) -> Path:
    (own_workspace.root / CHANCE_FILE).write_text('key_id = "k"\nlotteries = true\n')
    return own_workspace.root


def whom(folder: Path, *words: str):
    return run_keepwell(
        "whom-to-act-on", "--out", "who.csv", *words, "-w", str(folder), cwd=folder.parent,
        KEEPWELL_LOTTERY_KEY=SECRET,
    )  # fmt: skip


def test_who_is_left_alone_by_a_lottery_is_left_alone_and_measured(
    lottery_folder, own_workspace, store, decided, action
) -> None:
    done = whom(lottery_folder, "--action", action, "--draw", "1")
    assert done.returncode == 0, done.stderr
    frame = pl.read_csv(lottery_folder.parent / "who.csv")
    alone = frame.filter(pl.col("arm") == "left_alone")["account_id"].cast(pl.String).to_list()
    assert alone
    assert frame.filter(pl.col("arm") == "offered").height == 1
    assert frame["propensity"].unique().to_list() == [1 / len(frame)]
    later = AS_OF + timedelta(days=1)
    with closing(TimelineStore(own_workspace)) as timelines:
        events = timelines.of_kinds(
            ("action.decided",),
            account_ids=[one.score.account_id for one in decided],
            as_of=later,
        )
    rows = assignments(events)
    assert sorted(rows.filter(~pl.col("is_treated"))["account_id"]) == sorted(alone)
    [design] = propose_designs(events, as_of=later, snapshots=[])
    assert (design.mechanism, design.action) == ("lottery", action)
    held = {
        one.score.account_id: w.why
        for one in decisions_as_of(own_workspace, store, AS_OF)
        for w in one.recommendation.withheld
        if w.action_id == action and w.reason == "put_off"
    }
    assert set(held) == set(alone)
    assert all(why.startswith("A lottery put this off") for why in held.values())
    with closing(Ledger(own_workspace.ledger_db)) as ledger:
        assert ledger.verify().records == len(frame) + 2  # decision, and its inputs
    again = whom(lottery_folder, "--action", action, "--draw", "1")
    assert again.returncode == 3
    assert "Traceback" not in again.stderr


def test_where_nothing_calls_for_an_action_it_is_said_what_would(own_workspace, decided) -> None:
    known = {
        found.action_id
        for one in decided
        for found in (*one.recommendation.ranked, *one.recommendation.withheld)
    }
    action = next(one for one in load_playbook().actions if one.triggers and one.id not in known)
    done = whom(own_workspace.root, "--action", action.id)
    assert done.returncode == 0, done.stderr
    said = f"{action.id} is called for by: {'; '.join(dict.fromkeys(one.text for one in action.triggers))}"
    assert said in " ".join(done.stdout.split())


def test_decisions_are_stored_where_that_is_asked(own_workspace, action) -> None:
    done = whom(own_workspace.root, "--action", action, "--most", "2", "--record")
    assert done.returncode == 0, done.stderr
    frame = pl.read_csv(own_workspace.root.parent / "who.csv")
    assert frame.height == 2
    with closing(Ledger(own_workspace.ledger_db)) as ledger:
        assert ledger.verify().records == frame.filter("is_first").height + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--action", "sucess_call"), "no action 'sucess_call'. Did you mean success_call"),
        (
            ("--action", "success_call", "--draw", "1", "--most", "9"),
            "how many are drawn, and --most",
        ),
        (("--action", "success_call", "--draw", "1"), "The workspace allows no lottery"),
        ((), "Name the file of a lottery, or an action of the playbook"),
        (("x.csv", "--action", "success_call"), "Leave one of the two out"),
    ],
)
def test_what_cannot_be_asked_is_said(own_workspace, words: tuple[str, ...], said: str) -> None:
    done = whom(own_workspace.root, *words)
    assert done.returncode == 3
    assert said in " ".join(done.stderr.split())
    assert not (own_workspace.root.parent / "who.csv").exists()


def test_what_was_learned_after_an_earlier_day_is_said(own_workspace, store, action) -> None:
    workspace = own_workspace
    known = store.champion("churn").metadata.as_of
    assert list(learned_later(workspace, store, AS_OF)) == []
    effects = measured(action, "A", "retention")
    write_effects(effects, workspace.reports_dir)
    earlier = known - timedelta(days=30)
    said = list(learned_later(workspace, store, earlier))
    assert f"The churn model knows what happened up to {known:%Y-%m-%d}" in said[0]
    assert f"The effects of {action} were measured up to {AS_OF:%Y-%m-%d}" in said[-1]
    assert len(list(learned_later(workspace, store, earlier, with_effects=False))) == len(said) - 1
